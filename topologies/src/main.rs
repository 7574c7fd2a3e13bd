//! The `jellybean` command.

fn main() -> std::process::ExitCode {
    jellybean::command::jellybean()
}
