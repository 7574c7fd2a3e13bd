//! A plan as a picture (SVG): tiers as columns, sites and their nodes in them, stages in the nodes, and arrows for what
//! goes from site to site.
//!
//! It is text put together by hand; every name that comes from outside is escaped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jellybean_engine::placement::Status;
use jellybean_engine::planning::report::{LinkReport, NodeReport};
use jellybean_engine::planning::{Report, Wanted};

use super::super::svg::escaped;
use super::told::{percent, short, usd};

/// Pixels.
const MARGIN: f64 = 28.0;
const HEAD: f64 = 96.0;
const COLUMN: f64 = 300.0;
const GUTTER: f64 = 304.0;
const NODE_HEAD: f64 = 58.0;
const ROW: f64 = 22.0;
const VARIANT: f64 = 14.0;
const GAP: f64 = 14.0;
const SITE_HEAD: f64 = 26.0;
const LABEL: f64 = 232.0;
const LABEL_LINE: f64 = 16.0;

/// Nodes of a site that are drawn; of the others the number is told.
const NODES_MAX: usize = 8;
/// Streams of an arrow that are told one by one.
const STREAMS_MAX: usize = 4;
/// Nodes that are drawn though nothing runs on them, if there are no more of them in all.
const IDLE_MAX: usize = 16;

/// How the parts look.
const STYLE: &str = "\
text{font-family:'Inter','Segoe UI','Helvetica Neue',Arial,sans-serif;fill:#1d2733}\
.title{font-size:21px;font-weight:600}.sub{font-size:13px;fill:#5b6876}.cost{font-size:24px;font-weight:600}\
.tier{font-size:12px;font-weight:600;letter-spacing:1.2px;fill:#5b6876}\
.lane{fill:#eef2f6}.site{fill:none;stroke:#b8c4d0;stroke-dasharray:4 4}.sitename{font-size:11.5px;fill:#5b6876}\
.node{fill:#fff;stroke:#c9d3dd}.idle{fill:#f8fafb;stroke:#dbe2e9}.name{font-size:14px;font-weight:600}\
.small{font-size:11.5px;fill:#5b6876}.stage{font-size:12.5px}.variant{font-size:11.5px;fill:#7a5af0}\
.bar{fill:#e6ebf0}.arrow{fill:none;stroke:#4b6a88;stroke-width:1.8}.label{fill:#fff;stroke:#c9d3dd}\
.rate{font-size:12.5px;font-weight:600}";

/// What a picture needs beyond the report.
pub(super) struct Frame<'a> {
    /// What the plan is of.
    pub(super) title: &'a str,
    /// In their order.
    pub(super) stages: Vec<&'a str>,
    /// In their order: name, site, and the level and name of its tier.
    pub(super) nodes: Vec<(&'a str, &'a str, (u32, String))>,
    /// Those of them whose variant is a choice.
    pub(super) choices: BTreeSet<&'a str>,
    /// A bound of what 95 of 100 items take from end to end, if one is known.
    pub(super) p95_ms: Option<f64>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(title: &'a str, wanted: &'a Wanted, report: &Report) -> Self {
        let stages = &wanted.problem.profile.stages;
        let nodes = wanted.problem.machines.nodes.iter();
        Self {
            title,
            stages: stages.iter().map(|stage| stage.name.as_str()).collect(),
            nodes: nodes.map(|node| (&*node.name, &*node.site, wanted.tier(&node.name))).collect(),
            choices: stages.iter().filter(|s| s.variants.len() > 1).map(|s| s.name.as_str()).collect(),
            p95_ms: report.p95_ms.values().copied().reduce(f64::max),
        }
    }
}

/// A node as it is drawn.
struct Card<'a> {
    name: &'a str,
    told: Option<&'a NodeReport>,
    rows: Vec<Row<'a>>,
}

