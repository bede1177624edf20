use super::*;

const RECOVERY: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

fn run(breaker: &mut Breaker, outcome: Outcome, now: Instant) -> Option<State> {
    match breaker.admit(now) {
        Admission::Go(pass) | Admission::Probe { pass, .. } => breaker.report(pass, outcome, now),
        Admission::Denied(_) => None,
    }
}

fn probe(breaker: &mut Breaker, now: Instant) -> Pass {
    match breaker.admit(now) {
        Admission::Probe { pass, .. } => pass,
        other => panic!("{other:?}"),
    }
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(BreakerPolicy::default(), now);
    for _ in 0..5 {
        run(&mut breaker, Outcome::Failure, now);
    }
    assert_eq!(breaker.state(now), State::Open);
    breaker
}

#[test]
fn five_failures_in_a_row_open_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(BreakerPolicy::default(), now);
    for _ in 0..10 {
        // So many that the ratio stays below a half.
        for outcome in [Outcome::Success; 5] {
            assert_eq!(run(&mut breaker, outcome, now), None);
        }
        for outcome in [Outcome::Failure; 4] {
            assert_eq!(run(&mut breaker, outcome, now), None);
        }
    }
    assert_eq!(run(&mut breaker, Outcome::Success, now), None);
    for _ in 0..4 {
        assert_eq!(run(&mut breaker, Outcome::Failure, now), None);
        assert_eq!(run(&mut breaker, Outcome::Neutral, now), None);
    }
    assert_eq!(run(&mut breaker, Outcome::Failure, now), Some(State::Open));
}

#[test]
fn half_of_twenty_calls_of_the_window_open_it() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerPolicy::default(), start);
    // A failure that is no more in the window does not count.
    run(&mut breaker, Outcome::Failure, start);
    let later = start + RECOVERY;
    for n in 0..19 {
        let outcome = if n % 2 == 0 { Outcome::Success } else { Outcome::Failure };
        assert_eq!(run(&mut breaker, outcome, later + MS * n), None, "{n}");
    }
    assert_eq!(breaker.failures(later), 9);
    assert_eq!(run(&mut breaker, Outcome::Failure, later + MS * 20), Some(State::Open));
}

#[test]
fn a_success_opens_nothing_though_it_makes_the_minimum_full() {
    let now = Instant::now();
    let policy = BreakerPolicy { minimum_calls: 3, failure_threshold: 9, ..BreakerPolicy::default() };
    let mut breaker = Breaker::new(policy, now);
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success] {
        assert_eq!(run(&mut breaker, outcome, now), None);
    }
    assert_eq!(run(&mut breaker, Outcome::Failure, now), Some(State::Open));
}

#[test]
fn an_open_circuit_says_when_to_come_back_and_lets_nothing_go_before() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let until = start + RECOVERY;
    assert_eq!(breaker.admit(until - MS), Admission::Denied(Denied { until }));
    assert_eq!(breaker.state(until - MS), State::Open);
    assert_eq!(breaker.state(until), State::HalfOpen);
    assert!(matches!(breaker.admit(until), Admission::Probe { change: Some(State::HalfOpen), .. }));
    assert_eq!(breaker.opened_at(), Some(start));
}

#[test]
fn one_probe_goes_and_its_success_closes_with_an_empty_window() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + RECOVERY;
    let pass = probe(&mut breaker, now);
    assert_eq!(breaker.admit(now), Admission::Denied(Denied { until: now + RECOVERY }));
    assert_eq!(breaker.report(pass, Outcome::Success, now), Some(State::Closed));
    assert_eq!((breaker.failures(now), breaker.opened_at(), breaker.transitions()), (0, None, 3));
    for _ in 0..4 {
        assert_eq!(run(&mut breaker, Outcome::Failure, now), None);
    }
}

#[test]
fn the_failure_of_a_probe_opens_anew_from_its_end() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let pass = probe(&mut breaker, start + RECOVERY);
    let end = start + RECOVERY * 3;
    assert_eq!(breaker.report(pass, Outcome::Failure, end), Some(State::Open));
    assert_eq!(breaker.admit(end + MS), Admission::Denied(Denied { until: end + RECOVERY }));
}

#[test]
fn a_probe_that_was_given_back_leaves_its_place_to_the_next() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + RECOVERY;
    let first = probe(&mut breaker, now);
    assert_eq!(breaker.report(first, Outcome::Neutral, now), None);
    assert_eq!(breaker.state(now), State::HalfOpen);
    let second = match breaker.admit(now) {
        Admission::Probe { pass, change: None } => pass,
        other => panic!("{other:?}"),
    };
    // The first has nothing to say any more.
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neutral] {
        assert_eq!(breaker.report(first, outcome, now), None);
    }
    assert!(matches!(breaker.admit(now), Admission::Denied(_)));
    assert_eq!(breaker.report(second, Outcome::Success, now), Some(State::Closed));
}

#[test]
fn what_was_admitted_before_it_opened_does_not_count_for_a_probe() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerPolicy::default(), start);
    let Admission::Go(old) = breaker.admit(start) else { panic!() };
    assert!(breaker.trip(start).is_some());
    let now = start + RECOVERY;
    let pass = probe(&mut breaker, now);
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neutral] {
        assert_eq!(breaker.report(old, outcome, now), None);
    }
    assert!(matches!(breaker.admit(now), Admission::Denied(_)));
    assert_eq!(breaker.report(pass, Outcome::Success, now), Some(State::Closed));
    assert_eq!((breaker.report(old, Outcome::Failure, now), breaker.failures(now)), (None, 0));
}

#[test]
fn a_clock_that_goes_back_and_a_recovery_without_end_break_nothing() {
    let start = Instant::now();
    let mut breaker = opened(start);
    assert!(matches!(breaker.admit(start - MS), Admission::Denied(_)));
    let policy =
        BreakerPolicy { recovery: Duration::MAX, failure_ratio: f64::NAN, ..BreakerPolicy::default() };
    let mut breaker = Breaker::new(policy, start);
    assert_eq!(breaker.trip(start), Some(State::Open));
    assert!(matches!(breaker.admit(start + RECOVERY), Admission::Denied(_)));
}
