//! What a store that several processes share has lent to this one: permits for calls and tokens that may go within a short span, and
//! places for calls at once.
//!
//! Nothing here speaks to anybody. Whoever does asks for a [`Question`], and brings the [`Reply`].
//!
//! A token bucket in the store lets go `capacity + rate × t` in any span of `t`. What it lends is used up to [`SPAN`] later, so the
//! capacity is smaller by what flows in such a span, and the sum over all processes stays within the limit. It lends up to [`AHEAD`] of what has
//! not flowed in yet, each permit to be used when it has: so nothing is left lying while permits travel.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::rate::{Cost, RateLimits};

/// What is lent may be used for so long.
pub const SPAN: Duration = Duration::from_millis(100);
/// What flows in within that time may be lent before it has.
pub const AHEAD: Duration = Duration::from_millis(50);
/// The store is told at least so often that places are still used. It gives them to others after several times that.
pub const BEAT: Duration = Duration::from_millis(1000);
/// Where others hold all places, it is asked again after so long.
const PLACES_AGAIN: Duration = Duration::from_millis(25);
/// With fewer calls in a [`SPAN`] than this, none is asked for before it is needed.
const OFTEN: f64 = 4.0;
/// Of those who wait, so many are asked for at a time.
const MANY: usize = 256;
/// Sums of fractions are not exact.
const ROUNDING: f64 = 1e-9;

const CALLS: usize = 0;
const TOKENS: usize = 1;
/// Calls as well, each as one, whatever it weighs.
const STARTS: usize = 2;

/// Of calls, tokens and starts.
type Amounts = [f64; 3];

/// What is shared: the limits that are set.
#[derive(Clone, Debug)]
pub struct Terms {
    limits: Vec<Limit>,
    places: Option<usize>,
    most: Amounts,
}

/// One limit on calls, tokens or starts, as the store is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    of: usize,
    capacity: f64,
    /// A second; 0 for a stock.
    rate: f64,
    /// Seconds after which a stock is filled up; 0 for a bucket.
    interval: f64,
}

/// What the store is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    limits: Vec<Limit>,
    /// What is needed, or nothing is of use.
    need: Amounts,
    /// What would be used, that included.
    want: Amounts,
    /// By limit: what was lent and is not used, or was used and not lent.
    back: Vec<f64>,
    ahead: f64,
    places: Option<Places>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Places {
    max: usize,
    keep: usize,
    wish: usize,
}

/// What it says.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Reply {
    /// None where it has too little.
    give: Option<Amounts>,
    /// By limit: what of it may be used at once.
    #[serde(default)]
    free: Vec<f64>,
    /// Seconds until it has enough.
    #[serde(default)]
    wait: f64,
    #[serde(default)]
    places: usize,
    /// The share of each, where others go short.
    fair: Option<usize>,
}

/// What this process has of it.
#[derive(Debug)]
pub struct Lent {
    terms: Terms,
    standing: Standing,
    grants: VecDeque<Grant>,
    back: Vec<f64>,
    /// What the question on its way gives back.
    sent_back: Option<Vec<f64>>,
    places: usize,
    fair: usize,
    /// How many the store believes to be held here.
    reported: usize,
    asked: Option<Instant>,
    /// Nothing is to be had before.
    again: Option<Instant>,
    pace: Pace,
}

/// Whom the limits are kept with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All who share the store.
    Shared,
    /// Nobody: the store cannot be reached, and this process goes by its own count.
    Alone,
    /// It cannot be reached, and nothing goes.
    Refused,
}

/// What a call has of what was lent.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: Instant,
    amounts: Amounts,
}

#[derive(Debug)]
struct Grant {
    /// When it was asked for.
    at: Instant,
    from: Instant,
    until: Instant,
    left: Amounts,
    taken: Amounts,
    free: Vec<f64>,
}

/// When a call may go, as far as what was lent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    At(Instant),
    /// Not before more is lent.
    Ask,
}

/// What was used lately.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    now: Amounts,
    before: Amounts,
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

    fn amounts(&self, cost: Cost) -> Amounts {
        let all = [cost.requests, cost.tokens as f64, 1.0];
        std::array::from_fn(|of| all[of].min(self.most[of]))
    }

    fn limits(&self, of: usize) -> bool {
        self.limits.iter().any(|limit| limit.of == of)
    }
}