/// A stage on a node as it is drawn.
struct Row<'a> {
    stage: &'a str,
    /// If it is a choice.
    variant: Option<&'a str>,
    rate_per_s: f64,
    busy: f64,
}

impl<'a> Card<'a> {
    fn new(frame: &Frame<'a>, report: &'a Report, name: &'a str) -> Self {
        let told = report.nodes.get(name);
        let row = |stage: &&'a str| {
            let (busy, run) = (told?.stages.get(*stage)?, report.stages.get(*stage)?);
            Some(Row {
                stage,
                variant: frame.choices.contains(stage).then_some(run.variant.as_str()),
                rate_per_s: run.nodes.get(name).copied().unwrap_or_default(),
                busy: *busy,
            })
        };
        Self { name, told, rows: frame.stages.iter().filter_map(row).collect() }
    }

    fn height(&self) -> f64 {
        let rows: f64 = self.rows.iter().map(Row::height).sum();
        if self.told.is_some() { NODE_HEAD + rows + 8.0 } else { 34.0 }
    }
}

impl Row<'_> {
    fn height(&self) -> f64 {
        ROW + if self.variant.is_some() { VARIANT } else { 0.0 }
    }
}

/// The nodes of a site that are of one tier.
struct Site<'a> {
    name: &'a str,
    column: usize,
    cards: Vec<Card<'a>>,
    more: usize,
    top: f64,
}

impl Site<'_> {
    fn height(&self) -> f64 {
        let cards: f64 = self.cards.iter().map(|card| card.height() + GAP).sum();
        SITE_HEAD + cards + if self.more > 0 { 20.0 } else { 0.0 }
    }

    fn middle(&self) -> f64 {
        self.top + self.height() / 2.0
    }

    fn hosts(&self, stage: &str) -> bool {
        self.cards.iter().flat_map(|card| &card.rows).any(|row| row.stage == stage)
    }
}

/// The picture of a plan.
pub(super) fn picture(frame: &Frame<'_>, report: &Report) -> String {
    let (tiers, mut sites) = sites(frame, report);
    let labels = stack(frame, &mut sites, report);
    let bottom = sites.iter().map(|site| site.top + site.height());
    let bottom =
        labels.iter().map(|label| label.top + label.height()).chain(bottom).fold(HEAD + 120.0, f64::max);
    let width = MARGIN * 2.0 + tiers.len() as f64 * (COLUMN + GUTTER) - GUTTER;
    let beside = labels.iter().map(|label| label.left() + LABEL + MARGIN);
    let width = beside.fold(width.max(640.0), f64::max);
    let height = bottom + MARGIN + 26.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\"><style>{STYLE}</style><defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" \
         refY=\"5\" markerWidth=\"5\" markerHeight=\"5\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"#4b6a88\"/>\
         </marker></defs><rect width=\"100%\" height=\"100%\" fill=\"#fbfcfd\"/>\n"
    );
    svg += &head(frame, report, width);
    for (i, tier) in tiers.iter().enumerate() {
        let (x, top) = (left(i) - 12.0, HEAD - 4.0);
        _ = writeln!(
            svg,
            "<rect class=\"lane\" x=\"{x:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"12\"/>\
             <text class=\"tier\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            COLUMN + 24.0,
            bottom - top + 16.0,
            left(i),
            HEAD + 18.0,
            escaped(&tier.to_uppercase()),
        );
    }
    labels.iter().for_each(|label| svg += &label.arrows(&sites));
    sites.iter().for_each(|site| svg += &site_box(site));
    labels.iter().for_each(|label| svg += &label.drawn());
    _ = writeln!(
        svg,
        "<text class=\"small\" x=\"{MARGIN}\" y=\"{:.0}\">Bars: busy slots over slots. Arrows: what goes from site to \
         site; within a site it is free.</text></svg>",
        height - 14.0,
    );
    svg
}

/// Where a column begins.
fn left(column: usize) -> f64 {
    MARGIN + column as f64 * (COLUMN + GUTTER)
}

