//! When a second attempt races the first, and how many may.
//!
//! Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013: a second request that is sent once the first has waited for
//! longer than the 95th percentile takes away most of the tail for about 5 % more load. When everything is slow,
//! everything would be sent twice: so hedges are paid from a budget that calls fill, as gRPC throttles its retries and
//! hedges (gRFC A6, "Throttling Retry Attempts and Hedged RPCs").

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The settings of hedging, which is off by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgePolicy {
    pub delay: HedgeDelay,
    /// Further attempts of one call. Default 1.
    pub max_hedges: u32,
    /// Hedges as a share of calls, from 0 to 1. Default 0.05.
    pub budget: f64,
}

/// How long an attempt may be without the first byte of its answer before another is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeDelay {
    Fixed(Duration),
    /// As long as 95 of 100 answers took lately.
    P95,
}

impl HedgePolicy {
    /// With the defaults of all but the delay.
    pub fn after(delay: HedgeDelay) -> Self {
        Self { delay, max_hedges: 1, budget: 0.05 }
    }
}

/// What hedging knows of one provider.
#[derive(Debug)]
pub struct Hedger {
    policy: HedgePolicy,
    /// In [`TOKEN`]ths of a hedge.
    tokens: AtomicU64,
    /// What a call puts in, in the same.
    deposit: u64,
    times: Option<Mutex<HashMap<Kind, Times>>>,
}

/// Calls whose answers take alike: a small model is not slow because a large one is, and a stream speaks before it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub model: Arc<str>,
    pub is_stream: bool,
}

/// Kinds whose times are kept, at 26 KB each. Of more, those that nothing was heard of for a minute are forgotten; if there is none
/// such, calls of a further kind are not hedged by percentile.
pub const MAX_KINDS: usize = 100;

/// First-byte times of the last 30 to 60 seconds, in microseconds.
#[derive(Debug)]
struct Times {
    /// Those of `current`, and of the span before it.
    recent: Histogram<u32>,
    current: Histogram<u32>,
    since: Instant,
    p95: Option<Duration>,
    /// Recorded since `p95` was worked out.
    news: u32,
}

/// Fewer answers say nothing about a percentile.
const FEWEST: u64 = 20;
const SPAN: Duration = Duration::from_secs(30);
/// Working the percentile out takes microseconds: it is done once for so many answers.
const NEWS: u32 = 32;
const TOKEN: u64 = 1_000_000_000;
/// Hedges that may be saved up.
const BURST: u64 = 10 * TOKEN;
const HOUR_IN_MICROS: u64 = 3_600_000_000;

impl Hedger {
    pub fn new(policy: HedgePolicy) -> Self {
        // Of NaN, this makes 0.
        let deposit = (policy.budget.clamp(0.0, 1.0) * TOKEN as f64).round() as u64;
        let times = (policy.delay == HedgeDelay::P95).then(Mutex::default);
        Self { policy, tokens: AtomicU64::new(0), deposit, times }
    }

    pub fn max_hedges(&self) -> u32 {
        self.policy.max_hedges
    }

    /// How long to wait before the next attempt is sent; `None` until 20 answers of the last 30 to 60 seconds are known.
    ///
    /// To be asked once for each call: with it, time goes on for what [`observe`](Self::observe) is told.
    pub fn delay(&self, kind: &Kind, now: Instant) -> Option<Duration> {
        match (self.policy.delay, &self.times) {
            (HedgeDelay::Fixed(delay), _) => Some(delay),
            (HedgeDelay::P95, Some(times)) => {
                let mut times = times.lock();
                match times.get_mut(kind) {
                    Some(times) => times.p95(now),
                    None => {
                        if times.len() >= MAX_KINDS {
                            times.retain(|_, times| !times.are_old(now));
                        }
                        if times.len() < MAX_KINDS {
                            times.insert(kind.clone(), Times::new(now));
                        }
                        None
                    }
                }
            }
            (HedgeDelay::P95, None) => None,
        }
    }

    /// An attempt got the first byte of its answer, after this long. The loser of a race tells how long it had waited
    /// when it was given up: without the slow ones the percentile would sink, and more would be hedged.
    pub fn observe(&self, kind: &Kind, first_byte: Duration) {
        if let Some(times) = &self.times
            && let Some(times) = times.lock().get_mut(kind)
        {
            times.record(first_byte);
        }
    }

    /// A call begins, and pays its share into the budget, which begins empty: hedges are never more than that share of
    /// all calls, and of any run of calls never more than 10 above it.
    pub fn call(&self) {
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
            (tokens < BURST).then(|| tokens.saturating_add(self.deposit).min(BURST))
        });
    }

    /// Whether one more attempt may be sent now. It is paid for if so.
    #[must_use]
    pub fn try_hedge(&self) -> bool {
        let withdraw = |tokens: u64| tokens.checked_sub(TOKEN);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, withdraw).is_ok()
    }
}

