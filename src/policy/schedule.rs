//! Those who wait for their turn: classes by priority, first come first served in each, and none that starves.
//!
//! A waiter moves up one class for each `aging` that it has waited. The order that this makes is that of *due times*: the moment of
//! arrival, and one `aging` later for each class below the highest. So nothing ever moves, and who goes first is the least.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Priorities: critical, interactive, batch, background.
pub const CLASSES: usize = 4;

/// A waiter that never ages is as if it aged this slowly.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Who waits, in the order in which they go.
#[derive(Debug)]
pub struct Schedule<T> {
    waiters: BTreeMap<Place, Waiter<T>>,
    depth: [usize; CLASSES],
    next_ticket: u64,
}

/// Where a waiter stands; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    due: Instant,
    /// Ascending in the order of arrival.
    ticket: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    class: usize,
    what: T,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { waiters: BTreeMap::new(), depth: [0; CLASSES], next_ticket: 0 }
    }
}

impl<T> Schedule<T> {
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many wait, by class.
    pub fn depth(&self) -> [usize; CLASSES] {
        self.depth
    }

    /// A place for whoever came `since` then, which is not always now: a call that is tried again keeps its age.
    pub fn join(&mut self, class: usize, since: Instant, aging: Duration, what: T) -> Place {
        let class = class.min(CLASSES - 1);
        let later = aging.min(NEVER) * class as u32;
        let place = Place { due: since.checked_add(later).unwrap_or(since), ticket: self.next_ticket };
        self.next_ticket += 1;
        self.depth[class] += 1;
        self.waiters.insert(place, Waiter { class, what });
        place
    }

    /// Gives up a place, if it is still there.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        let Waiter { class, what } = self.waiters.remove(&place)?;
        self.depth[class] -= 1;
        Some(what)
    }

    /// Who goes first.
    pub fn first(&self) -> Option<(Place, &T)> {
        self.waiters.first_key_value().map(|(place, waiter)| (*place, &waiter.what))
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
                let (place, _) = self.schedule.first()?;
                self.schedule.leave(place)
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
    fn nobody_starves_whoever_waits_long_enough_goes_before_higher_classes_that_came_later() {
        let mut line = Line::new();
        line.join(0.0, 3, "old");
        line.join(9.9, 1, "before its time");
        line.join(10.1, 1, "after it");
        assert_eq!(line.order(), ["before its time", "old", "after it"]);
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