/// The tiers that there are, and the sites in them.
fn sites<'a>(frame: &Frame<'a>, report: &'a Report) -> (Vec<String>, Vec<Site<'a>>) {
    let with_idle = frame.nodes.len() <= IDLE_MAX;
    let drawn = || frame.nodes.iter().filter(|(name, ..)| with_idle || report.nodes.contains_key(*name));
    let tiers: BTreeMap<u32, String> = drawn().map(|(.., (level, tier))| (*level, tier.clone())).collect();
    let mut sites: Vec<Site<'a>> = Vec::new();
    for (name, place, (level, _)) in drawn() {
        let column = tiers.keys().position(|known| known == level).unwrap_or_default();
        let card = Card::new(frame, report, name);
        match sites.iter_mut().find(|site| site.name == *place && site.column == column) {
            Some(site) if site.cards.len() < NODES_MAX => site.cards.push(card),
            Some(site) => site.more += 1,
            None => sites.push(Site { name: place, column, cards: vec![card], more: 0, top: 0.0 }),
        }
    }
    (tiers.into_values().collect(), sites)
}

/// Stacks the sites of each column, and the labels of the arrows between columns.
fn stack<'a>(frame: &Frame<'a>, sites: &mut [Site<'a>], report: &'a Report) -> Vec<Label> {
    let begin = HEAD + 30.0;
    let mut next: BTreeMap<usize, f64> = BTreeMap::new();
    for site in sites.iter_mut() {
        let top = next.entry(site.column).or_insert(begin);
        site.top = *top;
        *top += site.height() + GAP;
    }
    let mut labels: Vec<Label> =
        report.links.iter().filter_map(|link| Label::new(frame, sites, report, link)).collect();
    labels
        .sort_by(|a, b| (a.gutter, a.wish).partial_cmp(&(b.gutter, b.wish)).expect("positions are numbers"));
    let mut next: BTreeMap<usize, f64> = BTreeMap::new();
    for label in &mut labels {
        let least = next.entry(label.gutter).or_insert(begin);
        label.top = (label.wish - label.height() / 2.0).max(*least);
        *least = label.top + label.height() + GAP;
    }
    labels
}

/// What an arrow says, between two columns.
struct Label {
    from: usize,
    to: usize,
    /// The column to the left of it.
    gutter: usize,
    /// Where its middle would best be.
    wish: f64,
    top: f64,
    /// Each with what stands at its right end.
    lines: Vec<(String, String)>,
}

