//! Whatever goes wrong in whatever order: when attempts begin, and how many there are.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use trunkline::policy::backoff::{Backoff, Strategy as Growth};
use trunkline::policy::judge::{
    DEFAULT_STATUSES, FREE_REPLAYS, Failure, Meaning, RetryPolicy, Tries, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn failure() -> impl Strategy<Value = Failure> {
    let wait = option::of(prop_oneof![millis(0..3000), Just(Duration::MAX)]);
    let statuses = DEFAULT_STATUSES.to_vec();
    let status =
        prop_oneof![6 => prop::sample::select(statuses), 3 => 400_u16..600, 1 => Just(401), 1 => Just(421)];
    let status = (status, wait, option::weighted(0.2, any::<bool>()), prop::bool::weighted(0.05)).prop_map(
        |(status, retry_after, should_retry, quota)| Failure::Status {
            status,
            retry_after,
            should_retry,
            meaning: if quota { Meaning::Quota } else { Meaning::Plain },
        },
    );
    prop_oneof![
        10 => status,
        8 => prop::sample::select(vec![
            Failure::Connect, Failure::Unprocessed, Failure::Refused, Failure::NoResponseReused,
            Failure::NoResponseFresh, Failure::CutUnseen,
        ]),
        1 => prop::sample::select(vec![
            Failure::PutOff, Failure::Tls, Failure::Denied, Failure::Queue, Failure::Circuit, Failure::Silence,
            Failure::InvalidResponse, Failure::CutSeen, Failure::Final,
        ]),
    ]
}

fn policy() -> impl Strategy<Value = RetryPolicy> {
    let strategy = prop::sample::select(vec![Growth::Exponential, Growth::Linear, Growth::Immediate]);
    (0..8_u32, strategy, millis(1..5000), millis(1..10_000), millis(1..5000)).prop_map(
        |(max_retries, strategy, base, max, max_retry_after)| RetryPolicy {
            max_retries,
            backoff: Backoff { strategy, base, max },
            max_retry_after,
            ..RetryPolicy::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Attempts take their time, and each failure is judged with what is left of the deadline, as the life of a call has it.
    #[test]
    fn a_retry_never_outlives_its_deadline(
        policy in policy(),
        total in millis(0..20_000),
        repeatable in any::<bool>(),
        attempts in vec((millis(0..3000), failure(), prop::bool::weighted(0.9)), 1..60),
    ) {
        let mut now = Duration::ZERO;
        let mut tries = Tries::default();
        let mut paid = 0;
        for (took, failure, is_rich) in attempts {
            now += took;
            if now >= total {
                // The deadline ends the call itself.
                break;
            }
            let before = tries;
            let mut asked = false;
            let afford = || {
                asked = true;
                is_rich
            };
            let verdict = policy.judge(failure, &mut tries, repeatable, total.saturating_sub(now), afford);
            let Verdict::Again { delay, new_key } = verdict else {
                prop_assert_eq!(before.counted, tries.counted, "what is not begun is not counted");
                break;
            };
            now += delay;
            prop_assert!(now < total, "{failure:?} begins {:?} after its deadline", now.saturating_sub(total));
            prop_assert!(
                delay <= policy.max_retry_after.max(policy.backoff.max),
                "{failure:?} waits {delay:?}, which is above both caps"
            );
            prop_assert!(!new_key || delay.is_zero());
            let counted = tries.counted - before.counted;
            prop_assert_eq!(counted == 1, asked, "a retry that counts is paid for, and no other");
            prop_assert!(!asked || is_rich);
            paid += counted;
            // Each goes up in one place: nothing is repeated that nothing counts.
            let uses = |tries: Tries| tries.free + tries.counted + tries.new_keys + tries.elsewhere;
            prop_assert_eq!(uses(tries), uses(before) + 1);
        }
        prop_assert!(paid <= policy.max_retries);
        prop_assert!(tries.free <= FREE_REPLAYS && tries.new_keys <= 1 && tries.elsewhere <= 1);
    }

    /// Whatever the server says, and however large its numbers.
    #[test]
    fn nothing_that_may_have_been_processed_is_repeated_where_that_is_not_safe(
        policy in policy(),
        failures in vec(failure(), 1..60),
    ) {
        let mut tries = Tries::default();
        for failure in failures {
            let verdict = policy.judge(failure, &mut tries, false, SECOND * 1000, || true);
            let is_unprocessed = matches!(
                failure,
                Failure::Connect
                    | Failure::Unprocessed
                    | Failure::Refused
                    | Failure::Status { status: 401 | 403 | 421, .. }
                    | Failure::Status { meaning: Meaning::Quota, .. }
            );
            prop_assert!(verdict == Verdict::Fail || is_unprocessed, "{failure:?}");
        }
    }
}
