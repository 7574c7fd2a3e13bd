//! JPEG to RGB.

use jellybean_engine::Failure;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{SIDE_MAX, bad_picture};
use crate::picture::Picture;

/// Decodes a picture whose size was checked; the file has to agree with that size, so that nothing
/// larger is ever allocated. `rgb` becomes `3 * width * height` bytes.
pub(super) fn to_rgb(picture: &Picture, rgb: &mut Vec<u8>) -> Result<(), Failure> {
    let unreadable = |e: &dyn std::fmt::Debug| bad_picture(format!("cannot read a JPEG: {e:?}"));
    if !is_whole(&picture.data) {
        return Err(bad_picture("a JPEG that has no end: it is truncated"));
    }
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize)
        // Otherwise what cannot be decoded comes out grey, and nobody is told.
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&picture.data[..]), options);
    decoder.decode_headers().map_err(|e| unreadable(&e))?;
    let size = (picture.width as usize, picture.height as usize);
    let bytes = 3 * size.0 * size.1;
    if decoder.dimensions() != Some(size) || decoder.output_buffer_size() != Some(bytes) {
        return Err(bad_picture(format!(
            "a JPEG of {:?} pixels in a frame of {size:?}",
            decoder.dimensions().unwrap_or_default()
        )));
    }
    rgb.resize(bytes, 0);
    decoder.decode_into(rgb).map_err(|e| unreadable(&e))
}

/// Width and height of a JPEG file, if its beginning says them; nothing is decoded.
#[must_use]
pub fn jpeg_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut decoder = JpegDecoder::new(ZCursor::new(data));
    decoder.decode_headers().ok()?;
    let (width, height) = decoder.dimensions()?;
    Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?))
}

/// Whether a file ends as JPEGs do; the decoder makes up what is missing at the end. Some cameras
/// pad with zeros.
fn is_whole(data: &[u8]) -> bool {
    let end = data.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    data[..end].ends_with(&[0xff, 0xd9])
}
