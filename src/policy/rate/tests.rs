use super::*;
use crate::policy::learn::Reset;

const CALL: Cost = Cost { requests: 1.0, tokens: 100 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sample(limit: f64, remaining: f64, after: Duration) -> Learned {
    let reset = Some(Reset { after, grain: ms(1) });
    Learned { requests: Some(Sample { limit, remaining, reset }), tokens: None }
}

/// Sends as soon as may be, and says when each went, in milliseconds.
fn starts(limiter: &mut RateLimiter, cost: Cost, calls: usize, start: Instant) -> Vec<u128> {
    let mut now = start;
    let mut times = Vec::new();
    for _ in 0..calls {
        now = limiter.ready_at(cost, now);
        let _ = limiter.take(cost, now);
        times.push((now - start).as_millis());
    }
    times
}

#[test]
fn nothing_set_limits_nothing() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    assert!(limiter.is_unlimited());
    assert_eq!(starts(&mut limiter, CALL, 1000, now), [0; 1000]);
}

#[test]
fn a_rate_lets_a_burst_through_and_then_keeps_its_pace() {
    let now = Instant::now();
    let limits = RateLimits { requests_per_second: Some(2.0), ..RateLimits::default() };
    assert_eq!(starts(&mut RateLimiter::new(&limits, now), CALL, 5, now), [0, 0, 500, 1000, 1500]);
    let limits = RateLimits { burst: Some(1.0), ..limits };
    assert_eq!(starts(&mut RateLimiter::new(&limits, now), CALL, 3, now), [0, 500, 1000]);
}

#[test]
fn a_minute_never_sees_more_than_its_limit() {
    let now = Instant::now();
    for rate in [3.0, 60.0, 6000.0, 60_000.0] {
        let limits = RateLimits { requests_per_minute: Some(rate), ..RateLimits::default() };
        let times = starts(&mut RateLimiter::new(&limits, now), CALL, rate as usize * 2, now);
        let first = times.iter().filter(|at| **at < 60_000).count();
        assert!(first as f64 <= rate && first as f64 >= rate * 0.99 - 1.0, "{first} of {rate}");
    }
    let limits = RateLimits { tokens_per_minute: Some(6000.0), ..RateLimits::default() };
    let times = starts(&mut RateLimiter::new(&limits, now), Cost { tokens: 50, ..CALL }, 200, now);
    let first = times.iter().filter(|at| **at < 60_000).count();
    assert!((118..=120).contains(&first), "{first}");
}

#[test]
fn a_reservoir_is_filled_up_at_its_interval_and_a_gap_is_kept() {
    let now = Instant::now();
    let reservoir = Some(Reservoir { amount: 2, interval: ms(1000) });
    let limits = RateLimits { reservoir, ..RateLimits::default() };
    assert_eq!(starts(&mut RateLimiter::new(&limits, now), CALL, 5, now), [0, 0, 1000, 1000, 2000]);
    let limits = RateLimits { min_interval: Some(ms(30)), ..RateLimits::default() };
    let mut limiter = RateLimiter::new(&limits, now);
    let first = limiter.take(CALL, now);
    let second = limiter.take(CALL, now + ms(30));
    limiter.give_back(second, now + ms(31));
    assert_eq!(limiter.ready_at(CALL, now + ms(31)), now + ms(31));
    limiter.give_back(first, now + ms(31));
    assert_eq!(limiter.ready_at(CALL, now), now);
}

#[test]
fn a_cost_above_the_capacity_goes_when_it_is_full_and_is_paid_for_after() {
    let now = Instant::now();
    let limits = RateLimits { requests_per_second: Some(2.0), ..RateLimits::default() };
    let heavy = Cost { requests: 6.0, ..CALL };
    assert_eq!(starts(&mut RateLimiter::new(&limits, now), heavy, 3, now), [0, 3000, 6000]);
    let reservoir = Some(Reservoir { amount: 2, interval: ms(1000) });
    let limits = RateLimits { reservoir, ..RateLimits::default() };
    assert_eq!(starts(&mut RateLimiter::new(&limits, now), heavy, 3, now), [0, 3000, 6000]);
    let limits = RateLimits { tokens_per_minute: Some(600.0), ..RateLimits::default() };
    let mut limiter = RateLimiter::new(&limits, now);
    let _ = limiter.take(Cost { tokens: u64::MAX, ..CALL }, now);
    assert!(limiter.ready_at(CALL, now) <= now + Duration::from_secs(62));
}

