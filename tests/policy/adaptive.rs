//! The adaptive limit in front of a model of a provider, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trunkline::policy::adaptive::{Adaptive, AdaptivePolicy};

/// What a provider does with more calls than it has room for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Full {
    /// They wait: latency is flat up to the capacity, and proportional to the calls above it.
    Queues,
    /// They are refused at once with 429.
    Refuses,
}

/// A provider with `capacity` places, and callers who keep the limit filled.
struct Provider {
    capacity: usize,
    full: Full,
    /// What an answer takes without a queue; each differs from it by up to `noise` of it.
    service: Duration,
    noise: f64,
    random: fastrand::Rng,
    start: Instant,
    now: Duration,
    /// When each place that is taken, or waited for, is free.
    places: BinaryHeap<Reverse<Duration>>,
    /// When each call in flight has its answer, its latency, and whether it is refused.
    flying: BinaryHeap<Reverse<(Duration, Duration, bool)>>,
    answered: usize,
    refused: usize,
}

const REFUSAL: Duration = Duration::from_millis(20);

impl Provider {
    fn new(capacity: usize, full: Full, noise: f64) -> Self {
        Self {
            capacity,
            full,
            service: Duration::from_millis(500),
            noise,
            random: fastrand::Rng::with_seed(capacity as u64),
            start: Instant::now(),
            now: Duration::ZERO,
            places: BinaryHeap::new(),
            flying: BinaryHeap::new(),
            answered: 0,
            refused: 0,
        }
    }

    fn send(&mut self) {
        while self.places.peek().is_some_and(|Reverse(free)| *free <= self.now) {
            self.places.pop();
        }
        let mut begins = self.now;
        if self.places.len() >= self.capacity {
            if self.full == Full::Refuses {
                self.flying.push(Reverse((self.now + REFUSAL, REFUSAL, true)));
                return;
            }
            // Also after the capacity fell.
            while self.places.len() >= self.capacity {
                begins = self.places.pop().map_or(begins, |Reverse(free)| free);
            }
        }
        let service = self.service.mul_f64(1.0 + self.noise * (self.random.f64() * 2.0 - 1.0));
        let end = begins + service;
        self.places.push(Reverse(end));
        self.flying.push(Reverse((end, end - self.now, false)));
    }

