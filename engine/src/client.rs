//! Asking the controller of a run from outside: how things stand, another plan, the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::ChangeReport;
use crate::clock::{Clock, micros};
use crate::cutover::{Cut, Moving};
use crate::error::{Error, ErrorKind, Result};
use crate::id::GenerationId;
use crate::ledger::Accounts;
use crate::link::Links;
use crate::net::{Member, Network};
pub use crate::node::CLIENT;
use crate::node::{CONTROLLER, Sleeper};
use crate::pilot::{Order, Piloted};
use crate::plan::Plan;
use crate::talk::Talk;
use crate::telemetry::{Readings, Telemetry};

/// What a client and a controller say to each other goes over this channel.
pub(crate) const ASK: &str = "ask";
pub(crate) const ASKS: &str = "asks";
pub(crate) const REPLIES: &str = "replies";
/// How long a controller may take to show up.
const MEET_MAX: Duration = Duration::from_secs(10);

/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Status,
    Telemetry,
    Apply(Plan),
    History,
    Decisions,
    Order(Order),
    Stop,
}

/// What a controller replies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Status(Box<Status>),
    Telemetry(Box<Overview>),
    Applied(Result<Cut, Error>),
    History(Vec<ChangeReport>),
    /// What the pilot decided, if there is one.
    Decisions(Option<Vec<Piloted>>),
    Ordered(Result<(), Error>),
    /// The run will end.
    Stopping,
}

/// How a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The topology's name.
    pub topology: String,
    /// The controller's term.
    pub term: u32,
    /// What runs.
    pub generation: Option<GenerationId>,
    /// Its plan.
    pub plan: Option<Plan>,
    /// Whether each node is in reach.
    pub nodes: BTreeMap<String, bool>,
    /// The ledger.
    pub ledger: Accounts,
    /// What each node has measured.
    pub telemetry: BTreeMap<String, Telemetry>,
}

/// What a controller knows of a run without asking anybody: at most a second old, as long as the nodes are in reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overview {
    /// The topology's name.
    pub topology: String,
    /// The controller's term.
    pub term: u32,
    /// Now, by the run clock.
    pub now_us: u64,
    /// When the run began, if it has.
    pub began_us: Option<u64>,
    /// What runs.
    pub generation: Option<GenerationId>,
    /// Its plan.
    pub plan: Option<Plan>,
    /// The change of plan on its way, if one is.
    pub moving: Option<Moving>,
    /// Whether each node is in reach.
    pub nodes: BTreeMap<String, bool>,
    /// The latest that each node has told.
    pub readings: BTreeMap<String, Readings>,
}

/// A client of a run's controller.
pub struct Client {
    links: Links,
    clock: Clock,
    talk: Talk<Ask, Reply>,
}

impl Client {
    /// Finds the controller.
    ///
    /// # Errors
    /// `Timeout` if none shows up.
    pub fn connect(network: Arc<dyn Network>, clock: &Clock) -> Result<Self> {
        let sleeper = Sleeper::default();
        sleeper.is_here();
        let found: Arc<Mutex<Option<Member>>> = Arc::default();
        let (finding, waking) = (found.clone(), sleeper.clone());
        let watching = network.watch(Arc::new(move |presence| {
            if presence.is_here && presence.member.name == CONTROLLER {
                *finding.lock().unwrap_or_else(PoisonError::into_inner) = Some(presence.member);
                waking.wake();
            }
        }))?;
        let links = Links::new(network, clock.clone(), sleeper.waking());
        let until_us = clock.now_us() + micros(MEET_MAX);
        let controller = loop {
            if let Some(member) = found.lock().unwrap_or_else(PoisonError::into_inner).take() {
                break member;
            }
            if clock.now_us() >= until_us {
                let message = format!("no controller showed up within {MEET_MAX:?}");
                return Err(Error::new(ErrorKind::Timeout, message)
                    .way_out("see that one runs there, in the same --cluster"));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        };
        drop(watching);
        let talk = Talk::open(&links, &controller, ASK, ASKS, REPLIES)?;
        Ok(Self { links, clock: clock.clone(), talk })
    }

    fn ask(&mut self, ask: &Ask, patience: Duration) -> Result<Reply> {
        self.talk.say(ask);
        let until_us = self.clock.now_us() + micros(patience);
        loop {
            let next_us = self.links.turn();
            if let Some(reply) = self.talk.hear()? {
                return Ok(reply);
            }
            let now_us = self.clock.now_us();
            if now_us >= until_us {
                return Err(Error::new(ErrorKind::Timeout, format!("no answer within {patience:?}")));
            }
            let wait_us = next_us.unwrap_or(until_us).min(until_us).saturating_sub(now_us);
            std::thread::park_timeout(Duration::from_micros(wait_us.min(100_000)));
        }
    }

    /// How the run stands.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn status(&mut self) -> Result<Status> {
        match self.ask(&Ask::Status, ANSWER_MAX)? {
            Reply::Status(status) => Ok(*status),
            _ => Err(confused()),
        }
    }

    /// What the controller knows of the run at once.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn telemetry(&mut self) -> Result<Overview> {
        match self.ask(&Ask::Telemetry, ANSWER_MAX)? {
            Reply::Telemetry(overview) => Ok(*overview),
            _ => Err(confused()),
        }
    }

    /// Moves the run to another plan; returns where it took effect, once nothing is left of the old one.
    ///
    /// # Errors
    /// As [`Run::apply`](crate::Run::apply).
    pub fn apply(&mut self, plan: Plan) -> Result<Cut> {
        match self.ask(&Ask::Apply(plan), Duration::from_secs(730))? {
            Reply::Applied(outcome) => outcome,
            _ => Err(confused()),
        }
    }

    /// What became of the latest changes, oldest first.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn history(&mut self) -> Result<Vec<ChangeReport>> {
        match self.ask(&Ask::History, ANSWER_MAX)? {
            Reply::History(changes) => Ok(changes),
            _ => Err(confused()),
        }
    }

    /// What the pilot of the run decided, oldest first; `None` if it has none.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn decisions(&mut self) -> Result<Option<Vec<Piloted>>> {
        match self.ask(&Ask::Decisions, ANSWER_MAX)? {
            Reply::Decisions(decisions) => Ok(decisions),
            _ => Err(confused()),
        }
    }

    /// Tells the pilot of the run something.
    ///
    /// # Errors
    /// `Unavailable` if the run is not piloted, or if there is no answer.
    pub fn order(&mut self, order: Order) -> Result<()> {
        match self.ask(&Ask::Order(order), ANSWER_MAX)? {
            Reply::Ordered(outcome) => outcome,
            _ => Err(confused()),
        }
    }

    /// Ends the run.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn stop(&mut self) -> Result<()> {
        match self.ask(&Ask::Stop, ANSWER_MAX)? {
            Reply::Stopping => Ok(()),
            _ => Err(confused()),
        }
    }
}

fn confused() -> Error {
    Error::new(ErrorKind::Incompatible, "the controller answered something else")
        .way_out("run the same version everywhere")
}
