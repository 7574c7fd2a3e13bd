//! Videos that are not there, not videos, or not whole; and an ffmpeg that is not there, or goes away.

use std::fs;
use std::path::Path;

use crossbeam::channel::bounded;
use jellybean_engine::ErrorKind;
use jellybean_engine::sink::{Collected, collect};
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::clips::{clip, ffmpeg};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::check;

/// A source of frames whose numbers are collected.
fn numbers(t: &Topology, name: &str, video: Video) -> Collected<u64> {
    let (sink, numbers) = collect();
    let frames = t.source(name, video.ffmpeg(ffmpeg()));
    frames.map(&format!("{name}-number"), |f| f.number).sink(&format!("{name}-numbers"), sink);
    numbers
}

fn refused(video: Video, kind: ErrorKind, words: &[&str]) {
    let t = Topology::new("refused");
    t.source("video", video).sink("nothing", Null::new());
    let error = run_here(&t).map(|_| ()).expect_err("nothing can be read");
    check(&error, kind, words);
    check(&error, kind, &["node \"here\"", "source \"video\""]);
}

#[test]
fn error_nothing_that_can_be_opened() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().display().to_string();
    refused(
        Video::file(folder.path().join("no.mp4")),
        ErrorKind::NotFound,
        &[&place, "no.mp4", "no such file"],
    );
    refused(Video::file(folder.path()), ErrorKind::Invalid, &[&place, "it is a folder"]);
    for (name, content, said) in [
        ("noise.mp4", &b"\x00\x13\xff"[..], "no video can be read from it"),
        ("notes.txt", &b"These are notes on how to read a film.\n"[..], ""),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        refused(Video::file(path).ffmpeg(ffmpeg()), ErrorKind::Corrupt, &[&place, name, said, "video file"]);
    }
}

#[test]
fn error_ffmpeg_missing() {
    let folder = TempDir::new().unwrap();
    let video = Video::file(clip(folder.path(), "a.avi", 5)).ffmpeg("/nowhere/ffmpeg");
    refused(video, ErrorKind::NotFound, &["no program /nowhere/ffmpeg", "install ffmpeg"]);
}

#[test]
fn error_a_truncated_video_gives_what_it_has_and_spares_the_others() {
    let folder = TempDir::new().unwrap();
    let (whole, short) = (clip(folder.path(), "whole.avi", 50), clip(folder.path(), "short.avi", 50));
    let bytes = fs::metadata(&short).unwrap().len();
    fs::OpenOptions::new().write(true).open(&short).unwrap().set_len(bytes * 6 / 10).unwrap();

    let t = Topology::new("truncated");
    let numbers_of_whole = numbers(&t, "whole", Video::file(whole));
    let numbers_of_short = numbers(&t, "short", Video::file(&short));
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);

    let account = &report.ledger.sources["whole/whole"];
    assert_eq!((account.admitted, account.completed), (50, 50));
    assert_eq!(numbers_of_whole.take().len(), 50);
    let account = &report.ledger.sources["short/short"];
    assert!((11..50).contains(&account.admitted), "{account:?}");
    assert_eq!(account.completed, account.admitted);
    let got: Vec<u64> = numbers_of_short.take().into_iter().map(|(_, number)| number).collect();
    assert_eq!(got, (0..account.admitted).collect::<Vec<_>>());

    let [fault] = &report.ledger.faults[..] else { panic!("{:?}", report.ledger.faults) };
    let after = format!("after {} frames", account.admitted);
    let path = short.display().to_string();
    super::check_words(fault, &[&path, &after, "damaged or truncated", "tolerant"]);
}

#[test]
fn error_ffmpeg_killed_in_mid_stream() {
    let folder = TempDir::new().unwrap();
    let path = clip(folder.path(), "endless.avi", 50);
    let (reached, has_reached) = bounded(1);
    let (go_on, may_go_on) = bounded::<()>(1);
    let t = Topology::new("killed");
    let numbers = numbers(&t, "video", Video::file(&path).endless());
    let hold = move |_, frame: &Frame| {
        if frame.number == 60 {
            // Until the murderer is done, so that there are frames on their way whatever the machine.
            reached.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
    };
    let second = t.source("again", Video::file(&path).camera("again").ffmpeg(ffmpeg()));
    second.sink("nothing", Null::new());
    let third = t.source("held", Video::file(&path).camera("held").endless().ffmpeg(ffmpeg()));
    third.sink("hold", Call::new(hold));
    let run = Run::start(t.build().unwrap(), Plan::single("here"), &["here"], Clock::real()).unwrap();
    has_reached.recv().unwrap();
    let killed = kill_readers(&path);
    go_on.send(()).unwrap();
    let report = run.finish();

    assert!(killed >= 2, "{killed} children were reading");
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(report.frames, report.ledger_total.completed, "{:#?}", report.ledger);
    let got: Vec<u64> = numbers.take().into_iter().map(|(_, number)| number).collect();
    let account = &report.ledger.sources["video/endless"];
    assert_eq!(got, (0..account.admitted).collect::<Vec<_>>());
    for lane in ["video/endless", "held/held"] {
        let after = format!("after {} frames", report.ledger.sources[lane].admitted);
        let told = |fault: &&String| fault.contains(&after) && fault.contains("was killed by signal 9");
        let fault = report.ledger.faults.iter().find(told);
        let fault = fault.unwrap_or_else(|| panic!("{lane}, {after}: {:?}", report.ledger.faults));
        super::check_words(fault, &[&path.display().to_string(), "in mid-stream", "start the run again"]);
    }
}

/// Kills the children of this process that have the file in their command line; returns how many.
fn kill_readers(path: &Path) -> usize {
    let wanted = path.display().to_string();
    let mine = format!("PPid:\t{}\n", std::process::id());
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let mut killed = 0;
    for pid in processes.filter_map(|name| name.parse::<i32>().ok()) {
        // Processes come and go meanwhile; those that are gone have nothing to read.
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let reads_it = String::from_utf8_lossy(&read("cmdline")).contains(&wanted);
        if reads_it && String::from_utf8_lossy(&read("status")).contains(&mine) {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            killed += 1;
        }
    }
    killed
}
