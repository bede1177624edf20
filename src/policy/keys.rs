//! The keys of one provider: used in turn, while those that were refused or limited rest.
//!
//! ```text
//!          limited, refused, out of credit                       its time has come
//!  awake ─────────────────────────────────>  resting until then ───────────────────> awake, with its strikes
//!    ^                                            │                                          │
//!    └──── a success of whoever took it since ────┴──────────────────────────────────────────┘
//! ```
//! Many calls may hold one key as it is limited, and each of them reports it. What they tell is one strike: a report counts as a further one only
//! from a call that took the key after the last, or once that rest is over.

use std::num::NonZeroUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Keys of one provider: so many does a set of them ([`Excluded`]) have room for.
pub const MAX_KEYS: usize = 64;

/// A key that is limited rests for as long as the answer says. Where that says nothing: for this long, since most limits of rate are filled up
/// all the time; twice as long each time it is limited again; at most for a minute, which is what most are counted by.
const LIMITED: Growing = Growing { first: Duration::from_secs(5), most: Duration::from_secs(60) };
/// A key that was refused may be a moment from its activation, or revoked for ever.
const REFUSED: Growing = Growing { first: Duration::from_secs(60), most: Duration::from_secs(60 * 60) };
/// Somebody has to pay first.
const OUT_OF_CREDIT: Growing =
    Growing { first: Duration::from_secs(10 * 60), most: Duration::from_secs(60 * 60) };
/// Whatever an answer says: limits by the day are the longest that providers have.
const LONGEST_REST: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a key is to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// 429; for as long as the answer says, if it says so.
    Limited(Option<Duration>),
    /// 401 or 403.
    Refused,
    /// 402, `insufficient_quota` and the like.
    OutOfCredit,
}

/// What calls share of the keys of one provider; the keys themselves are elsewhere.
#[derive(Debug)]
pub struct KeyRing {
    state: Mutex<State>,
}

/// A key as it was taken. It is what its success or failure is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its index.
    pub key: usize,
    /// How often it had been put to rest, and replaced, by then.
    rests: u64,
    version: u64,
}

/// What [`KeyRing::pick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    Awake(Taken),
    /// All rest, of those that are not excluded. The first of them wakes then; to use it before is up to the caller.
    Resting {
        first: Taken,
        until: Instant,
    },
    /// All are excluded.
    None,
}

/// Keys that one call has been refused with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excluded(u64);

#[derive(Debug)]
struct State {
    keys: Vec<Key>,
    next_ticket: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Key {
    /// Ascending in the order in which keys were taken last; 0 if it never was.
    ticket: u64,
    until: Option<Instant>,
    /// The last strike, and how many of its kind came before it without a success.
    last: Option<(Strike, u32)>,
    rests: u64,
    version: u64,
}

#[derive(Clone, Copy)]
struct Growing {
    first: Duration,
    most: Duration,
}

impl KeyRing {
    /// A ring of keys of which none rests. Of more than [`MAX_KEYS`] the others are not used.
    pub fn new(keys: NonZeroUsize) -> Self {
        let keys = vec![Key::default(); keys.get().min(MAX_KEYS)];
        Self { state: Mutex::new(State { keys, next_ticket: 1 }) }
    }

    /// Takes the key that was not taken for longest, of those that neither rest nor are excluded.
    pub fn pick(&self, now: Instant, not: Excluded) -> Picked {
        let mut state = self.state.lock();
        let awake = state.allowed(not).filter(|(_, key)| !key.rests_at(now));
        if let Some((index, _)) = awake.min_by_key(|(_, key)| key.ticket) {
            return Picked::Awake(state.take(index));
        }
        let resting = state.allowed(not).filter_map(|(index, key)| Some((key.until?, key.taken(index))));
        match resting.min_by_key(|(until, _)| *until) {
            Some((until, first)) => Picked::Resting { first, until },
            None => Picked::None,
        }
    }

    /// A key as it is now, without its turn being taken.
    pub fn current(&self, index: usize) -> Option<Taken> {
        self.state.lock().keys.get(index).map(|key| key.taken(index))
    }

    /// The key that wakes first, of those that rest since they are limited, and when it does.
    pub fn first_limited(&self, now: Instant) -> Option<(Taken, Instant)> {
        let state = self.state.lock();
        let limited = state.keys.iter().enumerate().filter_map(|(index, key)| {
            let until = key.until.filter(|until| now < *until)?;
            matches!(key.last, Some((Strike::Limited(_), _))).then(|| (key.taken(index), until))
        });
        limited.min_by_key(|(_, until)| *until)
    }

