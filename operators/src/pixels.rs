//! Pictures into model inputs: any picture becomes RGB, is resized, and is packed as floats.
//!
//! Invariant: nothing is allocated or read before a picture's size is checked against its bytes, and
//! a picture that does not fit together is a [`Failure`] of its own item. All buffers live in
//! [`RgbBuffer`] and [`Packer`] and are reused from frame to frame.

mod i420;
mod jpeg;
mod luma;
mod pack;
mod place;
mod resize;

use jellybean_engine::{Failure, Reason};
use serde::{Deserialize, Serialize};

use crate::picture::{Format, Picture};
pub use jpeg::jpeg_size;
pub use luma::LumaGrid;
use pack::Scale;
pub use place::Placed;
use resize::Bilinear;

/// The longest side of a picture, in pixels.
pub const SIDE_MAX: u32 = 16_384;
/// The most pixels of a picture: room for 8K (33 million), and a bound on what a JPEG may unpack to.
pub const PIXELS_MAX: u64 = 64 << 20;

/// What a model wants to be fed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Where the channels go.
    pub layout: Layout,
    /// The order of the channels.
    pub channels: Channels,
    /// What happens to pictures of another shape.
    pub resize: Resize,
    /// The pixel value (0..=255) of what a letterboxed picture leaves free.
    pub fill: u8,
    /// Subtracted from pixel values (0..=255), per channel in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides what is left, per channel in the order of `channels`; never 0.
    pub std: [f32; 3],
}

/// The order of a tensor's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `[batch, channel, row, column]`.
    Nchw,
    /// `[batch, row, column, channel]`.
    Nhwc,
}

/// The order of a tensor's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture is brought to the model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Its proportions stay; it lies at the top left, and the rest is filled.
    Letterbox,
    /// It fills the input, whatever that does to its proportions.
    Stretch,
}

/// Reads pictures of any format as interleaved RGB, into memory that is reused.
#[derive(Default)]
pub struct RgbBuffer {
    pixels: Vec<u8>,
    chroma: i420::Chroma,
}

/// Packs pictures into the input tensor of one model.
pub struct Packer {
    shape: Shape,
    scale: Scale,
    rgb: RgbBuffer,
    bilinear: Bilinear,
}

impl RgbBuffer {
    /// The picture as interleaved RGB, `3 * width * height` bytes, row by row.
    ///
    /// # Errors
    /// `bad_picture` where size and bytes do not fit together, or where a JPEG cannot be read.
    pub fn read<'a>(&'a mut self, picture: &'a Picture) -> Result<&'a [u8], Failure> {
        check(picture)?;
        match picture.format {
            Format::Rgb => return Ok(&picture.data),
            Format::I420 => i420::to_rgb(picture, &mut self.chroma, &mut self.pixels),
            Format::Jpeg => jpeg::to_rgb(picture, &mut self.pixels)?,
        }
        Ok(&self.pixels)
    }

    /// The last picture that was read and was not RGB already, as [`RgbBuffer::read`] returned it.
    pub(crate) fn converted(&self) -> &[u8] {
        &self.pixels
    }
}

impl Packer {
    /// A packer for inputs of this shape.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let scale = Scale::new(shape.mean, shape.std, shape.channels);
        Self { shape, scale, rgb: RgbBuffer::default(), bilinear: Bilinear::default() }
    }

    /// From now on packs for inputs of another width, and brings pictures to size another way.
    pub fn reshape(&mut self, width: u32, resize: Resize) {
        self.shape.width = width;
        self.shape.resize = resize;
    }

    /// What it packs for.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The floats of one item.
    #[must_use]
    pub fn values(&self) -> usize {
        3 * self.shape.width as usize * self.shape.height as usize
    }

    /// Fills one item of the input tensor with a picture, and says where the picture lies in it.
    ///
    /// # Errors
    /// `bad_picture` where size and bytes do not fit together, or where a JPEG cannot be read; the
    /// item's floats are then undefined.
    ///
    /// # Panics
    /// If `item` is not [`Packer::values`] long.
    pub fn pack(&mut self, picture: &Picture, item: &mut [f32]) -> Result<Placed, Failure> {
        assert_eq!(item.len(), self.values(), "an item of the tensor has the model's size");
        let placed = Placed::new(picture, &self.shape);
        let pixels = self.rgb.read(picture)?;
        let pixels = self.bilinear.resize(pixels, placed.picture(), placed.resized())?;
        pack::pack(pixels, &placed, &self.shape, &self.scale, item);
        Ok(placed)
    }
}

/// Refuses sizes that are zero or beyond the bounds, and bytes that are not what the size asks for.
fn check(picture: &Picture) -> Result<(), Failure> {
    let (width, height) = (picture.width, picture.height);
    if !is_bounded(width.into(), height.into()) {
        return Err(bad_picture(format!(
            "a picture of {width}x{height}: sides are 1 to {SIDE_MAX}, with at most {PIXELS_MAX} pixels"
        )));
    }
    match picture.format.bytes(width, height) {
        Some(bytes) if bytes != picture.data.len() => Err(bad_picture(format!(
            "a {width}x{height} picture in {:?} has {} bytes instead of {bytes}",
            picture.format,
            picture.data.len()
        ))),
        _ => Ok(()),
    }
}

fn is_bounded(width: u64, height: u64) -> bool {
    let sides = 1..=u64::from(SIDE_MAX);
    sides.contains(&width) && sides.contains(&height) && width * height <= PIXELS_MAX
}

fn bad_picture(message: impl Into<String>) -> Failure {
    Failure::new(Reason::new("bad_picture"), message)
}

#[cfg(test)]
mod tests;
