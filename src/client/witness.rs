//! What of a call is told, while it runs, to whoever handed it over, and what they are asked before an attempt. Most calls have no
//! witness, and pay for the look at an `Option`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::parse_hook_headers;
use crate::error::{Billed, Error, Kind, as_micros};
use crate::pool::{Lease, Phases};

/// Told what happens to a call, as JSON.
pub type TellOf = Box<dyn Fn(String) + Send + Sync>;
/// Asked before each attempt.
pub type Ask = Box<dyn Fn(Question) + Send + Sync>;

/// Of one call.
pub struct Witness {
    tell: Option<TellOf>,
    ask: Option<Ask>,
    attempts: AtomicU32,
}

/// A call as it was handed over.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When: calls that wait are ordered by it.
    pub(super) at: Instant,
    pub(super) witness: Option<Arc<Witness>>,
}

/// What happens to an attempt. Times are microseconds.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(super) enum Told<'a> {
    Attempt {
        provider: &'a str,
        model: &'a str,
        /// What it is spoken to in; none where nobody knows.
        protocol: Option<&'static str>,
        origin: String,
    },
    /// It has its turn and its connection, and goes out.
    Sent {
        queued: u64,
        dns: u64,
        connect: u64,
        tls: u64,
        /// Number, protocol, whether it was there already.
        connection: (u64, &'static str, bool),
    },
    FirstByte {
        status: u16,
    },
    AttemptEnd {
        status: Option<u16>,
        error: Option<&'static str>,
        billed: Billed,
    },
}

/// Which attempt it is of, and when, counted from the call's arrival.
#[derive(Serialize)]
struct Note<'a> {
    attempt: u32,
    #[serde(serialize_with = "as_micros")]
    at: Duration,
    #[serde(flatten)]
    told: Told<'a>,
}

/// What an attempt is about to send, for whoever may change its headers.
#[derive(Debug)]
pub struct Question {
    pub attempt: u32,
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub method: String,
    /// Whole, and from its path on: both with the query.
    pub url: String,
    pub path: String,
    /// Names and values; without the key, which is added at last, and without what the connection sets.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub(super) reply: oneshot::Sender<Result<HeaderMap, Error>>,
}

impl Witness {
    pub fn new(tell: Option<TellOf>, ask: Option<Ask>) -> Self {
        Self { tell, ask, attempts: AtomicU32::new(0) }
    }

    /// The number of a further attempt, from 1 on.
    pub(super) fn next(&self) -> u32 {
        self.attempts.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn tell(&self, attempt: u32, arrived: Instant, told: Told<'_>) {
        if let Some(tell) = &self.tell {
            let note = Note { attempt, at: arrived.elapsed(), told };
            // A type of strings and numbers always has a text.
            tell(serde_json::to_string(&note).unwrap_or_default());
        }
    }

    pub(super) fn asks(&self) -> bool {
        self.ask.is_some()
    }

    /// The headers to be sent.
    ///
    /// # Cancel safety
    /// Dropping the future lets the answer come to nothing.
    pub(super) async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<HeaderMap, Error>>) -> Question,
    ) -> Result<HeaderMap, Error> {
        let Some(ask) = &self.ask else { return Ok(HeaderMap::new()) };
        let (reply, answer) = oneshot::channel();
        ask(question(reply));
        // Whoever was to answer has gone, and the client with them.
        answer.await.unwrap_or_else(|_| Err(Error::closed()))
    }
}

impl Told<'_> {
    pub(super) fn sent(lease: &Lease) -> Self {
        let phases = lease.phases().unwrap_or_default();
        let queued = lease.waited().saturating_sub(phases.total());
        let Phases { dns, connect, tls, .. } = phases;
        let [queued, dns, connect, tls] = [queued, dns, connect, tls].map(micros);
        let connection = (lease.connection_id(), lease.protocol().as_str(), lease.is_reused());
        Self::Sent { queued, dns, connect, tls, connection }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Question {
    /// Whether the attempt still waits for it.
    pub fn is_open(&self) -> bool {
        !self.reply.is_closed()
    }

    /// The headers as they shall be sent, or why the attempt shall not be made.
    pub fn answer(self, headers: Result<Value, String>) {
        let answer = match headers {
            Ok(headers) => parse_hook_headers(headers).map_err(|error| refused(error.message.clone())),
            Err(cause) => Err(refused("hooks.beforeAttempt: threw").caused_by(Some(cause))),
        };
        // The attempt may have been given up meanwhile.
        let _ = self.reply.send(answer);
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Hook, message)
}

/// What is asked may hold secrets, and what is told is nobody else's.
impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness")
            .field("tells", &self.tell.is_some())
            .field("asks", &self.ask.is_some())
            .finish_non_exhaustive()
    }
}