#[test]
fn what_was_given_back_late_does_not_make_a_second_burst() {
    let now = Instant::now();
    let limits = RateLimits { requests_per_second: Some(10.0), ..RateLimits::default() };
    let mut limiter = RateLimiter::new(&limits, now);
    let unsent: Vec<_> = (0..10).map(|_| limiter.take(CALL, now)).collect();
    let later = now + ms(1000);
    assert_eq!(starts(&mut limiter, CALL, 10, later), [0; 10]);
    unsent.into_iter().for_each(|unsent| limiter.give_back(unsent, later));
    assert_eq!((limiter.ready_at(CALL, later) - later).as_millis(), 100);
}

#[test]
fn tokens_are_settled_as_if_the_usage_had_been_known() {
    let now = Instant::now();
    let limits = RateLimits { tokens_per_minute: Some(61_016.95), ..RateLimits::default() };
    let mut limiter = RateLimiter::new(&limits, now);
    let call = limiter.take(Cost { tokens: 2000, ..CALL }, now);
    let wait = |limiter: &RateLimiter, now| {
        (limiter.ready_at(Cost { tokens: 1000, ..CALL }, now) - now).as_secs_f64()
    };
    assert!((wait(&limiter, now) - 1.983).abs() < 0.01);
    limiter.settle(call, Some(1000), now + ms(500));
    assert!((wait(&limiter, now + ms(500)) - 0.483).abs() < 0.01, "{}", wait(&limiter, now + ms(500)));
    let call = limiter.take(Cost { tokens: 500, ..CALL }, now + ms(500));
    let before = wait(&limiter, now + ms(500));
    limiter.settle(call, Some(1500), now + ms(500));
    assert!((wait(&limiter, now + ms(500)) - before - 1.0).abs() < 0.01);
}

#[test]
fn a_learned_limit_holds_for_a_minute_and_then_until_its_next_answer_is_late() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    limiter.learn(&sample(10.0, 0.0, Duration::from_secs(80_000)), None, now);
    assert!(!limiter.is_unlimited());
    assert_eq!(limiter.ready_at(CALL, now), now + LONGEST_PAUSE);
    let then = now + LONGEST_PAUSE;
    let _ = limiter.take(CALL, then);
    let next = limiter.ready_at(CALL, then);
    assert_eq!(next, then + Duration::from_secs(10));
    let _ = limiter.take(CALL, next);
    assert!(limiter.is_unlimited());
}

#[test]
fn a_pause_is_kept_is_never_shortened_and_ends_after_a_minute_at_most() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    limiter.pause_until(now + ms(500), now);
    limiter.pause_until(now + ms(100), now);
    assert_eq!(limiter.ready_at(CALL, now), now + ms(500));
    limiter.pause_until(now + Duration::from_secs(31_536_000), now);
    assert_eq!(limiter.ready_at(CALL, now), now + LONGEST_PAUSE);
    let _ = limiter.take(CALL, now + LONGEST_PAUSE);
    assert!(limiter.is_unlimited());
}

#[test]
fn a_refusal_that_says_nothing_empties_what_was_learned() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    limiter.throttled(now);
    assert!(limiter.is_unlimited());
    limiter.learn(&sample(50.0, 40.0, ms(200)), None, now);
    assert_eq!(limiter.ready_at(CALL, now), now);
    limiter.throttled(now);
    assert_eq!((limiter.ready_at(CALL, now) - now).as_millis(), 20);
}

#[test]
fn who_does_not_want_to_learn_does_not() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits { learn: false, ..RateLimits::default() }, now);
    limiter.learn(&sample(50.0, 0.0, ms(1000)), None, now);
    limiter.pause_until(now + ms(500), now);
    assert!(limiter.is_unlimited());
}

