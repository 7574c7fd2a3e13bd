//! What an ONNX file that came without a manifest seems to be, and the manifest that says so.
//!
//! Invariant: nothing is guessed silently. What inputs and outputs do not tell is assumed, and each
//! assumption is a note in [`Guess::notes`].

use std::fmt::Write;

use jellybean_engine::{Error, ErrorKind, Result};

use super::raw::Port;

/// The sides that are assumed where a graph leaves them open, in pixels: width and height.
const DETECT_SIZE: (u32, u32) = (640, 640);
const LOOK_SIZE: (u32, u32) = (224, 224);

/// Lengths that embeddings usually have, and numbers of classes hardly ever.
const LENGTHS: [usize; 11] = [64, 96, 128, 192, 256, 384, 512, 576, 768, 1280, 2048];

/// The input that a file seems to want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The input's name.
    pub name: String,
    /// Whether the channels come before rows and columns.
    pub is_nchw: bool,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// What a file seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The task, as manifests call it.
    pub task: &'static str,
    /// The kind of head.
    pub kind: &'static str,
    /// How many classes it knows; 0 where the task knows none.
    pub classes: usize,
    /// What was assumed, and what has to be filled in.
    pub notes: Vec<String>,
    head: String,
}

/// The task that a user names, if any does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Whatever it looks like.
    Any,
    /// Boxes.
    Detect,
    /// Classes.
    Classify,
    /// A vector.
    Embed,
}

impl Fed {
    /// The input's shape for one picture.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        let (width, height) = (self.width as usize, self.height as usize);
        if self.is_nchw { [1, 3, height, width] } else { [1, height, width, 3] }
    }
}

/// The input of a file that takes pictures.
///
/// # Errors
/// `Incompatible` if it has several inputs, or one that takes no pictures.
pub fn fed(inputs: &[Port], wish: Wish) -> Result<Fed> {
    let [input] = inputs else {
        let names: Vec<&str> = inputs.iter().map(|port| port.name.as_str()).collect();
        return Err(unknown(format!("it has the inputs {names:?}, where one picture is expected")));
    };
    let (&[_, b, c, d], true) = (&input.sides[..], input.is_f32) else {
        return Err(unknown(format!(
            "its input {:?} is {}, not a picture of 32-bit floats",
            input.name, input.kind
        )));
    };
    let mut notes = Vec::new();
    let is_nchw = b == 3 || d != 3;
    if b != 3 && d != 3 {
        if b >= 0 {
            return Err(unknown(format!(
                "its input {:?} is {}, without a side of 3 colours",
                input.name, input.kind
            )));
        }
        notes.push("layout: no side of the input says where the colours are; \"nchw\" is assumed".to_owned());
    }
    let (height, width) = if is_nchw { (c, d) } else { (b, c) };
    let assumed = if wish == Wish::Detect || wish == Wish::Any { DETECT_SIZE } else { LOOK_SIZE };
    let mut side = |what: &str, side: i64, assumed: u32| {
        u32::try_from(side).unwrap_or_else(|_| {
            notes.push(format!("{what}: the graph leaves it open; {assumed} is assumed"));
            assumed
        })
    };
    let (width, height) = (side("width", width, assumed.0), side("height", height, assumed.1));
    Ok(Fed { name: input.name.clone(), is_nchw, width, height, notes })
}

