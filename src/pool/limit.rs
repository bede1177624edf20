//! A limit of sockets, and the lines that it keeps from opening one: the whole pool's, an origin's, a lane's, a tenant's.
//!
//! They contend for its places as waiters do in a line: the line of the most urgent waiter first, and of these the one that came first;
//! three in a row go before the line of whoever is due first, and the fourth place is that one's. Each limit counts for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::queue::{IN_A_ROW, Priority, Rank};

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
    /// Lines whose waiters want a socket that this limit denies: by the priority of the most urgent of them, and by whoever is due first.
    by_urgency: [Hungry; Priority::ALL.len()],
    by_due: Hungry,
    wanted: usize,
    /// Places in a row that went before whoever was due first.
    passed: u32,
}

/// Lines by a rank of theirs.
#[derive(Debug, Default)]
struct Hungry {
    all: BTreeSet<(Rank, LineId)>,
    /// Of them, those that have no socket at all.
    starving: BTreeSet<(Rank, LineId)>,
}

/// What stands for a line among others: its most urgent waiter, and the one that is due first; often the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) urgent: (Priority, Rank),
    pub(super) due: Rank,
}

/// As what a line is hungry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hunger {
    pub(super) claim: Claim,
    /// How many sockets it wants.
    pub(super) wanted: usize,
    /// Whether it has none at all.
    pub(super) starving: bool,
}

/// The lines that may go next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) urgent: (Priority, Rank, LineId),
    pub(super) due: (Rank, LineId),
    /// Whether it is the turn of whoever is due first.
    pub(super) owed: bool,
}

impl Limit {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            used: 0,
            leaving: 0,
            draining: 0,
            by_urgency: Default::default(),
            by_due: Hungry::default(),
            wanted: 0,
            passed: 0,
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
        let Hunger { claim: Claim { urgent: (priority, rank), due }, wanted, starving } = hunger;
        self.by_urgency[priority as usize].join(rank, line, starving);
        self.by_due.join(due, line, starving);
        self.wanted += wanted;
    }

    pub(super) fn strike(&mut self, line: LineId, hunger: Hunger) {
        let Hunger { claim: Claim { urgent: (priority, rank), due }, wanted, starving } = hunger;
        if self.by_due.leave(due, line, starving) {
            self.by_urgency[priority as usize].leave(rank, line, starving);
            self.wanted -= wanted;
        }
    }

    pub(super) fn heads(&self) -> Option<Heads> {
        let due = *self.by_due.all.first()?;
        let urgent = Priority::ALL.into_iter().zip(&self.by_urgency);
        let (priority, (rank, line)) =
            urgent.into_iter().find_map(|(priority, lines)| Some((priority, *lines.all.first()?)))?;
        Some(Heads { urgent: (priority, rank, line), due, owed: self.passed >= IN_A_ROW })
    }

    pub(super) fn hungry(&self) -> impl Iterator<Item = LineId> + '_ {
        self.by_due.all.iter().map(|(_, line)| *line)
    }

    /// Counts a place that a line took, whose first waiter is due then; `first`: the one of all that contended for it. To start again with
    /// the place of one that contended elsewhere starves nobody here: it was due before all of these.
    pub(super) fn count(&mut self, first: (Rank, LineId), taken_by: LineId, due: Rank) {
        if first.1 == taken_by {
            self.passed = 0;
        } else if first.0 < due {
            self.passed = self.passed.saturating_add(1);
        }
    }

    /// The same where a line keeps a place for its own waiters.
    pub(super) fn count_kept(&mut self, ours: Claim) {
        if self.is_full() && self.by_due.all.first().is_some_and(|(rank, _)| *rank < ours.due) {
            self.passed = self.passed.saturating_add(1);
        }
    }

    /// How many resting sockets should go so that the hungry get what they want.
    pub(super) fn lacks(&self) -> usize {
        if self.is_full() { self.wanted.saturating_sub(self.leaving) } else { 0 }
    }

    /// Whether a line of this claim must let a socket go although it needs it, without as many being `under_way` to make room: for lines
    /// with a more urgent waiter; with one as urgent that came before, where they have no socket at all, or came `aging` before; and when
    /// it is their turn, for those of which one is due before, by the same measure.
    pub(super) fn must_give_way(&self, ours: Option<Claim>, aging: Duration, under_way: usize) -> bool {
        if !self.is_full() || self.by_due.all.is_empty() {
            return false;
        }
        // Those who do not even have to wait came later than all who do.
        let Some(Claim { urgent: (priority, rank), due }) = ours else {
            return under_way < self.by_due.starving.len();
        };
        let (above, same) = self.by_urgency.split_at(priority as usize);
        let more_urgent: usize = above.iter().map(|lines| lines.all.len()).sum();
        let enough = under_way.saturating_add(1).saturating_sub(more_urgent);
        enough == 0
            || same[0].before(rank, aging, enough)
            || self.passed >= IN_A_ROW && self.by_due.before(due, aging, under_way.saturating_add(1))
    }
}

