//! `top`: a view of a run in the terminal, from what its controller knows, renewed every second.
//!
//! It only looks: nothing that is shown here changes anything there. The controller is asked on a thread of its own, so
//! that keys are heard while it is out of reach.

mod draw;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jellybean_engine::Clock;
use jellybean_engine::client::Overview;
use jellybean_engine::infrastructure::Infrastructure;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::draw::{Seen, draw};
use self::view::{History, View};
use super::nodes::Asking;

/// How often the controller is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often keys are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long `--once` waits for the second report of every node, which rates need.
const ONCE_MAX: Duration = Duration::from_secs(4);

/// `top`: watches a run.
#[derive(Args)]
pub(super) struct Top {
    #[command(flatten)]
    asking: Asking,
    /// Show it once and end, after the few seconds that rates take.
    #[arg(long)]
    once: bool,
    /// As one JSON object.
    #[arg(long, requires = "once")]
    json: bool,
}

impl Top {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let infrastructure = self.asking.infrastructure()?;
        if self.once {
            return self.run_once(infrastructure.as_ref());
        }
        if !std::io::stdout().is_terminal() {
            bail!("there is no terminal to show it in: pass --once, and --json for a program");
        }
        let ends = Arc::new(AtomicBool::new(false));
        let (send, news) = sync_channel(1);
        let (asking, over) = (self.asking.clone(), ends.clone());
        let asker = std::thread::Builder::new().name("asker".into()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let outcome = ask(&asking, &send, &over);
                if let Err(error) = outcome
                    && send.send(Err(format!("{error:#}"))).is_err()
                {
                    return;
                }
            }
        })?;
        let mut terminal = ratatui::try_init().context("the terminal cannot be drawn on")?;
        let outcome = watch(&mut terminal, &news, infrastructure.as_ref());
        ratatui::restore();
        ends.store(true, Ordering::Relaxed);
        drop(news);
        // It may be waiting for a controller that is out of reach: it ends with the process.
        if asker.is_finished() && asker.join().is_err() {
            bail!("asking the controller panicked");
        }
        outcome
    }

    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    fn run_once(&self, infrastructure: Option<&Infrastructure>) -> anyhow::Result<()> {
        let (mut client, clock) = (self.asking.connect()?, Clock::real());
        let mut history = History::default();
        let view = loop {
            let overview = client.telemetry()?;
            history.hear(&overview);
            if history.is_whole() || clock.now_us() >= ONCE_MAX.as_micros() as u64 {
                break history.view(&overview, infrastructure);
            }
            clock.sleep(LOOK);
        };
        if self.json {
            println!("{}", serde_json::to_string(&view)?);
        } else {
            print!("{}", draw::printed(&view));
        }
        Ok(())
    }
}

/// What the asker says: how the run stands, or why that is not known.
type News = Result<Box<Overview>, String>;

/// Asks until that fails, or nobody wants to know any more.
fn ask(asking: &Asking, news: &SyncSender<News>, over: &AtomicBool) -> anyhow::Result<()> {
    let (mut client, clock) = (asking.connect()?, Clock::real());
    while !over.load(Ordering::Relaxed) {
        let overview = client.telemetry()?;
        if news.send(Ok(Box::new(overview))).is_err() {
            return Ok(());
        }
        clock.sleep(ASK_EVERY);
    }
    Ok(())
}

/// Draws until somebody wants it to end.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    news: &Receiver<News>,
    infrastructure: Option<&Infrastructure>,
) -> anyhow::Result<()> {
    let (mut history, mut view, mut seen) = (History::default(), View::default(), Seen::default());
    seen.note = "looking for the controller".to_owned();
    loop {
        while let Ok(heard) = news.try_recv() {
            match heard {
                Ok(overview) => {
                    history.hear(&overview);
                    view = history.view(&overview, infrastructure);
                    seen.note = String::new();
                }
                Err(error) => seen.note = error,
            }
        }
        terminal.draw(|frame| draw(frame, &view, &mut seen))?;
        if event::poll(LOOK)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                KeyCode::Up | KeyCode::Char('k') => seen.scroll = seen.scroll.saturating_sub(1),
                KeyCode::Down | KeyCode::Char('j') => seen.scroll = seen.scroll.saturating_add(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
