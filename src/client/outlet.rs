//! The bounded buffer between a stream and its reader.
//!
//! The stream pushes pieces; the reader takes what has gathered, and says later how much of it was read. While more than
//! [`WINDOW`] bytes are unread the stream does not read its body on, and TCP or HTTP/2 pass that to the server.
//!
//! # Objects
//! Most chunks of a chat differ from the one before in nothing but the text of their delta, and parsing the rest again is what a
//! stream costs JavaScript's thread. So the array that objects cross in has three kinds of elements: `[chunk]` is a chunk and a
//! pattern for those that follow; `"text"` is the last pattern with this text; and `chunk` is only itself. A text that comes alone
//! crosses without the array.

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
    /// A JSON array of the pieces; see the module.
    Objects,
    /// The texts of the pieces, joined.
    Text,
    /// The pieces, each with a line feed.
    Lines,
    /// Nothing but the whole at the end.
    Whole,
}

/// From where to where.
type Span = (usize, usize);

/// One piece of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// An object.
    pub(super) json: &'a str,
    /// The text in it.
    pub(super) text: &'a str,
    /// Where in `json` its text stands, quotes included.
    pub(super) span: Option<Span>,
}

/// What chunks that differ only in their text have in common.
#[derive(Debug)]
struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    /// The pattern of a piece, if another text can simply be put into it: its only objects are the chunk, its one choice and
    /// the delta. Any other value is a string, a number or the like, which copies of the chunk can share.
    fn of(json: &str, (start, end): Span) -> Option<Self> {
        let (before, after) = (&json[..start], &json[end..]);
        let (mut objects, mut arrays, mut quoted, mut escaped) = (0, 0, false, false);
        for byte in before.bytes().chain(after.bytes()) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' if !quoted => objects += 1,
                b'[' if !quoted => arrays += 1,
                _ => {}
            }
        }
        (objects == 3 && arrays == 1).then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    fn fits(&self, json: &str, (start, end): Span) -> bool {
        json[..start] == self.before && json[end..] == self.after
    }
}

/// Pieces that were taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    pub text: String,
    /// To be given to [`Outlet::read`] once the reader is through with them.
    pub bytes: usize,
}

/// The same, in the buffer of whoever takes them.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    pub form: Form,
    pub text: &'a str,
    /// As of [`Delivery`].
    pub bytes: usize,
}

/// What a text that crosses is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What the mode says.
    Pieces,
    /// Of objects: one, which is the last pattern with this text, as it is and not as JSON. Most come alone, and a parser costs
    /// JavaScript more than such a text.
    Text,
}

/// What stands in an array that has begun and has one element, if that is a text that is written as it is.
fn lone_text(array: &str) -> Option<&str> {
    let text = array.strip_prefix("[\"")?.strip_suffix('"')?;
    memchr::memchr2(b'"', b'\\', text.as_bytes()).is_none().then_some(text)
}

/// See the module.
pub struct Outlet {
    state: Mutex<State>,
    room: Notify,
    /// Called, outside of the lock, when pieces are there to be taken and none were before. True for those that are not to
    /// be held back: the first ones, and those that leave no room for others.
    ready: Box<dyn Fn(bool) + Send + Sync>,
}

#[derive(Default)]
struct State {
    mode: Mode,
    /// Pieces that came before the mode: JSON, text and its place.
    early: Vec<(String, String, Option<Span>)>,
    pattern: Option<Pattern>,
    pending: String,
    pending_bytes: usize,
    /// Pushed and not yet read.
    unread: usize,
    handed_over: bool,
}

impl State {
    fn add(&mut self, piece: Piece<'_>) {
        let before = self.pending.len();
        match self.mode {
            Mode::Undecided | Mode::Whole => return,
            Mode::Objects => {
                self.pending.push(if before == 0 { '[' } else { ',' });
                self.add_object(piece);
            }
            Mode::Text => self.pending.push_str(piece.text),
            Mode::Lines => {
                self.pending.push_str(piece.json);
                self.pending.push('\n');
            }
        }
        let added = self.pending.len() - before;
        self.pending_bytes += added;
        self.unread += added;
        self.handed_over |= added > 0;
    }

