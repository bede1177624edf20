//! How loaded a target is: the calls under way, and how long it has taken of late.
//!
//! The time is a peak EWMA, as in Finagle's `PeakEwma` and in linkerd and tower after it: a slow answer counts at once, and is forgotten
//! exponentially, with a time constant of [`DECAY`]; a fast one only takes its share of the mean. What a further call costs is that time, once for
//! each call under way and once for itself. The estimate falls as long as nothing is heard, so that a target which was slow is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::breaker::Outcome;

/// Finagle has 10 s, for calls of milliseconds; here they take seconds.
const DECAY: Duration = Duration::from_secs(30);
/// An older estimate (a 150th of it would be left) says nothing any more.
const FORGOTTEN: Duration = Duration::from_secs(5 * 30);
/// A failure counts as so slow an answer. Or what refuses at once would be the fastest of all.
const FAILED: Duration = Duration::from_secs(10);
/// Who is given up on sooner, by a caller or a deadline, is not known to be slow.
const SLOW: Duration = Duration::from_secs(1);
/// The cost of each call under way at a target of which nothing is known, in seconds: above anything measured. Its first call is free, so that
/// something becomes known; until then the others go elsewhere.
const UNKNOWN: f64 = 3600.0;

/// What a call waits for. Of a whole answer it is tens of times as long as of the first piece of a stream, so they are measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    FirstPiece,
    WholeAnswer,
}

/// Of one model of one provider.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicUsize,
    estimates: Mutex<[Option<Estimate>; 2]>,
}

/// A call under way. Dropped without a word (aborted, cancelled, at its deadline) it would have taken longer still, where that is the whole
/// answer's time; the first piece of a stream may have come long before. Else whoever never answers would never be known to be slow.
#[must_use]
#[derive(Debug)]
pub struct Running {
    load: Arc<Load>,
    wait: Wait,
    began: Instant,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    seconds: f64,
    at: Instant,
}

impl Load {
    /// A call begins.
    pub fn begin(self: &Arc<Self>, wait: Wait) -> Running {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Running { load: self.clone(), wait, began: Instant::now(), has_ended: false }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What one more call would cost, for comparison with others.
    pub fn cost(&self, wait: Wait, now: Instant) -> f64 {
        let in_flight = self.in_flight() as f64;
        match self.estimates.lock()[wait as usize].and_then(|estimate| estimate.at(now)) {
            Some(seconds) => seconds * (in_flight + 1.0),
            None => UNKNOWN * in_flight,
        }
    }

    fn observe(&self, wait: Wait, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let estimate = &mut self.estimates.lock()[wait as usize];
        let seconds = match *estimate {
            Some(old) => {
                let left = old.share_left(now);
                // A peak is taken as it is.
                if took > old.seconds * left { took } else { old.seconds * left + took * (1.0 - left) }
            }
            None => took,
        };
        *estimate = Some(Estimate { seconds, at: now });
    }

    /// It takes longer than this.
    fn observe_at_least(&self, wait: Wait, took: Duration, now: Instant) {
        let known = self.estimates.lock()[wait as usize].and_then(|estimate| estimate.at(now));
        if took >= SLOW && known.is_none_or(|known| took.as_secs_f64() > known) {
            self.observe(wait, took, now);
        }
    }
}

impl Running {
    /// What was waited for came after so long.
    pub fn observe(&mut self, took: Duration, now: Instant) {
        self.has_ended = true;
        self.load.observe(self.wait, took, now);
    }

    /// The target failed, after so long.
    pub fn failed(&mut self, took: Duration, now: Instant) {
        self.has_ended = true;
        self.load.observe(self.wait, took.max(FAILED), now);
    }

    /// The call has ended: after `first` its first piece had come, and `took` is all of its time.
    pub fn ended(&mut self, outcome: Outcome, first: Option<Duration>, took: Duration, now: Instant) {
        self.has_ended = true;
        match (outcome, self.wait) {
            (Outcome::Success, Wait::WholeAnswer) => self.observe(took, now),
            (Outcome::Success, Wait::FirstPiece) => self.observe(first.unwrap_or(took), now),
            (Outcome::Failure, _) => self.failed(took, now),
            // The caller's own mistake, or a refusal: that it came quickly says nothing.
            (Outcome::Neutral, _) => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_ended && self.wait == Wait::WholeAnswer {
            let now = Instant::now();
            self.load.observe_at_least(self.wait, now - self.began, now);
        }
    }
}

impl Estimate {
    fn at(self, now: Instant) -> Option<f64> {
        let is_known = now.saturating_duration_since(self.at) < FORGOTTEN;
        is_known.then(|| self.seconds * self.share_left(now))
    }

