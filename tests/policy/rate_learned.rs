//! Learned limits against a model of a provider, in virtual time: an integer token bucket that says what is left in whole
//! calls and milliseconds, answers after random times, and is in a variant used by others too.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use trunkline::policy::learn::learned;
use trunkline::policy::rate::{Cost, RateLimiter, RateLimits, Reservation};

/// Levels in thousandths of a call, times in milliseconds.
struct Server {
    burst: u64,
    per_second: u64,
    level: u64,
    at: u64,
}

impl Server {
    fn fill(&mut self, now: u64) {
        self.level = (self.level + (now - self.at) * self.per_second).min(self.burst * 1000);
        self.at = now;
    }

    fn admit(&mut self, now: u64) -> bool {
        self.fill(now);
        let is_in = self.level >= 1000;
        self.level -= if is_in { 1000 } else { 0 };
        is_in
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut say = |name: &'static str, value: String| {
            headers.insert(name, HeaderValue::try_from(value).unwrap());
        };
        say("x-ratelimit-limit-requests", self.burst.to_string());
        say("x-ratelimit-remaining-requests", (self.level / 1000).to_string());
        let ms = (self.burst * 1000 - self.level) / self.per_second;
        let seconds = format!("{}.{:03}s", ms / 1000, ms % 1000);
        say("x-ratelimit-reset-requests", if ms < 1000 { format!("{ms}ms") } else { seconds });
        headers
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake,
    Other,
    Arrives(usize),
    Answered(usize),
}

struct Run {
    admitted: u64,
    refused: u64,
    /// Of what the server would have let in of ours.
    share: f64,
}

/// One call, and after its answer `calls` at once; each that is refused comes back.
fn run(
    burst: u64,
    per_second: u64,
    others: u64,
    calls: u64,
    latency: std::ops::Range<u64>,
    seed: u64,
) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let origin = Instant::now();
    let instant = |ms: u64| origin + Duration::from_millis(ms);
    let mut limiter = RateLimiter::new(&RateLimits::default(), origin);
    let mut server = Server { burst, per_second, level: burst * 1000, at: 0 };
    let cost = Cost { requests: 1.0, tokens: 100 };
    let mut events = BinaryHeap::new();
    let mut sent: Vec<(Reservation, HeaderMap, bool)> = Vec::new();
    let mut wakes = HashSet::new();
    let (mut waiting, mut is_begun) = (1, false);
    let (mut admitted, mut refused, mut began, mut ended) = (0, 0, 0, 0);
    events.push(Reverse((0, Event::Wake)));
    if others > 0 {
        events.push(Reverse((0, Event::Other)));
    }
    while let Some(Reverse((now, event))) = events.pop() {
        match event {
            Event::Wake => {}
            Event::Other if admitted > calls => continue,
            Event::Other => {
                server.admit(now);
                events.push(Reverse((now + random.u64(1..2000 / others), Event::Other)));
            }
            Event::Arrives(call) => {
                sent[call].2 = server.admit(now);
                sent[call].1 = server.headers();
                events.push(Reverse((now + random.u64(latency.clone()), Event::Answered(call))));
                admitted += u64::from(sent[call].2);
                refused += u64::from(!sent[call].2);
                ended = now;
            }
            Event::Answered(call) => {
                let (reservation, headers, is_in) = &mut sent[call];
                let learned = learned(headers, || SystemTime::UNIX_EPOCH).unwrap();
                limiter.learn(&learned, Some(reservation), instant(now));
                limiter.settle(*reservation, None, instant(now));
                waiting += u64::from(!*is_in);
                if !is_begun {
                    (is_begun, waiting, began) = (true, calls, now);
                }
            }
        }
        while waiting > 0 {
            let ready = limiter.ready_at(cost, instant(now));
            if ready > instant(now) {
                let wait = u64::try_from((ready - instant(now)).as_nanos().div_ceil(1_000_000)).unwrap();
                assert!(wait <= 60_000);
                if wakes.insert(now + wait) {
                    events.push(Reverse((now + wait, Event::Wake)));
                }
                break;
            }
            waiting -= 1;
            sent.push((limiter.take(cost, instant(now)), HeaderMap::new(), false));
            events.push(Reverse((now + random.u64(latency.clone()), Event::Arrives(sent.len() - 1))));
        }
    }
    let seconds = (ended - began) as f64 / 1000.0;
    let allowed = burst as f64 + seconds * (per_second - others) as f64;
    Run { admitted, refused, share: (admitted - 1) as f64 / allowed }
}

/// At most 1 % refused, and at least 95 % of what the server would have let in, by each of twenty seeds.
fn check(burst: u64, per_second: u64, others: u64, calls: u64, latency: std::ops::Range<u64>) {
    for seed in 0..20 {
        let run = run(burst, per_second, others, calls, latency.clone(), seed);
        assert_eq!(run.admitted, calls + 1);
        assert!(run.refused * 100 <= calls, "refused {} of {calls} by seed {seed}", run.refused);
        assert!(run.share >= 0.95, "{} of what is allowed by seed {seed}", run.share);
    }
}

#[test]
fn after_one_answer_a_burst_of_1000_calls_keeps_to_the_servers_rate() {
    check(50, 50, 0, 1000, 20..200);
}

#[test]
fn another_client_on_the_same_limit_is_made_room_for() {
    check(50, 50, 10, 1000, 20..200);
}

#[test]
fn small_and_large_limits_are_kept_to_as_well() {
    check(10, 5, 0, 1000, 20..200);
    check(500, 500, 0, 10_000, 20..200);
    check(500, 8, 0, 1000, 20..200);
}

#[test]
fn limits_whose_first_resets_are_below_a_millisecond_are_kept_to_as_well() {
    check(100, 2000, 0, 3200, 1..20);
    check(2000, 2000, 0, 10_000, 1..20);
    check(50, 5000, 0, 10_000, 1..20);
}
