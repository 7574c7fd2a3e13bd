//! Frames as JPEG from here on: smaller on a link, and a little less true.

use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Failure, Reason};
use jpeg_encoder::{ColorType, Encoder};

use crate::picture::{Format, Frame, Picture};
use crate::pixels::RgbBuffer;

/// Makes frames smaller before they cross a link.
pub trait Transcode {
    /// Encodes each frame as JPEG of a quality from 1 to 100; one that is JPEG already goes on as it came. A frame
    /// that cannot be read is dropped and counted.
    ///
    /// ```
    /// use jellybean_operators::picture::{Format, Frame, Picture};
    /// use jellybean_operators::prelude::*;
    /// let picture = Picture { width: 16, height: 8, format: Format::Rgb, data: vec![90; 384].into() };
    /// let frame = Frame { camera: "door".into(), number: 0, time_ms: 0, picture };
    ///
    /// let t = Topology::new("transcode");
    /// let (sink, small) = sink::collect();
    /// t.source("frames", source::iterate([frame])).transcode("jpeg", 80).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(small.take()[0].1.picture.format, Format::Jpeg);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn transcode(&self, name: &str, quality: u8) -> Stream<Frame>;
}

impl Transcode for Stream<Frame> {
    fn transcode(&self, name: &str, quality: u8) -> Stream<Frame> {
        self.each(name, FanOut::One, move |frame: Frame, out| {
            let picture = jpeg(frame.picture, quality)?;
            out.push(Frame { picture, ..frame });
            Ok(())
        })
    }
}

fn jpeg(picture: Picture, quality: u8) -> Result<Picture, Failure> {
    if picture.format == Format::Jpeg {
        return Ok(picture);
    }
    let (width, height) = (picture.width, picture.height);
    let side = |length: u32| {
        u16::try_from(length)
            .map_err(|_| Failure::new(Reason::FAILED, format!("{length} pixels are too many for JPEG")))
    };
    let (columns, rows) = (side(width)?, side(height)?);
    let mut buffer = RgbBuffer::default();
    let rgb = buffer.read(&picture)?;
    let mut data = Vec::new();
    Encoder::new(&mut data, quality)
        .encode(rgb, columns, rows, ColorType::Rgb)
        .map_err(|e| Failure::new(Reason::FAILED, format!("a frame cannot be made JPEG: {e}")))?;
    Ok(Picture { width, height, format: Format::Jpeg, data: data.into() })
}
