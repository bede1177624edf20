//! The bounded buffer between the body of an answer and its reader.
//!
//! A body may be taken whole, as text or bytes, or as pieces; until its reader says which, it gathers up to [`WINDOW`]. As pieces, the
//! body is not read on while more than that is unread, and TCP or HTTP/2 pass that to the server.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What may be unread before the body is not read on: 64 KiB.
const WINDOW: usize = 64 * 1024;
/// A body that is taken whole may have this many bytes: 1 GiB.
const MAX_WHOLE: usize = 1024 * 1024 * 1024;

/// How the reader takes the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// Nobody has said.
    #[default]
    Undecided,
    Pieces,
    Text,
    Bytes,
}

/// Status, and the rest of the head as `lib/fetch` reads it.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    pub text: String,
}

/// What the reader is told of as it happens.
#[derive(Debug)]
pub enum Tell {
    /// The head is there and its body is not, or not all of it.
    Head(Head),
    /// Pieces are there to be taken, and none were before. True for those that are not to be held back.
    Pieces(bool),
}

/// What is left of a body at its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Whole {
    /// Pieces that were not taken yet.
    Pieces(Vec<Bytes>),
    /// UTF-8.
    Text(Bytes),
    Bytes(Vec<Bytes>),
}

/// See the module.
pub struct Drain {
    state: Mutex<State>,
    room: Notify,
    tell: Box<dyn Fn(Tell) + Send + Sync>,
}

#[derive(Default)]
struct State {
    reading: Reading,
    /// Whether it is most likely wanted as text.
    textual: bool,
    pieces: Vec<Bytes>,
    /// Bytes in `pieces`.
    pending: usize,
    /// Pushed and not yet read.
    unread: usize,
    handed_over: bool,
    /// Whether all that there is was found to be UTF-8 that text can be had of, or not.
    is_text: Option<bool>,
}

/// What became of a push.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pushed {
    /// There is no room for more.
    pub(super) is_full: bool,
    /// It is more than can be taken whole.
    pub(super) is_too_much: bool,
}

impl Drain {
    pub fn new(tell: Box<dyn Fn(Tell) + Send + Sync>) -> Self {
        Self { state: Mutex::default(), room: Notify::new(), tell }
    }

    pub(super) fn set_textual(&self, textual: bool) {
        self.state.lock().textual = textual;
    }

    pub(super) fn tell_head(&self, head: Head) {
        (self.tell)(Tell::Head(head));
    }

    pub(super) fn push(&self, bytes: Bytes) -> Pushed {
        let (pushed, urgent) = {
            let mut state = self.state.lock();
            let had_room = state.unread < WINDOW;
            let was_empty = state.pending == 0;
            state.pending += bytes.len();
            state.unread += bytes.len();
            state.pieces.push(bytes);
            let is_full = state.unread >= WINDOW;
            let pushed = Pushed { is_full, is_too_much: state.pending > MAX_WHOLE };
            // A body that waits for room must not wait for company as well.
            let filled = had_room && is_full;
            let is_news = state.reading == Reading::Pieces && (was_empty || filled);
            (pushed, is_news.then_some(!state.handed_over || filled))
        };
        if let Some(urgent) = urgent {
            (self.tell)(Tell::Pieces(urgent));
        }
        pushed
    }

    /// Waits until the reader has room; one that takes it whole always has.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.room.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.lock().has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Says how the body is taken; once. False where it was said before.
    pub fn choose(&self, reading: Reading) -> bool {
        let ready = {
            let mut state = self.state.lock();
            if state.reading != Reading::Undecided {
                return false;
            }
            state.reading = reading;
            reading == Reading::Pieces && state.pending > 0
        };
        self.room.notify_waiters();
        if ready {
            (self.tell)(Tell::Pieces(true));
        }
        true
    }

    /// The pieces that have gathered, for a reader of pieces.
    pub fn take(&self) -> Vec<Bytes> {
        let mut state = self.state.lock();
        if state.reading != Reading::Pieces {
            return Vec::new();
        }
        state.handed_over |= state.pending > 0;
        state.pending = 0;
        std::mem::take(&mut state.pieces)
    }

    /// The reader is through with this many bytes of what it took.
    pub fn read(&self, bytes: usize) {
        let mut state = self.state.lock();
        let had_room = state.has_room();
        state.unread = state.unread.saturating_sub(bytes);
        if !had_room && state.has_room() {
            drop(state);
            self.room.notify_waiters();
        }
    }

    /// The body has ended. What is long work is done here, and not on JavaScript's thread.
    pub(super) fn end(&self) {
        let (reading, pieces) = {
            let mut state = self.state.lock();
            if state.reading == Reading::Pieces || !(state.textual || state.reading == Reading::Text) {
                return;
            }
            (state.reading, std::mem::take(&mut state.pieces))
        };
        let whole = joined(&pieces);
        let (whole, is_text) = match reading {
            Reading::Text => (text_of(whole), true),
            _ => {
                let is_text = is_exact(&whole);
                (whole, is_text)
            }
        };
        let mut state = self.state.lock();
        state.is_text = Some(is_text);
        state.pieces.push(whole);
    }

