//! The rate limits' invariants, whatever is asked in whatever order.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tokio::time::Instant;
use trunkline::policy::learn::learned;
use trunkline::policy::rate::{Cost, RateLimiter, RateLimits, Reservation, Reservoir};

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Send(f64, u64),
    GiveBack(usize),
    Settle(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..2000).prop_map(Step::Pass),
        6 => (prop_oneof![Just(1.0), Just(2.0)], 0_u64..400).prop_map(|(weight, tokens)| Step::Send(weight, tokens)),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::GiveBack(index.index(64))),
        2 => (any::<prop::sample::Index>(), 0_u64..400).prop_map(|(index, used)| Step::Settle(index.index(64), used)),
    ];
    prop::collection::vec(step, 0..150)
}

struct Sent {
    at: Duration,
    requests: f64,
    tokens: f64,
}

/// What was sent in the end, with what it used; and the limiter.
fn play(limits: &RateLimits, steps: &[Step]) -> Vec<Sent> {
    let start = Instant::now();
    let mut now = start;
    let mut limiter = RateLimiter::new(limits, now);
    let mut open: Vec<(Reservation, Sent)> = Vec::new();
    let mut sent = Vec::new();
    for step in steps {
        match *step {
            Step::Pass(ms) => now += Duration::from_millis(ms),
            Step::Send(requests, tokens) => {
                let cost = Cost { requests, tokens };
                let ready = limiter.ready_at(cost, now);
                assert!(ready >= now && limiter.ready_at(cost, ready) == ready, "who waited is let in");
                let middle = now + (ready - now) / 2;
                assert_eq!(
                    limiter.ready_at(cost, middle),
                    ready,
                    "the answer does not change with time alone"
                );
                let more = Cost { requests: requests + 1.0, tokens: tokens + 50 };
                assert!(limiter.ready_at(more, now) >= ready, "more is never ready earlier");
                now = ready;
                let one = Sent { at: now - start, requests, tokens: tokens as f64 };
                open.push((limiter.take(cost, now), one));
            }
            Step::GiveBack(index) if !open.is_empty() => {
                let (reservation, _) = open.swap_remove(index % open.len());
                limiter.give_back(reservation, now);
            }
            Step::Settle(index, used) if !open.is_empty() => {
                let (reservation, one) = open.swap_remove(index % open.len());
                let used = used.min(one.tokens as u64);
                limiter.settle(reservation, Some(used), now);
                sent.push(Sent { tokens: used as f64, ..one });
            }
            Step::GiveBack(_) | Step::Settle(..) => {}
        }
    }
    sent.extend(open.into_iter().map(|(_, one)| one));
    sent.sort_by_key(|one| one.at);
    sent
}

