//! What the pool itself costs, over a network of memory: `cargo bench -p trunkline-pool`, or `npm run bench -- --only pool`.
//!
//! All rows take turns, round by round, on one thread. The best round is what the pool can do; the median says how much others
//! disturbed. As a test (without `--bench`) each row runs once, with little to do. `--json` prints the figures for the report.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and print")]

mod net;
mod rows;

use std::time::{Duration, Instant};

use serde_json::json;

use self::rows::{Scale, Unit, rows};

/// How long all rows take turns.
const MOST: Duration = Duration::from_secs(10);
const ROUNDS: usize = 50;

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
    let rounds = times[0].len();
    let figures: Vec<_> = rows.iter().zip(&times).map(|(row, times)| (row, times[0], times[rounds / 2])).collect();
    if given("--json") {
        let rows: Vec<_> = figures.iter().map(|(row, best, median)| json!({
            "id": row.id, "title": row.title, "unit": row.unit.name(), "goal": row.goal,
            "best": row.unit.of(*best), "median": row.unit.of(*median),
        })).collect();
        println!("{}", json!({ "rounds": rounds, "rows": rows }));
    } else {
        for (row, best, median) in figures {
            println!("{:<20} {:<70} {:>12.2} {:>12.2} {}", row.id, row.title, row.unit.of(best), row.unit.of(median), row.unit.name());
        }
        println!("{rounds} rounds");
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::PerSecond => "/s",
        }
    }

    fn of(self, time: Duration) -> f64 {
        let seconds = time.as_secs_f64();
        match self {
            Self::Nanos => seconds * 1e9,
            Self::Micros => seconds * 1e6,
            Self::PerSecond => 1.0 / seconds,
        }
    }
}
