//! What goes for others.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::time::Instant;

use super::Shared;
use super::info::Info;
use super::limit::{Limit, LineId};
use super::line::{Idle, Line, Multiplexed};
use super::rights::{BOUNDS, Bound};
use super::sent::SentBody;
use super::state::State;
use super::stats::CloseReason;

/// A connection that finishes its streams before it goes is counted on for this long; after that another one may be asked to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that was told to go so that another can be opened, and has not gone yet.
#[derive(Debug)]
pub(super) struct Leaving {
    line: LineId,
    told: Instant,
    counts: Counts,
}

/// As what it counts in its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Leaving,
    Draining,
    /// It took too long.
    Nothing,
}

impl State {
    /// To rest since then, unless that is one too many.
    pub(super) fn rest(
        &mut self,
        shared: &Shared,
        sender: http1::SendRequest<SentBody>,
        info: Arc<Info>,
        since: Instant,
    ) {
        let id = info.line;
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        let until = since.checked_add(info.may_rest().min(shared.config.of(&info.origin).idle_timeout));
        let seat = resting.join(line.owner(id));
        line.idle.push(Idle { sender, info, since, until, seat });
        self.bound_resting(shared);
        self.make_room_beside(id);
    }

    /// More rest than are kept: the one that has rested longest goes.
    pub(super) fn bound_resting(&mut self, shared: &Shared) {
        while self.resting.len() > shared.config.max_idle_connections {
            let Some(id) = self.longest_resting(|_, line| line.queue.is_empty()) else { return };
            self.evict_longest_resting(id);
        }
    }

    /// A connection came to rest: what has rested longest goes, where somebody is denied a socket.
    pub(super) fn make_room_beside(&mut self, id: LineId) {
        if self.hungry == 0 {
            return;
        }
        for bound in BOUNDS {
            self.make_room(id, bound);
        }
    }

    /// While a limit denies sockets: lets go what rests under it.
    pub(super) fn make_room(&mut self, id: LineId, bound: Bound) {
        while self.limit(id, bound).is_some_and(|limit| limit.lacks() > 0) {
            let Some(owner) = self.lines.get(id).map(|line| line.owner(id)) else { return };
            if !self.resting.any_under(owner, bound) {
                return;
            }
            // What rests beside a queue is what those who wait there will not have: they want a fresh one.
            let goes = |line: &Line| line.queue.is_empty() || !line.idle.is_empty();
            let wanted = |other, line: &Line| goes(line) && self.shares(id, other, bound);
            let Some(other) = self.longest_resting(wanted) else { return };
            self.evict_longest_resting(other);
        }
    }

    /// Whether a line must let a connection go although its waiters need it: others go first for the same limit. Where it keeps it, it has
    /// gone before them.
    pub(super) fn must_give_way(&mut self, id: LineId, draining_counts: bool) -> bool {
        let Some(line) = self.lines.get(id) else { return false };
        if self.hungry == usize::from(line.hungry.is_some()) {
            return false;
        }
        let (ours, aging) = (line.queue.claim(), line.aging);
        let gives_way = BOUNDS.into_iter().filter_map(|bound| self.limit(id, bound)).any(|limit| {
            let under_way = limit.leaving + if draining_counts { limit.draining } else { 0 };
            limit.must_give_way(ours, aging, under_way)
        });
        if let Some(ours) = ours.filter(|_| !gives_way) {
            self.each_limit(id, |limit| limit.count_kept(ours));
        }
        gives_way
    }

    /// Tells what has rested longest in a line to go.
    pub(super) fn evict_longest_resting(&mut self, id: LineId) {
        let Some(line) = self.lines.get(id) else { return };
        let idle = line.idle.first().map(|idle| (idle.since, &idle.info));
        let shared = line.shared.iter().filter(|c| c.active == 0).map(|c| (c.idle_since, &c.info));
        let oldest = idle.into_iter().chain(shared).min_by_key(|(since, _)| *since);
        let Some(info) = oldest.map(|(_, info)| info.clone()) else { return };
        self.take_out(&info);
        self.tell_to_go(id, &info, false);
    }

