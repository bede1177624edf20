//! How many calls may run at once, where nobody says it: found from the latency of answers and from refusals.
//!
//! The limit follows Gradient2 of Netflix's concurrency-limits (`Gradient2Limit.java`; Landau, Thurston, Bozarth,
//! "Performance Under Load", Netflix Technology Blog, 2018). Once for each round trip, with `short` the average
//! latency of that round trip, and `long` a slow exponential average of it:
//!
//! ```text
//! gradient = clamp(TOLERANCE × long ÷ short, 0.5, 1)
//! wanted   = gradient × limit + allowance     (√limit; at most a quarter of the limit, at least 1)
//! limit    = wanted, where that is more; else limit + SMOOTHING × (wanted − limit)
//! ```
//!
//! Some things are added or differ, since a provider shows its limit by latency or by refusals, and since Gradient2 alone takes a
//! queue that lasts for the normal state and then grows without end:
//!
//! - The queue allowance √limit and smoothing of the way down only are those of Netflix's older `GradientLimit`; a
//!   tolerance has Envoy's gradient controller too (`min_rtt_calc_params.buffer`).
//! - Every 50 round trips, sooner where it helped, the limit is halved for about two of them, and what is measured then
//!   becomes `long` (Envoy's `min_rtt` recalculation, ProbeRTT of BBR; Cardwell et al., ACM Queue 14(5), 2016). Where a
//!   queue stood, half of the calls see at most half of it, so each probe brings a limit that is too high closer.
//! - A refusal (429, 529) cuts the limit to 0.7 of itself, at most once for each round trip: the calls that were on their
//!   way were sent under the old limit (AIMD: Chiu and Jain, 1989; 0.7 is that of CUBIC, RFC 9438 §4.6).
//! - Near the limit that was last refused it grows by 2 % for each round trip, and at most by 1, instead of by the
//!   allowance (additive increase, RFC 5681 §3.1), so that few calls pay for finding out again.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

/// How many calls may run at once: the option `concurrency.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxConcurrency {
    Fixed(NonZeroUsize),
    /// As [`Adaptive`] finds it.
    Adaptive,
}

/// Where the limit begins, and between what it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptivePolicy {
    /// Calls before anything is known. Default 20, as in Gradient2.
    pub initial: usize,
    /// Never fewer. Default 1; 0 counts as 1.
    pub min: usize,
    /// Never more. Default 1000; what is below `min` counts as `min`.
    pub max: usize,
}

impl Default for AdaptivePolicy {
    fn default() -> Self {
        Self { initial: 20, min: 1, max: 1000 }
    }
}

/// The limit of one provider, or of one model.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// With its fractions; while a probe runs, what it returns to.
    limit: f64,
    min: f64,
    max: f64,
    window: Window,
    /// Seconds. The latency without a queue, as far as it is known.
    long: Option<f64>,
    /// Seconds. The latency of the last round trip.
    short: f64,
    /// Refusals before this time are of calls that were sent under a limit already cut.
    deaf_until: Option<Instant>,
    /// What the limit was when it was last refused.
    refused_at: Option<f64>,
    probe: Probe,
}

/// What was seen in the current round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// What comes before is of calls that were sent under another limit. `None`: the next report begins the window.
    opens: Option<Instant>,
    /// Seconds.
    sum: f64,
    answers: u32,
    most_in_flight: usize,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    running: bool,
    /// Round trips with the limit in use until the next one.
    due: u32,
    /// Seconds. The latency when it began.
    before: f64,
    /// The limit when the last one ended.
    limit: f64,
}

/// How much latency may rise before it counts as a queue. Twice this must stay well below 2 × 2: a probe at half of a limit
/// that is too high would not bring it down.
const TOLERANCE: f64 = 1.1;
/// The share of the way down that is gone in one round trip. Gradient2's default.
const SMOOTHING: f64 = 0.2;
/// What a refusal leaves of the limit.
const CUT: f64 = 0.7;
/// Round trips between two probes: at half the limit for two of them they cost 2 % of the throughput.
const PROBE_EVERY: u32 = 50;
/// The same at the beginning, and after a probe that made latency about half of what it was: all of that was a queue.
const PROBE_SOON: u32 = 10;
const ABOUT_HALF: f64 = 0.55;
/// What a round trip's latency weighs in `long`: so little that a queue between two probes is not taken for normal.
const WEIGHT: f64 = 0.003;
/// What is left of `long` after each round trip that took less than half of it. That of Gradient2.
const RELAX: f64 = 0.9;
/// Above the refused limit by so much, the refusal is forgotten.
const FORGET: f64 = 1.25;
/// A window closes with as many answers, or with as many as may run at once.
const ANSWERS: f64 = 10.0;
/// A window lasts for a round trip, and never less.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
/// Seconds; below this, a latency says nothing and would only be divided by.
const SHORTEST: f64 = 1e-6;

