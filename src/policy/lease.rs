//! What a store that several processes share has lent to this one: permits for calls and tokens that may go within a short span, and
//! places for calls at once.
//!
//! Nothing here speaks to anybody. Whoever does asks for a [`Question`], and brings the [`Reply`].
//!
//! A token bucket in the store lets go `capacity + rate × t` in any span of `t`. What it lends is used up to [`SPAN`] later, so the
//! capacity is smaller by what flows in such a span, and the sum over all processes stays within the limit. It lends up to [`AHEAD`] of what has
//! not flowed in yet, each permit to be used when it has: so nothing is left lying while permits travel.

mod pace;
mod question;
mod terms;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

pub use self::question::{Question, Reply};
pub use self::terms::Terms;

use self::pace::Pace;
use self::question::Places;
use self::terms::{Amounts, STARTS, TOKENS};
use super::rate::Cost;

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

#[cfg(test)]
mod tests;
