//! The order of a route's targets: nobody is lost, and the first is the one that the strategy promises.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::money::{Listed, Tariff};
use trunkline::policy::route::{Load, Request, Running, Strategy as Choice, Target, Wait, order};

const CHOICES: [Choice; 5] =
    [Choice::Ordered, Choice::Weighted, Choice::LeastBusy, Choice::LowestLatency, Choice::LowestCost];
const REQUEST: Request = Request { input_tokens: 1000, output_tokens: 500, wait: Wait::FirstPiece };

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

/// A target as it may be found.
#[derive(Debug, Clone)]
struct Found {
    weight: f64,
    price: Option<(f64, f64)>,
    in_flight: usize,
    /// Answers, in milliseconds, and how long ago.
    took: Vec<(u64, u64)>,
    goes_last: bool,
}

fn found() -> impl Strategy<Value = Found> {
    (
        prop_oneof![Just(0.0), 0.001..1e6_f64],
        proptest::option::of((0.0..100.0_f64, 0.0..100.0_f64)),
        0..5_usize,
        vec((1..60_000_u64, 0..400_000_u64), 0..4),
        proptest::bool::weighted(0.3),
    )
        .prop_map(|(weight, price, in_flight, took, goes_last)| Found {
            weight,
            price,
            in_flight,
            took,
            goes_last,
        })
}

/// The targets, and the calls under way.
fn made(all: &[Found], start: Instant, now: Instant) -> (Vec<Target>, Vec<Running>) {
    let mut running = Vec::new();
    let targets = all.iter().map(|found| {
        let load: Arc<Load> = Arc::default();
        let mut took = found.took.clone();
        took.sort_by_key(|(_, ago)| std::cmp::Reverse(*ago));
        for (ms, ago) in took {
            let at = now.checked_sub(Duration::from_millis(ago)).unwrap_or(start);
            load.begin(REQUEST.wait).observe(Duration::from_millis(ms), at);
        }
        running.extend((0..found.in_flight).map(|_| load.begin(REQUEST.wait)));
        let price = found
            .price
            .map(|(input, output)| Tariff::flat(Listed { input, output, ..Listed::default() }.into()));
        Target { weight: found.weight, price, load }
    });
    (targets.collect(), running)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_target_is_there_once_the_unlikely_last_and_the_fall_backs_as_listed(
        all in vec(found(), 0..12),
        random in any::<u64>(),
    ) {
        let start = Instant::now();
        let now = start + Duration::from_secs(400);
        let (targets, _running) = made(&all, start, now);
        for choice in CHOICES {
            let order = order(choice, &targets, REQUEST, now, random, |index| all[index].goes_last);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..all.len()).collect::<Vec<_>>());
            let likely = all.iter().filter(|found| !found.goes_last).count();
            prop_assert!(order[..likely].iter().all(|index| !all[*index].goes_last), "{choice:?} {order:?}");
            // The one that was chosen is the first of the likely ones or, where there are none, of all.
            let rest = if likely == 0 { &order[order.len().min(1)..] } else { &order[1..likely] };
            prop_assert!(rest.is_sorted(), "{choice:?} {order:?}");
            prop_assert!(order[likely..].is_sorted() || likely == 0, "{choice:?} {order:?}");
        }
    }

    #[test]
    fn the_first_is_what_the_strategy_promises(all in vec(found(), 1..12), random in any::<u64>()) {
        let start = Instant::now();
        let now = start + Duration::from_secs(400);
        let (targets, _running) = made(&all, start, now);
        let first = |choice| order(choice, &targets, REQUEST, now, random, |_| false)[0];

        prop_assert_eq!(first(Choice::Ordered), 0);
        let weights = || all.iter().map(|found| found.weight);
        prop_assert!(all[first(Choice::Weighted)].weight > 0.0 || weights().sum::<f64>() == 0.0);
        let least = all.iter().map(|found| found.in_flight).min();
        prop_assert_eq!(Some(all[first(Choice::LeastBusy)].in_flight), least);
        let price = |found: &Found| found.price.map(|(input, output)| 2.0 * input + output);
        let cheapest = all.iter().filter_map(price).min_by(f64::total_cmp);
        prop_assert_eq!(price(&all[first(Choice::LowestCost)]), cheapest);
    }

    /// Of any two that are drawn; with two targets, these are drawn.
    #[test]
    fn the_worse_of_two_is_never_chosen(
        all in vec(found(), 2..=2),
        random in any::<u64>(),
    ) {
        let start = Instant::now();
        let now = start + Duration::from_secs(400);
        let (targets, _running) = made(&all, start, now);
        let order = order(Choice::LowestLatency, &targets, REQUEST, now, random, |_| false);
        let cost = |index: usize| targets[order[index]].load.cost(REQUEST.wait, now);
        prop_assert!(cost(0) <= cost(1), "{} {}", cost(0), cost(1));
    }

    /// However many there are, the worst is beaten by whichever was drawn with it.
    #[test]
    fn the_worst_of_all_is_never_chosen(n in 2..12_usize, worst in 0..12_usize, random in any::<u64>()) {
        let worst = worst % n;
        let now = Instant::now();
        let targets: Vec<_> = (0..n).map(|_| Target { weight: 1.0, price: None, load: Arc::default() }).collect();
        for (index, target) in targets.iter().enumerate() {
            let took = Duration::from_millis(if index == worst { 900 } else { 100 });
            target.load.begin(REQUEST.wait).observe(took, now);
        }
        prop_assert_ne!(order(Choice::LowestLatency, &targets, REQUEST, now, random, |_| false)[0], worst);
    }
}

