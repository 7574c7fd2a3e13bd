//! Who answers the pilot's questions, elsewhere, so that the controller goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};

use crate::clock::{Clock, micros};
use crate::error::{Error, ErrorKind, Result};
use crate::live::{Question, Solution, answer};
use crate::placement::{Budget, Mode};
use crate::planning::{self, Wanted};

/// How long one question may take; answers are used as far as they have come.
const SOLVE_MAX: Duration = Duration::from_secs(1);

/// A question, and what it is about.
pub(crate) struct Asked {
    pub(crate) question: Box<Question>,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) mode: Mode,
}

/// Which question, and the answer or why there is none.
pub(crate) type Answered = (u64, std::result::Result<Box<Solution>, String>);

/// Answers one question at a time.
pub(crate) trait Solver: Send {
    /// Takes a question; the one before has been answered.
    fn ask(&mut self, asked: Asked, now_us: u64);

    /// The answer, once it is there.
    fn answer(&mut self, now_us: u64) -> Option<Answered>;

    /// When it will be there, if that is known.
    fn due_us(&self) -> Option<u64> {
        None
    }
}

/// Answers a question within a budget.
pub(crate) fn solve(asked: &Asked, budget: &Budget<'_>) -> Answered {
    let solution = answer(&asked.question, &mut |problem, running| {
        planning::solve_from(&asked.wanted.of(problem.clone()), asked.mode, budget, running)
    });
    (asked.question.id, solution.map(Box::new).map_err(|error| error.to_string()))
}

/// Solves where it is asked, and has the answer so much later by the clock: for runs that are stepped by hand.
pub(crate) struct ByHand {
    programs_max: u64,
    delay_us: u64,
    answered: Option<(u64, Answered)>,
}

impl ByHand {
    pub(crate) fn new(programs_max: u64, delay_us: u64) -> Self {
        Self { programs_max, delay_us, answered: None }
    }
}

impl Solver for ByHand {
    fn ask(&mut self, asked: Asked, now_us: u64) {
        self.answered = Some((now_us + self.delay_us, solve(&asked, &Budget::programs(self.programs_max))));
    }

    fn answer(&mut self, now_us: u64) -> Option<Answered> {
        self.answered.take_if(|(at_us, _)| *at_us <= now_us).map(|(_, answered)| answered)
    }

    fn due_us(&self) -> Option<u64> {
        self.answered.as_ref().map(|(at_us, _)| *at_us)
    }
}

/// A solver with a thread of its own.
pub(crate) struct Thinker {
    questions: Option<Sender<Asked>>,
    /// The question that it is at.
    asked: Option<u64>,
    answers: Receiver<Answered>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thinker {
    /// Begins it; `wake` wakes whoever waits for answers.
    ///
    /// # Errors
    /// `Unavailable` if there is no thread for it.
    pub(crate) fn start(clock: Clock, wake: Arc<dyn Fn() + Send + Sync>) -> Result<Self> {
        let ((questions, asked), (answer, answers)) = (bounded::<Asked>(1), bounded(1));
        let ends: Arc<AtomicBool> = Arc::default();
        let ended = ends.clone();
        let think = move || {
            for asked in asked {
                let until_us = clock.now_us() + micros(SOLVE_MAX);
                let go_on = || clock.now_us() < until_us && !ended.load(Ordering::Relaxed);
                let found = solve(&asked, &Budget { programs_max: u64::MAX, go_on: &go_on });
                if answer.send(found).is_err() {
                    return;
                }
                wake();
            }
        };
        let thread = std::thread::Builder::new().name("solver".into()).spawn(think);
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Unavailable, "no thread for the solver").because(e))?;
        Ok(Self { questions: Some(questions), asked: None, answers, ends, thread: Some(thread) })
    }
}

impl Solver for Thinker {
    fn ask(&mut self, asked: Asked, _now_us: u64) {
        self.asked = Some(asked.question.id);
        if self.questions.as_ref().is_some_and(|questions| questions.try_send(asked).is_err()) {
            tracing::error!("the solver is gone, or at work on another question");
        }
    }

    fn answer(&mut self, _now_us: u64) -> Option<Answered> {
        let asked = self.asked?;
        let answered = match self.answers.try_recv() {
            Ok(answered) => answered,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => (asked, Err("the solver panicked".to_owned())),
        };
        self.asked = None;
        Some(answered)
    }
}

impl Drop for Thinker {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.questions = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the solver panicked");
        }
    }
}
