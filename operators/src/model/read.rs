//! Reading pictures of one line of text.

use std::sync::Arc;

use jellybean_engine::runner::Runner;
use jellybean_engine::{Error, ErrorKind, Failure, Reason, Result};

use super::family::{Model, Task};
use super::grouped::{Grouped, OnPictures, Reader, other_head};
use super::head::{ctc, has_shape, is_finite};
use super::manifest::{Ctc, Head};
use super::session::Output;
use crate::picture::{Picture, Reading};
use crate::pixels::Placed;

/// The most characters of an alphabet: twice those of the largest known ones.
const CHARACTERS_MAX: usize = 65_536;

/// Reading pictures of one line of text, such as crops of what a text detector saw.
#[derive(Clone, Copy, Debug)]
pub struct Read;

impl Task for Read {
    type In = Picture;
    type Out = Reading;
    const NAME: &'static str = "read";

    fn open(model: &Model<Self>, threads: usize) -> Result<Box<dyn Runner<In = Picture, Out = Reading>>> {
        let manifest = model.manifest();
        let Head::Ctc(head) = &manifest.head else { return Err(other_head(Self::NAME)) };
        let alphabet = alphabet(model.alphabet().unwrap_or_default(), head)?;
        let reader = LineReader { head: head.clone(), alphabet };
        let grouped = Grouped::open(manifest, model.variant(), model.bytes(), threads, reader)?;
        Ok(Box::new(OnPictures { grouped, picture: |picture| picture, join: |_, reading| reading }))
    }
}

/// What turns an output into text.
struct LineReader {
    head: Ctc,
    alphabet: Vec<String>,
}

impl Reader for LineReader {
    type Out = Reading;

    fn outputs(&self) -> Vec<(&str, usize)> {
        vec![(&self.head.output, 3)]
    }

    fn check(&self, outputs: &[Output<'_>], items: usize, _size: (usize, usize)) -> Result<(), String> {
        has_shape(&outputs[0], &[Some(items), None, Some(1 + self.alphabet.len())])
    }

    fn read(&mut self, outputs: &[Output<'_>], item: usize, _placed: &Placed) -> Result<Reading, Failure> {
        let steps = outputs[0].item(item);
        if !is_finite(steps) {
            return Err(Failure::new(Reason::NOT_FINITE, "the model returned NaN or infinity"));
        }
        let (text, score) = ctc::read(steps, &self.alphabet, self.head.softmax);
        Ok(Reading { text: Arc::from(text), score })
    }
}

/// The characters of the alphabet's file, one per line, and the space where the head has one.
fn alphabet(bytes: &[u8], head: &Ctc) -> Result<Vec<String>> {
    let refused = |what: String| Error::new(ErrorKind::Invalid, format!("{}: {what}", head.alphabet));
    let text = std::str::from_utf8(bytes).map_err(|e| refused("is not text".to_string()).because(e))?;
    // Not `lines`: a line may hold any character that is not the end of it, such as U+0085 or a lone space.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut alphabet: Vec<String> =
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_string()).collect();
    if let Some(line) = alphabet.iter().position(String::is_empty) {
        return Err(refused(format!("line {} is empty, where a character is expected", line + 1)));
    }
    if alphabet.len() > CHARACTERS_MAX {
        return Err(refused(format!("has {} characters, and {CHARACTERS_MAX} are the most", alphabet.len())));
    }
    alphabet.extend(head.space.then(|| " ".to_string()));
    Ok(alphabet)
}
