//! The report of `--json`: other programs read it.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{demo, errors, last_line};

/// The names of an object's fields, in order.
fn fields(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    object.keys().map(String::as_str).collect()
}

#[test]
fn the_last_line_has_exactly_these_fields() {
    let folder = TempDir::new().unwrap();
    let output = demo(folder.path()).args(["--seconds", "2", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "one line, and whole");
    let report = last_line(&output);
    // By name: serde_json sorts them.
    let top = [
        "changes",
        "fps",
        "frames",
        "ids",
        "latency_ms",
        "ledger",
        "ledger_total",
        "output_digest",
        "seconds",
        "topology",
    ];
    assert_eq!(fields(&report), top);
    assert_eq!(report["ids"], json!({ "lost": 0, "doubled": 0, "reordered": 0 }));
    assert_eq!(report["changes"], json!([]));
    assert_eq!(fields(&report["latency_ms"]), ["p50", "p95", "p99"]);
    assert_eq!(fields(&report["ledger"]), ["edges", "sources"]);
    let account = ["admitted", "completed", "degraded", "dropped", "in_flight"];
    assert_eq!(fields(&report["ledger_total"]), account);
    assert_eq!(fields(&report["ledger"]["sources"]), ["cameras/road-0", "cameras/road-1"]);
    assert_eq!(fields(&report["ledger"]["sources"]["cameras/road-0"]), account);
    let edge = ["dropped", "in_flight", "received", "sent"];
    assert_eq!(fields(&report["ledger"]["edges"]["cameras->detect"]), edge);

    assert_eq!((&report["topology"], &report["frames"]), (&json!("junction"), &json!(100)));
    let total = json!({ "admitted": 100, "completed": 100, "degraded": 0, "dropped": {}, "in_flight": 0 });
    assert_eq!(report["ledger_total"], total);
    for number in ["fps", "seconds"] {
        assert!(report[number].as_f64().is_some_and(|n| n > 0.0), "{number}");
    }
    let latency = ["p50", "p95", "p99"].map(|q| report["latency_ms"][q].as_f64().unwrap());
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{latency:?}");
    let digest = report["output_digest"].as_str().unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
}
