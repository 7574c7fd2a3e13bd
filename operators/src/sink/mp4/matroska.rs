//! Uncompressed pictures with their times as a Matroska stream, which is how ffmpeg is told when each one is: a
//! bare pipe of pixels has no times.
//!
//! Format: RFC 8794 (EBML) and RFC 9559 (Matroska); element numbers are those of the latter.

/// The track's codec: pixels as they are.
const UNCOMPRESSED: &[u8] = b"V_UNCOMPRESSED";
/// Interleaved 8-bit RGB, in the words of its users.
const RGB: &[u8] = b"RGB\x18";
/// Nanoseconds per unit of time: times are milliseconds.
const MILLISECOND_NS: u64 = 1_000_000;
/// A segment that goes on until the stream ends.
const ENDLESS: [u8; 12] = [0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// What stands in front of the first picture.
pub(super) fn header(width: u32, height: u32) -> Vec<u8> {
    let ebml =
        [text(&[0x42, 0x82], b"matroska"), number(&[0x42, 0x87], 4), number(&[0x42, 0x85], 2)].concat();
    let name = b"jellybean";
    let info =
        [number(&[0x2a, 0xd7, 0xb1], MILLISECOND_NS), text(&[0x4d, 0x80], name), text(&[0x57, 0x41], name)];
    let (width, height) = (number(&[0xb0], width.into()), number(&[0xba], height.into()));
    let video = [width, height, text(&[0x2e, 0xb5, 0x24], RGB)].concat();
    // Track 1, of video, without lacing.
    let track = [
        number(&[0xd7], 1),
        number(&[0x73, 0xc5], 1),
        number(&[0x83], 1),
        number(&[0x9c], 0),
        text(&[0x86], UNCOMPRESSED),
        text(&[0xe0], &video),
    ];
    let tracks = text(&[0xae], &track.concat());
    [
        text(&[0x1a, 0x45, 0xdf, 0xa3], &ebml),
        ENDLESS.to_vec(),
        text(&[0x15, 0x49, 0xa9, 0x66], &info.concat()),
        text(&[0x16, 0x54, 0xae, 0x6b], &tracks),
    ]
    .concat()
}

/// What stands in front of a picture of so many bytes: a cluster of its own, at its time.
pub(super) fn picture(time_ms: u64, bytes: usize) -> Vec<u8> {
    let at = number(&[0xe7], time_ms);
    // Track 1, at the cluster's time, shown whole.
    let block = [0x81, 0, 0, 0x80];
    let mut head = vec![0xa3];
    head.extend(size((block.len() + bytes) as u64));
    head.extend(block);
    let mut cluster = vec![0x1f, 0x43, 0xb6, 0x75];
    cluster.extend(size((at.len() + head.len() + bytes) as u64));
    [cluster, at, head].concat()
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    text(id, &value.to_be_bytes())
}

fn text(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &size(content.len() as u64), content].concat()
}

/// A length in the eight bytes that every length fits into.
fn size(bytes: u64) -> [u8; 8] {
    (bytes | 1 << 56).to_be_bytes()
}
