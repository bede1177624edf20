//! What the pool itself costs, over a network of memory: `cargo bench -p trunkline-pool`, or `npm run bench -- --only pool`.
//!
//! All rows take turns, round by round. The best round is what the pool can do; the median says how much others disturbed. As a
//! test (without `--bench`) each row runs once, with little to do, and no goal. `--json` prints the figures for the report.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and print")]

mod net;
mod rounds;
mod rows;

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use self::rows::{Goal, Row, Scale, Unit, rows};

/// How long the rows take turns at most, and how often.
const MOST: Duration = Duration::from_secs(10);
const ROUNDS: usize = 100;
/// How many times the first row of its kind a row may cost.
const FLAT: f64 = 1.5;
const AT_MOST: &str = "≤";
const AT_LEAST: &str = "≥";

fn main() {
    let given = |option: &str| std::env::args().any(|argument| argument == option);
    let smoke = !given("--bench");
    let mut rows = rows(&if smoke { Scale::smoke() } else { Scale::whole() });
    let mut times = vec![Vec::new(); rows.len()];
    let started = Instant::now();
    while times[0].is_empty() || (!smoke && times[0].len() < ROUNDS && started.elapsed() < MOST) {
        for (row, times) in rows.iter_mut().zip(&mut times) {
            times.push((row.round)());
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    let figures = figures(&rows, &times, !smoke);
    if given("--json") {
        println!("{}", json!({ "rounds": times[0].len(), "rows": figures }));
    } else if smoke {
        println!("test result: ok. {} passed; 0 failed; 0 ignored", rows.len());
    } else {
        for Figures { title, unit, best, median, goal, met, .. } in figures {
            let goal = goal.map_or_else(String::new, |goal| format!("{} {:.2}", goal.sign, goal.value));
            let missed = if met == Some(false) { "!" } else { "" };
            println!("{title:<74} {best:>12.2} {median:>12.2} {unit:<3} {goal} {missed}");
        }
    }
}

#[derive(Serialize)]
struct Figures<'a> {
    kind: &'a str,
    title: &'a str,
    unit: &'a str,
    best: f64,
    median: f64,
    goal: Option<Wanted>,
    /// Whether the best round is what is wanted.
    met: Option<bool>,
}

#[derive(Serialize)]
struct Wanted {
    sign: &'static str,
    value: f64,
}

impl Wanted {
    fn is_met_by(&self, best: f64) -> bool {
        if self.sign == AT_MOST { best <= self.value } else { best >= self.value }
    }
}

fn figures<'a>(rows: &'a [Row], times: &[Vec<Duration>], with_goals: bool) -> Vec<Figures<'a>> {
    let mut figures: Vec<Figures<'_>> = Vec::new();
    for (row, times) in rows.iter().zip(times) {
        let Row { kind, title, unit, .. } = row;
        let [best, median] = [times[0], times[times.len() / 2]].map(|time| unit.of(time));
        let of = |kind| figures.iter().filter(move |other| other.kind == kind).map(|other| other.best);
        let goal = row.goal.filter(|_| with_goals).map(|goal| match goal {
            Goal::AtMost(value) => Wanted { sign: AT_MOST, value: value.into() },
            Goal::AtLeast(value) => Wanted { sign: AT_LEAST, value: value.into() },
            Goal::Flat => Wanted { sign: AT_MOST, value: FLAT * of(*kind).next().unwrap_or(best) },
            Goal::Beside(other) => {
                Wanted { sign: AT_MOST, value: FLAT * of(other).nth(of(*kind).count()).unwrap_or(best) }
            }
        });
        let met = goal.as_ref().map(|goal| goal.is_met_by(best));
        figures.push(Figures { kind, title, unit: unit.name(), best, median, goal, met });
    }
    figures
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::PerSecond => "/s",
        }
    }

    /// The figure of what took so long each.
    fn of(self, each: Duration) -> f64 {
        let seconds = each.as_secs_f64();
        match self {
            Self::Nanos => seconds * 1e9,
            Self::Micros => seconds * 1e6,
            Self::PerSecond => 1.0 / seconds,
        }
    }
}
