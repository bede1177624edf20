//! What a client tells of its calls, to whoever listens: retries, circuits, alerts.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::Serialize;

use crate::error::Attempt;
use crate::policy::alerts::Alert;
use crate::policy::money::Crossed;
use crate::pool::Backlog;

/// What has happened, as JavaScript sees it: `{"event":"retry","attempt":{…},"delay":…}`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// An attempt has failed, and another one comes after so many milliseconds.
    Retry {
        attempt: Attempt,
        delay: f64,
    },
    /// A circuit has changed. Without a model: that of the provider as a whole.
    Circuit {
        provider: Arc<str>,
        model: Option<Arc<str>>,
        state: &'static str,
    },
    /// One target is given up for another, by their names (`provider/model`), and why: the code of the error.
    Failover {
        from: String,
        to: String,
        reason: &'static str,
    },
    Alert(Alert),
    /// A share of a budget was reached.
    Budget(Crossed),
}

/// Events until they are taken: so many, then they are counted and lost.
const ROOM: usize = 1000;

/// The events of one client. Without a listener none is made.
pub struct Events {
    listening: AtomicBool,
    backlog: Backlog<Event, ROOM>,
    /// Told when there is something to take.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Events {
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { listening: AtomicBool::new(false), backlog: Backlog::default(), wake }
    }

    /// Whether anybody listens from now on. What is there when nobody does is dropped.
    pub fn listen(&self, on: bool) {
        self.listening.store(on, Ordering::Relaxed);
        if !on {
            self.backlog.take();
        }
    }

    /// The event is made only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.listening.load(Ordering::Relaxed) {
            return;
        }
        if self.backlog.put(event()) {
            (self.wake)();
        }
    }

    /// Takes what is there, and how many there was no room for since the last time.
    pub fn take(&self) -> (Vec<Event>, u32) {
        self.backlog.take()
    }
}

/// All who are told what happens to what they share.
#[derive(Debug, Default)]
pub struct Audience {
    events: Mutex<Vec<Weak<Events>>>,
}

impl Audience {
    /// For as long as there are these events.
    pub fn join(&self, events: &Arc<Events>) {
        let mut all = self.events.lock();
        all.retain(|events| events.strong_count() > 0);
        all.push(Arc::downgrade(events));
    }

    /// As [`Events::tell`], to each.
    pub fn tell(&self, event: impl Fn() -> Event) {
        // Whoever is woken may come back here.
        let all: Vec<_> = self.events.lock().iter().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|events| events.tell(&event));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("listening", &self.listening).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn circuit() -> Event {
        Event::Circuit { provider: "default".into(), model: None, state: "open" }
    }

    fn events() -> (Events, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let counted = woken.clone();
        let wake = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        (Events::new(wake), woken)
    }

    #[test]
    fn without_a_listener_no_event_is_made() {
        let (events, woken) = events();
        events.tell(|| unreachable!());
        events.listen(true);
        events.tell(circuit);
        events.listen(false);
        events.tell(|| unreachable!());
        assert_eq!((events.take().0.len(), woken.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn all_of_an_audience_that_are_there_and_listen_are_told() {
        let (audience, [one, other, deaf]) = (Audience::default(), [(); 3].map(|()| Arc::new(events().0)));
        [&one, &other, &deaf].into_iter().for_each(|events| audience.join(events));
        [&one, &other].into_iter().for_each(|events| events.listen(true));
        audience.tell(circuit);
        assert_eq!([&one, &other, &deaf].map(|events| events.take().0.len()), [1, 1, 0]);
        drop(one);
        audience.tell(circuit);
        assert_eq!(other.take().0.len(), 1);
        audience.join(&deaf);
        assert_eq!(audience.events.lock().len(), 3, "whoever has gone is forgotten");
    }

    #[test]
    fn one_wake_brings_all_that_is_there_and_says_how_much_there_was_no_room_for() {
        let (events, woken) = events();
        events.listen(true);
        for _ in 0..ROOM + 3 {
            events.tell(circuit);
        }
        let (taken, lost) = events.take();
        assert_eq!((taken.len(), lost, woken.load(Ordering::Relaxed)), (ROOM, 3, 1));
        events.tell(circuit);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn as_json_an_event_is_flat_and_says_which_it_is() {
        let json = serde_json::to_value(circuit()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"event": "circuit", "provider": "default", "model": null, "state": "open"})
        );
    }
}
