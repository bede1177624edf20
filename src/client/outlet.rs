//! The bounded buffer between a stream and its reader.
//!
//! The stream pushes pieces; the reader takes what has gathered, and says later how much of it was read. While more than
//! [`WINDOW`] bytes are unread the stream does not read its body on, and TCP or HTTP/2 pass that to the server.

use std::fmt;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What may be unread before the body is not read on: 64 KiB.
pub(super) const WINDOW: usize = 64 * 1024;

/// What the reader wants of each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nobody reads yet: pieces wait.
    #[default]
    Undecided,
    /// A JSON array of the pieces.
    Objects,
    /// The texts of the pieces, joined.
    Text,
    /// The pieces, each with a line feed.
    Lines,
    /// Nothing but the whole at the end.
    Whole,
}

/// Pieces that were taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    pub text: String,
    /// To be given to [`Outlet::read`] once the reader is through with them.
    pub bytes: usize,
}

/// See the module.
pub struct Outlet {
    state: Mutex<State>,
    room: Notify,
    /// Called, outside of the lock, when pieces are there to be taken and none were before. True for the first ones, which
    /// are not to be held back.
    ready: Box<dyn Fn(bool) + Send + Sync>,
}

#[derive(Default)]
struct State {
    mode: Mode,
    /// Pieces that came before the mode: JSON and text.
    early: Vec<(String, String)>,
    pending: String,
    pending_bytes: usize,
    /// Pushed and not yet read.
    unread: usize,
    handed_over: bool,
}

impl State {
    fn add(&mut self, json: &str, text: &str) {
        let before = self.pending.len();
        match self.mode {
            Mode::Undecided | Mode::Whole => return,
            Mode::Objects => {
                self.pending.push(if before == 0 { '[' } else { ',' });
                self.pending.push_str(json);
            }
            Mode::Text => self.pending.push_str(text),
            Mode::Lines => {
                self.pending.push_str(json);
                self.pending.push('\n');
            }
        }
        let added = self.pending.len() - before;
        self.pending_bytes += added;
        self.unread += added;
        self.handed_over = true;
    }
}

impl Outlet {
    /// `ready` is told when there is something to take.
    pub fn new(ready: Box<dyn Fn(bool) + Send + Sync>) -> Self {
        Self { state: Mutex::default(), room: Notify::new(), ready }
    }

    /// Adds a piece: its JSON, and the text in it.
    pub(super) fn push(&self, json: &str, text: &str) {
        let first = {
            let mut state = self.state.lock();
            if state.mode == Mode::Undecided {
                state.unread += json.len();
                state.early.push((json.to_owned(), text.to_owned()));
                return;
            }
            let (was_empty, first) = (state.pending.is_empty(), !state.handed_over);
            state.add(json, text);
            if !was_empty || state.pending.is_empty() {
                return;
            }
            first
        };
        (self.ready)(first);
    }

    /// Waits until the reader has room.
    pub(super) async fn room(&self) {
        loop {
            let read = self.room.notified();
            tokio::pin!(read);
            read.as_mut().enable();
            if self.state.lock().unread < WINDOW {
                return;
            }
            read.await;
        }
    }

    /// Forgets what nobody has seen. False where pieces were handed over already.
    pub(super) fn rewind(&self) -> bool {
        let mut state = self.state.lock();
        if state.handed_over {
            return false;
        }
        state.early.clear();
        state.unread = 0;
        true
    }

    /// Says what the reader wants; once. False where it was said before.
    pub fn choose(&self, mode: Mode) -> bool {
        let ready = {
            let mut state = self.state.lock();
            if state.mode != Mode::Undecided {
                return false;
            }
            state.mode = mode;
            state.unread = 0;
            for (json, text) in std::mem::take(&mut state.early) {
                state.add(&json, &text);
            }
            !state.pending.is_empty()
        };
        self.room.notify_waiters();
        if ready {
            (self.ready)(true);
        }
        true
    }

    /// What has gathered; None where nothing has.
    pub fn take(&self) -> Option<Delivery> {
        let mut state = self.state.lock();
        if state.pending.is_empty() {
            return None;
        }
        let mut text = std::mem::take(&mut state.pending);
        if state.mode == Mode::Objects {
            text.push(']');
        }
        Some(Delivery { text, bytes: std::mem::take(&mut state.pending_bytes) })
    }

    /// The reader is through with this many bytes of what it took.
    pub fn read(&self, bytes: usize) {
        let mut state = self.state.lock();
        let before = state.unread;
        state.unread = before.saturating_sub(bytes);
        if before >= WINDOW && state.unread < WINDOW {
            drop(state);
            self.room.notify_waiters();
        }
    }
}

impl Default for Outlet {
    /// An outlet that nobody listens at.
    fn default() -> Self {
        Self::new(Box::new(|_| {}))
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Outlet")
            .field("mode", &state.mode)
            .field("unread", &state.unread)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn outlet() -> (Arc<Outlet>, Arc<Mutex<Vec<bool>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        (Arc::new(Outlet::new(Box::new(move |first| tell.lock().push(first)))), told)
    }

    #[test]
    fn pieces_that_gather_are_taken_as_one() {
        let (outlet, told) = outlet();
        assert!(outlet.choose(Mode::Objects));
        outlet.push("{\"a\":1}", "x");
        outlet.push("{\"a\":2}", "y");
        assert_eq!(outlet.take().unwrap().text, "[{\"a\":1},{\"a\":2}]");
        assert_eq!(outlet.take(), None);
        outlet.push("{\"a\":3}", "z");
        assert_eq!(outlet.take().unwrap().text, "[{\"a\":3}]");
        assert_eq!(*told.lock(), [true, false]);
    }

    #[test]
    fn what_came_before_the_reader_waits_for_it() {
        for (mode, text) in [(Mode::Text, "xy"), (Mode::Lines, "1\n2\n"), (Mode::Objects, "[1,2]")] {
            let (outlet, told) = outlet();
            outlet.push("1", "x");
            outlet.push("2", "y");
            assert!(told.lock().is_empty());
            assert!(outlet.choose(mode));
            assert!(!outlet.choose(Mode::Whole), "the first word counts");
            assert_eq!(outlet.take().unwrap().text, text);
        }
    }

    #[test]
    fn only_what_nobody_saw_is_forgotten() {
        let (outlet, _) = outlet();
        outlet.push("1", "x");
        assert!(outlet.rewind());
        outlet.choose(Mode::Text);
        assert_eq!(outlet.take(), None);
        assert!(outlet.rewind());
        outlet.push("1", "x");
        assert!(!outlet.rewind());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_stops_the_stream_until_it_does() {
        let (outlet, _) = outlet();
        outlet.choose(Mode::Text);
        outlet.push("", &"x".repeat(WINDOW - 1));
        outlet.room().await;
        outlet.push("", "xx");
        let waiting = tokio::spawn({
            let outlet = outlet.clone();
            async move { outlet.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let taken = outlet.take().unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "taken is not read");
        outlet.read(taken.bytes);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_whole_is_never_held_back() {
        let (outlet, told) = outlet();
        outlet.push("", &"x".repeat(2 * WINDOW));
        outlet.choose(Mode::Whole);
        outlet.push(&"x".repeat(2 * WINDOW), "");
        outlet.room().await;
        assert!(told.lock().is_empty());
        assert!(outlet.rewind());
    }
}