    fn add_object(&mut self, Piece { json, span, .. }: Piece<'_>) {
        let Some(span) = span else { return self.pending.push_str(json) };
        if self.pattern.as_ref().is_some_and(|pattern| pattern.fits(json, span)) {
            return self.pending.push_str(&json[span.0..span.1]);
        }
        let Some(pattern) = Pattern::of(json, span) else { return self.pending.push_str(json) };
        self.pattern = Some(pattern);
        self.pending.push('[');
        self.pending.push_str(json);
        self.pending.push(']');
    }
}

impl Outlet {
    /// `ready` is told when there is something to take.
    pub fn new(ready: Box<dyn Fn(bool) + Send + Sync>) -> Self {
        Self { state: Mutex::default(), room: Notify::new(), ready }
    }

    /// Adds a piece.
    pub(super) fn push(&self, piece: Piece<'_>) {
        let urgent = {
            let mut state = self.state.lock();
            if state.mode == Mode::Undecided {
                state.unread += piece.json.len();
                state.early.push((piece.json.to_owned(), piece.text.to_owned(), piece.span));
                return;
            }
            let (was_empty, first, had_room) =
                (state.pending.is_empty(), !state.handed_over, state.unread < WINDOW);
            state.add(piece);
            // A stream that waits for room must not wait for company as well.
            let is_full = had_room && state.unread >= WINDOW;
            if state.pending.is_empty() || !(was_empty || is_full) {
                return;
            }
            first || is_full
        };
        (self.ready)(urgent);
    }

    /// Waits until the reader has room.
    pub(super) async fn room(&self) {
        // Mostly there is, and a place among those who wait costs locks.
        while !self.has_room() {
            let read = self.room.notified();
            tokio::pin!(read);
            read.as_mut().enable();
            if self.has_room() {
                return;
            }
            read.await;
        }
    }