    /// What is left, at the end of the body.
    pub fn finish(&self) -> Whole {
        let mut state = self.state.lock();
        let pieces = std::mem::take(&mut state.pieces);
        match (state.reading, state.is_text) {
            (Reading::Pieces, _) => Whole::Pieces(pieces),
            // As text it crosses for less, and the bytes can be had of it.
            (Reading::Text | Reading::Undecided, Some(true)) => Whole::Text(joined(&pieces)),
            (Reading::Text, _) => Whole::Text(text_of(joined(&pieces))),
            _ => Whole::Bytes(pieces),
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.unread < WINDOW || matches!(self.reading, Reading::Text | Reading::Bytes)
    }
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// As WHATWG decodes it: without a byte order mark, and with U+FFFD for what is no UTF-8.
fn text_of(whole: Bytes) -> Bytes {
    let whole = if whole.starts_with(MARK) { whole.slice(MARK.len()..) } else { whole };
    match String::from_utf8_lossy(&whole) {
        Cow::Borrowed(_) => whole,
        Cow::Owned(text) => text.into(),
    }
}

/// Whether its bytes can be had of it as a text: if it is UTF-8, and begins with no mark that text loses.
fn is_exact(whole: &[u8]) -> bool {
    !whole.starts_with(MARK) && std::str::from_utf8(whole).is_ok()
}

/// The usual body is one piece, which stays as it is.
fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Drain")
            .field("reading", &state.reading)
            .field("unread", &state.unread)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn drain() -> (Arc<Drain>, Arc<Mutex<Vec<bool>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let drain = Drain::new(Box::new(move |news| {
            if let Tell::Pieces(urgent) = news {
                tell.lock().push(urgent);
            }
        }));
        (Arc::new(drain), told)
    }

    fn bytes(text: &'static [u8]) -> Bytes {
        Bytes::from_static(text)
    }

    #[test]
    fn text_crosses_as_text_only_where_its_bytes_can_be_had_of_it() {
        let cases: [(&[&'static [u8]], bool); 4] = [
            (&[b"{\"a\":", b"1}"], true),
            (&["é".as_bytes()], true),
            (&[b"\xEF\xBB\xBF{}"], false),
            (&[b"\xff"], false),
        ];
        for (pieces, as_text) in cases {
            let (drain, _) = drain();
            drain.set_textual(true);
            for piece in pieces {
                drain.push(bytes(piece));
            }
            drain.end();
            assert_eq!(matches!(drain.finish(), Whole::Text(_)), as_text, "{pieces:?}");
        }
        let (drain, _) = drain();
        drain.push(bytes(b"{}"));
        drain.end();
        assert_eq!(drain.finish(), Whole::Bytes(vec![bytes(b"{}")]), "what is no text stays bytes");
    }

    #[test]
    fn text_that_was_asked_for_is_decoded_as_fetch_does_whenever_it_is_asked_for() {
        for late in [false, true] {
            for textual in [false, true] {
                let (drain, _) = drain();
                drain.set_textual(textual);
                if !late {
                    drain.choose(Reading::Text);
                }
                drain.push(bytes(b"\xEF\xBB\xBFa\xff\xE2\x82"));
                drain.push(bytes(b"\xACb\xE2"));
                drain.end();
                // Behind the end, and before its letter is delivered.
                drain.choose(Reading::Text);
                assert_eq!(drain.finish(), Whole::Text("a\u{fffd}€b\u{fffd}".into()));
            }
        }
    }

    #[test]
    fn pieces_that_gather_are_told_of_once_and_at_once_where_there_is_no_room() {
        let (drain, told) = drain();
        drain.push(bytes(b"early"));
        assert!(told.lock().is_empty() && drain.take().is_empty(), "nobody has said how it is taken");
        assert!(drain.choose(Reading::Pieces));
        assert!(!drain.choose(Reading::Text), "the first word counts");
        assert_eq!(drain.take(), [bytes(b"early")]);
        drain.push(bytes(b"a"));
        drain.push(bytes(b"b"));
        drain.push(vec![0; WINDOW].into());
        assert_eq!(*told.lock(), [true, false, true]);
    }

    #[tokio::test]
    async fn a_reader_of_pieces_that_does_not_read_stops_the_body_until_it_does() {
        let (drain, _) = drain();
        drain.choose(Reading::Pieces);
        drain.push(vec![0; WINDOW].into());
        assert_eq!(drain.take().len(), 1);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "taken is not read");
        drain.read(1);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_taken_whole_is_never_held_back() {
        let (drain, _) = drain();
        drain.push(vec![0; WINDOW].into());
        drain.choose(Reading::Bytes);
        drain.room().await;
    }
}
