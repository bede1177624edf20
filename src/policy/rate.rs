//! How many calls and tokens may go, by limits that are set and limits that providers tell of.
//!
//! | file | |
//! |---|---|
//! | `bucket` | a token bucket that can take back what was not used |
//! | `reservoir` | a stock filled up at an interval; the smallest gap |
//! | `learned` | a provider's own limit, followed through its answers |
//! | `left` | what is left of all of them, for figures |
//!
//! A call asks [`RateLimiter::ready_at`], takes when that has come, and in the end either settles (it was sent) or gives
//! back (it was not). Each of these is some comparisons; none allocates.

mod bucket;
mod learned;
mod left;
mod reservoir;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use self::bucket::{Bucket, LONGEST};
use self::learned::{LearnedLimit, Mark, Outstanding};
pub use self::left::Left;
use self::reservoir::{Gap, Stock};
use super::learn::{Learned, Sample};

/// Nothing that a provider says makes calls wait longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is set. None of these by default; all that are set hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimits {
    /// Calls a second. In any span of `t` seconds no more than burst + rate × t go.
    pub requests_per_second: Option<f64>,
    /// Calls a minute. Without `burst` no more than this in any minute.
    pub requests_per_minute: Option<f64>,
    /// Tokens a minute, as estimated before and counted after. A second's worth may go at once, and no more than this
    /// goes in any minute, but for a call that alone is above a second's worth: it goes when nothing is owed.
    /// A call above a minute's worth counts as a minute's worth.
    pub tokens_per_minute: Option<f64>,
    /// The smallest time between the starts of two calls.
    pub min_interval: Option<Duration>,
    /// Calls that may go at once, at least 1. By default a second's worth for `requests_per_second`, and a tenth of a
    /// second's for `requests_per_minute`, whose rate is then lower by as much, so that a minute never sees more than the
    /// limit; with a burst that is set it may see the burst on top.
    pub burst: Option<f64>,
    /// A stock of calls that is filled up at an interval.
    pub reservoir: Option<Reservoir>,
    /// Whether limits are learned from answers, Retry-After included. Default true.
    pub learn: bool,
    /// What a call of a model counts against the limits on calls. 1 for those not named.
    pub weights: HashMap<String, f64>,
}

/// So many calls in each interval, from the limiter's start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservoir {
    pub amount: u64,
    pub interval: Duration,
}

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The weight of its model.
    pub requests: f64,
    /// The estimate of its tokens.
    pub tokens: u64,
}

/// What was taken. It is to be used up by one of [`RateLimiter::settle`] and [`RateLimiter::give_back`], once.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Reservation {
    at: Instant,
    cost: Cost,
    stock: Instant,
    gap: Instant,
    learned: [Option<Mark>; 2],
    is_answered: bool,
    /// Its number, if no other call was outstanding when it was taken.
    alone: Option<u64>,
}

/// The limits and what is left of them.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    requests: [Option<Bucket>; 2],
    tokens: Option<Tokens>,
    stock: Option<Stock>,
    gap: Option<Gap>,
    is_learning: bool,
    /// Of requests and tokens.
    learned: [Option<LearnedLimit>; 2],
    paused: Option<Instant>,
    /// Calls, and their tokens, of which no answer has said anything yet.
    outstanding: (u64, f64),
    /// How many were taken.
    taken: u64,
}

#[derive(Clone, Debug)]
struct Tokens {
    bucket: Bucket,
    per_minute: f64,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            min_interval: None,
            burst: None,
            reservoir: None,
            learn: true,
            weights: HashMap::new(),
        }
    }
}

impl RateLimits {
    pub fn cost(&self, model: &str, tokens: u64) -> Cost {
        Cost { requests: self.weights.get(model).copied().unwrap_or(1.0), tokens }
    }
}