impl Question {
    /// That of a process that goes, and gives back all places.
    pub fn leaving() -> Self {
        Self {
            limits: Vec::new(),
            need: [0.0; 3],
            want: [0.0; 3],
            back: Vec::new(),
            ahead: 0.0,
            places: Some(Places { max: 0, keep: 0, wish: 0 }),
        }
    }

    pub fn has_places(&self) -> bool {
        self.places.is_some()
    }
}

impl Lent {
    /// Nothing yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            standing: Standing::Shared,
            grants: VecDeque::new(),
            back: vec![0.0; terms.limits.len()],
            sent_back: None,
            places: 0,
            fair: usize::MAX,
            reported: 0,
            asked: None,
            again: None,
            pace: Pace::default(),
            terms,
        }
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The store went away, or is there again.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
        self.again = None;
        if standing != Standing::Shared {
            (self.places, self.reported, self.fair) = (0, 0, usize::MAX);
        }
    }

    /// How many calls may be under way. None where that is not shared.
    pub fn places(&self) -> Option<usize> {
        match self.standing {
            Standing::Shared => self.terms.places.map(|_| self.places),
            Standing::Alone => None,
            Standing::Refused => Some(0),
        }
    }

    /// When a call may go.
    pub fn ready(&self, cost: Cost, now: Instant) -> Ready {
        match self.standing {
            Standing::Alone => Ready::At(now),
            Standing::Refused => Ready::Ask,
            Standing::Shared if self.terms.limits.is_empty() => Ready::At(now),
            Standing::Shared => {
                self.first(&self.terms.amounts(cost), now).map_or(Ready::Ask, |(_, at)| Ready::At(at))
            }
        }
    }

    /// A call goes. None where what it takes is not lent.
    pub fn take(&mut self, cost: Cost, now: Instant) -> Option<Mark> {
        if self.terms.limits.is_empty() {
            return None;
        }
        let amounts = self.terms.amounts(cost);
        self.pace.add(&amounts, now);
        if self.standing != Standing::Shared {
            return None;
        }
        self.expire(now);
        let Some((index, _)) = self.first(&amounts, now) else {
            // It goes all the same; the store is told.
            for (limit, back) in self.terms.limits.iter().zip(&mut self.back) {
                *back -= amounts[limit.of];
            }
            return None;
        };
        let grant = &mut self.grants[index];
        for (of, amount) in amounts.iter().enumerate() {
            grant.left[of] -= amount;
            grant.taken[of] += amount;
        }
        Some(Mark { at: grant.at, amounts })
    }

    /// What was taken was not used.
    pub fn give_back(&mut self, mark: Mark, now: Instant) {
        let Mark { at, amounts } = mark;
        match self.grants.iter_mut().find(|grant| grant.at == at && grant.until > now) {
            Some(grant) => {
                for (of, amount) in amounts.iter().enumerate() {
                    grant.left[of] += amount;
                    grant.taken[of] -= amount;
                }
            }
            None => self.retire(at, &amounts, now),
        }
    }

    /// So many tokens were used.
    pub fn settle(&mut self, mark: Mark, tokens: u64, now: Instant) {
        let unused = mark.amounts[TOKENS] - (tokens as f64).min(self.terms.most[TOKENS]);
        if unused > 0.0 {
            self.retire(mark.at, &[0.0, unused, 0.0], now);
        } else {
            for (limit, back) in self.terms.limits.iter().zip(&mut self.back) {
                *back += if limit.of == TOKENS { unused } else { 0.0 };
            }
        }
    }

    /// A call has ended: its place goes to others where they go short.
    pub fn ended(&mut self, under_way: usize) {
        if self.places > self.fair {
            self.places = under_way.max(self.fair);
        }
    }

    /// When the store is to be asked, or told something. `lacks`: somebody waits for what it has not lent.
    pub fn due(&self, lacks: bool, under_way: usize, now: Instant) -> Option<Instant> {
        if self.standing != Standing::Shared || self.sent_back.is_some() {
            return None;
        }
        let asked = self.asked.unwrap_or(now);
        let again = self.again.unwrap_or(now).max(now);
        let held = self.places.max(under_way);
        let is_left = |grant: &Grant| (0..3).any(|of| self.terms.limits(of) && grant.left[of] > ROUNDING);
        let has_back = self.back.iter().any(|back| *back != 0.0) || self.grants.iter().any(is_left);
        let shares_places = self.terms.places.is_some();
        [
            (lacks || self.runs_low(now)).then_some(again),
            (shares_places && self.reported > held).then_some(asked + PLACES_AGAIN),
            (has_back || (shares_places && held > under_way)).then_some(asked + SPAN),
            (shares_places && held > 0).then_some(asked + BEAT),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What to ask now. `first`: what whoever goes next costs, if somebody waits.
    pub fn question(
        &mut self,
        first: Option<Cost>,
        waiting: usize,
        under_way: usize,
        now: Instant,
    ) -> Question {
        self.expire(now);
        let lacks = first.is_some_and(|cost| self.ready(cost, now) == Ready::Ask);
        let need = first.filter(|_| lacks).map_or([0.0; 3], |cost| self.terms.amounts(cost));
        let recent = if self.runs_low(now) || lacks { self.pace.recent(now) } else { [0.0; 3] };
        let waiting = waiting.min(MANY);
        let has_stock = self.terms.limits.iter().any(|limit| limit.rate == 0.0);
        let want = std::array::from_fn(|of| {
            let all = need[of] * waiting as f64;
            // What a stock lends and gets back unused is lost until it is filled up.
            if has_stock { all } else { all.max(recent[of]) }
        });
        if waiting == 0 {
            self.places = under_way;
        }
        let keep = self.places.max(under_way);
        self.asked = Some(now);
        let back = std::mem::replace(&mut self.back, vec![0.0; self.terms.limits.len()]);
        self.sent_back = Some(back.clone());
        Question {
            limits: self.terms.limits.clone(),
            need,
            want,
            back,
            ahead: AHEAD.as_secs_f64(),
            places: self.terms.places.map(|max| Places { max, keep, wish: (under_way + waiting).max(keep) }),
        }
    }

    /// What the store says to that.
    pub fn reply(&mut self, reply: Reply, under_way: usize, now: Instant) {
        let at = self.asked.unwrap_or(now);
        self.sent_back = None;
        self.again = None;
        if let Some(give) = reply.give.filter(|_| reply.free.len() == self.terms.limits.len()) {
            let left = std::array::from_fn(|of| if self.terms.limits(of) { give[of] } else { f64::INFINITY });
            if (0..3).any(|of| self.terms.limits(of) && give[of] > 0.0) {
                let until = (at + SPAN).max(now + AHEAD);
                let grant = Grant { at, from: now, until, left, taken: [0.0; 3], free: reply.free };
                self.grants.push_back(grant);
            }
        } else if reply.wait > 0.0 {
            let wait = Duration::try_from_secs_f64(reply.wait).unwrap_or(BEAT).min(BEAT);
            self.again = Some(now + wait.max(Duration::from_millis(1)));
        }
        if self.terms.places.is_some() {
            (self.reported, self.places) = (reply.places, reply.places);
            self.fair = reply.fair.unwrap_or(usize::MAX);
            self.ended(under_way);
            if under_way >= self.places && self.again.is_none() {
                self.again = Some(now + PLACES_AGAIN);
            }
        }
    }

    /// Nobody knows whether the question arrived. What was used counts again, and what was not is lost: never does more go than may.
    pub fn unanswered(&mut self) {
        for (back, sent) in self.back.iter_mut().zip(self.sent_back.take().unwrap_or_default()) {
            *back += sent.min(0.0);
        }
    }

    /// The grant from which so much can be taken the soonest.
    fn first(&self, amounts: &Amounts, now: Instant) -> Option<(usize, Instant)> {
        let grants = self.grants.iter().enumerate().filter(|(_, grant)| grant.until > now);
        grants
            .filter(|(_, grant)| (0..3).all(|of| grant.left[of] + ROUNDING >= amounts[of]))
            .map(|(index, grant)| (index, grant.ready_at(&self.terms, amounts)))
            .min_by_key(|(_, at)| *at)
    }

    /// Whether more is wanted before somebody waits for it.
    fn runs_low(&self, now: Instant) -> bool {
        let recent = self.pace.recent(now);
        if recent[STARTS] < OFTEN || self.terms.limits.is_empty() {
            return false;
        }
        let valid = self.grants.iter().filter(|grant| grant.until > now);
        let left =
            valid.fold([0.0; 3], |sum: Amounts, grant| std::array::from_fn(|of| sum[of] + grant.left[of]));
        (0..3).any(|of| self.terms.limits(of) && left[of] < recent[of] / 2.0)
    }

    fn expire(&mut self, now: Instant) {
        while self.grants.front().is_some_and(|grant| grant.until <= now) {
            if let Some(grant) = self.grants.pop_front() {
                self.retire(grant.at, &grant.left, now);
            }
        }
    }

    /// What was lent then is not used. Meanwhile a full bucket may have run over because it was there: as much as flowed in since is lost.
    fn retire(&mut self, at: Instant, amounts: &Amounts, now: Instant) {
        let held = now.saturating_duration_since(at).as_secs_f64();
        for (limit, back) in self.terms.limits.iter().zip(&mut self.back) {
            if limit.rate > 0.0 {
                *back += (amounts[limit.of] - limit.rate * held).max(0.0);
            }
        }
    }
}

impl Grant {
    fn ready_at(&self, terms: &Terms, amounts: &Amounts) -> Instant {
        let limits = terms.limits.iter().zip(&self.free).filter(|(limit, _)| limit.rate > 0.0);
        let wait = limits.fold(0.0_f64, |wait, (limit, free)| {
            let all = (self.taken[limit.of] + amounts[limit.of]).min(limit.capacity.max(*free));
            wait.max((all - free) / limit.rate)
        });
        // Lent for no longer than that, so there by then.
        self.from + Duration::try_from_secs_f64(wait).unwrap_or(AHEAD).min(AHEAD)
    }
}

impl Pace {
    fn add(&mut self, amounts: &Amounts, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= SPAN {
            self.before = if passed < SPAN * 2 { self.now } else { [0.0; 3] };
            (self.now, self.since) = ([0.0; 3], Some(now));
        }
        self.now.iter_mut().zip(amounts).for_each(|(sum, amount)| *sum += amount);
    }

    fn recent(&self, now: Instant) -> Amounts {
        let passed = self.since.map_or(SPAN * 2, |since| now.saturating_duration_since(since));
        if passed >= SPAN * 2 {
            return [0.0; 3];
        }
        std::array::from_fn(|of| self.now[of].max(self.before[of]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Cost = Cost { requests: 1.0, tokens: 0 };

    fn a_hundred_a_second() -> RateLimits {
        RateLimits { requests_per_second: Some(100.0), ..RateLimits::default() }
    }

    fn lent(rate: &RateLimits, places: Option<usize>) -> Lent {
        Lent::new(Terms::of(rate, places).unwrap())
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What a store replies that has so much at once, and gives all that is wanted.
    fn gives(question: &Question, free: f64) -> Reply {
        Reply { give: Some(question.want), free: vec![free; question.limits.len()], ..Reply::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_before_it_is_lent_and_then_as_much_as_was() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
        assert_eq!(lent.ready(ONE, now), Ready::Ask);
        assert_eq!(lent.due(true, 0, now), Some(now));
        let question = lent.question(Some(ONE), 3, 0, now);
        assert_eq!((question.need[CALLS], question.want[CALLS]), (1.0, 3.0));
        assert_eq!(lent.due(true, 0, now), None, "one question at a time");
        lent.reply(gives(&question, 90.0), 0, now);
        for _ in 0..3 {
            assert_eq!(lent.ready(ONE, now), Ready::At(now));
            assert!(lent.take(ONE, now).is_some());
        }
        assert_eq!(lent.ready(ONE, now), Ready::Ask);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_not_flowed_in_yet_is_used_when_it_has() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
        let question = lent.question(Some(ONE), 4, 0, now);
        lent.reply(gives(&question, 2.0), 0, now);
        for _ in 0..2 {
            assert!(lent.take(ONE, now).is_some());
        }
        for n in 1..=2 {
            let at = now + ms(10 * n);
            assert_eq!(lent.ready(ONE, now), Ready::At(at));
            assert!(lent.take(ONE, at).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lent_is_void_after_its_span_and_goes_back_less_what_flowed_in() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
        let question = lent.question(Some(ONE), 30, 0, now);
        lent.reply(gives(&question, 90.0), 0, now);
        lent.take(ONE, now).unwrap();
        let later = now + SPAN;
        assert_eq!(lent.ready(ONE, later), Ready::Ask);
        assert!(lent.due(false, 0, later).is_some());
        let question = lent.question(None, 0, 0, later);
        assert!((question.back[0] - (29.0 - 10.0)).abs() < 1e-6, "{question:?}");
        assert_eq!(question.want, [0.0; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_back_in_a_question_that_is_lost_is_not_given_back_again_and_what_is_owed_is() {
        let tokens = RateLimits { tokens_per_minute: Some(60_000.0), ..RateLimits::default() };
        let (mut lent, now) = (lent(&tokens, None), Instant::now());
        let cost = Cost { requests: 1.0, tokens: 500 };
        let question = lent.question(Some(cost), 2, 0, now);
        lent.reply(gives(&question, 1000.0), 0, now);
        let [less, more] = [(); 2].map(|()| lent.take(cost, now).unwrap());
        lent.settle(less, 100, now);
        assert_eq!(lent.question(None, 0, 0, now).back, [400.0]);
        lent.unanswered();
        lent.settle(more, 600, now);
        assert_eq!(lent.question(None, 0, 0, now).back, [-100.0]);
        lent.unanswered();
        assert_eq!(lent.question(None, 0, 0, now).back, [-100.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_not_sent_leaves_its_permit_to_the_next() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
        let question = lent.question(Some(ONE), 1, 0, now);
        lent.reply(gives(&question, 90.0), 0, now);
        let mark = lent.take(ONE, now).unwrap();
        assert_eq!(lent.ready(ONE, now), Ready::Ask);
        lent.give_back(mark, now);
        assert_eq!(lent.ready(ONE, now), Ready::At(now));
    }

    #[tokio::test(start_paused = true)]
    async fn with_many_calls_more_is_asked_for_before_anybody_waits() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
        let question = lent.question(Some(ONE), 10, 0, now);
        lent.reply(gives(&question, 90.0), 0, now);
        for _ in 0..4 {
            lent.take(ONE, now).unwrap();
        }
        assert_eq!(lent.due(false, 0, now), Some(now + SPAN), "to give back what is left");
        for _ in 0..3 {
            lent.take(ONE, now).unwrap();
        }
        assert_eq!(lent.due(false, 0, now), Some(now));
        assert_eq!(lent.question(None, 0, 0, now).want[CALLS], 7.0);
    }

    #[tokio::test(start_paused = true)]
    async fn places_beyond_the_share_go_to_others_as_calls_end() {
        let (mut lent, now) = (lent(&RateLimits::default(), Some(10)), Instant::now());
        assert_eq!(lent.places(), Some(0));
        lent.question(Some(ONE), 10, 0, now);
        lent.reply(Reply { places: 10, ..Reply::default() }, 0, now);
        assert_eq!(lent.places(), Some(10));
        lent.question(Some(ONE), 5, 10, now);
        lent.reply(Reply { places: 10, fair: Some(5), ..Reply::default() }, 10, now);
        assert_eq!(lent.places(), Some(10));
        for under_way in [9, 8, 7, 6, 5, 4] {
            lent.ended(under_way);
            assert_eq!(lent.places(), Some(under_way.max(5)));
        }
        assert!(lent.due(false, 4, now).is_some());
        assert_eq!(lent.question(None, 0, 4, now).places.unwrap().keep, 4);
    }

    #[test]
    fn alone_it_stands_in_nobodys_way_and_refused_in_everybodys() {
        let (mut lent, now) = (lent(&a_hundred_a_second(), Some(3)), Instant::now());
        lent.set_standing(Standing::Alone);
        assert_eq!((lent.ready(ONE, now), lent.places()), (Ready::At(now), None));
        assert_eq!(lent.due(true, 1, now), None);
        lent.set_standing(Standing::Refused);
        assert_eq!((lent.ready(ONE, now), lent.places()), (Ready::Ask, Some(0)));
    }

    #[test]
    fn a_bucket_is_smaller_by_what_flows_while_permits_are_lent() {
        let terms = Terms::of(&a_hundred_a_second(), None).unwrap();
        assert_eq!(terms.limits, [Limit { of: CALLS, capacity: 90.0, rate: 100.0, interval: 0.0 }]);
        let slow = RateLimits { requests_per_second: Some(0.5), ..RateLimits::default() };
        assert_eq!(Terms::of(&slow, None).unwrap().limits[0].capacity, 1.0);
        assert!(Terms::of(&RateLimits::default(), None).is_none());
    }
}