/// How often each of so many is the first.
fn firsts(choice: Choice, targets: &[Target], draws: usize) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(7);
    let now = Instant::now();
    let mut counts = vec![0.0; targets.len()];
    for _ in 0..draws {
        counts[order(choice, targets, REQUEST, now, random.u64(..), |_| false)[0]] += 1.0;
    }
    counts
}

/// Pearson's statistic.
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum()
}

#[test]
fn targets_are_chosen_as_often_as_their_weights_have_it() {
    const DRAWS: usize = 100_000;
    let weights = [5.0, 1.0, 0.5, 3.5];
    let targets: Vec<_> =
        weights.iter().map(|weight| Target { weight: *weight, price: None, load: Arc::default() }).collect();
    let expected: Vec<_> = weights.iter().map(|weight| weight / 10.0 * DRAWS as f64).collect();
    let counts = firsts(Choice::Weighted, &targets, DRAWS);
    // Three degrees of freedom: one in a thousand would be above.
    assert!(chi_square(&counts, &expected) < 16.27, "{counts:?}");
}

#[test]
fn those_that_are_equally_good_are_chosen_equally_often() {
    const DRAWS: usize = 100_000;
    let targets: Vec<_> = (0..5).map(|_| Target { weight: 1.0, price: None, load: Arc::default() }).collect();
    for choice in [Choice::LeastBusy, Choice::LowestLatency, Choice::Weighted] {
        let counts = firsts(choice, &targets, DRAWS);
        // Four degrees of freedom.
        assert!(chi_square(&counts, &[DRAWS as f64 / 5.0; 5]) < 18.47, "{choice:?} {counts:?}");
    }
}

/// A closed loop over three targets, one of them ten times as slow, in virtual time.
#[test]
fn the_slow_one_gets_few_calls_and_is_looked_at_again() {
    let targets: Vec<_> = (0..3).map(|_| Target { weight: 1.0, price: None, load: Arc::default() }).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let mut now = Instant::now();
    let mut counts = [0; 3];
    for _ in 0..3000 {
        now += Duration::from_millis(200);
        let first = order(Choice::LowestLatency, &targets, REQUEST, now, random.u64(..), |_| false)[0];
        let took = Duration::from_millis(if first == 2 { 5000 } else { 500 });
        targets[first].load.begin(REQUEST.wait).observe(took, now);
        counts[first] += 1;
    }
    assert!(counts[2] > 0 && counts[2] < 60, "{counts:?}");
    assert!(counts[0] > 1000 && counts[1] > 1000, "{counts:?}");
}
