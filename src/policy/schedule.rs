//! Those who wait for their turn: classes by priority, first come first served in each, and none that starves.
//!
//! # The order
//! The most urgent class goes first. But each waiter is *due* at some time: when it came, and one `aging` later for each class below the
//! highest. Who is due before the one that is more urgent has outgrown its class: it lets [`IN_A_ROW`] turns in a row go over it, and the
//! next one is its own. So an old backlog has a share of the turns, and takes no precedence: whoever is more urgent than all that wait
//! goes next, or next but one where the turns just before went to others like it.
//!
//! # Nobody starves
//! Of any `IN_A_ROW + 1` turns in a row one goes to whoever is due first of all: each of the others went over that one, and was counted.
//! Who comes when a waiter is due already is due after it. So from then on it waits for `IN_A_ROW + 1` turns at most for itself and for
//! each of those who are due before it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Priorities: critical, interactive, batch, background.
pub const CLASSES: usize = 4;

/// So many turns in a row go over whoever is due first. Of more a backlog would hardly move; of fewer it would keep too many from the
/// urgent, who came to be served first. The pool's queues count the same.
pub const IN_A_ROW: u32 = 3;

/// A waiter that never ages is as if it aged this slowly.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Who waits, in the order in which they go.
#[derive(Debug)]
pub struct Schedule<T> {
    classes: [BTreeMap<Place, T>; CLASSES],
    /// Turns in a row that went over whoever was due first.
    passed: u32,
    next_ticket: u64,
}

/// Where a waiter stands; the least of a class goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    due: Instant,
    /// Ascending in the order of arrival.
    ticket: u64,
    class: usize,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { classes: Default::default(), passed: 0, next_ticket: 0 }
    }
}

impl<T> Schedule<T> {
    pub fn len(&self) -> usize {
        self.classes.iter().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(BTreeMap::is_empty)
    }

    /// How many wait, by class.
    pub fn depth(&self) -> [usize; CLASSES] {
        self.classes.each_ref().map(BTreeMap::len)
    }

    /// A place for whoever came `since` then, which is not always now: a call that is tried again keeps its age.
    pub fn join(&mut self, class: usize, since: Instant, aging: Duration, what: T) -> Place {
        let class = class.min(CLASSES - 1);
        let later = aging.min(NEVER) * class as u32;
        let place = Place { due: since.checked_add(later).unwrap_or(since), ticket: self.next_ticket, class };
        self.next_ticket += 1;
        self.classes[class].insert(place, what);
        place
    }

    /// Gives up a place, if it is still there.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        self.classes[place.class].remove(&place)
    }

    /// Who goes next.
    pub fn first(&self) -> Option<&T> {
        let place = self.heads()?.next(self.passed);
        self.classes[place.class].get(&place)
    }

    /// Gives the turn to whoever goes next, and counts it.
    pub fn go(&mut self) -> Option<T> {
        let heads = self.heads()?;
        let place = heads.next(self.passed);
        self.passed = if place == heads.due { 0 } else { self.passed + 1 };
        self.classes[place.class].remove(&place)
    }

    fn heads(&self) -> Option<Heads> {
        let mut firsts =
            self.classes.iter().filter_map(|class| class.first_key_value()).map(|(place, _)| *place);
        let urgent = firsts.next()?;
        Some(Heads { urgent, due: firsts.fold(urgent, Ord::min) })
    }
}

/// Of those who wait, the most urgent, and who is due first; often the same.
struct Heads {
    urgent: Place,
    due: Place,
}

impl Heads {
    fn next(&self, passed: u32) -> Place {
        if passed < IN_A_ROW { self.urgent } else { self.due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGING: Duration = Duration::from_secs(5);

    struct Line {
        start: Instant,
        schedule: Schedule<&'static str>,
    }

    impl Line {
        fn new() -> Self {
            Self { start: Instant::now(), schedule: Schedule::default() }
        }

        fn join(&mut self, at: f64, class: usize, name: &'static str) -> Place {
            self.schedule.join(class, self.start + Duration::from_secs_f64(at), AGING, name)
        }

        fn order(mut self) -> Vec<&'static str> {
            std::iter::from_fn(|| {
                let first = self.schedule.first().copied();
                let went = self.schedule.go();
                assert_eq!(first, went);
                went
            })
            .collect()
        }
    }

    #[test]
    fn within_a_class_who_came_first_goes_first_and_higher_classes_before() {
        let mut line = Line::new();
        for (at, class, name) in
            [(0.0, 3, "b1"), (0.1, 3, "b2"), (0.2, 1, "i1"), (0.3, 0, "c1"), (0.4, 1, "i2")]
        {
            line.join(at, class, name);
        }
        assert_eq!(line.schedule.depth(), [1, 2, 0, 2]);
        assert_eq!(line.order(), ["c1", "i1", "i2", "b1", "b2"]);
    }

    #[test]
    fn who_has_outgrown_its_class_goes_after_three_turns_in_a_row_that_went_over_it() {
        let mut line = Line::new();
        line.join(0.0, 3, "old");
        line.join(0.1, 3, "younger");
        for (at, name) in [(9.9, "i0"), (10.2, "i1"), (10.3, "i2"), (10.4, "i3"), (10.5, "i4"), (10.6, "i5")]
        {
            line.join(at, 1, name);
        }
        // "i0" came before the old ones were due, and so goes over none.
        assert_eq!(line.order(), ["i0", "i1", "i2", "i3", "old", "i4", "i5", "younger"]);
    }

    #[test]
    fn one_that_is_urgent_goes_next_however_old_the_backlog_is() {
        let mut line = Line::new();
        for _ in 0..100 {
            line.join(0.0, 3, "old");
        }
        for n in 0..40 {
            line.join(100.0 + f64::from(n), n as usize % 3, "urgent");
            assert_eq!(line.schedule.go(), Some("urgent"));
            // It was alone, so the next turn is the backlog's: nothing is owed to it when the next one comes.
            assert_eq!(line.schedule.go(), Some("old"));
        }
        // Nor is what has left.
        let places: Vec<_> = (0..3).map(|_| line.join(200.0, 0, "gone")).collect();
        for place in places {
            line.schedule.leave(place);
        }
        line.join(200.0, 1, "urgent");
        assert_eq!(line.schedule.go(), Some("urgent"));
    }

    #[test]
    fn a_place_is_left_once() {
        let mut line = Line::new();
        let place = line.join(0.0, 2, "x");
        assert_eq!(line.schedule.leave(place), Some("x"));
        assert_eq!(line.schedule.leave(place), None);
        assert_eq!((line.schedule.len(), line.schedule.depth()), (0, [0; CLASSES]));
    }

    #[test]
    fn ages_that_no_clock_can_count_do_no_harm() {
        let mut schedule = Schedule::default();
        schedule.join(3, Instant::now(), Duration::MAX, ());
        schedule.join(9, Instant::now(), Duration::MAX, ());
        assert_eq!(schedule.depth(), [0, 0, 0, 2]);
    }
}
