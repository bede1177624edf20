use super::*;
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

struct Provider(Arc<Circuits>);

impl Provider {
    fn new(now: Instant) -> Self {
        Self(Circuits::new(BreakerPolicy::default(), now))
    }

    fn admit(&self, model: &str, now: Instant) -> Result<Guard, Denied> {
        self.0.admit(&Arc::from(model), now)
    }

    fn call(&self, model: &str, outcome: Outcome, now: Instant) -> Changes {
        self.admit(model, now).unwrap().settle(outcome, now)
    }

    /// Fails until it opens.
    fn open(&self, model: &str, now: Instant) -> Changes {
        (0..4).for_each(|_| assert_eq!(self.call(model, Outcome::Failure, now), Changes::default()));
        self.call(model, Outcome::Failure, now)
    }

    fn state(&self, model: Option<&str>, now: Instant) -> State {
        let states = self.0.states(now);
        states.iter().find(|circuit| circuit.model.as_deref() == model).unwrap().state
    }
}

const MODEL_OPEN: Changes = Changes { model: Some(State::Open), provider: None };
const BOTH_OPEN: Changes = Changes { model: Some(State::Open), provider: Some(State::Open) };

#[test]
fn a_failing_model_leaves_the_others_of_its_provider_alone() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    assert_eq!(provider.open("a", now), MODEL_OPEN);
    assert_eq!(provider.admit("a", now).unwrap_err(), Denied { until: now + RECOVERY });
    assert_eq!(provider.call("b", Outcome::Success, now), Changes::default());
}

#[test]
fn a_provider_whose_models_all_fail_opens_as_a_whole_for_new_models_too() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    assert_eq!(provider.open("a", now), MODEL_OPEN);
    assert_eq!(provider.open("b", now + SECOND), BOTH_OPEN);
    let denied = Denied { until: now + SECOND + RECOVERY };
    assert_eq!(provider.admit("c", now + SECOND).unwrap_err(), denied);
    assert_eq!(provider.0.transitions(), Transitions { opened: 3, ..Transitions::default() });
}

#[test]
fn the_only_model_of_a_provider_opens_one_circuit_and_another_model_may_be_tried() {
    let now = Instant::now();
    let provider = Provider::new(now);
    assert_eq!(provider.open("a", now), MODEL_OPEN);
    assert_eq!(provider.state(None, now), State::Closed);
    assert!(provider.admit("a", now).is_err());
    assert_eq!(provider.open("b", now), BOTH_OPEN);
}

#[test]
fn one_failing_model_among_others_that_rest_is_not_the_provider() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    assert_eq!(provider.open("a", now + RECOVERY + SECOND), MODEL_OPEN);
    assert_eq!(provider.open("c", now + RECOVERY + SECOND), BOTH_OPEN);
}

#[test]
fn the_figures_say_how_many_failed_of_late_and_since_when_a_circuit_is_open() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("a", Outcome::Failure, now);
    provider.open("b", now);
    let figures = |model: Option<&str>, now| {
        let all = provider.0.states(now);
        let circuit = all.into_iter().find(|circuit| circuit.model.as_deref() == model).unwrap();
        (circuit.failures, circuit.opened_at, circuit.transitions)
    };
    assert_eq!(figures(Some("a"), now), (1, None, 0));
    assert_eq!(figures(Some("b"), now), (5, Some(now), 1));
    assert_eq!(figures(None, now), (6, None, 0));
    let later = now + RECOVERY;
    assert_eq!(figures(Some("b"), later + SECOND), (0, Some(now), 1));
    provider.call("b", Outcome::Success, later);
    assert_eq!(figures(Some("b"), later), (0, None, 3));
}

#[test]
fn a_model_whose_probe_is_under_way_may_yet_answer_for_the_provider() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    provider.open("a", now);
    let later = now + RECOVERY;
    let probe = provider.admit("a", later).unwrap();
    assert_eq!(probe.changes(), Changes { model: Some(State::HalfOpen), provider: None });
    assert_eq!(provider.open("b", later), MODEL_OPEN);
    assert_eq!(probe.settle(Outcome::Failure, later), BOTH_OPEN);
}

#[test]
fn the_probe_of_a_provider_is_one_call_and_answers_for_its_model_too() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    provider.open("a", now);
    provider.open("b", now);
    let later = now + RECOVERY;
    let probe = provider.admit("a", later).unwrap();
    assert!(probe.is_probe());
    let half = Some(State::HalfOpen);
    assert_eq!(probe.changes(), Changes { model: half, provider: half });
    for model in ["a", "b", "c"] {
        assert!(provider.admit(model, later).is_err());
    }
    let closed = Some(State::Closed);
    assert_eq!(probe.settle(Outcome::Success, later), Changes { model: closed, provider: closed });
    let of_b = provider.admit("b", later).unwrap();
    assert_eq!(of_b.changes(), Changes { model: half, provider: None });
    assert_eq!(provider.call("a", Outcome::Success, later), Changes::default());
}

#[test]
fn a_probe_that_is_answered_closes_its_circuits_before_it_has_ended() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.open("a", now);
    provider.open("b", now);
    let later = now + RECOVERY;
    let mut probe = provider.admit("a", later).unwrap();
    let closed = Some(State::Closed);
    assert_eq!(probe.answers(later), Changes { model: closed, provider: closed });
    assert!(!probe.is_probe());
    assert_eq!(probe.answers(later), Changes::default());
    assert_eq!(provider.call("a", Outcome::Success, later), Changes::default());
    drop(probe);
    assert_eq!(provider.state(Some("a"), later), State::Closed);
}

