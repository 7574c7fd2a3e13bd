//! Bars for what takes long.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jellybean_operators::fetch::Step;

/// Draws each step of a fetch as a bar, or as a spinner where the size is not known.
pub(super) fn bars() -> impl Fn(Step) {
    let current: RefCell<Option<(String, ProgressBar)>> = RefCell::new(None);
    move |step| {
        let mut current = current.borrow_mut();
        if current.as_ref().is_none_or(|(what, _)| *what != step.what) {
            if let Some((_, bar)) = current.take() {
                bar.finish();
            }
            *current = Some((step.what.clone(), bar(&step)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_position(step.done_bytes);
            if step.total_bytes == Some(step.done_bytes) {
                bar.finish();
            }
        }
    }
}

fn bar(step: &Step) -> ProgressBar {
    let bar = step.total_bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let form = match step.total_bytes {
        Some(_) => "{msg} {bar:24} {decimal_bytes} of {decimal_total_bytes}",
        None => "{spinner} {msg} {elapsed}",
    };
    bar.set_style(ProgressStyle::with_template(form).expect("the template is well formed"));
    bar.set_message(step.what.clone());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A line that shows how a run goes.
pub(super) fn line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed"));
    bar
}
