//! Answers from a file in place of the network, for test suites.
//!
//! It stands where an attempt would ask the pool for a connection, so that all above it is as ever: turns, circuits, the table of
//! failures, translations, streams and recovery. In the mode `replay` the pool is never asked.
//!
//! | file | idea |
//! |---|---|
//! | `tape` | what is in a file, for all of the process that use it |
//! | `file` | the format of the file |
//! | `content` | bodies as they are written |
//! | `redact` | what is never written |
//! | `recorder` | the body of an answer, on its way into a file |
//! | `replay` | the body of an answer that comes from a file |
//! | `miss` | what is told of a request that has no recording |
//! | `text` | JSON laid out, and not |
//!
//! What fails without an answer (no connection, a timeout) is not recorded: a file has what was said, and there nothing was.

mod content;
mod file;
mod miss;
mod recorder;
mod redact;
mod replay;
mod tape;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use serde_json::Value;

pub(super) use self::recorder::{Recorded, Recorder};
pub(super) use self::replay::{Replay, Replayed};

use self::content::Content;
use self::file::Request;
use self::redact::{Redact, secrets_of, without};
use self::tape::{Found, Position, Tape};
use crate::config::{CassetteMode as Mode, CassetteOptions, ClientConfig, Hidden, Key};
use crate::error::Error;
use crate::policy::rate::RateLimits;
use crate::pool::Tasks;

/// How long a close waits for the ends of answers that are being recorded.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// Those that JavaScript holds, by their numbers.
static CASSETTES: LazyLock<Mutex<HashMap<u32, Arc<Cassette>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A file of recordings, and how far the requests of those who share this cassette have come in it.
pub struct Cassette {
    tape: Arc<Tape>,
    position: Position,
    mode: Mode,
    redact: Redact,
}

/// A request before it is sent.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// With its origin.
    pub(super) url: String,
    pub(super) headers: &'a HeaderMap,
    /// The key that is put among them.
    pub(super) key: Option<&'a HeaderValue>,
    pub(super) body: &'a [u8],
}

/// What there is for a request.
pub(super) enum Answered {
    Replayed(Box<Replayed>),
    /// Nothing: its answer is to be recorded.
    Blank(Box<Recorder>),
}

impl Cassette {
    /// Opens a file by options (as JSON), and gives the number by which those of a client name it. It stays open until [`Cassette::close`].
    pub fn open(options: Value) -> Result<u32, Error> {
        let CassetteOptions { path, mode, redact } = CassetteOptions::parse(options)?;
        let redact =
            Redact::parse(&redact).map_err(|(at, what)| Error::config(format!("redact[{at}]: {what}")))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (tape, position) = Tape::open(&PathBuf::from(path), mode, number.into())?;
        CASSETTES.lock().insert(number, Arc::new(Self { tape, position, mode, redact }));
        Ok(number)
    }

    /// JavaScript has no use for it any more; clients that were made with it have.
    pub fn close(number: u32) {
        let closed = CASSETTES.lock().remove(&number);
        drop(closed);
    }

    /// Writes whatever is not written yet, of all cassettes: the process ends.
    pub fn write_all() {
        tape::write_all();
    }

    /// The cassette that was opened under this number. Never none in its place: then the network would be asked.
    pub(super) fn numbered(number: u32) -> Result<Arc<Self>, Error> {
        let cassette = CASSETTES.lock().get(&number).cloned();
        cassette.ok_or_else(|| Error::config("cassette: is not open"))
    }

    /// Whether the network is never asked.
    pub(super) fn is_replay(&self) -> bool {
        self.mode == Mode::Replay
    }

    /// What of a client's options makes no sense beside it. A rival of an attempt would take the recording of another. And where the network is
    /// never asked, nobody's limits hold calls up, and no function is asked for a key that nobody would be sent.
    pub(super) fn settle_options(&self, config: &mut ClientConfig) {
        config.hedge = None;
        if self.is_replay() {
            for provider in &mut config.providers {
                provider.rate = RateLimits { learn: false, ..RateLimits::default() };
                unasked(&mut provider.keys);
            }
        }
    }

    /// What there is for a request; an error where there should be something.
    pub(super) fn ask(&self, asked: &Asked<'_>, tasks: &Tasks) -> Result<Answered, Error> {
        let secrets: Vec<Vec<u8>> = secrets_of(asked.headers, asked.key).map(<[u8]>::to_vec).collect();
        let url = without(asked.url.as_bytes(), &secrets);
        let url = self.redact.url(&String::from_utf8_lossy(&url));
        let body = Content::of(&plain(asked), &self.redact, &secrets);
        let request = Request::new(asked.method.as_str().to_owned(), url, body);
        Ok(match self.tape.ask(self.mode, &self.position, request, tasks)? {
            Found::Answer(answer) => Answered::Replayed(Box::new(Replayed::of(&answer))),
            Found::Blank(recording) => {
                Answered::Blank(Box::new(Recorder::new(recording, self.redact.clone(), Hidden(secrets))))
            }
        })
    }

    /// Waits for the ends of answers that are being recorded, and writes what is not written.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        if self.is_replay() {
            return Ok(());
        }
        self.tape.settle(SETTLE_LIMIT).await
    }
}

/// Keys that nobody is asked for.
pub(super) fn unasked(keys: &mut [Key]) {
    for key in keys.iter_mut().filter(|key| matches!(key, Key::Asked(_))) {
        *key = Key::Fixed(HeaderValue::from_static("replayed"));
    }
}

/// Not what is in it, which is what is said to models.
impl fmt::Debug for Cassette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cassette").field("mode", &self.mode).field("tape", &self.tape).finish_non_exhaustive()
    }
}

/// The body of a request. What separates the parts of a form is made up anew each time, and says nothing.
fn plain<'a>(asked: &Asked<'a>) -> std::borrow::Cow<'a, [u8]> {
    let boundary = asked.headers.get(CONTENT_TYPE).and_then(|value| {
        let value = value.to_str().ok()?.strip_prefix("multipart/")?;
        let (_, boundary) = value.split_once("boundary=")?;
        Some(boundary.split(';').next().unwrap_or_default().trim_matches('"'))
    });
    match boundary.filter(|boundary| !boundary.is_empty()) {
        Some(boundary) => redact::replaced(asked.body, boundary.as_bytes(), b"boundary"),
        None => asked.body.into(),
    }
}
