//! A limit of sockets, and the lines that it keeps from opening one: the whole pool's, an origin's, a lane's, a tenant's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::queue::Rank;

/// The number of a line.
pub(super) type LineId = usize;

#[derive(Debug)]
pub(super) struct Limit {
    max: usize,
    /// Rights given out: sockets open, closing, or being opened.
    used: usize,
    /// Of them, those that were told to go so that another can be opened.
    pub(super) leaving: usize,
    /// HTTP/2 connections that were told the same while they have streams. That may take minutes: they are no reason to let
    /// nobody else go.
    pub(super) draining: usize,
    /// Lines whose first waiter wants a socket that this limit denies.
    hungry: BTreeMap<(Rank, LineId), Hunger>,
    wanted: usize,
    /// Of them, those that have no socket at all.
    starving: BTreeSet<(Rank, LineId)>,
}

/// As what a line is hungry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hunger {
    pub(super) rank: Rank,
    /// How many sockets it wants.
    pub(super) wanted: usize,
    /// Whether it has none at all.
    pub(super) starving: bool,
}

impl Limit {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            used: 0,
            leaving: 0,
            draining: 0,
            hungry: BTreeMap::new(),
            wanted: 0,
            starving: BTreeSet::new(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn room(&self) -> usize {
        self.max.saturating_sub(self.used)
    }

    pub(super) fn is_full(&self) -> bool {
        self.used >= self.max
    }

    pub(super) fn take(&mut self) {
        self.used += 1;
    }

    pub(super) fn give_back(&mut self) {
        self.used -= 1;
    }

    pub(super) fn enlist(&mut self, line: LineId, hunger: Hunger) {
        self.hungry.insert((hunger.rank, line), hunger);
        self.wanted += hunger.wanted;
        if hunger.starving {
            self.starving.insert((hunger.rank, line));
        }
    }

    pub(super) fn strike(&mut self, line: LineId, hunger: Hunger) {
        if self.hungry.remove(&(hunger.rank, line)).is_some() {
            self.wanted -= hunger.wanted;
            self.starving.remove(&(hunger.rank, line));
        }
    }

    /// The hungry line whose waiter goes first.
    pub(super) fn first(&self) -> Option<(Rank, LineId)> {
        self.hungry.first_key_value().map(|(key, _)| *key)
    }

    pub(super) fn hungry(&self) -> impl Iterator<Item = LineId> + '_ {
        self.hungry.keys().map(|(_, line)| *line)
    }

    /// How many resting sockets should go so that the hungry get what they want.
    pub(super) fn lacks(&self) -> usize {
        if self.is_full() { self.wanted.saturating_sub(self.leaving) } else { 0 }
    }

    /// Whether a line of this rank must let a socket go although it needs it, without as many being `under_way` to make room: for
    /// lines that have none and waited longer, or whose waiters outrank its own by a whole priority.
    pub(super) fn must_give_way(&self, ours: Option<Rank>, aging: Duration, under_way: usize) -> bool {
        if !self.is_full() || self.hungry.is_empty() {
            return false;
        }
        // Those who do not even have to wait came later than all who do.
        let Some(ours) = ours else {
            return under_way < self.starving.len();
        };
        let starving = self.starving.range(..(ours, 0));
        let outranking = ours.before(aging).into_iter().flat_map(|rank| self.hungry.range(..(rank, 0)));
        starving.take(under_way + 1).count().max(outranking.take(under_way + 1).count()) > under_way
    }
}
