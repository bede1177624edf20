//! Who is told of connections that open and close.
//!
//! Each listener has a bounded inbox of its own and is woken when it is empty no longer; the pool waits for none of them. What finds
//! an inbox full is counted there and dropped. While nobody listens, an event costs the load of an atomic.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use super::backlog::Backlog;
use super::info::Info;
use super::stats::CloseReason;
use super::{Origin, Protocol};

/// What an inbox holds at most. A pool of a thousand connections may turn over while its listener is busy.
const ROOM: usize = 1024;

/// A connection opened or closed. Each that opened closes once, after that.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// The number of the connection, as in [`super::Lease::connection_id`].
    pub id: u64,
    #[serde(serialize_with = "as_text")]
    pub origin: Origin,
    pub protocol: Protocol,
    #[serde(flatten)]
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Change {
    /// DNS, TCP and TLS together took so long; milliseconds in JSON.
    Opened {
        #[serde(serialize_with = "as_milliseconds")]
        handshake: Duration,
    },
    Closed {
        reason: CloseReason,
    },
}

impl Event {
    pub(super) fn opened(info: &Info) -> Self {
        Self::of(info, Change::Opened { handshake: info.phases.total() })
    }

    pub(super) fn closed(info: &Info) -> Self {
        Self::of(info, Change::Closed { reason: info.reason() })
    }

    fn of(info: &Info, change: Change) -> Self {
        Self { id: info.id, origin: info.origin.clone(), protocol: info.protocol, change }
    }
}

/// The listeners of a pool.
#[derive(Debug, Default)]
pub(super) struct Events {
    inboxes: Mutex<Vec<Arc<Inbox>>>,
    /// How many there are, for those who ask without the lock.
    count: AtomicUsize,
}

impl Events {
    /// The event is made only if somebody listens. To be called without the pool's lock.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        // A listener who comes in this very moment was not there yet.
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let event = event();
        // Woken without the lock, under which others come and go.
        let inboxes = self.inboxes.lock().clone();
        for inbox in inboxes {
            inbox.put(event.clone());
        }
    }

    pub(super) fn listen(self: &Arc<Self>, wake: Wake) -> Listener {
        let inbox = Arc::new(Inbox { backlog: Backlog::default(), wake });
        let mut inboxes = self.inboxes.lock();
        inboxes.push(inbox.clone());
        self.count.store(inboxes.len(), Ordering::Relaxed);
        Listener { events: self.clone(), inbox }
    }
}

/// Told, on a thread of the pool's, that an inbox is empty no longer. It must not block.
pub type Wake = Box<dyn Fn(&Arc<Inbox>) + Send + Sync>;

/// What a listener has not taken yet.
pub struct Inbox {
    backlog: Backlog<Event, ROOM>,
    wake: Wake,
}

impl Inbox {
    /// Takes what is there, and how many there was no room for since the last time.
    pub fn take(&self) -> (Vec<Event>, u32) {
        self.backlog.take()
    }

    fn put(self: &Arc<Self>, event: Event) {
        if self.backlog.put(event) {
            (self.wake)(self);
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("events", &self.backlog.len()).finish_non_exhaustive()
    }
}

/// Listens for as long as it lives.
#[must_use = "dropping it ends the listening"]
#[derive(Debug)]
pub struct Listener {
    events: Arc<Events>,
    inbox: Arc<Inbox>,
}

impl Listener {
    /// As [`Inbox::take`].
    pub fn take(&self) -> (Vec<Event>, u32) {
        self.inbox.take()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut inboxes = self.events.inboxes.lock();
        inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
        self.events.count.store(inboxes.len(), Ordering::Relaxed);
    }
}

fn as_text<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}

fn as_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64) -> Event {
        Event {
            id,
            origin: Origin::of(&"https://a.test/v1".parse().unwrap()).unwrap(),
            protocol: Protocol::H2,
            change: Change::Closed { reason: CloseReason::Goaway },
        }
    }

    fn listen(events: &Arc<Events>) -> (Listener, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let counted = woken.clone();
        let wake = move |_: &Arc<Inbox>| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (events.listen(Box::new(wake)), woken)
    }

    fn ids(listener: &Listener) -> Vec<u64> {
        listener.take().0.iter().map(|event| event.id).collect()
    }

    #[test]
    fn without_listeners_no_event_is_made() {
        let events = Arc::new(Events::default());
        events.tell(|| unreachable!());
        let (listener, _) = listen(&events);
        drop(listener);
        events.tell(|| unreachable!());
    }

    #[test]
    fn every_listener_gets_every_event_and_one_wake_until_it_takes_them() {
        let events = Arc::new(Events::default());
        let ((one, woken), (other, _)) = (listen(&events), listen(&events));
        events.tell(|| event(1));
        events.tell(|| event(2));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!((ids(&one), ids(&other)), (vec![1, 2], vec![1, 2]));
        drop(other);
        events.tell(|| event(3));
        assert_eq!((ids(&one), woken.load(Ordering::Relaxed)), (vec![3], 2));
        assert!(ids(&one).is_empty());
    }

    #[test]
    fn a_listener_that_does_not_come_holds_so_many_and_is_told_how_many_it_missed() {
        let events = Arc::new(Events::default());
        let (listener, woken) = listen(&events);
        for id in 0..ROOM as u64 + 5 {
            events.tell(|| event(id));
        }
        let (kept, lost) = listener.take();
        assert_eq!((kept.len(), kept.last().unwrap().id, lost), (ROOM, ROOM as u64 - 1, 5));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        events.tell(|| event(7));
        assert_eq!((ids(&listener), woken.load(Ordering::Relaxed)), (vec![7], 2));
        assert_eq!(listener.take().1, 0);
    }

    #[test]
    fn an_inbox_goes_with_its_listener() {
        let events = Arc::new(Events::default());
        let (listener, _) = listen(&events);
        let inbox = Arc::downgrade(&listener.inbox);
        events.tell(|| event(1));
        drop(listener);
        assert!(inbox.upgrade().is_none());
    }

    #[test]
    fn as_json_an_event_is_flat() {
        let closed = serde_json::to_value(event(3)).unwrap();
        let json = serde_json::json!({ "id": 3, "origin": "https://a.test", "protocol": "h2", "event": "closed", "reason": "goaway" });
        assert_eq!(closed, json);
        let change = Change::Opened { handshake: Duration::from_micros(1_500) };
        let opened = serde_json::to_value(Event { change, ..event(4) }).unwrap();
        assert_eq!(opened["handshake"], 1.5);
        assert_eq!(opened["event"], "opened");
    }
}