/// What outputs of these shapes seem to be; a run told the sides.
///
/// # Errors
/// `Incompatible` if they look like nothing that is known, or not like what is wished for.
pub fn guess(fed: &Fed, outputs: &[(String, Vec<usize>)], wish: Wish) -> Result<Guess> {
    let found = match outputs {
        [(name, sides)] => match sides[..] {
            [1, a, b] if matches!(wish, Wish::Any | Wish::Detect) => yolo(fed, name, a, b),
            [1, length] if wish == Wish::Embed || wish == Wish::Any && is_length(name, length) => {
                Some(embedding(name, length))
            }
            [1, classes] if matches!(wish, Wish::Any | Wish::Classify) => Some(scores(name, classes)),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| {
        let shapes: Vec<String> = outputs.iter().map(|(name, sides)| format!("{name:?} {sides:?}")).collect();
        unknown(format!("its outputs, {}, are not those of a family that can be guessed", shapes.join(", ")))
    })
}

impl Guess {
    /// The text of a manifest for a file of this name and sum.
    #[must_use]
    pub fn manifest(&self, name: &str, file: &str, sha256: &str, fed: &Fed) -> String {
        let mut text = format!("version = 1\nname = {}\ntask = \"{}\"\n", quoted(name), self.task);
        if self.classes > 0 {
            text.push_str("classes = [\n");
            (0..self.classes)
                .for_each(|i| writeln!(text, "  \"class-{i}\",").expect("a string takes any text"));
            text.push_str("]\n");
        }
        let detects = self.task == "detect";
        let (mean, std) = if detects {
            ("[0.0, 0.0, 0.0]", "[255.0, 255.0, 255.0]")
        } else {
            ("[123.675, 116.28, 103.53]", "[58.395, 57.12, 57.375]")
        };
        let (resize, fill) = if detects { ("letterbox", 114) } else { ("stretch", 0) };
        let layout = if fed.is_nchw { "nchw" } else { "nhwc" };
        write!(
            text,
            "license = \"not filled in\"\nsource = \"added from a file by `jellybean models add`\"\n\n\
             [input]\nname = {input}\nlayout = \"{layout}\"\nchannels = \"rgb\"\nmean = {mean}\nstd = {std}\n\
             resize = \"{resize}\"\nfill = {fill}\n\n[head]\n{head}\n\
             [[variant]]\nname = \"default\"\nfile = {file}\nsha256 = \"{sha256}\"\nwidth = {width}\nheight = {height}\n\
             precision = \"f32\"\naccuracy = 0.0\naccuracy_data = \"not measured\"\n",
            input = quoted(&fed.name),
            head = self.head,
            file = quoted(file),
            width = fed.width,
            height = fed.height,
        )
        .expect("a string takes any text");
        text
    }
}

/// Cells are many and values few. The usual three levels give each cell of 8, 16 and 32 pixels three boxes
/// where there is objectness, and one where there is none.
fn yolo(fed: &Fed, name: &str, a: usize, b: usize) -> Option<Guess> {
    let (rows, cells, values) = if a >= b { (true, a, b) } else { (false, b, a) };
    let level = |stride: u32| fed.width.div_ceil(stride) as usize * fed.height.div_ceil(stride) as usize;
    let places = level(8) + level(16) + level(32);
    let mut notes = Vec::new();
    let objectness = if cells == 3 * places || cells == places {
        cells == 3 * places
    } else {
        notes.push(format!(
            "objectness: {cells} cells are of no usual YOLO; whether there is one is guessed by the layout"
        ));
        rows
    };
    let classes = values.checked_sub(4 + usize::from(objectness)).filter(|&classes| classes > 0)?;
    notes.push(format!(
        "classes: put the names of the {classes} classes in place of class-0, class-1, and so on"
    ));
    notes.push("input: RGB in 0..=1 (mean 0, std 255), letterboxed on grey is assumed".to_owned());
    notes.push("head: score_min = 0.25 and iou_max = 0.45 are assumed".to_owned());
    let layout = if rows { "rows" } else { "columns" };
    let head = format!(
        "kind = \"yolo\"\noutput = {}\nlayout = \"{layout}\"\nobjectness = {objectness}\nscore_min = 0.25\niou_max = 0.45\n",
        quoted(name)
    );
    Some(Guess { task: "detect", kind: "yolo", classes, notes: measured(notes), head })
}

fn scores(name: &str, classes: usize) -> Guess {
    let notes = vec![
        format!("classes: put the names of the {classes} classes in place of class-0, class-1, and so on"),
        "input: RGB, normalised as for ImageNet and stretched, is assumed".to_owned(),
        "head: softmax = true is assumed; say false if the outputs are probabilities already".to_owned(),
    ];
    let top = classes.min(5);
    let head = format!("kind = \"scores\"\noutput = {}\nsoftmax = true\ntop = {top}\n", quoted(name));
    Guess { task: "classify", kind: "scores", classes, notes: measured(notes), head }
}

fn embedding(name: &str, length: usize) -> Guess {
    let notes = vec![
        "task: a vector may be an embedding or scores; say `--task classify` if it is the latter".to_owned(),
        "input: RGB, normalised as for ImageNet and stretched, is assumed".to_owned(),
    ];
    let head = format!("kind = \"embedding\"\noutput = {}\nlength = {length}\n", quoted(name));
    Guess { task: "embed", kind: "embedding", classes: 0, notes: measured(notes), head }
}

fn measured(mut notes: Vec<String>) -> Vec<String> {
    notes.push("accuracy: 0 stands for not measured; plans that ask for accuracy need it".to_owned());
    notes.push("license: whose weights are they?".to_owned());
    notes
}

fn is_length(name: &str, length: usize) -> bool {
    let name = name.to_lowercase();
    LENGTHS.contains(&length) || ["embed", "feat"].iter().any(|word| name.contains(word))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn unknown(message: String) -> Error {
    let way_out = "write a manifest.toml by hand, or run the file as it is through a runner of your own";
    Error::new(ErrorKind::Incompatible, message).way_out(way_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::{Boxes, CellLayout, Head, Manifest};

    fn port(name: &str, sides: &[i64]) -> Port {
        Port { name: name.into(), kind: format!("{sides:?}"), is_f32: true, sides: sides.to_vec() }
    }

    /// What is guessed of an input and an output, as the manifest that comes of it.
    fn guessed(input: &[i64], name: &str, output: &[usize], wish: Wish) -> Result<Manifest> {
        let fed = fed(&[port("images", input)], wish)?;
        let guess = guess(&fed, &[(name.to_owned(), output.to_vec())], wish)?;
        Manifest::parse(&guess.manifest("mine", "mine.onnx", &"0".repeat(64), &fed), "guess")
    }

    #[test]
    fn usual_yolos_are_known_by_their_shapes() {
        for (input, output, layout, objectness, classes) in [
            (640, [1, 25200, 85], CellLayout::Rows, true, 80),
            (640, [1, 84, 8400], CellLayout::Columns, false, 80),
            (416, [1, 10647, 6], CellLayout::Rows, true, 1),
            (320, [1, 2100, 7], CellLayout::Rows, false, 3),
            (640, [1, 85, 25200], CellLayout::Columns, true, 80),
        ] {
            let manifest = guessed(&[1, 3, input, input], "output0", &output, Wish::Any).unwrap();
            let Head::Boxes(Boxes::Yolo(head)) = &manifest.head else { panic!("{manifest:?}") };
            assert_eq!((head.layout, head.objectness, manifest.classes.len()), (layout, objectness, classes));
            assert_eq!(manifest.variants[0].width as i64, input);
        }
    }

    #[test]
    fn vectors_are_scores_or_embeddings() {
        for (name, length, wish, task) in [
            ("logits", 1000, Wish::Any, "classify"),
            ("logits", 512, Wish::Any, "embed"),
            ("features", 100, Wish::Any, "embed"),
            ("logits", 512, Wish::Classify, "classify"),
            ("logits", 1000, Wish::Embed, "embed"),
        ] {
            assert_eq!(guessed(&[-1, 3, 224, 224], name, &[1, length], wish).unwrap().task, task);
        }
    }

    #[test]
    fn open_sides_are_assumed_and_told() {
        let fed = fed(&[port("x", &[-1, -1, -1, 3])], Wish::Classify).unwrap();
        assert_eq!((fed.is_nchw, fed.shape()), (false, [1, 224, 224, 3]));
        assert_eq!(fed.notes.len(), 2, "{:?}", fed.notes);
    }

    #[test]
    fn error_what_cannot_be_guessed() {
        let said = |input: &[i64], output: &[usize], wish| {
            guessed(input, "y", output, wish).map(|_| ()).unwrap_err().to_string()
        };
        assert!(said(&[1, 3, 64], &[1, 10], Wish::Any).contains("not a picture of 32-bit floats"));
        assert!(said(&[1, 4, 64, 64], &[1, 10], Wish::Any).contains("without a side of 3 colours"));
        assert!(said(&[1, 3, 64, 64], &[1, 2, 3, 4], Wish::Any).contains("\"y\" [1, 2, 3, 4]"));
        assert!(said(&[1, 3, 64, 64], &[1, 4, 84], Wish::Any).contains("are not those of a family"));
        assert!(said(&[1, 3, 64, 64], &[1, 10], Wish::Detect).contains("write a manifest.toml by hand"));
        let two = [port("a", &[1, 3, 8, 8]), port("b", &[1])];
        assert!(fed(&two, Wish::Any).unwrap_err().to_string().contains("[\"a\", \"b\"]"));
    }
}
