//! A token bucket whose past can be amended.

use std::time::Duration;

use tokio::time::Instant;

/// No wait is longer: a year.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Peaks kept. They fall from the oldest to the newest, and the peaks of a level that goes up and down at random are
/// about as many as the logarithm of its steps.
const PEAKS: usize = 16;

/// A token bucket (Turner, "New Directions in Communications", IEEE Communications Magazine, 1986; RFC 2697): it holds
/// `capacity`, is filled at `per_second`, and what goes takes its cost out. Kept as a level and the time of that level,
/// as the virtual scheduling form of GCRA keeps a time (ITU-T I.371).
///
/// A cost above the capacity goes when the bucket is full and leaves it in debt, so it waits for itself but not for ever.
///
/// What was taken and not used is given back as if it had never been taken. That is not all of it where the bucket ran
/// over in the meantime, or would have: without the peaks below, calls that were given back late would let twice the
/// burst through at once. With them the bucket stands as one that has only ever seen what was used (or lower, where more
/// than `PEAKS` had to be kept).
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) capacity: f64,
    pub(super) per_second: f64,
    level: f64,
    at: Instant,
    /// The highest levels since: each is above all that came after it, in order of time.
    peaks: [Peak; PEAKS],
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Peak {
    at: Instant,
    level: f64,
}

impl Bucket {
    /// Full.
    pub(super) fn new(capacity: f64, per_second: f64, now: Instant) -> Self {
        let none = Peak { at: now, level: f64::NEG_INFINITY };
        Self { capacity, per_second, level: capacity, at: now, peaks: [none; PEAKS], len: 0 }
    }

    /// When so much may go. Does not depend on the time of the question.
    pub(super) fn ready_at(&self, cost: f64) -> Instant {
        let missing = cost.min(self.capacity) - self.level;
        if missing <= 0.0 {
            return self.at;
        }
        // Rounded up: a waiter that wakes at that time must find it there.
        let wait = Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(LONGEST).min(LONGEST);
        self.at + wait + Duration::from_nanos(1)
    }

    /// When it is full, if nothing more is taken.
    pub(super) fn full_at(&self) -> Instant {
        self.ready_at(self.capacity)
    }

    pub(super) fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + passed * self.per_second).min(self.capacity)
    }

    /// Takes so much out, whether it is there or not. The level after it.
    pub(super) fn take(&mut self, cost: f64, now: Instant) -> f64 {
        self.fill(now);
        self.remember();
        self.level -= cost;
        self.level
    }

    /// Gives back so much of what was taken at `taken`.
    pub(super) fn give_back(&mut self, amount: f64, taken: Instant, now: Instant) {
        self.fill(now);
        let later = |peak: &&mut Peak| peak.at > taken;
        let peaks = self.peaks[..self.len].iter_mut().filter(later);
        let highest = peaks.fold(self.level, |highest, peak| highest.max(peak.level));
        let amount = amount.min(self.capacity - highest);
        if amount > 0.0 {
            self.level += amount;
            self.peaks[..self.len].iter_mut().filter(later).for_each(|peak| peak.level += amount);
        }
    }

    /// Moves the level to where it was found to be.
    pub(super) fn set(&mut self, level: f64, now: Instant) {
        self.fill(now);
        self.level = level.min(self.capacity);
    }

    /// Another size and speed from now on; what is in it stays.
    pub(super) fn resize(&mut self, capacity: f64, per_second: f64, now: Instant) {
        self.fill(now);
        (self.capacity, self.per_second) = (capacity, per_second);
        self.level = self.level.min(capacity);
    }

    fn fill(&mut self, now: Instant) {
        self.level = self.level(now);
        self.at = self.at.max(now);
    }

    fn remember(&mut self) {
        while self.len > 0 && self.peaks[self.len - 1].level <= self.level {
            self.len -= 1;
        }
        if self.len == PEAKS {
            // The two oldest become one, as high as the first and as late as the second: less is given back, never more.
            self.peaks[1].level = self.peaks[0].level.max(self.peaks[1].level);
            self.peaks.copy_within(1.., 0);
            self.len -= 1;
        }
        self.peaks[self.len] = Peak { at: self.at, level: self.level };
        self.len += 1;
    }
}
