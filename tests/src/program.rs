//! The `jellybean` command as a program of its own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The command, to be given arguments. It is built from the same source as the one that is installed.
pub(crate) fn jellybean() -> Command {
    Command::new(env!("CARGO_BIN_EXE_jellybean-tested"))
}

/// `jellybean demo` with its output in a folder.
pub(crate) fn demo(out: &Path) -> Command {
    let mut command = jellybean();
    command.args(["demo", "--out"]).arg(out);
    command
}

/// What a program said on its standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report that `--json` makes the last line of the output.
pub(crate) fn last_line(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("the output is text");
    let line = text.lines().last().unwrap_or_else(|| panic!("no output; {}", errors(output)));
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}
