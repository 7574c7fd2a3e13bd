use super::*;
use std::sync::atomic::AtomicBool;

use crate::clock::Clock;
use crate::entry::limit::Limit;
use crate::error::{Error, ErrorKind};
use crate::ledger::SourceAccount;

/// A lane on a clock of its own, started.
fn lane(spec: LaneSpec) -> (Arc<Lane<u64>>, Clock) {
    let clock = Clock::simulated();
    // A run does not begin with its clock.
    clock.advance(Duration::from_secs(7));
    let ledger = Ledger::new(std::iter::empty());
    let number = 0;
    ledger.open_lane(number, spec.name.clone(), spec.live);
    let lane = Arc::new(Lane::new(number, spec, Arc::new(Doors::new(clock.clone())), ledger));
    assert_eq!(lane.low().epoch, Some(0), "nothing is closed before the start");
    lane.doors.started_ms.get_or_init(|| clock.now_ms());
    (lane, clock)
}

fn offer(lane: &Lane<u64>, stamp: Stamp) {
    lane.offer(Arrival { record: 0, stamp, bytes: 8 }).expect("there is room");
}

fn low_after(lane: &Lane<u64>, clock: &Clock, ms: u64) -> Epoch {
    clock.advance(Duration::from_millis(ms));
    lane.low().epoch.expect("the lane goes on")
}

fn take(lane: &Lane<u64>) -> Epoch {
    lane.take(|_| Some(())).expect("a record waits").1.epoch
}

#[test]
fn a_live_lane_closes_its_time_from_the_start_whatever_its_policy() {
    for policy in [Policy::Latest, Policy::Block] {
        let (lane, clock) = lane(LaneSpec { policy, ..LaneSpec::live("yard") });
        assert!(lane.low().clocked);
        assert_eq!(low_after(&lane, &clock, 500), 500);
        offer(&lane, Stamp::Live);
        assert_eq!(low_after(&lane, &clock, 100), 500, "never past the oldest record that it holds");
        assert_eq!(take(&lane), 500);
        assert_eq!(low_after(&lane, &clock, 0), 600);
    }
}

#[test]
fn a_camera_is_held_to_what_is_let_in_and_a_lossless_lane_is_not() {
    for (policy, shed) in [(Policy::Latest, 49), (Policy::Block, 0)] {
        let (lane, clock) = lane(LaneSpec { policy, ..LaneSpec::live("yard") });
        *lock(&lane.doors.limit) = Some(Limit::new(10.0, 1, clock.now_us()));
        let mut taken = 0;
        // Twenty a second for five seconds.
        for _ in 0..100 {
            clock.advance(Duration::from_millis(50));
            offer(&lane, Stamp::Live);
            taken += u64::from(lane.take(|_| Some(())).is_some());
        }
        let account = lane.ledger.accounts().sources["yard"].clone();
        assert_eq!(account.admitted, 100, "{policy:?}: what is dropped came in too");
        assert_eq!(account.dropped.get("shed").copied().unwrap_or_default(), shed, "{policy:?}");
        assert_eq!(taken, 100 - shed, "{policy:?}");
    }
}

#[test]
fn a_camera_of_media_time_holds_the_others_up_for_two_seconds_at_most() {
    let camera =
        LaneSpec { policy: Policy::Latest, pacing: Pacing::Realtime, step_ms: 40, ..LaneSpec::new("yard") };
    let (lane, clock) = lane(camera);
    clock.advance(Duration::from_millis(1_000));
    offer(&lane, Stamp::Media(1_000));
    assert_eq!(take(&lane), 1_000);
    assert_eq!(low_after(&lane, &clock, 1_999), 1_040, "until then its own records move it");
    assert_eq!(low_after(&lane, &clock, 1), 3_000);
    assert_eq!(low_after(&lane, &clock, 500), 3_500);
    offer(&lane, Stamp::Media(1_040));
    assert_eq!(take(&lane), 3_500, "what comes too late is stamped later");
    assert_eq!(low_after(&lane, &clock, 100), 3_540, "it has been heard of");
}

#[test]
fn a_record_that_waits_for_its_time_is_not_overtaken_by_it() {
    let (lane, clock) = lane(LaneSpec {
        policy: Policy::Latest,
        pacing: Pacing::Realtime,
        ..LaneSpec::new("a picture an hour")
    });
    lock(&lane.state).early = Some(5_000);
    assert_eq!(low_after(&lane, &clock, 4_000), 4_000);
    assert_eq!(low_after(&lane, &clock, 4_000), 5_000);
    offer(&lane, Stamp::Media(5_000));
    assert_eq!(take(&lane), 5_000);
}

#[test]
fn other_lanes_of_media_time_hold_up_for_ever() {
    for (policy, pacing) in
        [(Policy::Block, Pacing::Realtime), (Policy::Block, Pacing::Max), (Policy::Latest, Pacing::Max)]
    {
        let (lane, clock) = lane(LaneSpec { policy, pacing, ..LaneSpec::new("film") });
        assert!(!lane.low().clocked);
        assert_eq!(low_after(&lane, &clock, 3_600_000), 0);
    }
}