impl Times {
    fn new(now: Instant) -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram accepts")]
        let histogram = || Histogram::new_with_max(HOUR_IN_MICROS, 2).expect("constant bounds");
        Self { recent: histogram(), current: histogram(), since: now, p95: None, news: 0 }
    }

    fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.recent.saturating_record(micros);
        self.current.saturating_record(micros);
        self.news = self.news.saturating_add(1);
    }

    /// Whether what is known is of no use any more.
    fn are_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SPAN * 2
    }

    fn p95(&mut self, now: Instant) -> Option<Duration> {
        let old = now.saturating_duration_since(self.since);
        if old >= SPAN {
            self.recent.reset();
            if old < SPAN * 2 {
                // Both have the same bounds, so this cannot fail.
                let _ = self.recent.add(&self.current);
            }
            self.current.reset();
            self.since = now;
            self.news = NEWS;
        }
        if self.recent.len() < FEWEST {
            self.p95 = None;
        } else if self.p95.is_none() || self.news >= NEWS {
            self.p95 = Some(Duration::from_micros(self.recent.value_at_quantile(0.95)));
            self.news = 0;
        }
        self.p95
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of(model: &str) -> Kind {
        Kind { model: model.into(), is_stream: false }
    }

    /// A hedger that knows of `m`.
    fn p95(now: Instant) -> (Hedger, Kind) {
        let (hedger, kind) = (Hedger::new(HedgePolicy::after(HedgeDelay::P95)), of("m"));
        assert_eq!(hedger.delay(&kind, now), None);
        (hedger, kind)
    }

    #[test]
    fn a_fixed_delay_is_what_was_said() {
        let hedger = Hedger::new(HedgePolicy::after(HedgeDelay::Fixed(70 * MS)));
        hedger.observe(&of("m"), MS);
        assert_eq!(hedger.delay(&of("m"), Instant::now()), Some(70 * MS));
    }

    #[test]
    fn the_percentile_is_unknown_before_twenty_answers() {
        let now = Instant::now();
        let (hedger, kind) = p95(now);
        for n in 1..=20 {
            assert_eq!(hedger.delay(&kind, now), None);
            hedger.observe(&kind, n * 10 * MS);
        }
        let delay = hedger.delay(&kind, now).unwrap();
        assert!(delay >= 190 * MS && delay < 192 * MS, "{delay:?}");
    }

    #[test]
    fn a_model_and_a_stream_have_percentiles_of_their_own() {
        let now = Instant::now();
        let (hedger, kind) = p95(now);
        let stream = Kind { is_stream: true, ..kind.clone() };
        (0..100).for_each(|_| hedger.observe(&kind, MS));
        for other in [of("other"), stream] {
            assert_eq!(hedger.delay(&other, now), None);
            (0..100).for_each(|_| hedger.observe(&other, 50 * MS));
            assert!(hedger.delay(&other, now).unwrap() >= 50 * MS);
        }
        assert!(hedger.delay(&kind, now).unwrap() < 2 * MS);
    }

    #[test]
    fn kinds_without_end_are_not_kept_and_old_ones_make_room() {
        let start = Instant::now();
        let (hedger, _) = p95(start);
        let learns = |name: &str, now| {
            hedger.delay(&of(name), now);
            (0..20).for_each(|_| hedger.observe(&of(name), MS));
            hedger.delay(&of(name), now).is_some()
        };
        assert_eq!((0..500).filter(|n| learns(&n.to_string(), start)).count(), MAX_KINDS - 1);
        assert!(learns("late", start + Duration::from_secs(61)));
    }

    #[test]
    fn the_percentile_forgets_what_is_older_than_a_minute() {
        let start = Instant::now();
        let (hedger, kind) = p95(start);
        let at = |second| hedger.delay(&kind, start + Duration::from_secs(second));
        let observe = |time| (0..100).for_each(|_| hedger.observe(&kind, time));
        observe(1000 * MS);
        assert!(at(29).unwrap() >= 1000 * MS);
        // The span before still counts …
        assert!(at(31).unwrap() >= 1000 * MS);
        observe(10 * MS);
        assert!(at(32).unwrap() >= 1000 * MS);
        // … and then no more.
        assert!(at(61).unwrap() < 11 * MS);
        assert_eq!(at(92), None);
    }

    #[test]
    fn what_was_known_before_a_long_pause_is_forgotten() {
        let start = Instant::now();
        let (hedger, kind) = p95(start);
        (0..100).for_each(|_| hedger.observe(&kind, MS));
        assert!(hedger.delay(&kind, start).is_some());
        assert_eq!(hedger.delay(&kind, start + Duration::from_secs(60)), None);
        // A clock that goes back harms nothing.
        assert_eq!(hedger.delay(&kind, start), None);
    }

    #[test]
    fn twenty_calls_pay_for_one_hedge() {
        let hedger = Hedger::new(HedgePolicy::after(HedgeDelay::P95));
        for _ in 0..3 {
            (0..19).for_each(|_| hedger.call());
            assert!(!hedger.try_hedge());
            hedger.call();
            assert!(hedger.try_hedge());
        }
    }

    #[test]
    fn no_more_than_ten_hedges_are_saved_up() {
        let hedger = Hedger::new(HedgePolicy::after(HedgeDelay::P95));
        (0..100_000).for_each(|_| hedger.call());
        assert_eq!((0..100).filter(|_| hedger.try_hedge()).count(), 10);
    }

    #[test]
    fn a_budget_that_is_no_number_pays_for_nothing() {
        for budget in [f64::NAN, -1.0, 0.0] {
            let hedger = Hedger::new(HedgePolicy { budget, ..HedgePolicy::after(HedgeDelay::P95) });
            (0..1000).for_each(|_| hedger.call());
            assert!(!hedger.try_hedge(), "{budget}");
        }
    }
}
