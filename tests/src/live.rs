//! Live lanes: the clock closes their time, and their outages are gaps in the ledger.

use std::collections::VecDeque;

use crossbeam::channel::{Receiver, Sender, bounded};
use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source, Stamp, Stopper};
use jellybean_engine::{Clock, Error, ErrorKind, Result, Run, Topology, sink};
use jellybean_operators::prelude::*;

/// What a camera shows, in turn: its number, or an outage. Then nothing, until it is stopped.
pub(crate) type Show = VecDeque<Result<u64, &'static str>>;

/// Live cameras; those with `ends` are over after their show.
pub(crate) struct Shows {
    pub(crate) policy: Policy,
    pub(crate) shows: Vec<Show>,
    pub(crate) ends: bool,
}

impl Source for Shows {
    type Record = (usize, u64);

    fn lanes(&self) -> Vec<Lane> {
        let lane = |i| Lane { policy: self.policy, ..Lane::live(format!("camera-{i}")) };
        (0..self.shows.len()).map(lane).collect()
    }

    fn open(&self, lane: usize, _: &Clock) -> Result<Box<dyn Feed<Record = (usize, u64)>>> {
        let (stop, stopped) = bounded(1);
        Ok(Box::new(ShowFeed { lane, show: self.shows[lane].clone(), ends: self.ends, stop, stopped }))
    }
}

struct ShowFeed {
    lane: usize,
    show: Show,
    ends: bool,
    stop: Sender<()>,
    stopped: Receiver<()>,
}

impl Feed for ShowFeed {
    type Record = (usize, u64);

    fn next(&mut self) -> Result<Option<Arrival<(usize, u64)>>> {
        match self.show.pop_front() {
            Some(Ok(number)) => {
                Ok(Some(Arrival { record: (self.lane, number), stamp: Stamp::Live, bytes: 16 }))
            }
            Some(Err(why)) => Err(Error::new(ErrorKind::Unavailable, why)),
            None if self.ends => Ok(None),
            None => {
                self.stopped.recv().expect("the feed holds the other end");
                Ok(None)
            }
        }
    }

    fn stopper(&self) -> Option<Stopper> {
        let stop = self.stop.clone();
        // A second stop finds the first still there.
        Some(std::sync::Arc::new(move || _ = stop.try_send(())))
    }
}

#[test]
fn a_camera_that_never_shows_anything_holds_nobody_up() {
    let shows = vec![Show::new(), Show::from([Ok(1), Ok(2)])];
    let (closed, has_closed) = bounded(1);
    let t = Topology::new("silent");
    let windows = t
        .source("cameras", Shows { policy: Policy::Block, shows, ends: false })
        .keyed(|(camera, _)| *camera)
        .tumbling("windows", 50, |n: &mut u64, (_, number)| *n += number);
    windows.sink("closed", Call::new(move |_, w: &Windowed<usize, u64>| _ = closed.try_send(w.key)));
    let run = Run::start(t.build().unwrap(), Plan::single("here"), &["here"], Clock::real()).unwrap();
    assert_eq!(has_closed.recv(), Ok(1));
    run.stop();
    let report = run.finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(report.frames, 2);
}

/// Far more cameras than there is credit for at first: none may spend what an older frame of another needs.
#[test]
fn many_cameras_share_the_credit_of_a_stage_that_waits_for_time() {
    let frames = 60;
    let shows = vec![(0..frames).map(Ok).collect(); 24];
    let t = Topology::new("many");
    let (sink, sums) = sink::collect();
    t.source("cameras", Shows { policy: Policy::Block, shows, ends: true })
        .keyed(|(camera, _)| *camera)
        .stateful("sum", |sum: &mut u64, (_, number): (usize, u64)| {
            *sum += number;
            *sum
        })
        .sink("sums", sink);
    let report = jellybean_operators::run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let most = sums.take().into_iter().filter(|(_, sum)| *sum == frames * (frames - 1) / 2).count();
    assert_eq!((report.ledger_total.completed, most), (24 * frames, 24));
}

#[test]
fn outages_stand_in_the_report_and_end_nothing() {
    let show = Show::from([Err("no route"), Ok(1), Err("silent"), Ok(2)]);
    let t = Topology::new("outages");
    let (sink, numbers) = sink::collect();
    let source = Shows { policy: Policy::Latest, shows: vec![show, Show::new()], ends: true };
    t.source("cameras", source).map("number", |(_, n)| n).sink("numbers", sink);
    let report = jellybean_operators::run_here(&t).unwrap();
    assert!(report.ledger.is_closed() && report.ledger.faults.is_empty(), "{:#?}", report.ledger);
    assert_eq!(numbers.take().into_iter().map(|(_, n)| n).collect::<Vec<_>>(), [1, 2]);
    let told = serde_json::to_value(&report).unwrap();
    let gaps = &told["ledger"]["sources"]["cameras/camera-0"]["gaps"];
    assert_eq!((&gaps["count"], &gaps["reconnects"], &gaps["open"]), (&2.into(), &2.into(), &false.into()));
    assert_eq!(gaps["last_reason"], "silent");
    // Two pauses of 250 ms, each of which may begin within a millisecond of the clock that counts them.
    assert!(gaps["seconds"].as_f64().unwrap() >= 0.498, "{gaps}");
    assert_eq!(told["ledger"]["sources"]["cameras/camera-1"]["gaps"]["count"], 0);
    assert_eq!(told["ledger_total"].get("gaps"), None);
}