/// Yields what it is told to.
struct Script(VecDeque<Result<u64, &'static str>>);

impl Feed for Script {
    type Record = u64;

    fn next(&mut self) -> Result<Option<Arrival<u64>>> {
        match self.0.pop_front() {
            Some(Ok(record)) => Ok(Some(Arrival { record, stamp: Stamp::Live, bytes: 8 })),
            Some(Err(why)) => Err(Error::new(ErrorKind::Unavailable, why)),
            None => Ok(None),
        }
    }
}

type Line = Result<u64, &'static str>;

/// Reads a script to its end on a thread, while another moves the clock; returns the lane's account.
fn read_on_a_thread(lane: &Arc<Lane<u64>>, clock: &Clock, script: &[Line]) -> SourceAccount {
    let reader = Reader::new(lane, Box::new(Script(script.iter().copied().collect())), "lane".into());
    let reading = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while reading.load(Ordering::SeqCst) {
                clock.advance(Duration::from_millis(1));
                lane.look();
                std::thread::yield_now();
            }
        });
        reader.run();
        reading.store(false, Ordering::SeqCst);
    });
    lane.ledger.accounts().sources[&lane.spec.name].clone()
}

/// The same, step by step: the clock goes where the lane wants its next turn.
fn read_by_hand(lane: &Arc<Lane<u64>>, clock: &Clock, script: &[Line]) -> SourceAccount {
    let mut reader = Reader::new(lane, Box::new(Script(script.iter().copied().collect())), "lane".into());
    while let Some(at_us) = reader.turn() {
        clock.advance(Duration::from_micros(at_us.saturating_sub(clock.now_us())));
    }
    lane.ledger.accounts().sources[&lane.spec.name].clone()
}

#[test]
fn an_outage_of_a_live_lane_is_a_gap_and_not_the_end() {
    let script = [Err("not there yet"), Ok(0), Err("gone"), Err("still gone"), Ok(1), Err("gone again")];
    for read in [read_on_a_thread, read_by_hand] {
        let (lane, clock) = lane(LaneSpec { policy: Policy::Block, ..LaneSpec::live("yard") });
        let account = read(&lane, &clock, &script);
        assert_eq!(account.admitted, 2);
        let gaps = account.gaps.expect("a live lane has them");
        assert_eq!((gaps.count, gaps.reconnects, gaps.open), (3, 2, true));
        assert_eq!(gaps.last_reason, "gone again");
        // A pause before each of four further tries: 250 ms, 250 + 500 ms, 250 ms.
        assert!(gaps.seconds >= 1.25, "{gaps:?}");
        assert!(lane.ledger.accounts().faults.is_empty());
        assert!(lane.low().epoch.is_some(), "two records wait");
    }
}

#[test]
fn an_error_ends_a_lane_that_is_not_live() {
    for read in [read_on_a_thread, read_by_hand] {
        let (lane, clock) = lane(LaneSpec::new("film"));
        let account = read(&lane, &clock, &[Ok(0), Err("damaged"), Ok(1)]);
        assert_eq!((account.admitted, account.gaps), (1, None));
        assert_eq!(lane.ledger.accounts().faults, ["lane: damaged"]);
    }
}

#[test]
fn by_hand_a_lossless_lane_waits_for_room_and_a_camera_drops_its_oldest() {
    for (policy, taken, dropped) in [(Policy::Block, 20, 0), (Policy::Latest, 2, 18)] {
        let (lane, clock) = lane(LaneSpec { policy, ..LaneSpec::new("film") });
        let mut reader = Reader::new(&lane, Box::new(Script((0..20).map(Ok).collect())), "lane".into());
        let mut records = Vec::new();
        while lane.low().epoch.is_some() {
            while reader.turn().is_some() {}
            records.extend(std::iter::from_fn(|| lane.take(|_| Some(()))).map(|(_, waiting)| waiting.number));
        }
        assert_eq!(records.len(), taken, "{policy:?}");
        assert!(records.is_sorted());
        let account = &lane.ledger.accounts().sources[&lane.spec.name];
        assert_eq!(account.dropped.values().sum::<u64>(), dropped, "{policy:?}");
        assert_eq!((account.admitted, clock.now_us()), (20, 7_000_000), "no time was needed");
    }
}

#[test]
fn by_hand_media_time_is_waited_for_and_a_stop_ends_the_waiting() {
    let (lane, clock) = lane(LaneSpec { pacing: Pacing::Realtime, ..LaneSpec::new("film") });
    struct Films(Epoch);
    impl Feed for Films {
        type Record = u64;

        fn next(&mut self) -> Result<Option<Arrival<u64>>> {
            self.0 += 40;
            Ok(Some(Arrival { record: self.0, stamp: Stamp::Media(self.0), bytes: 8 }))
        }
    }
    let mut reader = Reader::new(&lane, Box::new(Films(0)), "lane".into());
    assert_eq!(reader.turn(), Some(clock.now_us()), "it has begun, and read what is early");
    assert_eq!(reader.turn(), Some(7_040_000));
    clock.advance(Duration::from_millis(39));
    assert_eq!(reader.turn(), Some(7_040_000));
    assert_eq!(lane.low().epoch, Some(40));
    clock.advance(Duration::from_millis(1));
    assert_eq!(reader.turn(), Some(clock.now_us()));
    assert_eq!((take(&lane), reader.turn()), (40, Some(7_080_000)));
    lane.doors.stopping.store(true, Ordering::SeqCst);
    assert_eq!(reader.turn(), Some(clock.now_us()), "it went on, to its end");
    assert_eq!((lane.low().epoch, reader.turn()), (None, None));
}
