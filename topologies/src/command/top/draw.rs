//! How `top` looks: a head, then nodes, stages and links as tables that give way to the stages where there is no room.
//!
//! It fits on 80 by 24; a wider terminal shows more columns, a higher one more rows. What does not fit is counted, not
//! hidden.

use jellybean_engine::SourceAccount;
use ratatui::Frame;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::view::{LinkView, NodeView, StageView, View};

/// From this width on, columns that are good to know are shown as well.
const WIDE: u16 = 110;
/// The width and the most rows of what is printed instead of drawn.
const PRINTED: (u16, u16) = (120, 500);
/// A load from which on a colour warns, and one that cannot last.
const WARM: f64 = 0.7;
const HOT: f64 = 0.9;

/// What only the drawing knows.
#[derive(Default)]
pub(super) struct Seen {
    /// Stages that are scrolled past.
    pub(super) scroll: usize,
    /// Why what is shown is not new.
    pub(super) note: String,
}

/// A column: its title, its width, and how it stands.
type Column = (&'static str, Constraint);

const fn text(title: &'static str, width: u16) -> Column {
    (title, Constraint::Min(width))
}

const fn number(title: &'static str, width: u16) -> Column {
    (title, Constraint::Length(width))
}

/// Draws a view.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, seen: &mut Seen) {
    let area = frame.area();
    let rest = area.height.saturating_sub(5);
    let rows = |n: usize, most: u16| u16::try_from(n + 2).unwrap_or(u16::MAX).min(most.max(3));
    let nodes = rows(view.nodes.len(), rest / 3);
    let links = if view.links.is_empty() { 0 } else { rows(view.links.len(), rest / 4) };
    let parts = [
        Constraint::Length(4),
        Constraint::Length(nodes),
        Constraint::Min(3),
        Constraint::Length(links),
        Constraint::Length(1),
    ];
    let [head, of_nodes, of_stages, of_links, foot] = Layout::vertical(parts).areas(area);
    let is_wide = area.width >= WIDE;
    frame.render_widget(Paragraph::new(head_lines(view)), head);
    table(frame, of_nodes, &node_columns(), view.nodes.iter().map(node_row).collect(), 0);
    let stages: Vec<_> = view.stages.iter().map(|stage| stage_row(stage, is_wide)).collect();
    seen.scroll =
        seen.scroll.min(stages.len().saturating_sub(usize::from(of_stages.height.saturating_sub(2))));
    table(frame, of_stages, &stage_columns(is_wide), stages, seen.scroll);
    table(frame, of_links, &link_columns(), view.links.iter().map(link_row).collect(), 0);
    let note = if seen.note.is_empty() {
        Line::styled("q ends, arrows scroll the stages", Style::new().add_modifier(Modifier::DIM))
    } else {
        Line::styled(seen.note.clone(), Style::new().fg(Color::Red))
    };
    frame.render_widget(note, foot);
}

/// What would be drawn, as text.
pub(super) fn text_of(view: &View, width: u16, height: u16, seen: &mut Seen) -> String {
    // It draws into memory, which cannot fail.
    let Ok(mut terminal) = ratatui::Terminal::new(TestBackend::new(width, height));
    let Ok(drawn) = terminal.draw(|frame| draw(frame, view, seen));
    let mut text = String::new();
    for row in drawn.buffer.content().chunks(usize::from(width.max(1))) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// What is printed where nobody watches: everything, as wide as it is.
pub(super) fn printed(view: &View) -> String {
    let rows = 3 * (view.nodes.len() + view.links.len() + 4).max(4) + view.stages.len() + 12;
    let height = u16::try_from(rows).unwrap_or(u16::MAX).min(PRINTED.1);
    let text = text_of(view, PRINTED.0, height, &mut Seen::default());
    let lines: Vec<&str> = text.lines().collect();
    // The last line names keys.
    let mut kept: Vec<&str> = Vec::new();
    for line in &lines[..lines.len().saturating_sub(1)] {
        if !(line.is_empty() && kept.last().is_some_and(|last| last.is_empty())) {
            kept.push(line);
        }
    }
    while kept.last().is_some_and(|last| last.is_empty()) {
        kept.pop();
    }
    kept.join("\n") + "\n"
}

fn head_lines(view: &View) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![Span::styled(view.topology.clone(), bold)];
    if let Some(generation) = &view.generation {
        first.push(format!("  generation {generation}").into());
    }
    first.extend(view.seconds.map(|seconds| format!("  {}", clock(seconds)).into()));
    first.extend(view.usd_per_h.map(|usd| Span::styled(format!("  ${usd:.4}/h"), bold)));
    let moving = match &view.moving {
        None => Line::from("steady"),
        Some(moving) => {
            let to = moving.to.map(|to| format!(" {to}")).unwrap_or_default();
            let cut = moving.cut.map(|cut| format!(" at epoch {cut}")).unwrap_or_default();
            let missing: Vec<&str> = moving.missing.iter().map(String::as_str).collect();
            let waits = if missing.is_empty() {
                String::new()
            } else {
                format!(", waits for {}", missing.join(", "))
            };
            Line::styled(format!("{}{to}{cut}{waits}", moving.phase), Style::new().fg(Color::Yellow))
        }
    };
    let mut lines = vec![Line::from(first), Line::from(ledger(&view.ledger))];
    let reasons: Vec<String> =
        view.ledger.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    if !reasons.is_empty() {
        lines.push(Line::from(format!("dropped: {}", reasons.join(", "))));
    }
    lines.push(moving);
    lines
}

