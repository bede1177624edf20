//! What a stream says, recorded: so that several can read it, each at its own pace, and that it can be said again.
//!
//! A recording is small: of chunks that differ in nothing but their text, the text alone is kept, and what stands before and after it once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use slab::Slab;
use tokio::sync::Notify;

use crate::client::outlet::{Outlet, Piece};

/// A recording may take so many bytes: as many as an answer that comes whole.
const MOST: usize = 64 * 1024 * 1024;

/// More than [`MOST`].
#[derive(Debug)]
pub(in crate::client) struct TooLong;

/// A recording.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::client) struct Tape {
    /// What stands before and after texts, each once for as long as it stays the same.
    around: Vec<Box<str>>,
    texts: String,
    pieces: Vec<Recorded>,
    bytes: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Recorded {
    /// A text among others that are said in the same way.
    Text {
        before: usize,
        after: usize,
        /// As JSON, quotes included.
        json: Range<usize>,
        /// Whether it is of the first choice, and so what a reader of texts reads.
        is_read: bool,
    },
    Other {
        json: Range<usize>,
        text: Range<usize>,
    },
}

/// How far a reader has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    ToTheEnd,
    NoRoom,
}

impl Tape {
    fn push(&mut self, piece: Piece<'_>) -> Result<(), TooLong> {
        let before = self.bytes;
        let recorded = match piece.span {
            Some((start, end)) => {
                let (last_before, last_after) = match self.pieces.last() {
                    Some(Recorded::Text { before, after, .. }) => (Some(*before), Some(*after)),
                    _ => (None, None),
                };
                let before = self.stands_around(&piece.json[..start], last_before);
                let after = self.stands_around(&piece.json[end..], last_after);
                let is_read = !piece.text.is_empty();
                Recorded::Text { before, after, json: self.keep(&piece.json[start..end]), is_read }
            }
            None => Recorded::Other { json: self.keep(piece.json), text: self.keep(piece.text) },
        };
        self.pieces.push(recorded);
        self.bytes += size_of::<Recorded>();
        if self.bytes > MOST {
            // It is as if it had not come.
            self.pieces.pop();
            self.bytes = before;
            return Err(TooLong);
        }
        Ok(())
    }

    /// Nothing more comes.
    fn shrink(&mut self) {
        self.around.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.pieces.shrink_to_fit();
    }

    /// What it takes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says it all again, as fast as it is read.
    pub(super) async fn play(&self, outlet: &Outlet) {
        let mut at = 0;
        while self.feed(&mut at, outlet) == Fed::NoRoom {
            outlet.room().await;
        }
    }

    /// Says what follows while there is room.
    fn feed(&self, at: &mut usize, outlet: &Outlet) -> Fed {
        let mut whole = String::new();
        while *at < self.pieces.len() {
            if !outlet.has_room() {
                return Fed::NoRoom;
            }
            self.say(*at, &mut whole, outlet);
            *at += 1;
        }
        Fed::ToTheEnd
    }

    fn say(&self, at: usize, whole: &mut String, outlet: &Outlet) {
        let text_at = |range: &Range<usize>| self.texts.get(range.clone()).unwrap_or_default();
        let around = |at: &usize| self.around.get(*at).map_or("", |text| text);
        match self.pieces.get(at) {
            Some(Recorded::Text { before, after, json, is_read }) => {
                whole.clear();
                let raw = text_at(json);
                whole.extend([around(before), raw, around(after)]);
                let start = around(before).len();
                let text = if *is_read { unquoted(raw) } else { "".into() };
                outlet.push(Piece { json: whole, text: &text, span: Some((start, start + raw.len())) });
            }
            Some(Recorded::Other { json, text }) => {
                outlet.push(Piece { json: text_at(json), text: text_at(text), span: None });
            }
            None => {}
        }
    }

    fn stands_around(&mut self, text: &str, last: Option<usize>) -> usize {
        if let Some(last) = last
            && self.around.get(last).is_some_and(|known| **known == *text)
        {
            return last;
        }
        self.bytes += text.len() + size_of::<Box<str>>();
        self.around.push(text.into());
        self.around.len() - 1
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let from = self.texts.len();
        self.bytes += text.len();
        self.texts.push_str(text);
        from..self.texts.len()
    }
}

/// The text of a JSON string.
fn unquoted(raw: &str) -> std::borrow::Cow<'_, str> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => plain.into(),
        // It was read before.
        _ => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
    }
}

/// A recording that is being made, and those who read it meanwhile. Nobody waits for the slowest of them: a stream is read on while any of its
/// readers has room, and the others find it here.
pub(in crate::client) struct Live {
    state: Mutex<State>,
    /// A reader has come, has gone, or has caught up.
    moved: Notify,
}

#[derive(Default)]
struct State {
    tape: Arc<Tape>,
    readers: Slab<Place>,
    /// Whether a part of what is recorded was void or went on elsewhere.
    is_mended: bool,
}

