//! Fetches everything for real, into a cache of its own.

use std::cell::RefCell;

use super::*;

#[test]
fn an_empty_cache_is_filled_and_then_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(folder.path().to_owned());
    let cache = Cache::new(Environment { cache, ..Environment::of_process() }).unwrap();
    let steps = RefCell::new(Vec::new());
    let note = |step: Step| steps.borrow_mut().push(step);

    let fetched = fetch_models(&cache, &[], &note).unwrap();
    assert_eq!(fetched.iter().map(|one| one.name).collect::<Vec<_>>(), fetched_names().collect::<Vec<_>>());
    assert!(fetched.iter().all(|one| one.path.exists()), "{fetched:?}");
    assert!(cache.family("nanodet").join("nanodet-416.onnx").is_file());
    assert!(steps.borrow().iter().any(|step| step.done_bytes > 0 && step.total_bytes.is_some()));

    steps.borrow_mut().clear();
    assert_eq!(fetch_models(&cache, &[], &note).unwrap(), fetched);
    assert!(steps.borrow().is_empty());
}