impl Adaptive {
    pub fn new(policy: AdaptivePolicy) -> Self {
        let min = policy.min.max(1);
        let max = policy.max.max(min);
        let limit = policy.initial.clamp(min, max) as f64;
        Self {
            limit,
            min: min as f64,
            max: max as f64,
            window: Window::default(),
            long: None,
            short: 0.0,
            deaf_until: None,
            refused_at: None,
            probe: Probe { running: false, due: PROBE_SOON, before: 0.0, limit },
        }
    }

    /// Calls that may run at once, from `min` to `max`.
    pub fn limit(&self) -> usize {
        self.current() as usize
    }

    /// An attempt got its answer, or failed.
    ///
    /// - `first_byte`: from the request's sending to the first byte of the answer's head, since the rest takes as long as
    ///   the answer is. `None` where there was no answer, which says nothing about the limit. So for whole answers too: most
    ///   providers send the head of these when they have all of it, and the time to it is all that there is to go by, lengths
    ///   of answers included, which a mean of ten or more evens out. Some send it at once, and blank lines until the rest is
    ///   there (DeepSeek, "Rate Limit"): their queue is behind the head, and of it only refusals tell. To wait for the bodies
    ///   of these would bring in how long answers are, which the prompts decide and not the load; a number serves better
    ///   there. So it does where streams, whose head is early, and whole answers are mixed: their shares move the mean.
    /// - `throttled`: the answer was 429 or 529, as one call too many (and not for want of credit). Its time is no latency: refusals
    ///   are quick.
    /// - `in_flight`: the calls that run, this one included.
    ///
    /// A sum for most reports, a few divisions once for each round trip. What is not in use does not change: the limit
    /// stays while fewer than half of it run, and while nothing runs.
    pub fn report(&mut self, first_byte: Option<Duration>, throttled: bool, in_flight: usize, now: Instant) {
        if throttled {
            return self.refused(first_byte, now);
        }
        let Some(latency) = first_byte else { return };
        let opens = *self.window.opens.get_or_insert(now);
        if now < opens {
            return;
        }
        self.window.sum += latency.as_secs_f64();
        self.window.answers = self.window.answers.saturating_add(1);
        self.window.most_in_flight = self.window.most_in_flight.max(in_flight);
        if f64::from(self.window.answers) < self.current().min(ANSWERS) {
            return;
        }
        let mean = (self.window.sum / f64::from(self.window.answers)).max(SHORTEST);
        if now.saturating_duration_since(opens) >= seconds(mean).max(SHORTEST_WINDOW) {
            let in_use = self.window.most_in_flight as f64 * 2.0 >= self.current();
            self.window = Window { opens: Some(now), ..Window::default() };
            self.short = mean;
            self.turn(in_use, now);
        }
    }

    /// The limit that holds now: whole, except for its fractions.
    fn current(&self) -> f64 {
        if self.probe.running { (self.limit / 2.0).max(self.min) } else { self.limit }
    }

    /// A round trip has passed.
    fn turn(&mut self, in_use: bool, now: Instant) {
        let short = self.short;
        if self.probe.running {
            // The queue that stood comes back first: what is measured meanwhile would look like room.
            self.short = short.max(self.probe.before);
            let mut due = PROBE_EVERY;
            if in_use {
                self.long = Some(short);
                if short < self.probe.before * ABOUT_HALF {
                    due = PROBE_SOON;
                }
            }
            self.probe = Probe { running: false, due, limit: self.limit, ..self.probe };
            self.open_after_round_trip(now);
            return;
        }
        let long = self.long.get_or_insert(short);
        *long += (short - *long) * WEIGHT;
        if *long > short * 2.0 {
            *long *= RELAX;
        }
        if !in_use {
            return;
        }
        let gradient = (TOLERANCE * *long / short).clamp(0.5, 1.0);
        let wanted = gradient * self.limit + self.allowance();
        self.limit = if wanted >= self.limit {
            wanted.min(self.limit + self.stride())
        } else {
            self.limit + SMOOTHING * (wanted - self.limit)
        }
        .clamp(self.min, self.max);
        self.probe.due = self.probe.due.saturating_sub(1);
        // A limit that halved is one that latency alone pressed down: whether the provider is full or only slower is
        // seen at once then, not after all the round trips.
        let pressed = self.limit <= self.probe.limit / 2.0 && gradient < 1.0;
        if (pressed || self.probe.due == 0) && self.limit >= self.min * 2.0 {
            self.probe = Probe { running: true, before: short, ..self.probe };
            self.open_after_round_trip(now);
        }
    }

