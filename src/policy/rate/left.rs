//! What is left of all limits, for figures.

use tokio::time::Instant;

use super::RateLimiter;

/// What could go now, as far as is known. None: nothing limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Calls of weight 1.
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
    /// When all that is missing is there again, and no Retry-After lasts. None where nothing is missing.
    pub full_at: Option<Instant>,
}

impl RateLimiter {
    /// By the limits that are set, and by what answers have said, as it stands with the calls that were sent since.
    pub fn left(&self, now: Instant) -> Left {
        let mut left = Left::default();
        for bucket in self.requests.iter().flatten() {
            left.requests(bucket.level(now), bucket.full_at(), now);
        }
        if let Some(stock) = &self.stock {
            left.requests(stock.left(now), stock.full_at(), now);
        }
        if let Some(gap) = &self.gap {
            left.requests(f64::from(gap.ready_at() <= now), gap.ready_at(), now);
        }
        if let Some(limit) = &self.tokens {
            left.tokens(limit.bucket.level(now), limit.bucket.full_at(), now);
        }
        let [requests, tokens] = &self.learned;
        if let Some((level, full_at)) = requests.as_ref().and_then(|limit| limit.left(now)) {
            left.requests(level, full_at, now);
        }
        if let Some((level, full_at)) = tokens.as_ref().and_then(|limit| limit.left(now)) {
            left.tokens(level, full_at, now);
        }
        if let Some(paused) = self.paused.filter(|paused| *paused > now) {
            left.requests(0.0, paused, now);
        }
        left
    }
}

impl Left {
    fn requests(&mut self, level: f64, full_at: Instant, now: Instant) {
        self.requests = Some(self.requests.unwrap_or(u64::MAX).min(whole(level)));
        self.full_at = self.full_at.max(Some(full_at).filter(|at| *at > now));
    }

    fn tokens(&mut self, level: f64, full_at: Instant, now: Instant) {
        self.tokens = Some(self.tokens.unwrap_or(u64::MAX).min(whole(level)));
        self.full_at = self.full_at.max(Some(full_at).filter(|at| *at > now));
    }
}

/// What is whole of it but for an error of rounding. A debt is nothing left.
fn whole(level: f64) -> u64 {
    (level + 1e-6).max(0.0) as u64
}
