//! Rates, costs and misses over the time as a picture (SVG).
//!
//! It is text put together by hand; what comes from outside is escaped.

use std::fmt::Write as _;

use jellybean_engine::live::simulate::{Comparison, Outcome};

use super::super::svg::escaped;

/// Pixels.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 300.0;
const TOP: f64 = 84.0;
const RATE_HEIGHT: f64 = 130.0;
const COST_HEIGHT: f64 = 260.0;
const GAP: f64 = 46.0;
const STRIP: f64 = 16.0;

/// By policy, in their order; those beyond are not drawn.
const COLOURS: [&str; 8] =
    ["#1f6feb", "#7d8590", "#cf222e", "#bf8700", "#8250df", "#1a7f37", "#bc4c8c", "#57606a"];

const STYLE: &str = "\
text{font-family:'Inter','Segoe UI','Helvetica Neue',Arial,sans-serif;fill:#1d2733;font-size:12px}\
.title{font-size:20px;font-weight:600}.sub{font-size:13px;fill:#5b6876}.axis{fill:#5b6876;font-size:11px}\
.head{font-weight:600;font-size:12.5px}.grid{stroke:#e6ebf0}.rate{fill:#cfe3f7;stroke:#6ea8dc}\
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.num{font-size:11.5px;fill:#5b6876}";

/// The picture of a comparison.
pub(super) fn plot(title: &str, comparison: &Comparison) -> String {
    let outcomes = &comparison.outcomes;
    let strips = outcomes.len() as f64 * (STRIP + 4.0);
    let height = TOP + RATE_HEIGHT + GAP + COST_HEIGHT + GAP + strips + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"34\">{}</text><text class=\"sub\" x=\"{LEFT}\" y=\"54\">{}</text>",
        escaped(title),
        subtitle(comparison)
    );
    let rates = outcomes.first().map_or(&[][..], |outcome| &outcome.rates[..]);
    let rate_most = nice(rates.iter().copied().fold(0.0, f64::max));
    axis(&mut svg, TOP, RATE_HEIGHT, rate_most, "items/s offered");
    area(&mut svg, rates, TOP, RATE_HEIGHT, rate_most);
    let cost_top = TOP + RATE_HEIGHT + GAP;
    let costs = outcomes.iter().flat_map(|outcome| &outcome.costs).copied();
    let cost_most = nice(costs.fold(0.0, f64::max));
    axis(&mut svg, cost_top, COST_HEIGHT, cost_most, "$/h");
    // Ours last, so that nothing hides it.
    for (outcome, colour) in outcomes.iter().zip(COLOURS).rev() {
        curve(&mut svg, &outcome.costs, (cost_top, COST_HEIGHT, cost_most), colour);
    }
    let strips_top = cost_top + COST_HEIGHT + GAP;
    misses(&mut svg, outcomes, strips_top);
    times(&mut svg, comparison.seconds, strips_top + strips + 14.0);
    legend(&mut svg, outcomes, cost_top);
    svg + "</svg>\n"
}

fn subtitle(comparison: &Comparison) -> String {
    let Comparison { seconds, mean_per_s, most_per_s, over_perfect, .. } = comparison;
    let ratio = over_perfect.map_or_else(String::new, |ratio| {
        format!("; ours costs {:+.1} % against perfect knowledge of every second", (ratio - 1.0) * 100.0)
    });
    format!("{seconds} s, {mean_per_s:.1} items/s on average, {most_per_s:.1} at most{ratio}")
}

/// A round number that is not below.
fn nice(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let ten = 10_f64.powf(most.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * ten)
        .find(|round| *round >= most)
        .unwrap_or(most)
}

fn x(i: usize, n: usize) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * i as f64 / n.max(1) as f64
}

fn y(value: f64, (top, height, most): (f64, f64, f64)) -> f64 {
    top + height * (1.0 - value / most)
}

fn axis(svg: &mut String, top: f64, height: f64, most: f64, title: &str) {
    let right = WIDTH - RIGHT;
    let _ = write!(svg, "<text class=\"head\" x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 10.0);
    for step in 0..=4_u32 {
        let value = most * f64::from(step) / 4.0;
        let at = y(value, (top, height, most));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"axis\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            short(value)
        );
    }
}

