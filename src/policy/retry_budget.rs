//! Retries as a share of requests, so that an outage is not multiplied.
//!
//! After Finagle's `RetryBudget` (Oliver, "Retry Budgets", Finagle's blog, 2016), which Linkerd and tower have too, with its
//! defaults. There a retry spends what requests have deposited; here retries are counted beside the requests, which bounds every
//! 10 s as well, and not only the mean.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::window::Window;

/// How long a request counts, and a retry.
pub const LIFE: Duration = Duration::from_secs(10);

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetPolicy {
    /// Retries as a share of requests, from 0 to 1. Default 0.2.
    pub ratio: f64,
    /// Retries a second that are allowed beside, for clients of few requests; at least 0. Default 10.
    pub min_per_second: f64,
}

impl Default for RetryBudgetPolicy {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10.0 }
    }
}

/// In whatever 10 s, there are at most `ratio` × the requests of the 10 s before the last retry of them + `min_per_second` × 10 retries.
#[derive(Debug)]
pub struct RetryBudget {
    policy: RetryBudgetPolicy,
    window: Mutex<Window<BUCKETS>>,
}

const BUCKETS: usize = 21;

const REQUESTS: usize = 0;
const RETRIES: usize = 1;

impl RetryBudget {
    pub fn new(policy: RetryBudgetPolicy, now: Instant) -> Self {
        Self { policy, window: Mutex::new(Window::new(LIFE / (BUCKETS as u32 - 1), now)) }
    }

    /// A request was made: the first attempt of a call.
    pub fn request(&self, now: Instant) {
        self.window.lock().add(REQUESTS, now);
    }

    /// Whether a retry may be made now; if so, it is counted.
    #[must_use]
    pub fn retry(&self, now: Instant) -> bool {
        let mut window = self.window.lock();
        // The newest bucket is still filling. With it the window is a little longer than `LIFE`, and without the oldest a little
        // shorter: no retry is forgotten too early, and no request too late.
        let retries = window.sums(BUCKETS, now)[RETRIES];
        let requests = window.sums(BUCKETS - 1, now)[REQUESTS];
        let RetryBudgetPolicy { ratio, min_per_second } = self.policy;
        let allowed = ratio * requests as f64 + min_per_second * LIFE.as_secs_f64();
        let is_allowed = (retries + 1) as f64 <= allowed;
        if is_allowed {
            window.add(RETRIES, now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.retry(now)).count()
    }

    #[test]
    fn a_client_of_no_requests_has_its_ten_a_second_and_no_more() {
        let start = Instant::now();
        let budget = RetryBudget::new(RetryBudgetPolicy::default(), start);
        assert_eq!(granted(&budget, start), 100);
        assert_eq!(granted(&budget, start + LIFE), 0);
        assert_eq!(granted(&budget, start + LIFE * 2), 100);
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated_while_they_are_young() {
        let start = Instant::now();
        let policy = RetryBudgetPolicy { min_per_second: 0.0, ..RetryBudgetPolicy::default() };
        let budget = RetryBudget::new(policy, start);
        let deposit = |now| (0..1000).for_each(|_| budget.request(now));
        deposit(start);
        assert_eq!(granted(&budget, start + LIFE / 2), 200);
        deposit(start + LIFE / 2);
        assert_eq!(granted(&budget, start + LIFE / 2), 200);
        assert_eq!(granted(&budget, start + LIFE), 0);
        deposit(start + LIFE * 3);
        assert_eq!(granted(&budget, start + LIFE * 4), 0);
    }

    #[test]
    fn numbers_that_are_none_allow_nothing() {
        let now = Instant::now();
        let nan = RetryBudgetPolicy { ratio: f64::NAN, min_per_second: 10.0 };
        assert!(!RetryBudget::new(nan, now).retry(now));
        let none = RetryBudgetPolicy { ratio: 0.0, min_per_second: 0.0 };
        let budget = RetryBudget::new(none, now);
        budget.request(now);
        assert!(!budget.retry(now));
    }
}
