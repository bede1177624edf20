//! Who may go now: the schedule of those who wait, the number of calls at once, and the rate.
//!
//! The head of the schedule goes when there is room for it and its cost; nobody overtakes it, or a costly call would wait for ever
//! behind cheap ones.

use std::time::Duration;

use tokio::time::Instant;

use super::adaptive::Adaptive;
use super::learn::Learned;
use super::lease::{Lent, Mark, Question, Ready, Reply, Standing};
use super::rate::{Cost, RateLimiter, Reservation};
use super::schedule::{CLASSES, Place, Schedule};

/// How many calls may be under way at once.
#[derive(Debug)]
pub enum AtOnce {
    Unlimited,
    Fixed(usize),
    Adaptive(Adaptive),
}

impl AtOnce {
    /// None where there is no limit.
    pub fn limit(&self) -> Option<usize> {
        match self {
            Self::Unlimited => None,
            Self::Fixed(limit) => Some(*limit),
            Self::Adaptive(adaptive) => Some(adaptive.limit()),
        }
    }
}

/// The turns of one provider. `T`: by what a waiter learns that it may go.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: Schedule<Waiting<T>>,
    pub at_once: AtOnce,
    /// By the turns that were given.
    pub rate: RateLimiter,
    /// The limits that are set, by the calls that went. A turn is given some time before its call goes: without this, those that had to
    /// wait for something else meanwhile would go all at once. Who has a turn is in both or in `rate` alone, so there is never less
    /// left of this one.
    gone: Option<RateLimiter>,
    /// Where the limits are shared with other processes: what this one has of them.
    lent: Option<Box<Lent>>,
    under_way: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    cost: Cost,
    grant: T,
}

/// What a call holds while it is under way. Given back by [`Turns::end`], or it would count for ever.
#[must_use]
#[derive(Debug)]
pub struct Held {
    reservation: Reservation,
    gone: Option<Reservation>,
    /// Boxed: most have none.
    lent: Option<Box<Mark>>,
}

/// What is to be done about those who wait.
#[derive(Debug)]
pub enum Next<T> {
    /// This one goes.
    Go(T, Held),
    /// Nobody goes before then, unless something is given back.
    At(Instant),
    /// Nobody goes until something is given back, or somebody comes.
    Nobody,
    /// Nobody goes until [more is lent](Turns::question).
    Ask,
}

/// How a call used what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It was never sent.
    Nothing,
    /// It was sent, and this many tokens were used, if that is known.
    Tokens(Option<u64>),
}

impl<T> Turns<T> {
    pub fn new(at_once: AtOnce, rate: RateLimiter) -> Self {
        let gone = (!rate.is_unlimited()).then(|| rate.clone());
        Self { waiting: Schedule::default(), at_once, rate, gone, lent: None, under_way: 0 }
    }

    /// The same, under limits that others share.
    #[must_use]
    pub fn sharing(mut self, lent: Lent) -> Self {
        self.lent = Some(Box::new(lent));
        self
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn depth(&self) -> [usize; CLASSES] {
        self.waiting.depth()
    }

    /// Whether nothing is limited.
    pub fn is_open(&self) -> bool {
        matches!(self.at_once, AtOnce::Unlimited) && self.rate.is_unlimited() && self.waiting.is_empty()
    }

    /// Whether calls are to be counted [as they go](Self::renew), even those that have not waited for anything.
    pub fn counts_the_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// A turn at once, if nobody waits and nothing denies it.
    pub fn go(&mut self, cost: Cost, now: Instant) -> Option<Held> {
        self.is_free(cost, now).then(|| self.begin(cost, now))
    }

    /// Whether there is such a turn.
    pub fn is_free(&self, cost: Cost, now: Instant) -> bool {
        self.has_room()
            && self.has_place()
            && self.waiting.is_empty()
            && self.ready_at(cost, now) <= now
            && self.is_lent(cost, now)
    }

    /// For one that has its turn and goes now: takes it anew, if it may still go. It goes before those who wait, as it did.
    ///
    /// By the limits that are set it may, if those that went have left it room: what others hold who have not gone is no matter, or
    /// whoever waits longest for a connection would have to let those go who got their turns last.
    pub fn renew(&mut self, held: Held, cost: Cost, now: Instant) -> Option<Held> {
        // What was lent for it stays its own.
        let mut held = held;
        let lent = held.lent.take();
        self.end(held, Used::Nothing, now);
        if self.gone.as_ref().unwrap_or(&self.rate).ready_at(cost, now) > now {
            if let (Some(own), Some(mark)) = (&mut self.lent, lent) {
                own.give_back(*mark, now);
            }
            return None;
        }
        let gone = self.gone.as_mut().map(|gone| gone.take(cost, now));
        self.under_way += 1;
        Some(Held { reservation: self.rate.take(cost, now), gone, lent })
    }

    fn begin(&mut self, cost: Cost, now: Instant) -> Held {
        self.under_way += 1;
        let lent = self.lent.as_mut().and_then(|lent| lent.take(cost, now)).map(Box::new);
        Held { reservation: self.rate.take(cost, now), gone: None, lent }
    }

    fn has_room(&self) -> bool {
        self.at_once.limit().is_none_or(|limit| self.under_way < limit)
    }

    /// Whether there is a place that is lent, where places are.
    fn has_place(&self) -> bool {
        let places = self.lent.as_ref().and_then(|lent| lent.places());
        places.is_none_or(|places| self.under_way < places)
    }

    fn is_lent(&self, cost: Cost, now: Instant) -> bool {
        self.lent.as_ref().is_none_or(|lent| matches!(lent.ready(cost, now), Ready::At(at) if at <= now))
    }

    /// Whether whoever goes next waits for what is not lent.
    fn lacks(&self, now: Instant) -> bool {
        let Some((first, lent)) = self.waiting.first().zip(self.lent.as_ref()) else { return false };
        let lacks = !self.has_place() || lent.ready(first.cost, now) == Ready::Ask;
        lacks && self.has_room() && self.ready_at(first.cost, now) <= now
    }

    /// When whoever lends is to be asked, or told something.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.lent.as_ref()?.due(self.lacks(now), self.under_way, now)
    }