    fn share_left(self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        (-age / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WAIT: Wait = Wait::FirstPiece;

    fn load() -> (Arc<Load>, Instant) {
        (Arc::default(), Instant::now())
    }

    fn is_about(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9 * (one.abs() + 1.0)
    }

    #[test]
    fn a_call_counts_until_it_is_dropped() {
        let (load, _) = load();
        let (one, other) = (load.begin(WAIT), load.begin(WAIT));
        assert_eq!(load.in_flight(), 2);
        drop((one, other));
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_target_of_which_nothing_is_known_is_tried_by_one_call_at_a_time() {
        let (load, now) = load();
        assert!(is_about(load.cost(WAIT, now), 0.0));
        let mut call = load.begin(WAIT);
        assert!(load.cost(WAIT, now) >= 3600.0);
        call.observe(SECOND, now);
        assert!(is_about(load.cost(WAIT, now), 2.0));
        drop(call);
        assert!(is_about(load.cost(WAIT, now), 1.0));
    }

    #[test]
    fn a_peak_counts_at_once_and_a_fast_answer_only_with_its_share() {
        let (load, now) = load();
        let observe = |seconds: u32, now| load.begin(WAIT).observe(seconds * SECOND, now);
        observe(2, now);
        observe(8, now);
        assert!(is_about(load.cost(WAIT, now), 8.0));
        observe(1, now);
        assert!(is_about(load.cost(WAIT, now), 8.0), "no time has passed");
        let later = now + DECAY;
        let left = (-1.0_f64).exp();
        assert!(is_about(load.cost(WAIT, later), 8.0 * left));
        observe(1, later);
        assert!(is_about(load.cost(WAIT, later), 8.0 * left + (1.0 - left)));
    }

    #[test]
    fn what_was_slow_is_forgotten_and_tried_again() {
        let (load, now) = load();
        load.begin(WAIT).observe(60 * SECOND, now);
        assert!(load.cost(WAIT, now + DECAY) > 1.0);
        assert!(is_about(load.cost(WAIT, now + FORGOTTEN), 0.0));
        // A clock that stands before the estimate does no harm.
        assert!(load.cost(WAIT, now - SECOND).is_finite());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_on_would_have_taken_longer() {
        let load = Arc::<Load>::default();
        let give_up_after = async |wait: Wait, seconds: f64| {
            let running = load.begin(wait);
            tokio::time::advance(Duration::from_secs_f64(seconds)).await;
            drop(running);
            load.cost(wait, Instant::now())
        };
        assert!(is_about(give_up_after(Wait::WholeAnswer, 0.9).await, 0.0), "nothing is known of it");
        assert!(is_about(give_up_after(Wait::FirstPiece, 20.0).await, 0.0), "its pieces may have come");
        assert!(is_about(give_up_after(Wait::WholeAnswer, 20.0).await, 20.0));
        assert!(give_up_after(Wait::WholeAnswer, 5.0).await > 15.0, "no longer than is known");
        let mut refused = load.begin(Wait::WholeAnswer);
        tokio::time::advance(Duration::from_secs(60)).await;
        refused.ended(Outcome::Neutral, None, Duration::from_secs(60), Instant::now());
        drop(refused);
        assert!(load.cost(Wait::WholeAnswer, Instant::now()) < 20.0);
    }

    #[test]
    fn the_first_piece_and_the_whole_answer_are_measured_apart() {
        let (load, now) = load();
        load.begin(Wait::WholeAnswer).observe(30 * SECOND, now);
        load.begin(Wait::FirstPiece).observe(SECOND, now);
        assert!(is_about(load.cost(Wait::WholeAnswer, now), 30.0));
        assert!(is_about(load.cost(Wait::FirstPiece, now), 1.0));
    }

    #[test]
    fn what_fails_at_once_is_not_the_fastest() {
        let (load, now) = load();
        load.begin(WAIT).failed(Duration::ZERO, now);
        assert!(is_about(load.cost(WAIT, now), FAILED.as_secs_f64()));
        load.begin(WAIT).failed(30 * SECOND, now);
        assert!(is_about(load.cost(WAIT, now), 30.0));
    }
}