    /// How far the limit may grow in a round trip.
    fn stride(&self) -> f64 {
        let near = |refused: f64| (refused * CUT..=refused * FORGET).contains(&self.limit);
        if self.refused_at.is_some_and(near) { (self.limit * 0.02).clamp(0.1, 1.0) } else { self.allowance() }
    }

    /// How many calls may stand in the provider's queue: without one, nothing would show that there is more room.
    fn allowance(&self) -> f64 {
        // The root alone would double a small limit.
        self.limit.sqrt().min(self.limit / 4.0).max(1.0)
    }

    fn refused(&mut self, first_byte: Option<Duration>, now: Instant) {
        if self.deaf_until.is_some_and(|until| now < until) {
            return;
        }
        self.refused_at = Some(self.limit);
        self.limit = (self.limit * CUT).max(self.min);
        self.probe = Probe { running: false, limit: self.limit, ..self.probe };
        let round_trip = self.round_trip().max(first_byte.unwrap_or_default());
        let until = now.checked_add(round_trip);
        self.deaf_until = until;
        self.window = Window { opens: until, ..Window::default() };
    }

    /// What is on its way was sent under the limit before.
    fn open_after_round_trip(&mut self, now: Instant) {
        self.window = Window { opens: now.checked_add(self.round_trip()), ..Window::default() };
    }

    fn round_trip(&self) -> Duration {
        seconds(self.short).max(SHORTEST_WINDOW)
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A round trip of `latency` with `in_flight` calls, to where its window closes.
    fn round(adaptive: &mut Adaptive, latency: Duration, in_flight: usize, now: &mut Instant) {
        for _ in 0..1000 {
            *now += latency / 10;
            adaptive.report(Some(latency), false, in_flight, *now);
            if adaptive.window.answers == 0 {
                return;
            }
        }
        unreachable!("the window does not close");
    }

    #[test]
    fn grows_while_latency_holds_and_shrinks_as_it_rises() {
        let (mut adaptive, mut now) = (Adaptive::new(AdaptivePolicy::default()), Instant::now());
        // Not as far as to the first probe.
        for _ in 0..5 {
            let before = adaptive.limit();
            round(&mut adaptive, 200 * MS, before, &mut now);
            assert!(adaptive.limit() > before);
        }
        for _ in 0..4 {
            let before = adaptive.limit();
            round(&mut adaptive, 600 * MS, before, &mut now);
            assert!(adaptive.limit() < before);
        }
    }

    #[test]
    fn a_limit_that_is_not_half_in_use_stays() {
        let (mut adaptive, mut now) = (Adaptive::new(AdaptivePolicy::default()), Instant::now());
        for latency in [100, 100, 100, 900, 900, 10, 10] {
            round(&mut adaptive, latency * MS, 9, &mut now);
        }
        assert_eq!(adaptive.limit(), 20);
        round(&mut adaptive, 100 * MS, 10, &mut now);
        assert!(adaptive.limit() > 20);
    }

    #[test]
    fn refusals_of_one_round_trip_cut_once() {
        let (mut adaptive, mut now) = (Adaptive::new(AdaptivePolicy::default()), Instant::now());
        round(&mut adaptive, 400 * MS, 5, &mut now);
        for _ in 0..20 {
            adaptive.report(Some(MS), true, 20, now);
            now += 15 * MS;
        }
        assert_eq!(adaptive.limit(), 14);
        now += 200 * MS;
        adaptive.report(None, true, 14, now);
        assert_eq!(adaptive.limit(), 9);
    }

    #[test]
    fn what_has_no_answer_says_nothing() {
        let (mut adaptive, mut now) = (Adaptive::new(AdaptivePolicy::default()), Instant::now());
        for _ in 0..1000 {
            adaptive.report(None, false, 20, now);
            now += 10 * MS;
        }
        assert_eq!(adaptive.limit(), 20);
    }

    #[test]
    fn contradictory_bounds_become_sensible_ones() {
        let limit = |initial, min, max| Adaptive::new(AdaptivePolicy { initial, min, max }).limit();
        assert_eq!([limit(0, 0, 0), limit(5, 8, 3), limit(50, 1, 10)], [1, 8, 10]);
    }
}
