//! A circuit, and the circuits of a provider, whatever calls do and however long they take.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::breaker::{Admission, Breaker, BreakerPolicy, Outcome, Pass, State};
use trunkline::policy::circuits::{Circuits, Guard};

const RECOVERY: Duration = Duration::from_secs(10);

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(Duration),
    /// A call of this model.
    Admit(usize),
    /// The end of one that is under way.
    End(prop::sample::Index, Outcome),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![2 => Just(Outcome::Success), 5 => Just(Outcome::Failure), 2 => Just(Outcome::Neutral)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4000_u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => Just(Step::Pass(RECOVERY)),
        8 => (0..4_usize).prop_map(Step::Admit),
        8 => (any::<prop::sample::Index>(), outcome()).prop_map(|(which, outcome)| Step::End(which, outcome)),
    ]
}

fn policy() -> impl Strategy<Value = BreakerPolicy> {
    (1..6_u32, 0.1..=1.0_f64, 1..10_u32, 1..20_000_u64).prop_map(|(threshold, ratio, minimum, window)| {
        BreakerPolicy {
            failure_threshold: threshold,
            failure_ratio: ratio,
            minimum_calls: minimum,
            window: Duration::from_millis(window),
            recovery: RECOVERY,
        }
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn never_two_probes_and_nothing_before_recovery(policy in policy(), steps in vec(step(), 1..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(policy, now);
        let mut running: Vec<(Pass, bool)> = Vec::new();
        let mut state = State::Closed;
        let mut opened = None;
        let mut transitions = 0;
        for step in steps {
            let mut told = None;
            match step {
                Step::Pass(time) => now += time,
                Step::Admit(_) => match breaker.admit(now) {
                    Admission::Go(pass) => {
                        prop_assert_eq!(state, State::Closed);
                        prop_assert!(!pass.is_probe());
                        running.push((pass, false));
                    }
                    Admission::Probe { pass, change } => {
                        prop_assert!(pass.is_probe());
                        prop_assert!(running.iter().all(|(_, is_probe)| !is_probe), "two probes");
                        prop_assert!(opened.is_some_and(|opened| now >= opened + RECOVERY), "too early");
                        prop_assert_eq!(change.is_some(), state == State::Open);
                        told = change;
                        running.push((pass, true));
                    }
                    Admission::Denied(denied) => {
                        prop_assert_ne!(state, State::Closed);
                        prop_assert!(denied.until > now && denied.until <= now + RECOVERY);
                    }
                },
                Step::End(which, outcome) if !running.is_empty() => {
                    let (pass, is_probe) = running.swap_remove(which.index(running.len()));
                    told = breaker.report(pass, outcome, now);
                    match told {
                        Some(State::Open) => {
                            prop_assert_eq!(outcome, Outcome::Failure);
                            prop_assert!(is_probe || state == State::Closed);
                            opened = Some(now);
                        }
                        Some(State::Closed) => prop_assert!(is_probe && outcome == Outcome::Success),
                        Some(State::HalfOpen) => prop_assert!(false, "half-open without a probe"),
                        None => {}
                    }
                }
                Step::End(..) => {}
            }
            if let Some(told) = told {
                prop_assert_ne!(told, state, "told twice");
                transitions += 1;
                state = told;
            }
            prop_assert_eq!(breaker.transitions(), transitions);
            prop_assert_eq!(breaker.is_closed(), state == State::Closed);
        }
        // Every pass that is reported leaves no probe held.
        for (pass, _) in running {
            breaker.report(pass, Outcome::Neutral, now);
        }
        prop_assert!(!matches!(breaker.admit(now + RECOVERY), Admission::Denied(_)));
    }

    /// The definition, by counting whatever is remembered.
    #[test]
    fn it_opens_exactly_when_the_definition_says(
        policy in policy(),
        calls in vec((0..2000_u64, outcome()), 1..200),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut breaker = Breaker::new(policy, start);
        let bucket = (policy.window / 10).as_nanos();
        let index = |at: Instant| (at - start).as_nanos() / bucket;
        let mut past: Vec<(Instant, bool)> = Vec::new();
        let mut in_a_row = 0;
        for (ms, outcome) in calls {
            now += Duration::from_millis(ms);
            let Admission::Go(pass) = breaker.admit(now) else { break };
            let told = breaker.report(pass, outcome, now);
            if outcome != Outcome::Neutral {
                let is_failure = outcome == Outcome::Failure;
                in_a_row = if is_failure { in_a_row + 1 } else { 0 };
                past.push((now, is_failure));
            }
            let window: Vec<_> = past.iter().filter(|(at, _)| index(*at) + 10 > index(now)).collect();
            let failures = window.iter().filter(|(_, is_failure)| *is_failure).count();
            let is_bad = window.len() >= policy.minimum_calls as usize
                && failures as f64 >= policy.failure_ratio * window.len() as f64;
            let opens = outcome == Outcome::Failure && (in_a_row >= policy.failure_threshold || is_bad);
            prop_assert_eq!(told, opens.then_some(State::Open));
        }
    }

    #[test]
    fn neutral_outcomes_never_open(policy in policy(), calls in 1..500_u32) {
        let now = Instant::now();
        let circuits = Circuits::new(policy, now);
        let model: Arc<str> = Arc::from("a");
        for n in 0..calls {
            let guard = circuits.admit(&model, now + Duration::from_millis(n.into())).unwrap();
            if n % 2 == 0 { drop(guard) } else { guard.settle(Outcome::Neutral, now); }
        }
        prop_assert!(circuits.states(now).iter().all(|circuit| circuit.state == State::Closed));
    }

    #[test]
    fn a_provider_has_one_probe_at_once_for_each_circuit(
        policy in policy(),
        steps in vec(step(), 1..300),
    ) {
        let mut now = Instant::now();
        let circuits = Circuits::new(policy, now);
        let models: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).into();
        let mut running: Vec<(Guard, usize, bool)> = Vec::new();
        let mut provider = State::Closed;
        let mut until = now;
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Admit(n) => match circuits.admit(&models[n], now) {
                    Ok(guard) => {
                        if let Some(state) = guard.changes().provider {
                            prop_assert_eq!((provider, state), (State::Open, State::HalfOpen));
                            provider = state;
                        }
                        let of_provider = provider != State::Closed;
                        if of_provider {
                            prop_assert!(guard.is_probe() && now >= until);
                            prop_assert!(running.iter().all(|(_, _, of_provider)| !of_provider), "two probes");
                        } else if guard.is_probe() {
                            let is_other =
                                |(guard, of, _): &(Guard, usize, bool)| *of != n || !guard.is_probe();
                            prop_assert!(running.iter().all(is_other), "two probes of a model");
                        }
                        running.push((guard, n, of_provider));
                    }
                    Err(denied) => {
                        prop_assert!(denied.until > now);
                    }
                },
                Step::End(which, outcome) if !running.is_empty() => {
                    let (guard, _, of_provider) = running.swap_remove(which.index(running.len()));
                    let changes = guard.settle(outcome, now);
                    if let Some(state) = changes.provider {
                        prop_assert!(of_provider || provider == State::Closed);
                        prop_assert_eq!(state == State::Open, outcome == Outcome::Failure);
                        provider = state;
                        until = now + RECOVERY;
                    }
                }
                Step::End(..) => {}
            }
        }
        drop(running);
        // The places of all that was dropped are free.
        now += RECOVERY;
        let first = circuits.admit(&models[0], now);
        prop_assert!(first.is_ok());
        drop(first);
        for model in &models {
            prop_assert!(circuits.admit(model, now).is_ok());
        }
    }

    /// An upstream that fails each call for a minute, under whatever load, with answers that take a while.
    #[test]
    fn an_outage_sees_a_probe_each_recovery_and_no_more(
        models in 1..4_usize,
        gap in 1..500_u64,
        took in 0..3000_u64,
        recovery in 500..20_000_u64,
    ) {
        let start = Instant::now();
        let recovery = Duration::from_millis(recovery);
        let circuits = Circuits::new(BreakerPolicy { recovery, ..BreakerPolicy::default() }, start);
        let models: Vec<Arc<str>> = (0..models).map(|n| Arc::from(format!("m{n}"))).collect();
        let minute = Duration::from_secs(60);
        let mut running = std::collections::VecDeque::new();
        let mut opened: Option<Instant> = None;
        let mut let_through = 0;
        let mut now = start;
        for n in 0.. {
            now += Duration::from_millis(gap);
            while running.front().is_some_and(|(end, _)| *end <= now) {
                let (end, guard): (Instant, Guard) = running.pop_front().unwrap();
                let changes = guard.settle(Outcome::Failure, end);
                // One model alone has a circuit of its own, and its provider none.
                let of_all = if models.len() == 1 { changes.model } else { changes.provider };
                if of_all == Some(State::Open) {
                    opened.get_or_insert(end);
                }
            }
            if now > opened.unwrap_or(now) + minute || now > start + minute * 10 {
                break;
            }
            if let Ok(guard) = circuits.admit(&models[n % models.len()], now) {
                let_through += u32::from(opened.is_some());
                running.push_back((now + Duration::from_millis(took), guard));
            }
        }
        prop_assert!(opened.is_some());
        let most = (minute.as_secs_f64() / recovery.as_secs_f64()).floor() as u32 + 1;
        prop_assert!(let_through <= most, "{} instead of {}", let_through, most);
        prop_assert!(let_through > 0);
    }
}
