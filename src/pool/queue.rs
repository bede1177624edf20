//! Those who wait for one line: four priorities, first come first served in each, and none that starves.
//!
//! # Ageing
//! The most urgent goes first. But each waiter is *due* at some time: when it came, and one `aging` later for each priority below the
//! highest. Who is due before the one that is more urgent has outgrown its priority: it lets [`IN_A_ROW`] in a row go before it, and the
//! next turn is its own. So nothing ever moves, and who goes next is found among four heads. An old backlog has a share of the turns, and
//! takes no precedence; and of any `IN_A_ROW + 1` in a row one goes to whoever is due first, so that nobody waits for ever: who comes
//! later is due later.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::limit::Claim;

/// How urgent a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    Critical,
    #[default]
    Interactive,
    Batch,
    Background,
}

impl Priority {
    pub const ALL: [Self; 4] = [Self::Critical, Self::Interactive, Self::Batch, Self::Background];

    /// `"critical"`, `"interactive"`, `"batch"` or `"background"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Interactive => "interactive",
            Self::Batch => "batch",
            Self::Background => "background",
        }
    }
}

/// So many in a row go before whoever is due first. The policies' schedule of turns counts the same, and so do the lines' limits.
pub(super) const IN_A_ROW: u32 = 3;

/// Where a waiter stands among all waiters of a pool by age; the least is due first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    due: Instant,
    /// Ascending in the order of arrival.
    ticket: u64,
}

impl Rank {
    pub(super) fn new(arrived: Instant, priority: Priority, aging: Duration, ticket: u64) -> Self {
        let below = priority as u32;
        // A time beyond what the clock can count never ages.
        let due = aging.checked_mul(below).and_then(|later| arrived.checked_add(later));
        Self {
            due: due.unwrap_or(arrived + Duration::from_secs(u64::from(u32::MAX) * u64::from(below))),
            ticket,
        }
    }

    /// The last rank that this one is later than by `time`.
    pub(super) fn before(self, time: Duration) -> Option<Self> {
        self.due.checked_sub(time).map(|due| Self { due, ticket: 0 })
    }
}

/// Waiters, each with what it is granted by.
#[derive(Debug)]
pub(super) struct Queue<T> {
    classes: [Class<T>; Priority::ALL.len()],
    /// How many in a row went before whoever was due first.
    passed: u32,
}

/// The waiters of one priority, by rank: in the order of their arrival, where all age alike. The first is never one that has gone.
#[derive(Debug)]
struct Class<T> {
    waiters: VecDeque<Waiter<T>>,
    /// Waiters whose caller has gone.
    gone: usize,
}

#[derive(Debug)]
struct Waiter<T> {
    rank: Rank,
    /// None once the caller has gone.
    grant: Option<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { classes: Default::default(), passed: 0 }
    }
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { waiters: VecDeque::new(), gone: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(Class::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.waiters.is_empty())
    }

    /// How many wait, by priority.
    pub(super) fn depth(&self) -> [usize; Priority::ALL.len()] {
        self.classes.each_ref().map(Class::len)
    }

    /// What stands for all of them among other lines.
    pub(super) fn claim(&self) -> Option<Claim> {
        let mut firsts =
            Priority::ALL.into_iter().zip(&self.classes).filter_map(|(at, class)| Some((at, class.first()?)));
        let urgent = firsts.next()?;
        Some(Claim { urgent, due: firsts.map(|(_, rank)| rank).fold(urgent.1, Ord::min) })
    }

    /// The next place is that of whoever is due first.
    pub(super) fn owe(&mut self) {
        self.passed = IN_A_ROW;
    }

    /// A place among those of a priority: at the end, unless its ageing is shorter than that of others.
    pub(super) fn join(&mut self, priority: Priority, rank: Rank, grant: T) {
        self.classes[priority as usize].join(Waiter { rank, grant: Some(grant) });
    }

    /// A waiter's caller has gone.
    pub(super) fn leave(&mut self, priority: Priority, rank: Rank) {
        self.classes[priority as usize].leave(rank);
    }

    /// Whoever goes next, taken out.
    pub(super) fn next(&mut self) -> Option<T> {
        let mut heads = (0..).zip(&self.classes).filter_map(|(at, class)| Some((class.first()?, at)));
        let urgent = heads.next()?;
        let due = heads.fold(urgent, Ord::min);
        let (_, class): (Rank, usize) = if self.passed < IN_A_ROW { urgent } else { due };
        self.passed = if class == due.1 { 0 } else { self.passed + 1 };
        self.classes[class].next()
    }
}

impl<T> Class<T> {
    fn len(&self) -> usize {
        self.waiters.len() - self.gone
    }

    fn first(&self) -> Option<Rank> {
        self.waiters.front().map(|waiter| waiter.rank)
    }

    fn join(&mut self, waiter: Waiter<T>) {
        let is_last = self.waiters.back().is_none_or(|last| last.rank < waiter.rank);
        let at = match is_last {
            true => self.waiters.len(),
            false => self.waiters.partition_point(|other| other.rank < waiter.rank),
        };
        self.waiters.insert(at, waiter);
    }

