//! A stock that is filled up at an interval, and the smallest gap between two calls.

use std::time::Duration;

use tokio::time::Instant;

/// As Bottleneck's `reservoir` with `reservoirRefreshAmount` and `reservoirRefreshInterval`: at each interval after its
/// start the stock is set to the amount, whatever is left. So a window can see two amounts, one at the end of an interval
/// and one at the start of the next. Unlike Bottleneck's, a cost above the amount goes when the stock is full, and the
/// debt is taken from the next fillings.
#[derive(Clone, Debug)]
pub(super) struct Stock {
    amount: f64,
    interval: Duration,
    left: f64,
    /// The start of the interval that `left` belongs to.
    since: Instant,
}

impl Stock {
    pub(super) fn new(amount: f64, interval: Duration, now: Instant) -> Self {
        Self { amount, interval: interval.max(Duration::from_nanos(1)), left: amount, since: now }
    }

    pub(super) fn ready_at(&self, cost: f64) -> Instant {
        let missing = cost.min(self.amount) - self.left;
        if missing <= 0.0 {
            return self.since;
        }
        let fillings = ((cost.min(self.amount) - self.left.min(0.0)) / self.amount).ceil().max(1.0);
        // A debt of more than four billion fillings is due a little early.
        self.since + self.interval.saturating_mul(fillings as u32).min(Duration::from_secs(1 << 32))
    }

    pub(super) fn left(&self, now: Instant) -> f64 {
        let mut then = self.clone();
        then.fill(now);
        then.left
    }

    /// When it is filled up, debts included, if nothing more is taken.
    pub(super) fn full_at(&self) -> Instant {
        self.ready_at(self.amount)
    }

    /// The start of the interval that it was taken from.
    pub(super) fn take(&mut self, cost: f64, now: Instant) -> Instant {
        self.fill(now);
        self.left -= cost;
        self.since
    }

    /// Gives back what was taken from the interval that began at `since`, less what fillings have replaced.
    pub(super) fn give_back(&mut self, cost: f64, since: Instant, now: Instant) {
        self.fill(now);
        let passed = self.since.saturating_duration_since(since);
        let replaced = self.amount * (passed.as_nanos() / self.interval.as_nanos()) as f64;
        self.left = (self.left + (cost - replaced).max(0.0)).min(self.amount);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < self.interval {
            return;
        }
        let fillings = passed.as_nanos() / self.interval.as_nanos();
        self.left = self.amount.min(self.left.min(0.0) + self.amount * fillings as f64);
        let into = passed.as_nanos() % self.interval.as_nanos();
        self.since = now - Duration::from_nanos(u64::try_from(into).unwrap_or(u64::MAX));
    }
}

/// As Bottleneck's `minTime`.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    interval: Duration,
    /// Nothing goes before it.
    next: Instant,
}

impl Gap {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now }
    }

    pub(super) fn ready_at(&self) -> Instant {
        self.next
    }

    /// When this one could go, for [`Self::give_back`].
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let before = self.next;
        self.next = self.next.max(now + self.interval);
        before
    }

    /// Only the last call's gap is undone; one before it is followed by another's anyway.
    pub(super) fn give_back(&mut self, before: Instant, taken: Instant) {
        if self.next == before.max(taken + self.interval) {
            self.next = before;
        }
    }
}