    /// Until when there is no key that is awake; None if there is one.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let first = state.keys.iter().map(|key| key.until.filter(|until| now < *until)).min();
        // None is less than any time.
        first.flatten()
    }

    /// The provider would not have it. Returns until when it rests now.
    pub fn strike(&self, taken: Taken, strike: Strike, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        // One that was replaced meanwhile is not meant.
        let key = state.keys.get_mut(taken.key).filter(|key| key.version == taken.version)?;
        let is_known = key.rests > taken.rests && key.rests_at(now);
        let before = match key.last {
            Some((last, before)) if last.is_like(strike) => {
                if is_known {
                    before
                } else {
                    before.saturating_add(1)
                }
            }
            _ => 0,
        };
        let until = now.checked_add(strike.rest(before)).unwrap_or(now);
        // Of two that tell of a time, the longer one is right.
        key.until = key.until.filter(|_| is_known).max(Some(until));
        key.last = Some((strike, before));
        if !is_known {
            key.rests += 1;
        }
        key.until
    }

    /// The provider took it: nothing is held against it any more. What a call has to tell that took it before its last rest began is no news.
    pub fn success(&self, taken: Taken) {
        let mut state = self.state.lock();
        if let Some(key) = state.keys.get_mut(taken.key)
            && (key.version, key.rests) == (taken.version, taken.rests)
        {
            (key.until, key.last) = (None, None);
        }
    }

    /// There is another key in the place of this one: it is awake, and what is still told of the old one is not held against it. However many
    /// calls say so of one key, it is replaced once.
    pub fn replaced(&self, taken: Taken) -> Taken {
        let mut state = self.state.lock();
        let Some(key) = state.keys.get_mut(taken.key) else { return taken };
        if key.version == taken.version {
            (key.until, key.last) = (None, None);
            key.version += 1;
        }
        key.taken(taken.key)
    }
}

impl State {
    fn allowed(&self, not: Excluded) -> impl Iterator<Item = (usize, &Key)> {
        self.keys.iter().enumerate().filter(move |(index, _)| !not.holds(*index))
    }

    fn take(&mut self, index: usize) -> Taken {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        // The index is of one that was found.
        let key = &mut self.keys[index];
        key.ticket = ticket;
        key.taken(index)
    }
}

impl Key {
    fn rests_at(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn taken(&self, key: usize) -> Taken {
        Taken { key, rests: self.rests, version: self.version }
    }
}

impl Strike {
    fn rest(self, before: u32) -> Duration {
        match self {
            Self::Limited(Some(told)) => told.min(LONGEST_REST),
            Self::Limited(None) => LIMITED.after(before),
            Self::Refused => REFUSED.after(before),
            Self::OutOfCredit => OUT_OF_CREDIT.after(before),
        }
    }

    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl Growing {
    fn after(self, before: u32) -> Duration {
        let factor = 2_u32.checked_pow(before).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }
}

impl Excluded {
    pub fn add(&mut self, key: usize) {
        if key < MAX_KEYS {
            self.0 |= 1 << key;
        }
    }

