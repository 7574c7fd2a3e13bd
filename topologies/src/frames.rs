//! How frames cross links.

use std::str::FromStr;

use jellybean_operators::prelude::*;

/// How frames leave their cameras: `raw`, or `jpeg:QUALITY` with a quality from 1 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// As they come.
    #[default]
    Raw,
    /// As JPEG of a quality: some fifteen times smaller at 80.
    Jpeg(u8),
}

impl Frames {
    /// The stream that goes on: with a stage `transcode` of its own, unless frames stay as they are.
    #[must_use]
    pub fn carry(self, frames: Stream<Frame>) -> Stream<Frame> {
        match self {
            Self::Raw => frames,
            Self::Jpeg(quality) => frames.transcode("transcode", quality),
        }
    }
}

impl FromStr for Frames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let quality = text.strip_prefix("jpeg:").map(str::parse);
        match (text, quality) {
            ("raw", _) => Ok(Self::Raw),
            (_, Some(Ok(quality @ 1..=100))) => Ok(Self::Jpeg(quality)),
            _ => Err("frames are `raw`, or `jpeg:` with a quality from 1 to 100".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    #[test]
    fn reads_what_it_should_and_refuses_the_rest() {
        assert_eq!("raw".parse(), Ok(Frames::Raw));
        assert_eq!("jpeg:80".parse(), Ok(Frames::Jpeg(80)));
        for wrong in ["", "jpeg", "jpeg:0", "jpeg:101", "jpeg:x", "png:3"] {
            assert!(wrong.parse::<Frames>().is_err(), "{wrong}");
        }
    }
}