impl Label {
    fn new(frame: &Frame<'_>, sites: &[Site<'_>], report: &Report, link: &LinkReport) -> Option<Self> {
        let ends: Vec<(&str, &str)> =
            link.streams.keys().filter_map(|stream| stream.split_once("->")).collect();
        let at = |name: &str, stages: Vec<&str>| {
            let mut there = (0..sites.len()).filter(|i| sites[*i].name == name);
            let first = there.clone().next();
            there.find(|i| stages.iter().any(|stage| sites[*i].hosts(stage))).or(first)
        };
        let from = at(&link.from, ends.iter().map(|(from, _)| *from).collect())?;
        let to = at(&link.to, ends.iter().map(|(_, to)| *to).collect())?;
        let (a, b) = (sites[from].column, sites[to].column);
        // Between two columns the one to the left of the higher; within one, beside it.
        let gutter = if a == b { a } else { a.max(b) - 1 };
        let mbit = match link.mbit_per_s_max {
            Some(most) => format!("{} of {} Mbit/s", short(link.mbit_per_s), short(most)),
            None => format!("{} Mbit/s", short(link.mbit_per_s)),
        };
        let mut lines = vec![
            (format!("{} KB/s", short(link.kb_per_s)), format!("{} $/h", usd(link.usd_per_h))),
            (format!("to {}", cut(&link.to, 16)), mbit),
        ];
        let order = |stage: &str| frame.stages.iter().position(|known| *known == stage);
        let mut streams: Vec<(&str, &str)> = ends;
        streams.sort_by_key(|(from, to)| (order(from), order(to)));
        for (from, to) in streams.iter().take(STREAMS_MAX) {
            let rate = report.stages.get(*to).map_or(0.0, |stage| stage.rate_per_s);
            let stream = format!("{} → {}", cut(from, 12), cut(to, 12));
            lines.push((stream, format!("{}/s", short(rate))));
        }
        if streams.len() > STREAMS_MAX {
            lines.push((format!("and {} more streams", streams.len() - STREAMS_MAX), String::new()));
        }
        let wish = (sites[from].middle() + sites[to].middle()) / 2.0;
        Some(Self { from, to, gutter, wish, top: 0.0, lines })
    }

    fn height(&self) -> f64 {
        self.lines.len() as f64 * LABEL_LINE + 14.0
    }

    fn left(&self) -> f64 {
        left(self.gutter) + COLUMN + (GUTTER - LABEL) / 2.0
    }

    /// From the sender to the label, and on to the receiver.
    fn arrows(&self, sites: &[Site<'_>]) -> String {
        let (from, to) = (&sites[self.from], &sites[self.to]);
        let y = self.top + self.height() / 2.0;
        let (near, far) = (self.left(), self.left() + LABEL);
        let right = |site: &Site<'_>| left(site.column) + COLUMN + 4.0;
        let start = |site: &Site<'_>| left(site.column) - 4.0;
        let (begin, enter) = match from.column <= self.gutter {
            true => (right(from), near),
            false => (start(from), far),
        };
        let (leave, end) = match to.column <= self.gutter {
            true => (near, right(to)),
            false => (far, start(to)),
        };
        let forward = from.column <= to.column;
        // Where two arrows join one pair of sites they keep apart.
        let shift = if forward { -9.0 } else { 9.0 };
        let (a, b) = (from.middle() + shift, to.middle() + shift);
        format!(
            "<path class=\"arrow\" d=\"{}\"/><path class=\"arrow\" d=\"{}\" marker-end=\"url(#tip)\"/>\n",
            curve((begin, a), (enter, y)),
            curve((leave, y), (end, b)),
        )
    }

    fn drawn(&self) -> String {
        let mut svg = format!(
            "<rect class=\"label\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>",
            self.left(),
            self.top,
            LABEL,
            self.height(),
        );
        for (i, (line, end)) in self.lines.iter().enumerate() {
            let class = if i == 0 { "rate" } else { "small" };
            let y = self.top + 19.0 + i as f64 * LABEL_LINE;
            _ = writeln!(
                svg,
                "<text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>\
                 <text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                self.left() + 11.0,
                escaped(line),
                self.left() + LABEL - 11.0,
                escaped(end),
            );
        }
        svg
    }
}

