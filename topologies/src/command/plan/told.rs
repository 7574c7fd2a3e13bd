//! An answer of placement as it is printed.

use jellybean_engine::placement::problem::Problem;
use jellybean_engine::placement::{Mode, Status};
use jellybean_engine::planning::Report;
use serde::Serialize;

use super::super::table::{Align, table};
use super::explained;

/// A report, and how long it took.
#[derive(Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub(super) report: Report,
    pub(super) solve_seconds: f64,
}

impl Told {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn print(&self, problem: &Problem, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!("{}", self.in_words(problem).trim_end());
        }
        Ok(())
    }

    fn in_words(&self, problem: &Problem) -> String {
        let Self { report, solve_seconds } = self;
        let seconds = format!("{solve_seconds:.2} s");
        let Some(cost) = report.cost_usd_per_h else {
            let text = match report.status {
                Status::Infeasible => format!("There is no plan that meets the objectives ({seconds}).\n"),
                _ => format!("No plan was found in {seconds}; one may exist. Try a longer --time-limit.\n"),
            };
            let changes = self.report.changes.iter().map(|change| format!("  {change}\n"));
            let changes: String = changes.collect();
            let changes = match changes.is_empty() {
                true => changes,
                false => format!("Any one of these would make one possible:\n{changes}"),
            };
            return text + &changes + &self.explained();
        };
        let proof = match (report.status, report.gap, report.bound_usd_per_h) {
            (Status::Optimal, ..) => "proved the cheapest".to_owned(),
            (_, Some(gap), Some(bound)) => {
                format!(
                    "at most {} above the cheapest, which costs at least {} $/h",
                    percent(gap),
                    usd(bound)
                )
            }
            _ => "nothing is proved of it".to_owned(),
        };
        let (nodes, links) = (report.nodes_usd_per_h(), report.links_usd_per_h());
        let mut text = format!("{} $/h: {} for nodes, {} for links; ", usd(cost), usd(nodes), usd(links));
        text += &format!("{proof}{}  ({seconds})\n", rules(report.mode));
        if let Some(accuracy) = report.accuracy {
            text += &format!("accuracy {}\n", short(accuracy));
        }
        for (source, ms) in &report.p95_ms {
            text += &format!("95 of 100 items of {source} take at most {} ms\n", short(*ms));
        }
        text += &format!("\n{}", self.stages(problem));
        text += &format!("\n{}", self.nodes(problem));
        if !report.links.is_empty() {
            text += &format!("\n{}", self.links());
        }
        text + &self.explained()
    }

    fn explained(&self) -> String {
        let Some(explanation) = &self.report.explanation else { return String::new() };
        format!("\n{}", explained::in_words(explanation, self.report.cost_usd_per_h))
    }

    fn stages(&self, problem: &Problem) -> String {
        let mut rows = Vec::new();
        for stage in &problem.profile.stages {
            let Some(told) = self.report.stages.get(&stage.name) else { continue };
            let variant = if stage.variants.len() > 1 { told.variant.as_str() } else { "" };
            if told.nodes.is_empty() {
                rows.push(vec![stage.name.clone(), variant.to_owned(), "nothing to do".to_owned()]);
            }
            for (i, (node, rate)) in told.nodes.iter().enumerate() {
                let busy = self.report.nodes.get(node).and_then(|n| n.stages.get(&stage.name));
                let (name, variant) = if i == 0 { (stage.name.as_str(), variant) } else { ("", "") };
                let share = rate / told.rate_per_s;
                let cells = [name, variant, node, &short(*rate), &percent(share)];
                let cells = cells.iter().map(|cell| (*cell).to_owned());
                rows.push(cells.chain([busy.map_or_else(String::new, |busy| percent(*busy))]).collect());
            }
        }
        let columns = [
            ("stage", Align::Left),
            ("variant", Align::Left),
            ("node", Align::Left),
            ("items/s", Align::Right),
            ("share", Align::Right),
            ("of its slots", Align::Right),
        ];
        table(&columns, &rows)
    }

    fn nodes(&self, problem: &Problem) -> String {
        let mut rows = Vec::new();
        for node in &problem.machines.nodes {
            let Some(told) = self.report.nodes.get(&node.name) else { continue };
            rows.push(vec![
                node.name.clone(),
                told.site.clone(),
                told.slots.to_string(),
                percent(told.utilisation),
                usd(told.usd_per_h),
            ]);
        }
        let columns = [
            ("node", Align::Left),
            ("site", Align::Left),
            ("slots", Align::Right),
            ("busy", Align::Right),
            ("$/h", Align::Right),
        ];
        table(&columns, &rows)
    }

    fn links(&self) -> String {
        let row = |link: &jellybean_engine::planning::report::LinkReport| {
            let most =
                link.mbit_per_s_max.map_or_else(|| "unbounded".to_owned(), |most| format!("of {most}"));
            vec![
                format!("{} -> {}", link.from, link.to),
                short(link.kb_per_s),
                format!("{} {most}", short(link.mbit_per_s)),
                usd(link.usd_per_h),
            ]
        };
        let rows: Vec<Vec<String>> = self.report.links.iter().map(row).collect();
        let columns =
            [("link", Align::Left), ("KB/s", Align::Right), ("Mbit/s", Align::Right), ("$/h", Align::Right)];
        table(&columns, &rows)
    }
}

fn rules(mode: Mode) -> &'static str {
    match mode {
        Mode::Paper => " by the paper's rules",
        Mode::Exclusive => " with one stage per node",
        Mode::Shared => "",
    }
}

/// Dollars, to a hundredth of a cent.
pub(super) fn usd(dollars: f64) -> String {
    format!("{dollars:.4}")
}

/// A share as percent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 0.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A number with three figures or more.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.1e}"),
    }
}