    /// Whether the reader has room now.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().unread < WINDOW
    }

    /// Forgets what nobody has seen. False where pieces were handed over already.
    pub(super) fn rewind(&self) -> bool {
        let mut state = self.state.lock();
        if state.handed_over {
            return false;
        }
        state.early.clear();
        state.pattern = None;
        state.unread = 0;
        drop(state);
        self.room.notify_waiters();
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
            for (json, text, span) in std::mem::take(&mut state.early) {
                state.add(Piece { json: &json, text: &text, span });
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
        let mut text = String::new();
        let (mode, bytes) = self.exchange(&mut text)?;
        if mode == Mode::Objects {
            text.push(']');
        }
        Some(Delivery { text, bytes })
    }

    /// The same, with as little work for the reader as can be. The buffer is exchanged for the one with the pieces, and used for what
    /// comes next.
    pub fn take_into<'a>(&self, buffer: &'a mut String) -> Option<Taken<'a>> {
        let (mode, bytes) = self.exchange(buffer)?;
        if mode == Mode::Objects {
            if lone_text(buffer).is_some() {
                return lone_text(buffer).map(|text| Taken { form: Form::Text, text, bytes });
            }
            buffer.push(']');
        }
        Some(Taken { form: Form::Pieces, text: buffer, bytes })
    }

    fn exchange(&self, buffer: &mut String) -> Option<(Mode, usize)> {
        buffer.clear();
        let mut state = self.state.lock();
        if state.pending.is_empty() {
            return None;
        }
        std::mem::swap(&mut state.pending, buffer);
        Some((state.mode, std::mem::take(&mut state.pending_bytes)))
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

    fn piece<'a>(json: &'a str, text: &'a str) -> Piece<'a> {
        Piece { json, text, span: None }
    }

    fn chunk(outlet: &Outlet, json: &str) {
        let chunk = crate::protocol::openai::Chunk::of(json).unwrap();
        let span = chunk.content_span(json).map(|span| (span.start, span.end));
        outlet.push(Piece { json, text: chunk.text(), span });
    }

    #[test]
    fn chunks_that_differ_in_their_text_alone_cross_as_texts() {
        let (outlet, _) = outlet();
        outlet.choose(Mode::Objects);
        let said =
            |text: &str| format!(r#"{{"id":"a{{[","choices":[{{"delta":{{"content":{text}}},"index":0}}]}}"#);
        chunk(&outlet, &said(r#""x""#));
        chunk(&outlet, &said(r#""\u00e9\n""#));
        let other = r#"{"id":"b","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        chunk(&outlet, other);
        chunk(&outlet, &said(r#""""#));
        let expected = format!(r#"[[{}],"\u00e9\n",{other},""]"#, said(r#""x""#));
        assert_eq!(outlet.take().unwrap().text, expected);
        chunk(&outlet, &said(r#""y""#));
        assert_eq!(outlet.take().unwrap().text, r#"["y"]"#, "a pattern outlives a delivery");
    }

    #[test]
    fn a_text_that_comes_alone_and_is_written_as_it_is_crosses_without_json() {
        let (outlet, _) = outlet();
        outlet.choose(Mode::Objects);
        let said =
            |text: &str| chunk(&outlet, &format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#));
        let mut buffer = String::new();
        let mut taken = |form, text: &str| {
            let taken = outlet.take_into(&mut buffer).unwrap();
            assert_eq!((taken.form, taken.text), (form, text));
        };
        said("x");
        taken(Form::Pieces, r#"[[{"choices":[{"delta":{"content":"x"}}]}]]"#);
        for text in ["", "y", "é,"] {
            said(text);
            taken(Form::Text, text);
        }
        said(r"\n");
        taken(Form::Pieces, r#"["\n"]"#);
        said("y");
        said("z");
        taken(Form::Pieces, r#"["y","z"]"#);
    }

    #[test]
    fn a_chunk_with_more_objects_in_it_is_no_pattern() {
        let (outlet, _) = outlet();
        outlet.choose(Mode::Objects);
        let nested = r#"{"usage":{"a":1},"choices":[{"delta":{"content":"x"}}]}"#;
        chunk(&outlet, nested);
        chunk(&outlet, nested);
        assert_eq!(outlet.take().unwrap().text, format!("[{nested},{nested}]"));
    }

    #[test]
    fn pieces_that_gather_are_taken_as_one() {
        let (outlet, told) = outlet();
        assert!(outlet.choose(Mode::Objects));
        outlet.push(piece("{\"a\":1}", "x"));
        outlet.push(piece("{\"a\":2}", "y"));
        assert_eq!(outlet.take().unwrap().text, "[{\"a\":1},{\"a\":2}]");
        assert_eq!(outlet.take(), None);
        outlet.push(piece("{\"a\":3}", "z"));
        assert_eq!(outlet.take().unwrap().text, "[{\"a\":3}]");
        assert_eq!(*told.lock(), [true, false]);
    }

    #[test]
    fn what_came_before_the_reader_waits_for_it() {
        for (mode, text) in [(Mode::Text, "xy"), (Mode::Lines, "1\n2\n"), (Mode::Objects, "[1,2]")] {
            let (outlet, told) = outlet();
            outlet.push(piece("1", "x"));
            outlet.push(piece("2", "y"));
            assert!(told.lock().is_empty());
            assert!(outlet.choose(mode));
            assert!(!outlet.choose(Mode::Whole), "the first word counts");
            assert_eq!(outlet.take().unwrap().text, text);
        }
    }

    #[test]
    fn only_what_nobody_saw_is_forgotten() {
        let (outlet, _) = outlet();
        outlet.push(piece("1", "x"));
        assert!(outlet.rewind());
        outlet.choose(Mode::Text);
        assert_eq!(outlet.take(), None);
        assert!(outlet.rewind());
        outlet.push(piece("1", "x"));
        assert!(!outlet.rewind());
    }

    #[test]
    fn a_piece_without_text_is_nothing_to_a_reader_of_texts() {
        let (outlet, told) = outlet();
        outlet.choose(Mode::Text);
        outlet.push(piece("{}", ""));
        assert!(outlet.rewind(), "nobody has seen anything");
        outlet.push(piece("{}", ""));
        outlet.push(piece("{}", "x"));
        outlet.push(piece("{}", "y"));
        assert_eq!(*told.lock(), [true], "the first text is the first piece");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_stops_the_stream_until_it_does() {
        let (outlet, _) = outlet();
        outlet.choose(Mode::Text);
        outlet.push(piece("", &"x".repeat(WINDOW - 1)));
        outlet.room().await;
        outlet.push(piece("", "xx"));
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
        outlet.push(piece("", &"x".repeat(2 * WINDOW)));
        outlet.choose(Mode::Whole);
        outlet.push(piece(&"x".repeat(2 * WINDOW), ""));
        outlet.room().await;
        assert!(told.lock().is_empty());
        assert!(outlet.rewind());
    }
}
