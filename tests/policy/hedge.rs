//! Hedges against their budget, and the percentile against its definition.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trunkline::policy::hedge::{HedgeDelay, HedgePolicy, Hedger, Kind};

fn hedger(budget: f64) -> Hedger {
    Hedger::new(HedgePolicy { budget, ..HedgePolicy::after(HedgeDelay::P95) })
}

fn kind() -> Kind {
    Kind { model: "m".into(), is_stream: true }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Of all calls never more than the share, and of any run of calls at most 10 more.
    #[test]
    fn hedges_never_outgrow_their_budget(
        budget in 0.0_f64..=1.0,
        steps in prop::collection::vec((0_usize..400, 0_usize..30), 1..60),
    ) {
        let hedger = hedger(budget);
        // Calls and hedges so far, at each step.
        let mut sums = vec![(0, 0)];
        let (mut calls, mut hedges) = (0, 0);
        for (more, wanted) in steps {
            (0..more).for_each(|_| hedger.call());
            hedges += (0..wanted).filter(|_| hedger.try_hedge()).count();
            calls += more;
            let slack = 1e-6 * calls as f64;
            prop_assert!(hedges as f64 <= budget * calls as f64 + slack);
            for (calls_before, hedges_before) in &sums {
                let share = budget * (calls - calls_before) as f64;
                prop_assert!((hedges - hedges_before) as f64 <= 10.0 + share + slack);
            }
            sums.push((calls, hedges));
        }
    }

    /// Whatever is observed, the delay is that of the exact percentile of the last 30 to 60 seconds, to 1 %.
    #[test]
    fn the_delay_is_the_percentile_of_what_was_observed(
        calls in prop::collection::vec((1_u64..2_000_000, 0_u64..900), 1..600),
    ) {
        let (hedger, start) = (hedger(0.05), Instant::now());
        let (mut now, mut seen) = (Duration::ZERO, VecDeque::new());
        for (micros, step) in calls {
            now += Duration::from_millis(step);
            let delay = hedger.delay(&kind(), start + now);
            let within = |seconds| {
                seen.iter()
                    .filter(|(at, _)| now - *at < Duration::from_secs(seconds))
                    .map(|(_, time)| *time)
                    .collect::<Vec<_>>()
            };
            let (surely, perhaps) = (within(30), within(62));
            if surely.len() >= 20 {
                prop_assert!(delay.is_some());
            }
            prop_assert!(delay.is_none() || perhaps.len() >= 20);
            // It is one of those that were observed, rounded up.
            if let Some(delay) = delay {
                let exact = |time: &Duration| *time <= delay && delay <= time.mul_f64(1.01) + Duration::from_micros(1);
                prop_assert!(seen.iter().any(|(_, time)| exact(time)), "{delay:?}");
            }
            let time = Duration::from_micros(micros);
            hedger.observe(&kind(), time);
            seen.push_back((now, time));
        }
    }
}

#[test]
fn a_new_level_of_latency_is_the_delay_after_a_minute_at_most() {
    let (hedger, mut now) = (hedger(0.05), Instant::now());
    for level in [200_u64, 2000, 50] {
        for n in 0..900_u64 {
            hedger.delay(&kind(), now);
            hedger.observe(&kind(), Duration::from_millis(level + n % 100 * level / 100));
            now += Duration::from_millis(100);
        }
        let delay = hedger.delay(&kind(), now).unwrap().as_millis() as f64 / level as f64;
        assert!((1.93..1.97).contains(&delay), "{level}: {delay}");
    }
}

#[test]
fn threads_spend_no_hedge_twice() {
    let (hedger, hedges) = (hedger(0.05), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    hedger.call();
                    hedges.fetch_add(usize::from(hedger.try_hedge()), Ordering::Relaxed);
                }
            });
        }
    });
    // All that calls paid for, and no more: with so many takers nothing is lost by the burst.
    assert_eq!(hedges.into_inner(), 4000);
}
