//! Events that nobody has taken yet: so many, and a count of those that there was no room for.

use parking_lot::Mutex;

#[derive(Debug)]
pub struct Backlog<T, const ROOM: usize>(Mutex<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    events: Vec<T>,
    lost: u32,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { events: Vec::new(), lost: 0 }
    }
}

impl<T, const ROOM: usize> Default for Backlog<T, ROOM> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T, const ROOM: usize> Backlog<T, ROOM> {
    /// True for the first event that is there: whoever takes them is to be woken.
    pub fn put(&self, event: T) -> bool {
        let mut held = self.0.lock();
        if held.events.len() == ROOM {
            held.lost = held.lost.saturating_add(1);
            return false;
        }
        held.events.push(event);
        held.events.len() == 1
    }

    /// Takes what is there, and how many there was no room for since the last time.
    pub fn take(&self) -> (Vec<T>, u32) {
        let Held { events, lost } = std::mem::take(&mut *self.0.lock());
        (events, lost)
    }

    pub fn len(&self) -> usize {
        self.0.lock().events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
