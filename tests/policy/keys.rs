//! The ring of keys under whatever providers answer.

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::keys::{Excluded, KeyRing, MAX_KEYS, Picked, Strike, Taken};

/// No rest is longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

/// What is done with the ring; a number chooses among the calls that hold a key.
#[derive(Debug, Clone)]
enum Step {
    Pick { not: u64 },
    Strike(usize, Strike),
    Success(usize),
    Replace(usize),
    Wait(u64),
}

fn strike() -> impl Strategy<Value = Strike> {
    prop_oneof![
        proptest::option::of(0..200_000_u64).prop_map(|ms| Strike::Limited(ms.map(Duration::from_millis))),
        Just(Strike::Limited(Some(Duration::MAX))),
        Just(Strike::Refused),
        Just(Strike::OutOfCredit),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let any_call = 0..8_usize;
    prop_oneof![
        4 => prop_oneof![3 => Just(0), 1 => any::<u64>()].prop_map(|not| Step::Pick { not }),
        3 => (any_call.clone(), strike()).prop_map(|(call, strike)| Step::Strike(call, strike)),
        1 => any_call.clone().prop_map(Step::Success),
        1 => any_call.prop_map(Step::Replace),
        2 => (0..400_000_u64).prop_map(Step::Wait),
    ]
}

fn excluded(bits: u64) -> Excluded {
    let mut not = Excluded::default();
    for key in (0..MAX_KEYS).filter(|key| bits & (1 << key) != 0) {
        not.add(key);
    }
    not
}

proptest! {
    #![proptest_config(config())]

    /// Until when each key rests is kept beside the ring, from what the ring says as it puts one to rest.
    #[test]
    fn no_key_that_rests_or_is_excluded_is_picked_while_another_is_awake(
        keys in 1..7_usize,
        steps in vec(step(), 1..120),
    ) {
        let ring = KeyRing::new(NonZeroUsize::new(keys).unwrap());
        let mut now = Instant::now();
        let mut until: Vec<Option<Instant>> = vec![None; keys];
        let mut held: Vec<Taken> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Pick { not: bits } => {
                    let not = excluded(bits);
                    let rests = |key: usize| until[key].is_some_and(|until| now < until);
                    let allowed = || (0..keys).filter(|key| !not.holds(*key));
                    match ring.pick(now, not) {
                        Picked::Awake(taken) => {
                            prop_assert!(!not.holds(taken.key) && !rests(taken.key));
                            held.push(taken);
                        }
                        Picked::Resting { first, until: told } => {
                            prop_assert!(allowed().all(rests));
                            prop_assert_eq!(Some(told), allowed().filter_map(|key| until[key]).min());
                            prop_assert_eq!(until[first.key], Some(told));
                            // Whoever cannot wait uses it before.
                            held.push(first);
                        }
                        Picked::None => prop_assert_eq!(allowed().count(), 0),
                    }
                }
                Step::Strike(call, strike) => if !held.is_empty() {
                    let taken = held.swap_remove(call % held.len());
                    if let Some(told) = ring.strike(taken, strike, now) {
                        prop_assert!(told >= now && told - now <= LONGEST);
                        until[taken.key] = Some(told);
                    }
                },
                Step::Success(call) => if !held.is_empty() {
                    // Whether it woke the key is for the ring to say: ask it about this key alone.
                    let taken = held.swap_remove(call % held.len());
                    ring.success(taken);
                    let others = excluded(!(1 << taken.key));
                    match ring.pick(now, others) {
                        Picked::Awake(_) => until[taken.key] = None,
                        Picked::Resting { until: told, .. } => prop_assert_eq!(until[taken.key], Some(told)),
                        Picked::None => prop_assert!(false),
                    }
                },
                Step::Replace(key) => if key < keys {
                    let _ = ring.replaced(ring.current(key).unwrap());
                    until[key] = None;
                },
            }
            let all_rest = until.iter().all(|until| until.is_some_and(|until| now < until));
            prop_assert_eq!(ring.rests_until(now).is_some(), all_rest);
        }
        // Whatever happened, somebody wakes, and when it was said.
        if let Some(first) = ring.rests_until(now) {
            prop_assert!(first - now <= LONGEST);
            prop_assert!(matches!(ring.pick(first, Excluded::default()), Picked::Awake(_)));
        }
        let tomorrow = now + LONGEST;
        prop_assert_eq!(ring.rests_until(tomorrow), None);
    }

    #[test]
    fn keys_that_are_awake_get_the_same_share(
        keys in 1..=MAX_KEYS,
        resting in any::<u64>(),
        picks in 1..500_usize,
    ) {
        let ring = KeyRing::new(NonZeroUsize::new(keys).unwrap());
        let now = Instant::now();
        let mut counts = vec![0_usize; keys];
        for key in (0..keys).filter(|key| resting & (1 << key) != 0) {
            let Picked::Awake(taken) = ring.pick(now, excluded(!(1 << key))) else { panic!("{key}") };
            ring.strike(taken, Strike::Refused, now);
        }
        for _ in 0..picks {
            match ring.pick(now, Excluded::default()) {
                Picked::Awake(taken) => counts[taken.key] += 1,
                Picked::Resting { .. } => prop_assert_eq!(ring.rests_until(now).is_some(), true),
                Picked::None => prop_assert!(false),
            }
        }
        let awake = || (0..keys).filter(|key| resting & (1 << key) == 0);
        let shares = || awake().map(|key| counts[key]);
        let total = if awake().count() == 0 { 0 } else { picks };
        prop_assert_eq!(shares().sum::<usize>(), total);
        prop_assert!(shares().max().unwrap_or(0) - shares().min().unwrap_or(0) <= 1, "{counts:?}");
    }
}