    /// Runs for this long, with no more than `demand` calls at once, and says the lowest, mean and highest limit.
    fn run(&mut self, adaptive: &mut Adaptive, demand: usize, time: Duration) -> (usize, f64, usize) {
        let until = self.now + time;
        let (mut low, mut high, mut sum, mut turns) = (usize::MAX, 0, 0, 0);
        while self.now < until {
            while self.flying.len() < adaptive.limit().min(demand) {
                self.send();
            }
            let Some(Reverse((at, latency, refused))) = self.flying.pop() else {
                self.now = until;
                break;
            };
            self.now = at.max(self.now);
            let in_flight = self.flying.len() + 1;
            adaptive.report(Some(latency), refused, in_flight, self.start + self.now);
            *(if refused { &mut self.refused } else { &mut self.answered }) += 1;
            let limit = adaptive.limit();
            (low, high) = (low.min(limit), high.max(limit));
            sum += limit;
            turns += 1;
        }
        (low, sum as f64 / turns as f64, high)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn starting_at(initial: usize) -> Adaptive {
    Adaptive::new(AdaptivePolicy { initial, ..AdaptivePolicy::default() })
}

/// Lowest, mean and highest limit of five minutes, once it had the time to settle.
fn settled(capacity: usize, initial: usize, noise: f64) -> (usize, f64, usize) {
    let (mut provider, mut adaptive) = (Provider::new(capacity, Full::Queues, noise), starting_at(initial));
    provider.run(&mut adaptive, 2000, MINUTE * 25);
    provider.run(&mut adaptive, 2000, MINUTE * 5)
}

#[test]
fn the_limit_settles_within_a_factor_of_two_of_the_capacity_from_both_sides() {
    for capacity in [2, 4, 10, 50] {
        for initial in [1, 20, capacity * 20] {
            let (low, mean, high) = settled(capacity, initial, 0.0);
            let about = format!("{capacity} from {initial}: {low} to {high}, {mean:.1}");
            assert!(high <= capacity * 2 && low * 2 >= capacity, "{about}");
        }
    }
}

/// Where only few calls fit, noise moves the average of a round trip by as much as a queue does: the mean is held to the
/// factor, and the highest to one of three.
#[test]
fn the_limit_settles_in_the_mean_where_latency_is_noisy() {
    for capacity in [4, 10, 50] {
        for initial in [1, 20, capacity * 20] {
            let (low, mean, high) = settled(capacity, initial, 0.3);
            let about = format!("{capacity} from {initial}: {low} to {high}, {mean:.1}");
            assert!(mean <= capacity as f64 * 2.0 && mean * 2.0 >= capacity as f64, "{about}");
            assert!(high <= capacity * 3 && low * 3 >= capacity, "{about}");
        }
    }
}

#[test]
fn under_refusals_it_stays_just_below_the_capacity_and_few_are_refused() {
    for capacity in [10, 50, 200, 800] {
        let (mut provider, mut adaptive) = (Provider::new(capacity, Full::Refuses, 0.2), starting_at(20));
        provider.run(&mut adaptive, 2000, MINUTE * 10);
        (provider.answered, provider.refused) = (0, 0);
        let (low, mean, high) = provider.run(&mut adaptive, 2000, MINUTE * 10);
        let share = provider.refused as f64 / provider.answered as f64;
        let about = format!("{capacity}: {low} to {high}, {mean:.1}, {share:.4} refused");
        assert!(high as f64 <= capacity as f64 * 1.1 + 1.0, "{about}");
        assert!(mean >= capacity as f64 * 0.7, "{about}");
        assert!(share < 0.02, "{about}");
    }
}

#[test]
fn it_follows_a_capacity_that_changes() {
    for full in [Full::Queues, Full::Refuses] {
        let (mut provider, mut adaptive) = (Provider::new(100, full, 0.2), starting_at(20));
        for capacity in [100, 20, 300] {
            provider.capacity = capacity;
            provider.run(&mut adaptive, 2000, MINUTE * 20);
            let (_, mean, _) = provider.run(&mut adaptive, 2000, MINUTE * 5);
            let about = format!("{full:?} {capacity}: {mean:.1}");
            assert!(mean <= capacity as f64 * 2.0 && mean >= capacity as f64 / 2.0, "{about}");
        }
    }
}

#[test]
fn a_provider_that_is_slower_as_a_whole_is_not_taken_for_a_full_one() {
    let (mut provider, mut adaptive) = (Provider::new(100, Full::Queues, 0.2), starting_at(20));
    provider.run(&mut adaptive, 2000, MINUTE * 10);
    provider.service *= 3;
    provider.run(&mut adaptive, 2000, MINUTE * 20);
    let (_, mean, high) = provider.run(&mut adaptive, 2000, MINUTE * 10);
    assert!(mean >= 50.0 && high <= 200, "{mean} {high}");
}

#[test]
fn idle_and_quiet_periods_change_nothing() {
    let (mut provider, mut adaptive) = (Provider::new(100, Full::Queues, 0.2), starting_at(20));
    provider.run(&mut adaptive, 2000, MINUTE * 10);
    // The last calls end, and with them a probe, if one was running; then a few at a time go on for an hour.
    provider.run(&mut adaptive, 0, MINUTE);
    provider.run(&mut adaptive, 5, MINUTE);
    let settled = adaptive.limit();
    assert!((100..=200).contains(&settled), "{settled}");
    provider.run(&mut adaptive, 5, MINUTE * 60);
    assert_eq!(adaptive.limit(), settled);
    provider.run(&mut adaptive, 0, MINUTE * 60 * 24);
    assert_eq!(adaptive.limit(), settled);
    // What comes after the pause goes on from there.
    let (low, _, high) = provider.run(&mut adaptive, 2000, MINUTE * 2);
    assert!(low >= 50 && high <= 200, "{low} {high}");
}

#[derive(Clone, Debug)]
struct Report {
    first_byte: Option<Duration>,
    throttled: bool,
    in_flight: usize,
    /// The clock goes on, or back, by this many milliseconds.
    step: i64,
}

fn reports() -> impl Strategy<Value = Vec<Report>> {
    let first_byte = prop_oneof![
        8 => (0_u64..5000).prop_map(|ms| Some(Duration::from_millis(ms))),
        1 => Just(Some(Duration::ZERO)),
        1 => Just(Some(Duration::MAX)),
        2 => Just(None),
    ];
    let in_flight = prop_oneof![8 => 0_usize..2000, 1 => Just(usize::MAX)];
    let step = prop_oneof![6 => 0_i64..500, 1 => Just(0), 1 => -5000_i64..0, 1 => Just(86_400_000)];
    let report = (first_byte, prop::bool::weighted(0.05), in_flight, step).prop_map(
        |(first_byte, throttled, in_flight, step)| Report { first_byte, throttled, in_flight, step },
    );
    prop::collection::vec(report, 0..600)
}

fn step(now: Instant, ms: i64) -> Instant {
    let by = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { now.checked_sub(by).unwrap_or(now) } else { now + by }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn the_limit_is_never_below_its_least_or_above_its_most(
        initial in 0_usize..2000, min in 0_usize..50, max in 0_usize..2000, reports in reports(),
    ) {
        let mut adaptive = Adaptive::new(AdaptivePolicy { initial, min, max });
        let (least, mut now) = (min.max(1), Instant::now());
        let most = max.max(least);
        for Report { first_byte, throttled, in_flight, step: by } in reports {
            now = step(now, by);
            adaptive.report(first_byte, throttled, in_flight, now);
            prop_assert!((least..=most).contains(&adaptive.limit()), "{adaptive:?}");
            prop_assert!(!format!("{adaptive:?}").contains("NaN"), "{adaptive:?}");
        }
    }

    #[test]
    fn it_never_grows_with_less_than_half_of_it_in_use(initial in 3_usize..1000, reports in reports()) {
        let mut adaptive = Adaptive::new(AdaptivePolicy { initial, ..AdaptivePolicy::default() });
        let mut now = Instant::now();
        for Report { first_byte, throttled, step: by, .. } in reports {
            now = step(now, by);
            let before = adaptive.limit();
            adaptive.report(first_byte, throttled, before.div_ceil(2) - 1, now);
            prop_assert!(adaptive.limit() <= before);
        }
    }

    #[test]
    fn after_any_history_a_provider_that_answers_well_is_used_again(reports in reports()) {
        let (mut adaptive, mut now) = (starting_at(20), Instant::now());
        for Report { first_byte, throttled, in_flight, step: by } in reports {
            let first_byte = first_byte.map(|time| time.min(Duration::from_secs(60)));
            now = step(now, by.max(0));
            adaptive.report(first_byte, throttled, in_flight, now);
        }
        // What is still deaf or open from it ends.
        now += MINUTE * 2;
        for _ in 0..5_000 {
            now += Duration::from_millis(20);
            adaptive.report(Some(Duration::from_millis(200)), false, adaptive.limit(), now);
        }
        prop_assert!(adaptive.limit() >= 40, "{adaptive:?}");
    }
}
