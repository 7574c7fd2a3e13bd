//! Writes labelled road frames for the training script, and sheets of them for people.
//!
//! `render_road SEED FRAMES FOLDER` renders FRAMES frames, each of a scene of its own (seeds SEED, SEED + 1, …), and
//! writes to FOLDER:
//! - `frames.u8`: the pixels, FRAMES x 192 x 320 x RGB;
//! - `truth.f32`: little-endian rows of six: frame, class, x0, y0, x1, y1;
//! - `sheet.jpg`: the first frames with their boxes.
//!
//! `render_road film SEED FRAMES FOLDER` renders consecutive frames of one scene instead.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use jellybean_engine::Clock;
use jellybean_operators::picture::{Picture, Rect};
use jellybean_operators::road::{Class, HEIGHT, Scene, Truth, WIDTH};
use jpeg_encoder::{ColorType, Encoder};

/// The sheet's columns and rows.
const SHEET: [usize; 2] = [4, 5];
const COLOURS: [[u8; 3]; 4] = [[255, 60, 60], [80, 160, 255], [255, 220, 0], [60, 255, 120]];

/// Where a labelled frame comes from.
struct Camera {
    seed: u64,
    /// The scene that all frames are of; `None` for one scene per frame.
    scene: Option<Scene>,
}

impl Camera {
    fn frame(&self, index: u64) -> (Picture, Vec<Truth>) {
        match &self.scene {
            Some(scene) => scene.render(index),
            // Any moment of the scene's first day; a large prime walks through all of them.
            None => Scene::new(self.seed + index).render((self.seed + index) * 7_919 % 100_000),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let film = arguments.first().is_some_and(|a| a == "film");
    arguments.drain(..usize::from(film));
    let [seed, frames, folder] = &arguments[..] else {
        return Err("usage: render_road [film] SEED FRAMES FOLDER".into());
    };
    let (seed, frames): (u64, u64) = (seed.parse()?, frames.parse()?);
    let camera = Camera { seed, scene: film.then(|| Scene::new(seed)) };
    write(&camera, frames, Path::new(folder))
}

fn write(camera: &Camera, frames: u64, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut pixels = BufWriter::new(File::create(folder.join("frames.u8"))?);
    let mut rows = BufWriter::new(File::create(folder.join("truth.f32"))?);
    let mut sheet = vec![0; SHEET[0] * SHEET[1] * (WIDTH * HEIGHT * 3) as usize];
    let mut counts = [0_u32; 4];
    let (clock, mut render_us) = (Clock::real(), 0);
    for index in 0..frames {
        let start_us = clock.now_us();
        let (picture, truth) = camera.frame(index);
        render_us += clock.now_us() - start_us;
        pixels.write_all(&picture.data)?;
        for t in &truth {
            counts[t.class as usize] += 1;
            let Rect { x0, y0, x1, y1 } = t.rect;
            for value in [index as f32, t.class as usize as f32, x0, y0, x1, y1] {
                rows.write_all(&value.to_le_bytes())?;
            }
        }
        if (index as usize) < SHEET[0] * SHEET[1] {
            place(&mut sheet, index as usize, &picture, &truth);
        }
    }
    let size = [SHEET[0] * WIDTH as usize, SHEET[1] * HEIGHT as usize].map(|side| side as u16);
    Encoder::new_file(folder.join("sheet.jpg"), 92)?.encode(&sheet, size[0], size[1], ColorType::Rgb)?;
    let objects = Class::ALL.map(|c| format!("{} {}", counts[c as usize], c.name())).join(", ");
    let each_us = render_us / frames.max(1);
    writeln!(std::io::stdout(), "{frames} frames of {each_us} us each: {objects}")?;
    Ok(())
}

/// Copies a frame into its cell of the sheet and outlines what is in it.
fn place(sheet: &mut [u8], cell: usize, picture: &Picture, truth: &[Truth]) {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let (left, top) = (cell % SHEET[0] * width, cell / SHEET[0] * height);
    let sheet_width = SHEET[0] * width;
    for (y, row) in picture.data.chunks_exact(width * 3).enumerate() {
        let start = ((top + y) * sheet_width + left) * 3;
        sheet[start..start + row.len()].copy_from_slice(row);
    }
    for t in truth {
        let [x0, y0, x1, y1] = [t.rect.x0, t.rect.y0, t.rect.x1 - 1.0, t.rect.y1 - 1.0].map(|v| v as usize);
        let edges =
            (x0..=x1).flat_map(|x| [(x, y0), (x, y1)]).chain((y0..=y1).flat_map(|y| [(x0, y), (x1, y)]));
        for (x, y) in edges {
            let start = ((top + y) * sheet_width + left + x) * 3;
            sheet[start..start + 3].copy_from_slice(&COLOURS[t.class as usize]);
        }
    }
}