impl Hungry {
    fn join(&mut self, rank: Rank, line: LineId, starving: bool) {
        self.all.insert((rank, line));
        if starving {
            self.starving.insert((rank, line));
        }
    }

    fn leave(&mut self, rank: Rank, line: LineId, starving: bool) -> bool {
        if starving {
            self.starving.remove(&(rank, line));
        }
        self.all.remove(&(rank, line))
    }

    /// Whether so many are there before a rank: of those that starve, or a whole span before of all.
    fn before(&self, rank: Rank, aging: Duration, count: usize) -> bool {
        let has = |lines: &BTreeSet<(Rank, LineId)>, rank: Rank| {
            lines.range(..(rank, 0)).take(count).count() == count
        };
        has(&self.starving, rank) || rank.before(aging).is_some_and(|rank| has(&self.all, rank))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const AGING: Duration = Duration::from_secs(5);

    /// Lines that want a place each time, over a limit of one.
    struct Crowd {
        limit: Limit,
        start: Instant,
        tickets: u64,
        lines: Vec<Hunger>,
    }

    impl Crowd {
        fn new() -> Self {
            let mut limit = Limit::new(1);
            limit.take();
            Self { limit, start: Instant::now(), tickets: 0, lines: Vec::new() }
        }

        fn claim(&mut self, at: u64, priority: Priority) -> Claim {
            self.tickets += 1;
            let rank = Rank::new(self.start + Duration::from_secs(at), priority, AGING, self.tickets);
            Claim { urgent: (priority, rank), due: rank }
        }

        fn join(&mut self, at: u64, priority: Priority, starving: bool) -> LineId {
            let hunger = Hunger { claim: self.claim(at, priority), wanted: 1, starving };
            self.lines.push(hunger);
            self.limit.enlist(self.lines.len() - 1, hunger);
            self.lines.len() - 1
        }

        /// A place comes free, and goes to whoever goes first.
        fn next(&mut self) -> Option<LineId> {
            let heads = self.limit.heads()?;
            let next = if heads.owed { heads.due.1 } else { heads.urgent.2 };
            self.limit.strike(next, self.lines[next]);
            self.limit.count(heads.due, next, self.lines[next].claim.due);
            Some(next)
        }

        fn gives_way_to(&self, ours: Claim) -> bool {
            self.limit.must_give_way(Some(ours), AGING, 0)
        }
    }

    #[test]
    fn the_line_of_the_most_urgent_goes_first_and_every_fourth_place_is_that_of_who_is_due_first() {
        let mut crowd = Crowd::new();
        let old: Vec<_> = (0..2).map(|_| crowd.join(0, Priority::Background, true)).collect();
        let urgent: Vec<_> = (0..7).map(|n| crowd.join(100 + n, Priority::Interactive, false)).collect();
        let order: Vec<_> = std::iter::from_fn(|| crowd.next()).collect();
        let expected = [&urgent[..3], &old[..1], &urgent[3..6], &old[1..], &urgent[6..]].concat();
        assert_eq!(order, expected);
        assert_eq!((crowd.limit.lacks(), crowd.limit.hungry().count()), (0, 0));
    }

    #[test]
    fn a_busy_line_lets_go_for_the_more_urgent_and_for_the_less_urgent_when_it_is_their_turn() {
        let mut crowd = Crowd::new();
        let ours = crowd.claim(100, Priority::Interactive);
        crowd.join(0, Priority::Background, true);
        for _ in 0..IN_A_ROW {
            assert!(!crowd.gives_way_to(ours));
            crowd.limit.count_kept(ours);
        }
        assert!(crowd.gives_way_to(ours));
        // Until that one had its place.
        assert_eq!(crowd.next(), Some(0));
        crowd.join(0, Priority::Background, true);
        assert!(!crowd.gives_way_to(ours));
        crowd.join(101, Priority::Critical, false);
        assert!(crowd.gives_way_to(ours));
        assert!(!crowd.limit.must_give_way(Some(ours), AGING, 1));
    }

    #[test]
    fn of_those_as_urgent_it_lets_go_for_whoever_waits_longer_without_a_socket_or_a_whole_span_longer() {
        for (at, starving, gives_way) in
            [(99, true, true), (99, false, false), (94, false, true), (101, true, false), (101, false, false)]
        {
            let mut crowd = Crowd::new();
            let ours = crowd.claim(100, Priority::Batch);
            crowd.join(at, Priority::Batch, starving);
            assert_eq!(crowd.gives_way_to(ours), gives_way, "{at} {starving}");
        }
    }

    #[test]
    fn a_line_without_waiters_lets_go_for_those_that_have_no_socket() {
        let mut crowd = Crowd::new();
        crowd.join(0, Priority::Critical, false);
        assert!(!crowd.limit.must_give_way(None, AGING, 0));
        crowd.join(0, Priority::Background, true);
        assert!(crowd.limit.must_give_way(None, AGING, 0));
        assert!(!crowd.limit.must_give_way(None, AGING, 1));
    }
}