impl RateLimiter {
    /// All buckets full.
    pub fn new(limits: &RateLimits, now: Instant) -> Self {
        let set = |rate: Option<f64>| rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        let burst = set(limits.burst).map(|burst| burst.max(1.0));
        let a_second = set(limits.requests_per_second)
            .map(|rate| Bucket::new(burst.unwrap_or_else(|| rate.max(1.0)), rate, now));
        let a_minute = set(limits.requests_per_minute).map(|rate| match burst {
            Some(burst) => Bucket::new(burst, rate / 60.0, now),
            // In a minute, its last instant not counted: capacity − 1 + 60 × this.
            None => {
                let capacity = (rate / 600.0).max(1.0);
                Bucket::new(capacity, (rate - (capacity - 1.0)) / 60.0, now)
            }
        });
        let tokens = set(limits.tokens_per_minute).map(|rate| {
            let capacity = rate / 60.0;
            Tokens { bucket: Bucket::new(capacity, (rate - capacity) / 60.0, now), per_minute: rate }
        });
        let stock = limits.reservoir.filter(|stock| stock.amount > 0);
        Self {
            requests: [a_second, a_minute],
            tokens,
            stock: stock.map(|stock| Stock::new(stock.amount as f64, stock.interval, now)),
            gap: limits.min_interval.map(|interval| Gap::new(interval.min(LONGEST), now)),
            is_learning: limits.learn,
            learned: [None, None],
            paused: None,
            outstanding: (0, 0.0),
            taken: 0,
        }
    }

    /// Nothing is limited now, so a call need not ask, nor take. An answer may still be learned from, without a reservation.
    pub fn is_unlimited(&self) -> bool {
        self.paused.is_none()
            && self.requests.iter().all(Option::is_none)
            && self.learned.iter().all(Option::is_none)
            && self.tokens.is_none()
            && self.stock.is_none()
            && self.gap.is_none()
    }

    /// When a call may go: now, or the time to ask again. It never means never: a cost above what a limit can hold goes
    /// when that is full.
    ///
    /// Does not fall as time passes, nor for a higher cost. Whoever takes at the time given by the last answer is let in,
    /// if nothing else was taken or learned since.
    pub fn ready_at(&self, cost: Cost, now: Instant) -> Instant {
        let Cost { requests, tokens } = cost.checked();
        let mut ready = self.paused.map_or(now, |paused| paused.max(now));
        for bucket in self.requests.iter().flatten() {
            ready = ready.max(bucket.ready_at(requests));
        }
        if let Some(limit) = &self.tokens {
            ready = ready.max(limit.bucket.ready_at(limit.cost(tokens)));
        }
        if let Some(stock) = &self.stock {
            ready = ready.max(stock.ready_at(requests));
        }
        if let Some(gap) = &self.gap {
            ready = ready.max(gap.ready_at());
        }
        for (limit, cost) in self.learned.iter().zip(learned_cost(tokens)) {
            if let Some(limit) = limit {
                ready = ready.max(limit.ready_at(cost));
            }
        }
        ready
    }

    /// Takes what the call costs, whether it is there or not.
    pub fn take(&mut self, cost: Cost, now: Instant) -> Reservation {
        let cost = cost.checked();
        if self.paused.is_some_and(|paused| paused <= now) {
            self.paused = None;
        }
        for bucket in self.requests.iter_mut().flatten() {
            bucket.take(cost.requests, now);
        }
        if let Some(limit) = &mut self.tokens {
            limit.bucket.take(limit.cost(cost.tokens), now);
        }
        let mut learned = [None; 2];
        for ((mark, limit), cost) in learned.iter_mut().zip(&mut self.learned).zip(learned_cost(cost.tokens))
        {
            if limit.as_mut().is_some_and(|limit| !limit.holds(now)) {
                *limit = None;
            }
            *mark = limit.as_mut().map(|limit| limit.take(cost, now));
        }
        self.taken = self.taken.wrapping_add(1);
        let alone = (self.outstanding.0 == 0).then_some(self.taken);
        self.outstanding.0 = self.outstanding.0.saturating_add(1);
        self.outstanding.1 += cost.tokens as f64;
        Reservation {
            at: now,
            cost,
            stock: self.stock.as_mut().map_or(now, |stock| stock.take(cost.requests, now)),
            gap: self.gap.as_mut().map_or(now, |gap| gap.take(now)),
            learned,
            is_answered: false,
            alone,
        }
    }

    /// The call has ended, and was sent. The tokens that it did not use are given back as if they had never been taken;
    /// what it used beyond its estimate is charged now. Without `used_tokens` the estimate stands.
    pub fn settle(&mut self, mut reservation: Reservation, used_tokens: Option<u64>, now: Instant) {
        self.answered(&mut reservation);
        let Some(used) = used_tokens else { return };
        let Reservation { at, cost, learned, .. } = reservation;
        if let Some(limit) = &mut self.tokens {
            let unused = limit.cost(cost.tokens) - limit.cost(used);
            if unused > 0.0 {
                limit.bucket.give_back(unused, at, now);
            } else if unused < 0.0 {
                limit.bucket.take(-unused, now);
            }
        }
        if let Some(limit) = &mut self.learned[1] {
            limit.amend(cost.tokens as f64, used as f64, learned[1], at, now);
        }
    }