#[test]
fn what_is_left_is_told_by_the_tightest_limit_and_until_all_is_there_again() {
    let now = Instant::now();
    let none = RateLimiter::new(&RateLimits::default(), now);
    assert_eq!(none.left(now), Left::default());
    let limits = RateLimits {
        requests_per_second: Some(10.0),
        reservoir: Some(Reservoir { amount: 8, interval: ms(5000) }),
        tokens_per_minute: Some(60_000.0),
        ..RateLimits::default()
    };
    let mut limiter = RateLimiter::new(&limits, now);
    assert_eq!(limiter.left(now), Left { requests: Some(8), tokens: Some(1000), full_at: None });
    starts(&mut limiter, CALL, 3, now);
    let full_at = Some(now + ms(5000));
    assert_eq!(limiter.left(now), Left { requests: Some(5), tokens: Some(700), full_at });
    assert_eq!(limiter.left(now + ms(4000)), Left { requests: Some(5), tokens: Some(1000), full_at });
    let later = now + ms(5000);
    assert_eq!(limiter.left(later), Left { requests: Some(8), tokens: Some(1000), full_at: None });

    let limits = RateLimits { min_interval: Some(ms(50)), ..RateLimits::default() };
    let mut limiter = RateLimiter::new(&limits, now);
    assert_eq!(limiter.left(now).requests, Some(1));
    starts(&mut limiter, CALL, 1, now);
    assert_eq!(limiter.left(now), Left { requests: Some(0), tokens: None, full_at: Some(now + ms(50)) });
}

#[test]
fn what_is_left_of_a_learned_limit_is_what_the_answer_said_less_what_was_sent_since() {
    let now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    limiter.learn(&sample(50.0, 40.0, ms(10_000)), None, now);
    let left = limiter.left(now);
    assert_eq!((left.requests, left.tokens), (Some(40), None));
    assert!(left.full_at.is_some_and(|at| at >= now + ms(9900) && at <= now + ms(10_300)), "{left:?}");
    starts(&mut limiter, CALL, 3, now);
    assert_eq!(limiter.left(now).requests, Some(37));
    limiter.pause_until(now + ms(20_000), now);
    assert_eq!(limiter.left(now), Left { requests: Some(0), tokens: None, full_at: Some(now + ms(20_000)) });
    let later = now + ms(20_000);
    assert_eq!(limiter.left(later), Left { requests: Some(50), tokens: None, full_at: None });
    // What no answer has confirmed for a minute holds no more.
    assert_eq!(limiter.left(now + ms(60_000)), Left::default());
}

#[test]
fn a_reset_below_its_grain_says_how_low_the_rate_is_not_until_an_exact_one_comes() {
    let mut now = Instant::now();
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    let mut pace = |remaining: f64, reset: Duration, passed: Duration| {
        now += passed;
        limiter.learn(&sample(100.0, remaining, reset), None, now);
        limiter.throttled(now);
        (1.0 / (limiter.ready_at(CALL, now) - now).as_secs_f64() / 0.98).round()
    };
    assert_eq!(pace(99.0, ms(0), ms(0)), 1000.0);
    assert_eq!(pace(95.0, ms(0), ms(0)), 4000.0);
    assert_eq!(pace(98.0, ms(0), ms(0)), 4000.0);
    assert_eq!(pace(50.0, ms(20), ms(0)), 2500.0);
    assert_eq!(pace(90.0, ms(0), ms(0)), 2500.0);
    // What is exact is believed for ten seconds.
    assert_eq!(pace(90.0, ms(0), ms(10_000)), 9000.0);

    let whole = Reset { after: Duration::ZERO, grain: ms(1000) };
    let sample = Sample { limit: 100.0, remaining: 99.0, reset: Some(whole) };
    let mut limiter = RateLimiter::new(&RateLimits::default(), now);
    limiter.learn(&Learned { requests: Some(sample), tokens: None }, None, now);
    assert!(limiter.is_unlimited(), "no rate by whole seconds");
}