    fn leave(&mut self, rank: Rank) {
        let Ok(at) = self.waiters.binary_search_by_key(&rank, |waiter| waiter.rank) else {
            return;
        };
        if self.waiters[at].grant.take().is_none() {
            return;
        }
        self.gone += 1;
        self.trim();
        // Swept in bulk, so that ten thousand callers who leave at once cost no quadratic time.
        if self.gone > 16 && self.gone * 2 > self.waiters.len() {
            self.waiters.retain(|waiter| waiter.grant.is_some());
            self.gone = 0;
        }
    }

    fn next(&mut self) -> Option<T> {
        let grant = self.waiters.pop_front()?.grant;
        self.trim();
        grant
    }

    fn trim(&mut self) {
        while self.waiters.front().is_some_and(|waiter| waiter.grant.is_none()) {
            self.waiters.pop_front();
            self.gone -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGING: Duration = Duration::from_secs(5);

    struct Line {
        queue: Queue<&'static str>,
        start: Instant,
        tickets: u64,
    }

    impl Line {
        fn new() -> Self {
            Self { queue: Queue::default(), start: Instant::now(), tickets: 0 }
        }

        fn join(&mut self, at: f64, priority: Priority, name: &'static str) -> Rank {
            self.tickets += 1;
            let rank = Rank::new(self.start + Duration::from_secs_f64(at), priority, AGING, self.tickets);
            self.queue.join(priority, rank, name);
            rank
        }

        fn drain(mut self) -> Vec<&'static str> {
            std::iter::from_fn(|| self.queue.next()).collect()
        }
    }

    #[test]
    fn the_more_urgent_goes_first_and_within_one_priority_the_first_to_come() {
        let mut line = Line::new();
        line.join(0.0, Priority::Background, "g1");
        line.join(0.1, Priority::Batch, "b1");
        line.join(0.2, Priority::Interactive, "i1");
        line.join(0.2, Priority::Interactive, "i2");
        line.join(0.3, Priority::Critical, "c1");
        line.join(0.4, Priority::Interactive, "i3");
        assert_eq!(line.queue.depth(), [1, 3, 1, 1]);
        assert_eq!(line.drain(), ["c1", "i1", "i2", "i3", "b1", "g1"]);
    }

    #[test]
    fn who_has_outgrown_its_priority_goes_after_three_in_a_row_that_went_before_it() {
        let mut line = Line::new();
        line.join(0.0, Priority::Background, "old");
        line.join(0.1, Priority::Background, "younger");
        line.join(4.95, Priority::Batch, "before it is due");
        line.join(5.05, Priority::Batch, "after it is due");
        for n in ["c1", "c2", "c3", "c4", "c5"] {
            line.join(15.5, Priority::Critical, n);
        }
        assert_eq!(
            line.drain(),
            ["c1", "c2", "c3", "before it is due", "c4", "c5", "after it is due", "old", "younger"]
        );
    }

    #[test]
    fn one_that_is_urgent_goes_next_however_old_the_backlog_is() {
        let mut line = Line::new();
        for _ in 0..100 {
            line.join(0.0, Priority::Background, "old");
        }
        for (n, priority) in (0..40).zip(Priority::ALL[..3].iter().cycle()) {
            line.join(100.0 + f64::from(n), *priority, "urgent");
            assert_eq!(line.queue.next(), Some("urgent"));
            // It was alone, so the next place is the backlog's: nothing is owed to it when the next one comes.
            assert_eq!(line.queue.next(), Some("old"));
        }
    }

    #[test]
    fn nobody_starves_behind_the_more_urgent_that_keep_coming() {
        let mut line = Line::new();
        for name in ["b1", "b2", "b3"] {
            line.join(0.0, Priority::Background, name);
        }
        let mut went = Vec::new();
        for n in 0..12 {
            line.join(20.0 + f64::from(n), Priority::Critical, "c");
            line.join(20.0 + f64::from(n), Priority::Critical, "c");
            went.extend(line.queue.next());
        }
        assert_eq!(went.join(" "), "c c c b1 c c c b2 c c c b3");
    }

    #[test]
    fn who_leaves_is_never_next() {
        let mut line = Line::new();
        let ranks: Vec<_> = (0..100).map(|_| line.join(1.0, Priority::Batch, "gone")).collect();
        line.join(1.0, Priority::Batch, "there");
        for rank in ranks.into_iter().rev() {
            line.queue.leave(Priority::Batch, rank);
            line.queue.leave(Priority::Batch, rank);
        }
        assert_eq!(line.queue.len(), 1);
        assert_eq!(line.drain(), ["there"]);
    }

    #[test]
    fn waiters_of_one_priority_that_age_at_different_speed_go_by_when_they_are_due_and_can_all_leave() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let spans = [10, 1, 5, 1, 20, 2];
        let ranks: Vec<_> = (spans.iter().zip(1..))
            .map(|(span, ticket)| {
                let rank = Rank::new(now, Priority::Batch, Duration::from_secs(*span), ticket);
                queue.join(Priority::Batch, rank, (*span, ticket));
                rank
            })
            .collect();
        queue.leave(Priority::Batch, ranks[0]);
        queue.leave(Priority::Batch, ranks[5]);
        assert_eq!(queue.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [(1, 2), (1, 4), (5, 3), (20, 5)]);
    }

    #[test]
    fn an_endless_span_is_no_ageing() {
        let now = Instant::now();
        let old = Rank::new(now, Priority::Batch, Duration::MAX, 1);
        let new = Rank::new(now + Duration::from_secs(86_400), Priority::Interactive, Duration::MAX, 2);
        assert!(new < old);
    }
}
