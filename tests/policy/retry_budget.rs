//! The budget of retries against what it promises for any ten seconds.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::retry_budget::{LIFE, RetryBudget, RetryBudgetPolicy};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_any_ten_seconds_there_are_no_more_retries_than_promised(
        ratio in 0.0..=1.0_f64,
        min_per_second in 0.0..3.0_f64,
        steps in vec((0..700_u64, 0..6_u32, 0..6_u32), 1..150),
    ) {
        let mut now = Instant::now();
        let budget = RetryBudget::new(RetryBudgetPolicy { ratio, min_per_second }, now);
        let (mut requests, mut retries) = (Vec::new(), Vec::new());
        for (ms, asked, again) in steps {
            now += Duration::from_millis(ms);
            for _ in 0..asked {
                budget.request(now);
                requests.push(now);
            }
            for _ in 0..again {
                let recent = |times: &[Instant]| times.iter().filter(|at| now - **at < LIFE).count() as f64;
                let allowed = ratio * recent(&requests) + min_per_second * LIFE.as_secs_f64();
                if budget.retry(now) {
                    retries.push(now);
                    prop_assert!(recent(&retries) <= allowed, "{} of {allowed}", recent(&retries));
                } else {
                    // Nor is it mean: half a second is all that it may see otherwise.
                    let since = |times: &[Instant], span: Duration| {
                        times.iter().filter(|at| now - **at <= span).count() as f64
                    };
                    let half = LIFE / 20;
                    let least = ratio * since(&requests, LIFE - half) + min_per_second * LIFE.as_secs_f64();
                    prop_assert!(since(&retries, LIFE + half) + 1.0 > least);
                }
            }
        }
    }
}
