//! Alerts against their definition, over any history of calls.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trunkline::policy::alerts::{AlertName, AlertPolicy, AlertState, Alerts, FEWEST, SPANS};

const NAMES: [AlertName; 3] = [AlertName::ErrorRate, AlertName::RetryRate, AlertName::P99];

#[derive(Clone, Copy, Debug)]
struct Call {
    at: Duration,
    ok: bool,
    retries: u32,
    latency: Duration,
}

/// A stretch of time with calls of one kind.
#[derive(Clone, Debug)]
struct Stretch {
    seconds: u64,
    calls_per_second: u32,
    failing: f64,
    retried: f64,
    slow: f64,
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let share = || prop_oneof![2 => Just(0.0), 1 => 0.0_f64..0.1, 1 => 0.0_f64..1.0];
    let stretch = (1_u64..120, 0_u32..20, share(), share(), share()).prop_map(
        |(seconds, calls_per_second, failing, retried, slow)| Stretch {
            seconds,
            calls_per_second,
            failing,
            retried,
            slow,
        },
    );
    prop::collection::vec(stretch, 1..8)
}

/// The values by their definitions, over these calls: error rate, retry rate, p99 by nearest rank.
fn values(calls: &[Call]) -> [f64; 3] {
    if calls.is_empty() {
        return [0.0; 3];
    }
    let n = calls.len() as f64;
    let failed = calls.iter().filter(|call| !call.ok).count() as f64;
    let retries = calls.iter().map(|call| f64::from(call.retries)).sum::<f64>();
    let mut latencies: Vec<_> = calls.iter().map(|call| call.latency).collect();
    latencies.sort_unstable();
    let rank = (calls.len() * 99).div_ceil(100);
    [failed / n, retries / n, latencies[rank - 1].as_secs_f64() * 1000.0]
}

#[test]
fn a_value_that_swings_about_its_threshold_is_one_alert() {
    // Of each span's 600 calls the last 300 hold 30 failures: at its end 5 % of the window have failed, and in its midst,
    // when only good calls came in for the span that left, 4.7 %.
    let policy = AlertPolicy { error_rate: Some(0.0487), ..AlertPolicy::default() };
    let (alerts, start) = (Alerts::new(policy), Instant::now());
    let mut changes = Vec::new();
    for second in 0..1200 {
        let now = start + Duration::from_secs(second);
        let failing = if second % 6 < 3 { 0 } else { 10 };
        (0..100).for_each(|n| alerts.record(n >= failing, 0, Duration::ZERO, now));
        // Until the window is full, the share swings by more.
        if second > 60 {
            changes.extend(alerts.check(now));
        }
    }
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].state, AlertState::Raised);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn an_alert_is_what_its_definition_says(stretches in stretches(), seed in any::<u64>()) {
        let policy = AlertPolicy::default();
        let thresholds = [0.01, 0.03, 500.0];
        let span = policy.window / SPANS as u32;
        let (alerts, start, mut random) = (Alerts::new(policy), Instant::now(), fastrand::Rng::with_seed(seed));
        let (mut now, mut calls, mut raised) = (Duration::ZERO, Vec::new(), [false; 3]);
        let mut calm = [Duration::ZERO; 3];
        for stretch in stretches {
            for _ in 0..stretch.seconds {
                for _ in 0..stretch.calls_per_second {
                    let slow = random.f64() < stretch.slow;
                    let call = Call {
                        at: now,
                        ok: random.f64() >= stretch.failing,
                        retries: u32::from(random.f64() < stretch.retried),
                        latency: Duration::from_micros(random.u64(1..400_000) + if slow { 400_000 } else { 0 }),
                    };
                    alerts.record(call.ok, call.retries, call.latency, start + now);
                    calls.push(call);
                }
                // The window holds whole spans, counted from the first time that was told, which is the start.
                let number = |at: Duration| at.as_nanos() / span.as_nanos();
                let window: Vec<_> =
                    calls.iter().copied().filter(|call| number(now) - number(call.at) < SPANS as u128).collect();
                let values = values(&window);
                let changes = alerts.check(start + now);
                for (n, name) in NAMES.into_iter().enumerate() {
                    let change = changes.iter().find(|alert| alert.name == name);
                    let above = values[n] > thresholds[n];
                    calm[n] = if above { Duration::ZERO } else { calm[n] + Duration::from_secs(1) };
                    let wanted = if raised[n] {
                        let clears = !above && (calm[n] > span || window.is_empty());
                        clears.then_some(AlertState::Cleared)
                    } else {
                        (above && window.len() as u64 >= FEWEST).then_some(AlertState::Raised)
                    };
                    prop_assert_eq!(change.map(|alert| alert.state), wanted, "{:?} {} at {:?}", name, values[n], now);
                    if let Some(alert) = change {
                        raised[n] = alert.state == AlertState::Raised;
                        calm[n] = Duration::ZERO;
                        prop_assert_eq!(alert.threshold, thresholds[n]);
                        prop_assert!((alert.value - values[n]).abs() <= values[n] * 0.01 + 1e-9, "{:?}", alert);
                        prop_assert_eq!(alert.value > alert.threshold, raised[n]);
                    }
                }
                now += Duration::from_secs(1);
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_harms_nothing_and_raised_and_cleared_take_turns(
        calls in prop::collection::vec((any::<bool>(), any::<u32>(), any::<u64>(), -200_000_i64..200_000), 0..500),
        window in 1_u64..200_000,
    ) {
        let alerts = Alerts::new(AlertPolicy { window: Duration::from_millis(window), ..AlertPolicy::default() });
        let mut now = Instant::now() + Duration::from_secs(1_000_000);
        let mut raised = [false; 3];
        for (ok, retries, micros, step) in calls {
            let by = Duration::from_millis(step.unsigned_abs());
            now = if step < 0 { now - by } else { now + by };
            (0..7).for_each(|_| alerts.record(ok, retries, Duration::from_micros(micros), now));
            for alert in alerts.check(now) {
                let at = NAMES.iter().position(|name| *name == alert.name).unwrap();
                prop_assert_eq!(raised[at], alert.state == AlertState::Cleared);
                raised[at] = !raised[at];
                prop_assert!(alert.value.is_finite());
            }
        }
        // Whatever was raised is cleared once there are no calls any more.
        alerts.check(now + Duration::from_secs(10_000_000));
        prop_assert!(alerts.check(now + Duration::from_secs(20_000_000)).is_empty());
    }
}
