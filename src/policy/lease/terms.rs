//! The limits that are set, as the store is told of them.

use serde::Serialize;

use super::SPAN;
use crate::policy::rate::{Cost, RateLimits};

pub(super) const CALLS: usize = 0;
pub(super) const TOKENS: usize = 1;
/// Calls as well, each as one, whatever it weighs.
pub(super) const STARTS: usize = 2;

/// Of calls, tokens and starts.
pub(super) type Amounts = [f64; 3];

/// What is shared: the limits that are set.
#[derive(Clone, Debug)]
pub struct Terms {
    pub(super) limits: Vec<Limit>,
    pub(super) places: Option<usize>,
    pub(super) most: Amounts,
}

/// One limit on calls, tokens or starts, as the store is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Limit {
    pub(super) of: usize,
    pub(super) capacity: f64,
    /// A second; 0 for a stock.
    pub(super) rate: f64,
    /// Seconds after which a stock is filled up; 0 for a bucket.
    pub(super) interval: f64,
}

impl Terms {
    /// None where nothing is limited.
    pub fn of(rate: &RateLimits, places: Option<usize>) -> Option<Self> {
        let set = |rate: Option<f64>| rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        let flow = |of, capacity: f64, rate: f64| {
            let late = rate * SPAN.as_secs_f64();
            Limit { of, capacity: (capacity - late).max(capacity.min(1.0)), rate, interval: 0.0 }
        };
        let burst = set(rate.burst).map(|burst| burst.max(1.0));
        let mut limits = Vec::new();
        let mut most = [f64::INFINITY; 3];
        if let Some(rate) = set(rate.requests_per_second) {
            limits.push(flow(CALLS, burst.unwrap_or(rate.max(1.0)), rate));
        }
        if let Some(rate) = set(rate.requests_per_minute) {
            let capacity = burst.unwrap_or((rate / 600.0).max(1.0));
            // As with a limiter of one process: without a burst that is set, a minute sees no more than the limit.
            let above = if burst.is_none() && capacity > 1.0 { capacity + 1.0 } else { 0.0 };
            limits.push(flow(CALLS, capacity, (rate - above) / 60.0));
        }
        if let Some(rate) = set(rate.tokens_per_minute) {
            let capacity = rate / 60.0;
            most[TOKENS] = rate;
            limits.push(flow(TOKENS, capacity, (rate - capacity) / 60.0));
        }
        if let Some(gap) = rate.min_interval.filter(|gap| !gap.is_zero()) {
            limits.push(Limit { of: STARTS, capacity: 1.0, rate: 1.0 / gap.as_secs_f64(), interval: 0.0 });
        }
        if let Some(stock) = rate.reservoir.filter(|stock| stock.amount > 0 && !stock.interval.is_zero()) {
            let interval = stock.interval.as_secs_f64();
            limits.push(Limit { of: CALLS, capacity: stock.amount as f64, rate: 0.0, interval });
        }
        (!limits.is_empty() || places.is_some()).then_some(Self { limits, places, most })
    }

    pub(super) fn amounts(&self, cost: Cost) -> Amounts {
        let all = [cost.requests, cost.tokens as f64, 1.0];
        std::array::from_fn(|of| all[of].min(self.most[of]))
    }

    pub(super) fn limits(&self, of: usize) -> bool {
        self.limits.iter().any(|limit| limit.of == of)
    }
}