fn short(value: f64) -> String {
    let text = if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn area(svg: &mut String, values: &[f64], top: f64, height: f64, most: f64) {
    let mut path = format!("M{LEFT} {:.1}", top + height);
    for (i, value) in values.iter().enumerate() {
        let _ = write!(path, "L{:.1} {:.1}", x(i, values.len()), y(*value, (top, height, most)));
    }
    let _ = write!(path, "L{:.1} {:.1}Z", x(values.len().saturating_sub(1), values.len()), top + height);
    let _ = write!(svg, "<path class=\"rate\" d=\"{path}\"/>");
}

/// A cost holds until the next one.
fn curve(svg: &mut String, values: &[f64], frame: (f64, f64, f64), colour: &str) {
    let mut path = String::new();
    for (i, value) in values.iter().enumerate() {
        let (begin, end, at) = (x(i, values.len()), x(i + 1, values.len()), y(*value, frame));
        let _ = write!(path, "{}{begin:.1} {at:.1}H{end:.1}", if i == 0 { 'M' } else { 'L' });
    }
    let _ = write!(svg, "<path class=\"line\" stroke=\"{colour}\" d=\"{path}\"/>");
}

/// When each policy was late: the darker, the more of the seconds.
fn misses(svg: &mut String, outcomes: &[Outcome], top: f64) {
    let _ = write!(svg, "<text class=\"head\" x=\"{LEFT}\" y=\"{}\">seconds late</text>", top - 10.0);
    for (row, (outcome, colour)) in outcomes.iter().zip(COLOURS).enumerate() {
        let at = top + row as f64 * (STRIP + 4.0);
        let wide = WIDTH - RIGHT - LEFT;
        let _ = write!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{at:.1}\" width=\"{wide}\" height=\"{STRIP}\" fill=\"#f3f5f8\"/>"
        );
        let n = outcome.late.len();
        for (i, late) in outcome.late.iter().enumerate().filter(|(_, late)| **late > 0.0) {
            let (begin, end) = (x(i, n), x(i + 1, n).max(x(i, n) + 1.0));
            let _ = write!(
                svg,
                "<rect x=\"{begin:.1}\" y=\"{at:.1}\" width=\"{:.1}\" height=\"{STRIP}\" fill=\"{colour}\" \
                 fill-opacity=\"{:.2}\"/>",
                end - begin,
                0.25 + 0.75 * late.min(1.0)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"num\" x=\"{:.1}\" y=\"{:.1}\">{}: {} s</text>",
            WIDTH - RIGHT + 12.0,
            at + 12.0,
            escaped(&outcome.policy),
            outcome.missed_s
        );
    }
}

fn times(svg: &mut String, seconds: usize, at: f64) {
    let (unit, name) = match seconds {
        0..=600 => (1.0, "s"),
        601..=10_800 => (60.0, "min"),
        _ => (3600.0, "h"),
    };
    for step in 0..=6_u32 {
        let part = f64::from(step) / 6.0;
        let (place, time) = (LEFT + (WIDTH - LEFT - RIGHT) * part, seconds as f64 * part / unit);
        let _ = write!(
            svg,
            "<text class=\"axis\" text-anchor=\"middle\" x=\"{place:.1}\" y=\"{at:.1}\">{} {name}</text>",
            short((time * 10.0).round() / 10.0)
        );
    }
}

fn legend(svg: &mut String, outcomes: &[Outcome], top: f64) {
    let left = WIDTH - RIGHT + 24.0;
    for (row, (outcome, colour)) in outcomes.iter().zip(COLOURS).enumerate() {
        let at = top + 10.0 + row as f64 * 50.0;
        let Outcome { policy, usd, usd_per_h, changes, starts, .. } = outcome;
        let _ = write!(
            svg,
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"14\" height=\"14\" rx=\"3\" fill=\"{colour}\"/>\
             <text class=\"head\" x=\"{:.1}\" y=\"{at:.1}\">{}</text>\
             <text class=\"num\" x=\"{:.1}\" y=\"{:.1}\">${usd:.2} ({usd_per_h:.2} $/h)</text>\
             <text class=\"num\" x=\"{:.1}\" y=\"{:.1}\">{changes} changes, {starts} starts</text>",
            at - 11.0,
            left + 22.0,
            escaped(policy),
            left + 22.0,
            at + 16.0,
            left + 22.0,
            at + 31.0
        );
    }
}