/// A curve that leaves and arrives level.
fn curve((x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> String {
    let bend = (to_x - x) / 2.0;
    format!("M{x:.1} {y:.1}C{:.1} {y:.1} {:.1} {to_y:.1} {to_x:.1} {to_y:.1}", x + bend, to_x - bend)
}

fn head(frame: &Frame<'_>, report: &Report, width: f64) -> String {
    let cost =
        report.cost_usd_per_h.map_or_else(|| "no plan".to_owned(), |cost| format!("{} $/h", usd(cost)));
    let proof = match (report.status, report.gap) {
        (Status::Optimal, _) => "proved the cheapest".to_owned(),
        (Status::Feasible, Some(gap)) => format!("at most {} above the cheapest", percent(gap)),
        (Status::Infeasible, _) => "none meets the objectives".to_owned(),
        _ => "nothing is proved of it".to_owned(),
    };
    let mut parts = vec![
        format!("nodes {} $/h", usd(report.nodes_usd_per_h())),
        format!("links {} $/h", usd(report.links_usd_per_h())),
    ];
    parts.extend(report.accuracy.map(|accuracy| format!("accuracy {}", short(accuracy))));
    parts.extend(frame.p95_ms.map(|ms| format!("p95 at most {} ms", short(ms))));
    let right = width - MARGIN;
    format!(
        "<text class=\"title\" x=\"{MARGIN}\" y=\"44\">{}</text><text class=\"sub\" x=\"{MARGIN}\" y=\"68\">{}</text>\
         <text class=\"cost\" x=\"{right:.0}\" y=\"46\" text-anchor=\"end\">{cost}</text>\
         <text class=\"sub\" x=\"{right:.0}\" y=\"68\" text-anchor=\"end\">{proof}</text>\n",
        escaped(frame.title),
        parts.join("  ·  "),
    )
}

fn site_box(site: &Site<'_>) -> String {
    let x = left(site.column);
    let mut svg = format!(
        "<rect class=\"site\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"10\"/>\
         <text class=\"sitename\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        x - 4.0,
        site.top,
        COLUMN + 8.0,
        site.height(),
        x + 6.0,
        site.top + 17.0,
        escaped(&cut(site.name, 36)),
    );
    let mut top = site.top + SITE_HEAD;
    for card in &site.cards {
        svg += &node_box(card, (x + 4.0, top));
        top += card.height() + GAP;
    }
    if site.more > 0 {
        _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">and {} more nodes</text>",
            x + 8.0,
            top + 6.0,
            site.more
        );
    }
    svg
}

fn node_box(card: &Card<'_>, (x, y): (f64, f64)) -> String {
    let (width, height) = (COLUMN - 8.0, card.height());
    let name = escaped(&cut(card.name, 24));
    let Some(told) = card.told else {
        return format!(
            "<rect class=\"idle\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{name} is not used</text>\n",
            x + 12.0,
            y + 21.0,
        );
    };
    let right = x + width - 12.0;
    let busy = told.utilisation * f64::from(told.slots);
    let slots = format!("{} of {} slots", short(busy), told.slots);
    let mut svg = format!(
        "<rect class=\"node\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>\
         <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\
         <text class=\"small\" x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} $/h</text>\
         <text class=\"small\" x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{slots}</text>\n",
        x + 12.0,
        y + 23.0,
        y + 23.0,
        usd(told.usd_per_h),
        y + 43.0,
    );
    svg += &bar((x + 12.0, y + 35.0), width - 132.0, 8.0, told.utilisation);
    let mut top = y + NODE_HEAD;
    for row in &card.rows {
        svg += &stage_row((x + 12.0, right, top), row);
        top += row.height();
    }
    svg
}

fn stage_row((x, right, y): (f64, f64, f64), row: &Row<'_>) -> String {
    let base = y + 12.0;
    let mut svg = format!(
        "<text class=\"stage\" x=\"{x:.1}\" y=\"{base:.1}\">{}</text>\
         <text class=\"small\" x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}/s</text>\n",
        escaped(&cut(row.stage, 20)),
        right - 60.0,
        short(row.rate_per_s),
    );
    if let Some(variant) = row.variant {
        _ = writeln!(
            svg,
            "<text class=\"variant\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            base + VARIANT,
            escaped(&cut(variant, 32)),
        );
    }
    svg + &bar((right - 50.0, y + 5.0), 50.0, 6.0, row.busy)
}

/// How busy something is, from green to red.
fn bar((x, y): (f64, f64), width: f64, height: f64, busy: f64) -> String {
    let colour = match busy {
        busy if busy < 0.6 => "#2f9e73",
        busy if busy < 0.85 => "#d9a521",
        _ => "#d1553f",
    };
    let filled = width * busy.clamp(0.0, 1.0);
    format!(
        "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{0:.1}\"/>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{filled:.1}\" height=\"{height:.1}\" rx=\"{0:.1}\" fill=\"{colour}\"/>\n",
        height / 2.0,
    )
}

/// The first characters of a text that is too long.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