/// No window of what was sent holds more than `most` allows for its length and the largest single cost.
fn check(
    sent: &[Sent],
    of: impl Fn(&Sent) -> f64,
    most: impl Fn(f64, f64) -> f64,
) -> Result<(), TestCaseError> {
    for (first, from) in sent.iter().enumerate() {
        let (mut sum, mut largest) = (0.0, 0.0_f64);
        for to in &sent[first..] {
            sum += of(to);
            largest = largest.max(of(to));
            let window = (to.at - from.at).as_secs_f64();
            let most = most(window, largest);
            prop_assert!(sum <= most + 1e-6, "{sum} in {window} s, where {most} may go");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_sees_more_calls_than_burst_and_rate(steps in steps(), rate in 0.5_f64..20.0, burst in 1.0_f64..10.0) {
        let limits = RateLimits { requests_per_second: Some(rate), burst: Some(burst), ..RateLimits::default() };
        check(&play(&limits, &steps), |one| one.requests, |window, most| burst.max(most) + rate * window)?;
    }

    #[test]
    fn no_window_sees_more_tokens_than_the_rate(steps in steps(), rate in 500.0_f64..50_000.0) {
        let limits = RateLimits { tokens_per_minute: Some(rate), ..RateLimits::default() };
        // A cost above the capacity may leave a debt of what was estimated, at most 400.
        let most = |window: f64, _| (rate / 60.0).max(400.0) + rate / 60.0 * window;
        check(&play(&limits, &steps), |one| one.tokens, most)?;
    }

    #[test]
    fn no_window_sees_more_than_two_reservoirs_or_a_smaller_gap(steps in steps(), amount in 2_u64..9) {
        let interval = Duration::from_millis(700);
        let reservoir = Some(Reservoir { amount, interval });
        let limits =
            RateLimits { reservoir, min_interval: Some(Duration::from_millis(30)), ..RateLimits::default() };
        let sent = play(&limits, &steps);
        let most = |window: f64, _| amount as f64 * ((window / 0.7).floor() + 2.0);
        check(&sent, |one| one.requests, most)?;
        for pair in sent.windows(2) {
            prop_assert!(pair[1].at - pair[0].at >= Duration::from_millis(30));
        }
    }

    #[test]
    fn what_was_taken_and_given_back_leaves_no_trace(
        gaps in prop::collection::vec(0_u64..300, 0..12), unsent in 1_usize..8, rate in 1.0_f64..20.0,
    ) {
        let start = Instant::now();
        let limits = RateLimits {
            requests_per_second: Some(rate), requests_per_minute: Some(rate * 30.0), tokens_per_minute: Some(6000.0),
            ..RateLimits::default()
        };
        let cost = Cost { requests: 1.0, tokens: 70 };
        let (mut with, mut without) = (RateLimiter::new(&limits, start), RateLimiter::new(&limits, start));
        let mut now = start;
        let taken: Vec<_> = (0..unsent).map(|_| with.take(cost, now)).collect();
        for gap in gaps {
            now += Duration::from_millis(gap);
            let _ = (with.take(cost, now), without.take(cost, now));
        }
        taken.into_iter().rev().for_each(|taken| with.give_back(taken, now));
        let (with, without) = (with.ready_at(cost, now), without.ready_at(cost, now));
        let apart = with.max(without) - with.min(without);
        prop_assert!(apart < Duration::from_micros(1), "{apart:?}");
    }

    #[test]
    fn no_header_and_no_clock_panics_or_makes_a_call_wait_above_a_minute(
        answers in prop::collection::vec((
            prop::array::uniform6(prop_oneof![
                "[0-9]{1,6}", "-?[0-9]{1,20}(\\.[0-9]+)?", "[0-9.]{1,4}(ms|s|m|h)([0-9]{1,2}s)?", "[ -~]{0,12}",
                "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|\\+01:00)",
                Just("NaN".to_owned()), Just("0".to_owned()), Just("1e308".to_owned()),
            ]),
            0_u64..100_000, any::<bool>(), any::<bool>(), any::<u64>(), any::<u64>(),
        ), 1..25),
    ) {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut limiter = RateLimiter::new(&RateLimits::default(), start);
        let minute = Duration::from_secs(60);
        for (values, ms, is_openai, is_back, tokens, used) in answers {
            let mut now = start + Duration::from_millis(ms);
            let names = ["limit", "remaining", "reset"].into_iter().flat_map(|field| {
                ["requests", "tokens"].map(|kind| match is_openai {
                    true => format!("x-ratelimit-{field}-{kind}"),
                    false => format!("anthropic-ratelimit-{kind}-{field}"),
                })
            });
            let mut headers = HeaderMap::new();
            for (name, value) in names.zip(values) {
                let name = HeaderName::try_from(name).expect("a name");
                headers.insert(name, HeaderValue::try_from(value).expect("printable"));
            }
            let cost = Cost { requests: f64::from_bits(tokens), tokens };
            let mut reservation = limiter.take(cost, now);
            if let Some(learned) = learned(&headers, || SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)) {
                limiter.learn(&learned, Some(&mut reservation), now);
            }
            if is_back {
                now -= Duration::from_millis(ms % 1000);
                limiter.throttled(now);
                limiter.pause_until(now + Duration::from_millis(used % 1_000_000), now);
                limiter.give_back(reservation, now);
            } else {
                limiter.settle(reservation, Some(used), now);
            }
            // Clocks may go back: the wait counts from the latest time that was seen.
            let latest = start + Duration::from_millis(100_000);
            prop_assert!(limiter.ready_at(cost, latest) <= latest + minute);
        }
    }
}