/// Of a reader.
struct Place {
    outlet: Arc<Outlet>,
    at: usize,
    /// Whether it had no room for all that was said; then its own task goes on with it.
    lags: bool,
    wake: Arc<Notify>,
}

/// One who reads. Gone when it is dropped.
pub(super) struct Reader {
    live: Arc<Live>,
    number: usize,
    outlet: Arc<Outlet>,
    wake: Arc<Notify>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), moved: Notify::new() }
    }

    /// Records a piece, and hands it to those who have room.
    pub(in crate::client) fn push(&self, piece: Piece<'_>) -> Result<(), TooLong> {
        let mut state = self.state.lock();
        let State { tape, readers, .. } = &mut *state;
        // Nobody else has it before the end.
        Arc::make_mut(tape).push(piece)?;
        for (_, place) in readers.iter_mut().filter(|(_, place)| !place.lags) {
            if place.outlet.has_room() {
                place.outlet.push(piece);
                place.at += 1;
            } else {
                place.falls_behind();
            }
        }
        Ok(())
    }

    /// Waits until any of the readers has room.
    pub(in crate::client) async fn room(&self) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.has_room() {
                return;
            }
            moved.await;
        }
    }

    fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        let mut any = false;
        for (_, place) in state.readers.iter_mut().filter(|(_, place)| !place.lags) {
            if place.outlet.has_room() {
                any = true;
            } else {
                place.falls_behind();
            }
        }
        any
    }

    /// Forgets what was recorded, if none of the readers has seen any of it. False where one has.
    pub(in crate::client) fn rewind(&self) -> bool {
        let mut state = self.state.lock();
        let mut unseen = true;
        for (_, place) in &mut state.readers {
            if place.outlet.rewind() {
                place.at = 0;
            } else {
                unseen = false;
            }
        }
        if unseen {
            state.tape = Arc::default();
        } else {
            state.is_mended = true;
            // Who has seen nothing is told it all.
            for (_, place) in state.readers.iter_mut().filter(|(_, place)| place.at == 0) {
                place.falls_behind();
            }
        }
        unseen
    }

    /// Another reader, who is told all that was said so far.
    pub(super) fn join(self: &Arc<Self>, outlet: Arc<Outlet>) -> Reader {
        let wake = Arc::new(Notify::new());
        let mut place = Place { outlet: outlet.clone(), at: 0, lags: false, wake: wake.clone() };
        let number = {
            let mut state = self.state.lock();
            if !state.tape.pieces.is_empty() {
                place.falls_behind();
            }
            state.readers.insert(place)
        };
        self.moved.notify_waiters();
        Reader { live: self.clone(), number, outlet, wake }
    }

    /// The recording, at its end.
    pub(super) fn tape(&self) -> Arc<Tape> {
        let mut state = self.state.lock();
        Arc::make_mut(&mut state.tape).shrink();
        state.tape.clone()
    }

    /// Whether it is more than one answer from its beginning to its end.
    pub(super) fn is_mended(&self) -> bool {
        self.state.lock().is_mended
    }

    /// Hands over what there is, while there is room.
    fn feed(&self, number: usize) -> Fed {
        let mut state = self.state.lock();
        let tape = state.tape.clone();
        let Some(place) = state.readers.get_mut(number) else { return Fed::ToTheEnd };
        let fed = tape.feed(&mut place.at, &place.outlet);
        if fed == Fed::ToTheEnd && place.outlet.has_room() {
            place.lags = false;
        }
        fed
    }

    fn lags(&self, number: usize) -> bool {
        self.state.lock().readers.get(number).is_some_and(|place| place.lags)
    }
}

impl Place {
    fn falls_behind(&mut self) {
        self.lags = true;
        self.wake.notify_one();
    }
}

