//! Where a family is, and doing with it what does not depend on its task.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jellybean_operators::model::{
    Classify, Detect, Embed, Family, Manifest, Read, Task, family, manifest_in, manifest_of,
};
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::prelude::Frame;

/// The size of the picture that models are tried on, and the grey it is filled with.
const GREY_SIZE: (u32, u32) = (320, 240);
const GREY: u8 = 114;

/// A family by its name, or by its folder.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Named(String),
    Folder(PathBuf),
}

impl Place {
    /// A folder if there is one with a manifest, else a name.
    pub(super) fn of(name_or_folder: &str) -> Self {
        let folder = Path::new(name_or_folder);
        if folder.join("manifest.toml").is_file() {
            Self::Folder(folder.to_path_buf())
        } else {
            Self::Named(name_or_folder.to_owned())
        }
    }

    pub(super) fn manifest(&self) -> anyhow::Result<Manifest> {
        Ok(match self {
            Self::Named(name) => manifest_of(name)?,
            Self::Folder(folder) => manifest_in(folder)?,
        })
    }

    /// The bytes of a variant's file, whose sum is right.
    pub(super) fn bytes(&self, task: &str, variant: &str) -> anyhow::Result<Vec<u8>> {
        match task {
            Detect::NAME => self.bytes_of::<Detect>(variant),
            Classify::NAME => self.bytes_of::<Classify>(variant),
            Embed::NAME => self.bytes_of::<Embed>(variant),
            Read::NAME => self.bytes_of::<Read>(variant),
            _ => bail!("nothing is known of the task {task:?}"),
        }
    }

    /// Opens a variant and runs it once on grey; what came out, in words.
    pub(super) fn try_once(&self, task: &str, variant: &str) -> anyhow::Result<String> {
        let (width, height) = GREY_SIZE;
        let data = vec![GREY; 3 * width as usize * height as usize];
        let picture = Picture { width, height, format: Format::Rgb, data: data.into() };
        match task {
            Detect::NAME => {
                let frame = Frame { camera: "grey".into(), number: 0, time_ms: 0, picture };
                self.run::<Detect>(variant, frame, |d| format!("{} things seen", d.seen.len()))
            }
            Classify::NAME => self.run::<Classify>(variant, picture, |classes| {
                let best = classes.best().map(|class| format!("{} {:.3}", class.name, class.score));
                format!("best class {}", best.unwrap_or_default())
            }),
            Embed::NAME => {
                self.run::<Embed>(variant, picture, |e| format!("a vector of {}", e.values().len()))
            }
            Read::NAME => {
                self.run::<Read>(variant, picture, |r| format!("read {:?}, {:.3}", r.text, r.score))
            }
            _ => bail!("nothing is known of the task {task:?}"),
        }
    }

    fn bytes_of<T: Task>(&self, variant: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.family::<T>().model(Some(variant))?.bytes().to_vec())
    }

    fn run<T: Task>(
        &self,
        variant: &str,
        input: T::In,
        tell: impl Fn(&T::Out) -> String,
    ) -> anyhow::Result<String> {
        let mut runner = self.family::<T>().model(Some(variant))?.runner(1)?;
        let outcome = runner.run(vec![input]).pop().context("the run returned nothing")?;
        Ok(tell(&outcome?))
    }

    fn family<T: Task>(&self) -> Family<T> {
        match self {
            Self::Named(name) => family(name),
            Self::Folder(folder) => Family::folder(folder),
        }
    }
}