#[test]
fn a_stream_that_breaks_after_it_was_a_probe_counts_as_one_failure_and_no_more() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.open("a", now);
    let later = now + RECOVERY;
    let mut probe = provider.admit("a", later).unwrap();
    let _ = probe.answers(later);
    assert_eq!(probe.settle(Outcome::Failure, later), Changes::default());
    // Four more make five.
    (0..3).for_each(|_| assert_eq!(provider.call("a", Outcome::Failure, later), Changes::default()));
    assert_eq!(provider.call("a", Outcome::Failure, later), MODEL_OPEN);
}

#[test]
fn a_target_that_begins_every_stream_and_breaks_it_off_is_failing() {
    let now = Instant::now();
    let provider = Provider::new(now);
    let broken = |now| {
        let mut guard = provider.admit("a", now).unwrap();
        assert_eq!(guard.answers(now), Changes::default());
        guard.settle(Outcome::Failure, now)
    };
    (0..4).for_each(|_| assert_eq!(broken(now), Changes::default()));
    assert_eq!(broken(now), MODEL_OPEN);
}

#[test]
fn a_probe_of_a_circuit_that_was_forgotten_closes_nothing() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.open("a", now);
    let mut probe = provider.admit("a", now + RECOVERY).unwrap();
    let later = now + RECOVERY + SECOND;
    provider.0.state.lock().models.clear();
    provider.open("a", later);
    assert_eq!(probe.answers(later), Changes::default());
    assert_eq!(provider.state(Some("a"), later), State::Open);
    assert_eq!(probe.settle(Outcome::Success, later), Changes::default());
}

#[test]
fn the_probe_of_a_provider_goes_whatever_the_circuit_of_its_model_says() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("b", Outcome::Success, now);
    provider.open("a", now);
    // Its probe takes so long that the model counts as not used.
    let of_a = provider.admit("a", now + RECOVERY).unwrap();
    let later = now + RECOVERY * 3;
    provider.call("c", Outcome::Success, later);
    provider.open("b", later);
    assert_eq!(provider.open("c", later), BOTH_OPEN);
    let of_provider = provider.admit("a", later + RECOVERY).unwrap();
    assert_eq!(of_provider.changes(), Changes { model: None, provider: Some(State::HalfOpen) });
    let closed = of_provider.settle(Outcome::Success, later + RECOVERY);
    assert_eq!(closed, Changes { model: None, provider: Some(State::Closed) });
    assert_eq!(of_a.settle(Outcome::Success, later + RECOVERY).model, Some(State::Closed));
}

#[test]
fn a_probe_that_is_dropped_gives_both_places_back() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.open("a", now);
    provider.open("b", now);
    let later = now + RECOVERY;
    for _ in 0..3 {
        drop(provider.admit("a", later).unwrap());
        assert_eq!(provider.call("a", Outcome::Neutral, later), Changes::default());
    }
    assert_eq!(provider.state(None, later), State::HalfOpen);
    assert_eq!(provider.call("a", Outcome::Success, later).provider, Some(State::Closed));
}

#[test]
fn no_more_than_a_thousand_models_are_remembered_and_failing_ones_longest() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call("good", Outcome::Success, now);
    provider.open("bad", now);
    let probed = provider.admit("bad", now + RECOVERY).unwrap();
    for n in 0..5000 {
        provider.call(&format!("m{n}"), Outcome::Neutral, now + RECOVERY);
        assert!(n % 50 != 0 || provider.0.states(now).len() <= MAX_CIRCUITS + 1);
    }
    let states = provider.0.states(now + RECOVERY);
    assert!(states.len() > MAX_CIRCUITS / 2);
    assert!(!states.iter().any(|circuit| circuit.model.as_deref() == Some("good")));
    assert_eq!(provider.state(Some("bad"), now + RECOVERY), State::HalfOpen);
    assert_eq!(probed.settle(Outcome::Success, now + RECOVERY).model, Some(State::Closed));
}

#[test]
fn a_circuit_that_was_forgotten_does_not_hear_of_its_old_calls() {
    let now = Instant::now();
    let provider = Provider::new(now);
    let old: Vec<_> = (0..5).map(|_| provider.admit("a", now).unwrap()).collect();
    for n in 0..MAX_CIRCUITS {
        provider.call(&format!("m{n}"), Outcome::Neutral, now + SECOND);
    }
    provider.call("a", Outcome::Success, now + SECOND);
    for guard in old {
        assert_eq!(guard.settle(Outcome::Failure, now + SECOND), Changes::default());
    }
    assert_eq!(provider.state(Some("a"), now + SECOND), State::Closed);
}

#[test]
fn a_thousand_failing_models_are_bounded_as_well() {
    let now = Instant::now();
    let provider = Provider::new(now);
    for n in 0..1200 {
        // So far apart that the provider stays closed.
        let now = now + RECOVERY * 2 * n;
        provider.call("good", Outcome::Success, now);
        assert_eq!(provider.open(&format!("m{n}"), now), MODEL_OPEN);
    }
    assert!(provider.0.states(now).len() <= MAX_CIRCUITS + 1);
}

#[test]
fn a_name_without_end_is_kept_in_part() {
    let now = Instant::now();
    let provider = Provider::new(now);
    provider.call(&"é".repeat(100_000), Outcome::Success, now);
    provider.call(&format!("x{}", "é".repeat(100_000)), Outcome::Success, now);
    let longest = provider.0.states(now).into_iter().filter_map(|circuit| Some(circuit.model?.len())).max();
    assert_eq!(longest, Some(MAX_NAME));
}
