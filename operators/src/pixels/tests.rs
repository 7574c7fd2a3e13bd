use std::sync::Arc;

use super::*;

/// A small generator for test pictures (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn picture(&mut self, width: u32, height: u32, format: Format) -> Picture {
        let bytes = format.bytes(width, height).expect("a raw format");
        picture(width, height, format, (0..bytes).map(|_| self.next() as u8).collect())
    }
}

fn picture(width: u32, height: u32, format: Format, data: Vec<u8>) -> Picture {
    Picture { width, height, format, data: Arc::from(data) }
}

fn shape(width: u32, height: u32) -> Shape {
    Shape {
        width,
        height,
        layout: Layout::Nchw,
        channels: Channels::Rgb,
        resize: Resize::Letterbox,
        fill: 0,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

fn jpeg(width: u16, height: u16, rgb: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    jpeg_encoder::Encoder::new(&mut file, 95)
        .encode(rgb, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    file
}

/// The standard's own words, in double precision and not yet rounded.
fn rgb_twin(picture: &Picture) -> Vec<f64> {
    let (w, h) = (picture.width as usize, picture.height as usize);
    let (u, v) = (w * h, w * h + w.div_ceil(2) * h.div_ceil(2));
    let mut rgb = Vec::new();
    for y in 0..h {
        for x in 0..w {
            let chroma = (y / 2) * w.div_ceil(2) + x / 2;
            let at = |i: usize| f64::from(picture.data[i]);
            let (l, d, e) =
                (1.164_383 * (at(y * w + x) - 16.0), at(u + chroma) - 128.0, at(v + chroma) - 128.0);
            let channels = [l + 1.596_027 * e, l - 0.391_762 * d - 0.812_968 * e, l + 2.017_232 * d];
            rgb.extend(channels.map(|c| c.clamp(0.0, 255.0)));
        }
    }
    rgb
}

/// Packing, one value at a time.
fn pack_twin(pixels: &[u8], placed: &Placed, shape: &Shape) -> Vec<f32> {
    let (w, h) = (shape.width as usize, shape.height as usize);
    let (columns, rows) = (placed.resized().0 as usize, placed.resized().1 as usize);
    let mut item = vec![f32::NAN; 3 * w * h];
    for y in 0..h {
        for x in 0..w {
            for c in 0..3 {
                let colour = if shape.channels == Channels::Bgr { 2 - c } else { c };
                let inside = x < columns && y < rows;
                let value = if inside { pixels[3 * (y * columns + x) + colour] } else { shape.fill };
                let at = match shape.layout {
                    Layout::Nchw => (c * h + y) * w + x,
                    Layout::Nhwc => (y * w + x) * 3 + c,
                };
                item[at] = (f32::from(value) - shape.mean[c]) / shape.std[c];
            }
        }
    }
    item
}

#[test]
fn known_colours_come_out_of_i420() {
    // Y, U, V of the 75 % bars and the extremes of BT.601 limited range, with their RGB.
    for (yuv, rgb) in [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([126, 128, 128], [128, 128, 128]),
        ([81, 90, 240], [254, 0, 0]),
        ([145, 54, 34], [0, 255, 1]),
        ([41, 240, 110], [0, 0, 255]),
        ([180, 128, 128], [191, 191, 191]),
        ([131, 156, 44], [0, 191, 190]),
        ([0, 128, 128], [0, 0, 0]),
        ([255, 255, 128], [255, 229, 255]),
    ] {
        let data = [[yuv[0]; 4].to_vec(), vec![yuv[1]], vec![yuv[2]]].concat();
        let mut buffer = RgbBuffer::default();
        let read = buffer.read(&picture(2, 2, Format::I420, data)).unwrap().to_vec();
        assert_eq!(read, rgb.repeat(4), "{yuv:?}");
    }
}

/// How far the conversion of a picture is from its twin at worst; half a level is rounding.
fn worst(buffer: &mut RgbBuffer, picture: &Picture) -> f64 {
    let (read, twin) = (buffer.read(picture).unwrap(), rgb_twin(picture));
    assert_eq!(read.len(), twin.len());
    read.iter().zip(twin).map(|(&ours, exact)| (f64::from(ours) - exact).abs()).fold(0.0, f64::max)
}

#[test]
fn every_yuv_is_rounded_from_exact_arithmetic() {
    let mut buffer = RgbBuffer::default();
    // All of luma in one picture of 256 x 1 for each of a grid of chroma that holds its extremes.
    for u in (0..=255).step_by(15) {
        for v in (0..=255).step_by(15) {
            let data = [(0..=255).collect::<Vec<u8>>(), vec![u; 128], vec![v; 128]].concat();
            let worst = worst(&mut buffer, &picture(256, 1, Format::I420, data));
            assert!(worst < 0.505, "U {u} V {v}: off by {worst}");
        }
    }
}

#[test]
fn i420_of_any_size_equals_its_twin() {
    let mut noise = Noise(1);
    let mut buffer = RgbBuffer::default();
    for (width, height) in [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (33, 17), (64, 48), (319, 191)] {
        let worst = worst(&mut buffer, &noise.picture(width, height, Format::I420));
        assert!(worst < 0.505, "{width}x{height}: off by {worst}");
    }
}

#[test]
fn packing_equals_its_twin() {
    let mut noise = Noise(2);
    for round in 0..60_u32 {
        let mut shape = shape(1 + noise.next() as u32 % 70, 1 + noise.next() as u32 % 40);
        shape.layout = if round % 2 == 0 { Layout::Nchw } else { Layout::Nhwc };
        shape.channels = if round % 3 == 0 { Channels::Bgr } else { Channels::Rgb };
        shape.resize = if round % 5 == 0 { Resize::Stretch } else { Resize::Letterbox };
        shape.fill = noise.next() as u8;
        shape.mean = [103.53, 116.28, 123.675];
        shape.std = [57.375, 57.12, 58.395];
        let (width, height) = (1 + noise.next() as u32 % 90, 1 + noise.next() as u32 % 60);
        let picture = noise.picture(width, height, Format::Rgb);
        let mut packer = Packer::new(shape.clone());
        let mut item = vec![f32::NAN; packer.values()];
        let placed = packer.pack(&picture, &mut item).unwrap();
        let mut bilinear = Bilinear::default();
        let pixels = bilinear.resize(&picture.data, placed.picture(), placed.resized()).unwrap();
        for (i, (ours, twin)) in item.iter().zip(pack_twin(pixels, &placed, &shape)).enumerate() {
            assert!((ours - twin).abs() < 1e-5, "round {round}, value {i}: {ours} instead of {twin}");
        }
    }
}

#[test]
fn the_identity_is_exact_and_resizes_nothing() {
    let picture = Noise(3).picture(32, 16, Format::Rgb);
    let mut packer = Packer::new(shape(32, 16));
    let mut item = vec![0.0; packer.values()];
    let placed = packer.pack(&picture, &mut item).unwrap();
    assert!(!placed.is_resized());
    assert_eq!(item, pack_twin(&picture.data, &placed, packer.shape()));
}

#[test]
fn resizing_is_antialiased() {
    // Columns of black and white, reduced to half: every pixel becomes grey, where sampling would
    // pick one of the two.
    let data: Vec<u8> = (0..64 * 64).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
    let mut packer = Packer::new(shape(32, 32));
    let mut item = vec![0.0; packer.values()];
    packer.pack(&picture(64, 64, Format::Rgb, data), &mut item).unwrap();
    assert!(item.iter().all(|v| (96.0..160.0).contains(v)), "{:?}", &item[..8]);
}

#[test]
fn a_jpeg_comes_out_as_it_went_in() {
    let rgb: Vec<u8> = (0..48 * 32).flat_map(|i| [(i % 48 * 5) as u8, (i / 48 * 7) as u8, 90]).collect();
    let file = picture(48, 32, Format::Jpeg, jpeg(48, 32, &rgb));
    let mut buffer = RgbBuffer::default();
    let worst = buffer.read(&file).unwrap().iter().zip(&rgb).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst < Some(24), "off by {worst:?}");
}

/// Reads a picture that cannot be read, and returns what is said about it.
fn refusal(width: u32, height: u32, format: Format, data: Vec<u8>) -> String {
    let failure =
        RgbBuffer::default().read(&picture(width, height, format, data)).map(<[u8]>::len).unwrap_err();
    assert_eq!(failure.reason.as_str(), "bad_picture");
    failure.message
}

#[test]
fn error_sizes_that_do_not_fit() {
    assert!(refusal(0, 4, Format::Rgb, vec![]).contains("0x4"));
    assert!(refusal(4, 0, Format::I420, vec![]).contains("4x0"));
    assert!(refusal(u32::MAX, u32::MAX, Format::I420, vec![0; 9]).contains("sides are 1 to"));
    assert!(refusal(16_384, 16_384, Format::Rgb, vec![0; 9]).contains("pixels"));
    assert!(refusal(4, 4, Format::Rgb, vec![0; 47]).contains("47 bytes instead of 48"));
    assert!(refusal(3, 3, Format::I420, vec![0; 13]).contains("13 bytes instead of 17"));
}

#[test]
fn error_jpegs() {
    let file = jpeg(48, 32, &[200; 48 * 32 * 3]);
    assert!(refusal(64, 32, Format::Jpeg, file.clone()).contains("(48, 32)"));
    assert!(refusal(48, 32, Format::Jpeg, file[..file.len() / 3].to_vec()).contains("no end"));
    assert!(refusal(48, 32, Format::Jpeg, vec![]).contains("no end"));
    assert!(refusal(48, 32, Format::Jpeg, b"not a picture\xff\xd9".to_vec()).contains("cannot read"));
    // The header of a picture of 65535 x 65535, which would unpack to 12 GB.
    let mut bomb = file;
    let frame = bomb.windows(2).position(|w| w == [0xff, 0xc0]).expect("a baseline frame header");
    bomb[frame + 5..frame + 9].fill(0xff);
    assert!(refusal(48, 32, Format::Jpeg, bomb).contains("cannot read"));
}

#[test]
fn truncated_jpegs_never_pass_for_whole() {
    let mut noise = Noise(4);
    let rgb: Vec<u8> = (0..64 * 48 * 3).map(|_| noise.next() as u8).collect();
    let file = jpeg(64, 48, &rgb);
    for length in (0..file.len() - 1).rev().step_by(97) {
        refusal(64, 48, Format::Jpeg, file[..length].to_vec());
    }
    let padded = [&file[..], &[0; 7]].concat();
    assert!(
        RgbBuffer::default().read(&picture(64, 48, Format::Jpeg, padded)).is_ok(),
        "cameras pad with zeros"
    );
}

#[test]
fn eight_k_passes() {
    let (width, height) = (7680, 4320);
    let gray = vec![128; Format::I420.bytes(width, height).expect("a raw format")];
    let mut packer = Packer::new(shape(320, 192));
    let mut item = vec![0.0; packer.values()];
    let placed = packer.pack(&picture(width, height, Format::I420, gray), &mut item).unwrap();
    assert_eq!(placed.resized(), (320, 180));
    assert_eq!((item[0], item[320 * 180 - 1], item[320 * 180]), (130.0, 130.0, 0.0));
}