impl Reader {
    /// Reads on until `end` says that nothing more comes, and then the rest.
    pub(super) async fn follow<T>(&self, end: impl Future<Output = T>) -> T {
        tokio::pin!(end);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut end => break ended,
                () = self.catch_up() => {}
            }
        };
        while self.live.feed(self.number) == Fed::NoRoom {
            self.outlet.room().await;
        }
        ended
    }

    /// Waits until there is something to catch up with, and does.
    async fn catch_up(&self) {
        // A future that is dropped may have been woken for it already.
        if !self.live.lags(self.number) {
            self.wake.notified().await;
        }
        loop {
            self.live.feed(self.number);
            if !self.live.lags(self.number) {
                return self.live.moved.notify_waiters();
            }
            self.outlet.room().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Its outlet outside of the lock.
        let place = self.live.state.lock().readers.try_remove(self.number);
        drop(place);
        self.live.moved.notify_waiters();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Live").field("readers", &state.readers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::outlet::Mode;
    use crate::protocol::openai::Chunk;
    use proptest::prelude::*;
    use serde_json::json;

    fn say(json: &str, push: &mut dyn FnMut(Piece<'_>)) {
        let chunk = Chunk::of(json).unwrap();
        let span = chunk.content_span(json).map(|span| (span.start, span.end));
        push(Piece { json, text: chunk.text(), span });
    }

    fn chunk(id: &str, index: usize, content: &str) -> String {
        json!({ "id": id, "choices": [{ "index": index, "delta": { "content": content } }] }).to_string()
    }

    fn outlet(mode: Mode) -> Arc<Outlet> {
        let outlet = Arc::new(Outlet::default());
        outlet.choose(mode);
        outlet
    }

    /// All that there is to be read, and read.
    fn read(outlet: &Outlet, out: &mut Vec<String>) {
        if let Some(delivery) = outlet.take() {
            outlet.read(delivery.bytes);
            out.push(delivery.text);
        }
    }

    fn chunks() -> impl Strategy<Value = Vec<String>> {
        let text = "[a\"\\\\é😀\n]{0,6}";
        let one = prop_oneof![
            6 => text.prop_map(|text| chunk("one", 0, &text)),
            1 => text.prop_map(|text| chunk("two", 0, &text)),
            1 => text.prop_map(|text| chunk("one", 1, &text)),
            1 => Just(json!({ "choices": [], "usage": {} }).to_string()),
            1 => text.prop_map(|text| {
                let choice = |index| json!({ "index": index, "delta": { "content": text } });
                json!({ "choices": [choice(1), choice(0)] }).to_string()
            }),
        ];
        proptest::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn a_recording_says_in_every_way_what_was_said(chunks in chunks()) {
            let mut tape = Tape::default();
            chunks.iter().for_each(|json| say(json, &mut |piece| tape.push(piece).unwrap()));
            for mode in [Mode::Objects, Mode::Text, Mode::Lines, Mode::Whole] {
                let (live, replayed) = (outlet(mode), outlet(mode));
                chunks.iter().for_each(|json| say(json, &mut |piece| live.push(piece)));
                prop_assert_eq!(tape.feed(&mut 0, &replayed), Fed::ToTheEnd);
                prop_assert_eq!(replayed.take(), live.take(), "{:?}", mode);
            }
        }

        #[test]
        fn whenever_a_reader_comes_and_however_it_reads_it_is_told_all(
            steps in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..80),
        ) {
            let live = Arc::new(Live::new());
            let mut readers: Vec<(Reader, Vec<String>)> = Vec::new();
            let mut said = String::new();
            for (step, at) in steps {
                match step {
                    0 if readers.len() < 4 => readers.push((live.join(outlet(Mode::Text)), Vec::new())),
                    1 | 2 => {
                        let text = said.len().to_string().repeat(4_000);
                        said.push_str(&text);
                        say(&chunk("one", 0, &text), &mut |piece| live.push(piece).unwrap());
                    }
                    _ if !readers.is_empty() => {
                        let at = at.index(readers.len());
                        let (reader, out) = &mut readers[at];
                        read(&reader.outlet, out);
                        live.feed(reader.number);
                    }
                    _ => {}
                }
            }
            for (reader, out) in &mut readers {
                while live.feed(reader.number) == Fed::NoRoom {
                    read(&reader.outlet, out);
                }
                read(&reader.outlet, out);
                prop_assert!(out.concat() == said);
            }
            drop(readers);
            prop_assert!(live.state.lock().readers.is_empty());
        }
    }

    #[test]
    fn what_is_the_same_in_all_chunks_is_kept_once() {
        let mut tape = Tape::default();
        for n in 0..1_000 {
            let json = json!({ "id": "c".repeat(200), "choices": [{ "index": 0, "delta": { "content": n.to_string() } }], "pad": "x".repeat(100) });
            say(&json.to_string(), &mut |piece| tape.push(piece).unwrap());
        }
        let each = (tape.bytes() - 400) / 1_000;
        assert!(each <= size_of::<Recorded>() + 6, "{each} bytes for a chunk");
    }

    #[test]
    fn a_recording_has_an_end() {
        let mut tape = Tape::default();
        let json = json!({ "choices": [], "x": "x".repeat(1 << 20) }).to_string();
        let pushed =
            (0..100).take_while(|_| tape.push(Piece { json: &json, text: "", span: None }).is_ok()).count();
        assert_eq!(pushed, 63);
        assert!(tape.bytes() <= MOST);
    }

    #[test]
    fn what_nobody_saw_is_forgotten_and_what_somebody_saw_is_not() {
        let live = Arc::new(Live::new());
        let (one, two) = (live.join(outlet(Mode::Whole)), live.join(outlet(Mode::Text)));
        say(&chunk("one", 0, ""), &mut |piece| live.push(piece).unwrap());
        assert!(live.rewind() && !live.is_mended(), "an empty text is nothing");
        say(&chunk("one", 0, "a"), &mut |piece| live.push(piece).unwrap());
        assert!(!live.rewind() && live.is_mended());
        assert_eq!(live.tape().pieces.len(), 1);
        drop(two);
        assert!(live.rewind(), "whoever saw it has gone");
        drop(one);
    }
}