    pub fn holds(self, key: usize) -> bool {
        key < MAX_KEYS && self.0 & (1 << key) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ring(keys: usize) -> (KeyRing, Instant) {
        (KeyRing::new(NonZeroUsize::new(keys).unwrap()), Instant::now())
    }

    fn awake(ring: &KeyRing, now: Instant) -> Taken {
        match ring.pick(now, Excluded::default()) {
            Picked::Awake(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn rest(ring: &KeyRing, taken: Taken, strike: Strike, now: Instant) -> u64 {
        (ring.strike(taken, strike, now).unwrap() - now).as_secs()
    }

    #[test]
    fn keys_go_in_turn_and_one_that_was_passed_over_goes_next() {
        let (ring, now) = ring(3);
        let next = |not| match ring.pick(now, not) {
            Picked::Awake(taken) => taken.key,
            other => panic!("{other:?}"),
        };
        let none = Excluded::default();
        let mut first = none;
        first.add(0);
        assert_eq!([next(none), next(none), next(none)], [0, 1, 2]);
        assert_eq!([next(first), next(none), next(none), next(none)], [1, 0, 2, 1]);
    }

    #[test]
    fn a_limited_key_rests_for_as_long_as_it_was_told_and_never_longer_than_a_day() {
        let (ring, now) = ring(1);
        let taken = awake(&ring, now);
        assert_eq!(rest(&ring, taken, Strike::Limited(Some(7 * SECOND)), now), 7);
        let later = now + 7 * SECOND;
        assert_eq!(rest(&ring, awake(&ring, later), Strike::Limited(Some(Duration::MAX)), later), 86_400);
    }

    #[test]
    fn each_kind_of_strike_rests_longer_when_it_comes_again_and_no_longer_than_its_most() {
        let table = [
            (Strike::Limited(None), [5, 10, 20, 40, 60, 60]),
            (Strike::Refused, [60, 120, 240, 480, 960, 1920]),
            (Strike::OutOfCredit, [600, 1200, 2400, 3600, 3600, 3600]),
        ];
        for (strike, rests) in table {
            let (ring, mut now) = ring(1);
            for expected in rests {
                assert_eq!(rest(&ring, awake(&ring, now), strike, now), expected, "{strike:?}");
                now += expected as u32 * SECOND;
            }
        }
        assert_eq!(Strike::Refused.rest(u32::MAX), REFUSED.most);
    }

    #[test]
    fn another_kind_of_strike_begins_anew() {
        let (ring, mut now) = ring(1);
        let strikes = [Strike::Limited(None), Strike::Limited(None), Strike::Refused, Strike::Limited(None)];
        let rests = strikes.map(|strike| {
            let rest = rest(&ring, awake(&ring, now), strike, now);
            now += rest as u32 * SECOND;
            rest
        });
        assert_eq!(rests, [5, 10, 60, 5]);
    }

    #[test]
    fn many_calls_that_are_limited_together_are_one_strike() {
        let (ring, now) = ring(1);
        let taken: Vec<_> = (0..20).map(|_| awake(&ring, now)).collect();
        for taken in &taken {
            assert_eq!(rest(&ring, *taken, Strike::Limited(None), now), 5);
        }
        // Of those that tell of a time, the longest holds.
        assert_eq!(rest(&ring, taken[0], Strike::Limited(Some(30 * SECOND)), now), 30);
        assert_eq!(rest(&ring, taken[1], Strike::Limited(Some(SECOND)), now), 30);
        let later = now + 30 * SECOND;
        assert_eq!(rest(&ring, awake(&ring, later), Strike::Limited(None), later), 10);
    }

    #[test]
    fn a_success_clears_what_is_held_against_a_key_unless_it_was_taken_before() {
        let (ring, now) = ring(1);
        let (before, struck) = (awake(&ring, now), awake(&ring, now));
        ring.strike(struck, Strike::Limited(None), now);
        ring.success(before);
        let Picked::Resting { first, until } = ring.pick(now, Excluded::default()) else { panic!() };
        assert_eq!((first.key, until), (0, now + 5 * SECOND));
        assert_eq!(ring.rests_until(now), Some(until));
        // It was used all the same, and taken.
        ring.success(first);
        assert_eq!(ring.rests_until(now), None);
        assert_eq!(rest(&ring, awake(&ring, now), Strike::Limited(None), now), 5);
    }

    #[test]
    fn a_key_in_the_place_of_another_does_not_pay_for_it() {
        let (ring, now) = ring(2);
        let old = awake(&ring, now);
        ring.strike(old, Strike::Refused, now);
        let _ = ring.replaced(old);
        assert_eq!(ring.strike(old, Strike::Refused, now), None);
        assert_eq!(ring.rests_until(now), None);
        let mut other = Excluded::default();
        other.add(1);
        assert!(matches!(ring.pick(now, other), Picked::Awake(Taken { key: 0, .. })));
    }

    #[test]
    fn a_refused_key_is_not_what_limited_ones_wait_for() {
        let (ring, now) = ring(3);
        let keys = [0, 1, 2].map(|key| ring.current(key).unwrap());
        assert_eq!(ring.first_limited(now), None);
        ring.strike(keys[0], Strike::Refused, now);
        ring.strike(keys[1], Strike::Limited(Some(300 * SECOND)), now);
        ring.strike(keys[2], Strike::Limited(Some(200 * SECOND)), now);
        let (first, until) = ring.first_limited(now).unwrap();
        assert_eq!((first.key, until), (2, now + 200 * SECOND));
        assert_eq!(ring.first_limited(until).unwrap().0.key, 1);
    }

    #[test]
    fn where_all_are_excluded_there_is_none() {
        let (ring, now) = ring(1);
        let mut all = Excluded::default();
        all.add(0);
        assert_eq!(ring.pick(now, all), Picked::None);
        all.add(MAX_KEYS);
        assert!(!all.holds(MAX_KEYS) && !all.holds(1));
    }
}
