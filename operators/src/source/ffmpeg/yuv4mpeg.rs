//! The header of a YUV4MPEG2 stream, which is how ffmpeg tells the size and rate of what follows.

use crate::source::Rate;

/// The longest header line that is read, in bytes; ffmpeg's have about 80.
pub(super) const HEADER_BYTES_MAX: usize = 256;
/// What stands in front of every picture.
pub(super) const FRAME: &[u8; 6] = b"FRAME\n";
/// The largest width and height that are accepted, in pixels.
const SIDE_MAX: u32 = 16_384;
/// The highest frame rate that is believed, per second.
const FPS_MAX: u32 = 1_000;

/// What the pictures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Header {
    /// In pixels.
    pub(in crate::source) width: u32,
    /// In pixels.
    pub(in crate::source) height: u32,
    /// Frames per second; `None` where it says one that cannot be, as it may of a live stream.
    pub(in crate::source) rate: Option<Rate>,
}

/// Reads a header line without its line feed; says what is wrong with it.
pub(super) fn parse(line: &str) -> Result<Header, String> {
    let fields = line.strip_prefix("YUV4MPEG2 ").ok_or_else(|| format!("{line:?} is no YUV4MPEG2 header"))?;
    let field = |letter: char| {
        fields
            .split(' ')
            .find_map(|f| f.strip_prefix(letter))
            .ok_or_else(|| format!("no {letter} in {line:?}"))
    };
    let side = |letter| match field(letter)?.parse() {
        Ok(pixels @ 1..=SIDE_MAX) => Ok(pixels),
        _ => Err(format!("a side of {:?} pixels, where 1 to {SIDE_MAX} are possible", field(letter)?)),
    };
    let layout = field('C')?;
    if !["420", "420jpeg", "420mpeg2", "420paldv"].contains(&layout) {
        return Err(format!("pixels laid out as {layout:?}, where 4:2:0 with 8 bits was asked for"));
    }
    Ok(Header { width: side('W')?, height: side('H')?, rate: rate(field('F')?) })
}

fn rate(text: &str) -> Option<Rate> {
    let (frames, seconds) = text.split_once(':')?;
    let rate = Rate { frames: frames.parse().ok()?, seconds: seconds.parse().ok()? };
    let possible = rate.frames > 0 && rate.seconds > 0 && rate.frames / rate.seconds <= FPS_MAX;
    possible.then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::{Header, Rate, parse};

    #[test]
    fn reads_what_ffmpeg_writes() {
        let header =
            parse("YUV4MPEG2 W322 H241 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED");
        let rate = Some(Rate { frames: 30_000, seconds: 1_001 });
        assert_eq!(header, Ok(Header { width: 322, height: 241, rate }));
    }

    #[test]
    fn refuses_what_cannot_be() {
        for (line, why) in [
            ("", "no YUV4MPEG2 header"),
            ("RIFF", "no YUV4MPEG2 header"),
            ("YUV4MPEG2 W0 H2 F25:1 C420", "a side of \"0\""),
            ("YUV4MPEG2 W2 H16385 F25:1 C420", "a side of \"16385\""),
            ("YUV4MPEG2 W2 H99999999999 F25:1 C420", "a side of"),
            ("YUV4MPEG2 W2 F25:1 C420", "no H in"),
            ("YUV4MPEG2 W2 H2 C420", "no F in"),
            ("YUV4MPEG2 W2 H2 F25:1 C420p10", "pixels laid out as"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line:?}: {error}");
        }
        for rate in ["0:0", "90000:1", "25", "1:-1", ""] {
            let header = parse(&format!("YUV4MPEG2 W2 H2 F{rate} C420"));
            assert_eq!(header, Ok(Header { width: 2, height: 2, rate: None }), "{rate}");
        }
    }
}