    /// What rests in a line is suspect. A connection would be given to whoever waits as soon as one stream is wanted; a socket goes
    /// only where it stands in the way.
    pub(super) fn give_up_suspects(&mut self, id: LineId) {
        let suspect = |c: &&Multiplexed| c.active == 0 && c.announced;
        let suspects = self.lines.get(id).into_iter().flat_map(|line| line.shared.iter().filter(suspect));
        for info in suspects.map(|c| c.info.clone()).collect::<Vec<_>>() {
            self.take_out(&info);
            self.tell_to_go(id, &info, false);
        }
    }

    /// Takes a connection out of its line, wherever it is.
    pub(super) fn take_out(&mut self, info: &Info) {
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(info.line) else { return };
        if let Some(at) = line.idle.iter().position(|idle| idle.info.id == info.id) {
            resting.leave(line.idle.remove(at).seat);
        }
        if let Some(at) = line.shared.iter().position(|c| c.info.id == info.id)
            && let Some(seat) = line.shared.remove(at).seat
        {
            resting.leave(seat);
        }
    }

    /// Tells a connection to go so that another can be opened.
    pub(super) fn tell_to_go(&mut self, id: LineId, info: &Info, has_streams: bool) {
        info.close_with(CloseReason::Evicted);
        let counts = if has_streams { Counts::Draining } else { Counts::Leaving };
        let leaving = Leaving { line: id, told: Instant::now(), counts };
        if self.leaving.insert(info.id, leaving).is_none() {
            self.each_limit(id, |limit| *counts.of(limit) += 1);
        }
    }

    /// Notes that it has gone.
    pub(super) fn has_gone(&mut self, id: LineId, info: &Info) {
        if let Some(Leaving { counts, .. }) = self.leaving.remove(&info.id) {
            self.no_longer_counts(id, counts);
        }
    }

    /// Counts no longer on those that were told to go, and take their time for it.
    pub(super) fn lose_patience(&mut self, now: Instant) {
        let late = |leaving: &Leaving| now.saturating_duration_since(leaving.told) >= PATIENCE;
        let draining =
            self.leaving.values_mut().filter(|leaving| leaving.counts == Counts::Draining && late(leaving));
        let lines: Vec<LineId> = draining
            .map(|leaving| {
                leaving.counts = Counts::Nothing;
                leaving.line
            })
            .collect();
        for id in lines {
            self.no_longer_counts(id, Counts::Draining);
        }
    }

    fn no_longer_counts(&mut self, id: LineId, counts: Counts) {
        if counts != Counts::Nothing {
            self.each_limit(id, |limit| *counts.of(limit) -= 1);
        }
    }

    /// The line of the connection that has rested longest, of lines for which that is wanted.
    fn longest_resting(&self, wanted: impl Fn(LineId, &Line) -> bool) -> Option<LineId> {
        self.resting.lines().find(|id| self.lines.get(*id).is_some_and(|line| wanted(*id, line)))
    }

    /// Whether a socket of one line counts against the same limit as one of another.
    fn shares(&self, one: LineId, other: LineId, bound: Bound) -> bool {
        let (Some(one), Some(other)) = (self.lines.get(one), self.lines.get(other)) else { return false };
        match bound {
            Bound::Lane => one.site == other.site && one.partition.lane == other.partition.lane,
            Bound::Tenant => one.tenant == other.tenant,
            Bound::Site => one.site == other.site,
            Bound::Pool => true,
        }
    }
}

impl Counts {
    fn of(self, limit: &mut Limit) -> &mut usize {
        match self {
            Self::Leaving => &mut limit.leaving,
            Self::Draining | Self::Nothing => &mut limit.draining,
        }
    }
}