    /// The call was never sent: all is as if it had never been taken.
    pub fn give_back(&mut self, mut reservation: Reservation, now: Instant) {
        self.answered(&mut reservation);
        let Reservation { at, cost, stock, gap, learned, .. } = reservation;
        for bucket in self.requests.iter_mut().flatten() {
            bucket.give_back(cost.requests, at, now);
        }
        if let Some(limit) = &mut self.tokens {
            limit.bucket.give_back(limit.cost(cost.tokens), at, now);
        }
        if let Some(own) = &mut self.stock {
            own.give_back(cost.requests, stock, now);
        }
        if let Some(own) = &mut self.gap {
            own.give_back(gap, at);
        }
        for ((limit, mark), cost) in self.learned.iter_mut().zip(learned).zip(learned_cost(cost.tokens)) {
            if let Some(limit) = limit {
                limit.amend(cost, 0.0, mark, at, now);
            }
        }
    }

    /// What an answer said of the limits, whatever its status, as soon as its head is there. `reservation` is that of the
    /// call, unless it went without one.
    pub fn learn(&mut self, learned: &Learned, mut reservation: Option<&mut Reservation>, now: Instant) {
        if let Some(reservation) = &mut reservation {
            self.answered(reservation);
        }
        if !self.is_learning {
            return;
        }
        let (calls, tokens) = self.outstanding;
        let is_alone = reservation.as_ref().is_some_and(|reservation| reservation.alone == Some(self.taken));
        let said: [Option<Sample>; 2] = [learned.requests, learned.tokens];
        for (kind, cost) in [calls as f64, tokens].into_iter().enumerate() {
            let Some(sample) = said[kind].and_then(checked) else { continue };
            let outstanding = Outstanding { cost, is_alone };
            match &mut self.learned[kind] {
                Some(limit) => {
                    let sent = reservation.as_ref().and_then(|sent| Some((sent.learned[kind]?, sent.at)));
                    limit.confirm(&sample, sent, outstanding, now);
                }
                none => *none = LearnedLimit::new(&sample, outstanding, now),
            }
        }
    }

    /// A 429 whose header fields do not say why: nothing is left of what was learned.
    pub fn throttled(&mut self, now: Instant) {
        if self.is_learning {
            self.learned.iter_mut().flatten().for_each(|limit| limit.empty(now));
        }
    }

    /// Retry-After: nothing goes before `until`, or before 60 s from now where that is sooner. Never shortens a pause.
    pub fn pause_until(&mut self, until: Instant, now: Instant) {
        if self.is_learning && until > now {
            let until = until.min(now + LONGEST_PAUSE);
            self.paused = Some(self.paused.map_or(until, |paused| paused.max(until)));
        }
    }

    fn answered(&mut self, reservation: &mut Reservation) {
        if !std::mem::replace(&mut reservation.is_answered, true) {
            let (calls, tokens) = self.outstanding;
            let calls = calls.saturating_sub(1);
            // Begun anew at each quiet moment, so that errors of rounding do not add up.
            let tokens = if calls == 0 { 0.0 } else { (tokens - reservation.cost.tokens as f64).max(0.0) };
            self.outstanding = (calls, tokens);
        }
    }
}

impl Cost {
    /// A weight that is none counts as 1.
    fn checked(self) -> Self {
        let is_good = self.requests.is_finite() && self.requests >= 0.0;
        Self { requests: if is_good { self.requests } else { 1.0 }, ..self }
    }
}

impl Tokens {
    fn cost(&self, tokens: u64) -> f64 {
        (tokens as f64).min(self.per_minute)
    }
}

/// By a provider's count each call is one.
fn learned_cost(tokens: u64) -> [f64; 2] {
    [1.0, tokens as f64]
}

/// Samples are public: those that cannot be are none.
fn checked(sample: Sample) -> Option<Sample> {
    let is_good = sample.limit.is_finite() && sample.limit > 0.0 && sample.remaining >= 0.0;
    is_good.then(|| Sample { remaining: sample.remaining.min(sample.limit), ..sample })
}

#[cfg(test)]
mod tests;