fn ledger(total: &SourceAccount) -> String {
    let SourceAccount { admitted, completed, degraded, in_flight, .. } = total;
    let dropped: u64 = total.dropped.values().sum();
    format!(
        "admitted {admitted} = completed {completed} + in flight {in_flight} + dropped {dropped}; degraded {degraded}"
    )
}

fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn table(frame: &mut Frame<'_>, area: Rect, columns: &[Column], rows: Vec<Row<'static>>, skipped: usize) {
    // A line for the titles, and one that stays empty.
    let room = usize::from(area.height.saturating_sub(2));
    let hidden = rows.len().saturating_sub(skipped + room);
    let titles = columns.iter().map(|(title, width)| match width {
        Constraint::Length(_) => right((*title).to_owned()),
        _ => Cell::from(*title),
    });
    let dim = Style::new().add_modifier(Modifier::DIM);
    let shown = rows.into_iter().skip(skipped).take(room);
    let table = Table::new(shown, columns.iter().map(|(_, width)| *width))
        .header(Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
    if hidden + skipped > 0 && area.height > 0 {
        let below = Rect { y: area.bottom() - 1, height: 1, ..area };
        let above = if skipped > 0 { format!("{skipped} above, ") } else { String::new() };
        frame.render_widget(Line::styled(format!("  {above}{hidden} more"), dim), below);
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// A number with as many digits as it needs, or a dash where there is none.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 99.95 || value == 0.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 0.995 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

fn percent(load: Option<f64>) -> Cell<'static> {
    let Some(load) = load else { return right("-".to_owned()) };
    let colour = match load {
        load if load >= HOT => Color::Red,
        load if load >= WARM => Color::Yellow,
        _ => Color::Green,
    };
    right(format!("{:.0}%", 100.0 * load)).style(Style::new().fg(colour))
}

fn node_columns() -> [Column; 8] {
    [
        text("NODE", 12),
        text("SITE", 10),
        number("LOAD", 5),
        number("BUSY", 6),
        number("SLOTS", 5),
        number("MBIT/S", 8),
        number("$/H", 8),
        number("AGE S", 6),
    ]
}

fn node_row(node: &NodeView) -> Row<'static> {
    let load = node.busy.filter(|_| node.slots > 0).map(|busy| busy / f64::from(node.slots));
    let age = node.age_s.map_or("-".to_owned(), |age| format!("{age:.1}"));
    let row = Row::new([
        Cell::from(node.node.clone()),
        Cell::from(node.site.clone().unwrap_or_else(|| "-".to_owned())),
        percent(load),
        right(node.busy.map_or("-".to_owned(), |busy| format!("{busy:.2}"))),
        right(node.slots.to_string()),
        right(figure(node.mbit_per_s)),
        right(node.usd_per_h.map_or("-".to_owned(), |usd| format!("{usd:.4}"))),
        right(if node.in_reach { age } else { "gone".to_owned() }),
    ]);
    if node.in_reach { row } else { row.style(Style::new().fg(Color::Red)) }
}

fn stage_columns(is_wide: bool) -> Vec<Column> {
    let mut columns = vec![
        text("STAGE", 14),
        text("NODE", 9),
        text("VARIANT", 8),
        number("IN/S", 7),
        number("OUT/S", 7),
        number("MS", 6),
        number("LOAD", 5),
        number("WAIT", 5),
    ];
    if is_wide {
        columns.extend([number("SLOTS", 5), number("P50 MS", 8), number("P95 MS", 8), number("P99 MS", 8)]);
    }
    columns
}

fn stage_row(stage: &StageView, is_wide: bool) -> Row<'static> {
    let mut cells = vec![
        Cell::from(stage.stage.clone()),
        Cell::from(stage.node.clone()),
        Cell::from(stage.variant.clone().unwrap_or_default()),
        right(figure(stage.in_per_s)),
        right(figure(stage.out_per_s)),
        right(figure(stage.service_ms)),
        percent(stage.load),
        right(stage.waiting.to_string()),
    ];
    if is_wide {
        let latency = |i: usize| right(stage.latency_ms.map_or(String::new(), |ms| figure(Some(ms[i]))));
        cells.push(right(if stage.slots > 0 { stage.slots.to_string() } else { String::new() }));
        cells.extend([latency(0), latency(1), latency(2)]);
    }
    Row::new(cells)
}

fn link_columns() -> [Column; 7] {
    [
        text("FROM", 9),
        text("TO", 9),
        text("STAGES", 18),
        number("ITEMS/S", 8),
        number("MBIT/S", 8),
        number("RTT MS", 7),
        number("RESENT", 6),
    ]
}

fn link_row(link: &LinkView) -> Row<'static> {
    Row::new([
        Cell::from(link.from.clone()),
        Cell::from(link.to.clone()),
        Cell::from(format!("{} > {}", link.from_stage, link.to_stage)),
        right(figure(link.items_per_s)),
        right(figure(link.mbit_per_s)),
        right(figure(link.round_trip_ms)),
        right(link.resent.to_string()),
    ])
}