    /// What to ask now.
    pub fn question(&mut self, now: Instant) -> Option<Question> {
        let room = self.at_once.limit().map_or(usize::MAX, |limit| limit.saturating_sub(self.under_way));
        let (first, waiting) = (self.waiting.first().map(|first| first.cost), self.waiting.len().min(room));
        Some(self.lent.as_mut()?.question(first.filter(|_| waiting > 0), waiting, self.under_way, now))
    }

    /// What is lent. None where nobody knows whether the question arrived.
    pub fn lend(&mut self, reply: Option<Reply>, now: Instant) {
        match (&mut self.lent, reply) {
            (Some(lent), Some(reply)) => lent.reply(reply, self.under_way, now),
            (Some(lent), None) => lent.unanswered(),
            (None, _) => {}
        }
    }

    /// With whom the limits are kept from now on. Where nothing goes any more, those who waited are given out, to be told so.
    pub fn stand(&mut self, standing: Standing) -> Vec<T> {
        let Some(lent) = &mut self.lent else { return Vec::new() };
        lent.set_standing(standing);
        let mut refused = Vec::new();
        while standing == Standing::Refused
            && let Some(waiting) = self.waiting.go()
        {
            refused.push(waiting.grant);
        }
        refused
    }

    /// Whether nothing goes, as it cannot be asked for.
    pub fn is_refused(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.standing() == Standing::Refused)
    }

    /// When a call could have its turn, and go at once.
    fn ready_at(&self, cost: Cost, now: Instant) -> Instant {
        let ready = self.rate.ready_at(cost, now);
        self.gone.as_ref().map_or(ready, |gone| ready.max(gone.ready_at(cost, now)))
    }

    /// A place among those who wait, for whoever came `since` then. Who goes is told by [`Self::next`].
    pub fn join(&mut self, class: usize, since: Instant, aging: Duration, cost: Cost, grant: T) -> Place {
        self.waiting.join(class, since, aging, Waiting { cost, grant })
    }

    /// Whoever waited has gone away.
    pub fn leave(&mut self, place: Place) {
        self.waiting.leave(place);
    }

    /// Whoever may go now, if anybody may.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        let Some(first) = self.waiting.first() else { return Next::Nobody };
        if !self.has_room() {
            return Next::Nobody;
        }
        let cost = first.cost;
        let at = self.ready_at(cost, now);
        if at > now {
            return Next::At(at);
        }
        if let Some(lent) = &self.lent {
            match lent.ready(cost, now) {
                _ if !self.has_place() => return Next::Ask,
                Ready::Ask => return Next::Ask,
                Ready::At(at) if at > now => return Next::At(at),
                Ready::At(_) => {}
            }
        }
        let Some(Waiting { grant, .. }) = self.waiting.go() else { return Next::Nobody };
        Next::Go(grant, self.begin(cost, now))
    }

    /// A call has ended, or was never sent.
    pub fn end(&mut self, Held { reservation, gone, lent }: Held, used: Used, now: Instant) {
        self.under_way -= 1;
        if let Some(own) = &mut self.lent {
            own.ended(self.under_way);
            match (lent, used) {
                (Some(mark), Used::Nothing) => own.give_back(*mark, now),
                (Some(mark), Used::Tokens(Some(tokens))) => own.settle(*mark, tokens, now),
                _ => {}
            }
        }
        used.of(&mut self.rate, reservation, now);
        if let Some((limiter, reservation)) = self.gone.as_mut().zip(gone) {
            used.of(limiter, reservation, now);
        }
    }

    /// What an answer says of the limits. `held`: what its call holds, unless it went unasked.
    pub fn learn(&mut self, learned: &Learned, held: Option<&mut Held>, now: Instant) {
        self.rate.learn(learned, held.map(|held| &mut held.reservation), now);
    }

    /// What an answer says of how the provider bears with us: when its head came, and whether it was too much.
    pub fn answered(&mut self, first_byte: Option<Duration>, throttled: bool, now: Instant) {
        if let AtOnce::Adaptive(adaptive) = &mut self.at_once {
            adaptive.report(first_byte, throttled, self.under_way, now);
        }
        if throttled {
            self.rate.throttled(now);
        }
    }
}

impl Used {
    fn of(self, limiter: &mut RateLimiter, reservation: Reservation, now: Instant) {
        match self {
            Self::Nothing => limiter.give_back(reservation, now),
            Self::Tokens(tokens) => limiter.settle(reservation, tokens, now),
        }
    }
}
