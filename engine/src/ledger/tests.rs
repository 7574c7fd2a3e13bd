use super::{Gaps, Ledger};
use crate::id::{GenerationId, StageId};

const SECOND_US: u64 = 1_000_000;

#[test]
fn a_gap_lasts_from_record_to_record() {
    let ledger = Ledger::new(std::iter::empty());
    let lane = 0;
    ledger.open_lane(lane, "yard".into(), true);
    let check = |count, seconds, reconnects, open, last_reason: &str| {
        let gaps = ledger.accounts().sources["yard"].gaps.clone();
        let last_reason = last_reason.to_owned();
        assert_eq!(gaps, Some(Gaps { count, seconds, reconnects, open, last_reason }));
    };
    let admit = |number, second| ledger.admitted(lane, 0, number, second * SECOND_US);
    let down = |reason: &str, second| ledger.down(lane, reason.into(), second * SECOND_US);
    ledger.began(lane, 10 * SECOND_US);
    check(0, 0.0, 0, false, "");
    down("unreachable", 12);
    check(1, 2.0, 0, true, "unreachable");
    admit(0, 13);
    check(1, 3.0, 1, false, "unreachable");
    admit(1, 20);
    down("silent", 25);
    down("refused", 26);
    check(2, 9.0, 1, true, "refused");
    admit(2, 27);
    check(2, 10.0, 2, false, "refused");
    down("silent", 28);
    ledger.ended(lane, 30 * SECOND_US);
    check(3, 13.0, 2, true, "silent");
}

#[test]
fn what_is_not_live_has_no_gaps() {
    let ledger = Ledger::new(std::iter::empty());
    let lane = 0;
    ledger.open_lane(lane, "film".into(), false);
    ledger.down(lane, "nonsense".into(), 5);
    assert_eq!(ledger.accounts().sources["film"].gaps, None);
}

#[test]
fn frames_before_a_cut_wait_for_no_sink_of_the_generation_behind_it() {
    let (old, new) = (GenerationId { term: 1, n: 1 }, GenerationId { term: 1, n: 2 });
    let sink = StageId(3);
    let ledger = Ledger::new(std::iter::empty());
    ledger.open_lane(0, "yard".into(), false);
    let completed = || ledger.accounts().sources["yard"].completed;
    ledger.open_sink(old, sink, 0);
    for (number, epoch) in [(0, 40), (1, 90), (2, 140)] {
        ledger.admitted(0, epoch, number, SECOND_US);
    }
    // What it says of itself may be known before it is.
    ledger.sink_passed(new, sink, Some(0), SECOND_US);
    ledger.open_sink(new, sink, 100);
    ledger.sink_passed(new, sink, Some(0), SECOND_US);
    ledger.sink_passed(old, sink, Some(50), SECOND_US);
    assert_eq!(completed(), 1);
    ledger.sink_passed(old, sink, None, SECOND_US);
    assert_eq!(completed(), 2, "the third is the new one's");
    ledger.sink_passed(new, sink, Some(150), SECOND_US);
    assert_eq!(completed(), 3);
}
