//! How results reach JavaScript: whatever is there when it wakes is taken at once, and while it is about to wake nobody
//! wakes it again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::runtime;
use super::wake::Waker;
use crate::client::{Drain, Head, Outlet, Upload};
use crate::pool::Inbox;
use crate::telemetry::{Events, Log};

/// Something for JavaScript.
#[derive(Debug)]
pub(super) enum Letter {
    /// A call has ended well: its answer and its meta.
    Answer { id: u32, body: Bytes, meta: Vec<u8> },
    /// A call has failed: the error as JSON.
    Failure { id: u32, error: String },
    /// A call was dropped before its end.
    Aborted { id: u32 },
    /// A stream has pieces to be taken.
    Pieces { id: u32, outlet: Arc<Outlet> },
    /// The head of a fetch is there, before its body.
    Head { id: u32, head: Head },
    /// A fetch has pieces to be taken.
    Bytes { id: u32, drain: Arc<Drain> },
    /// The body of a fetch's request has room for a further piece.
    Ask { id: u32, upload: Weak<Upload> },
    /// A fetch has ended well; what is left of its body is in its drain.
    Fetched { id: u32, head: Option<Head> },
    /// A client wants its key.
    AskKey { client: u32, function: u32 },
    /// Connections of a client's pool have opened or closed. A client that listens no longer is told nothing.
    Connections { client: u32, inbox: Weak<Inbox> },
    /// Something has happened to calls of a client.
    Events { client: u32, events: Arc<Events> },
    /// A client has records for its logger.
    Logs { client: u32, log: Arc<Log> },
    /// Something has happened to a call that is watched, as JSON.
    Told { id: u32, text: String },
    /// An attempt of a call is about to be made, as JSON; by this number of the question.
    AskHook { id: u32, question: u32, text: String },
    /// The stand-in wants to know whether a request matches.
    AskMatch { question: u32, matcher: u32, request: String },
}

/// The mailbox of one environment.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    /// Whether JavaScript is about to wake.
    signalled: AtomicBool,
    /// None once the environment goes.
    waker: Mutex<Option<Waker>>,
    later: Mutex<Later>,
    /// Calls in flight.
    calls: AtomicUsize,
    /// Tells the gatherer that there is something to wake for.
    gather: Notify,
    gatherer: Once,
}

/// What letters wait for that may wait.
#[derive(Debug)]
struct Later {
    last_drain: Instant,
    /// When the wake comes that is on its way.
    due: Option<Instant>,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            letters: Mutex::default(),
            signalled: AtomicBool::new(false),
            waker: Mutex::new(Some(waker)),
            later: Mutex::new(Later { last_drain: Instant::now(), due: None }),
            calls: AtomicUsize::new(0),
            gather: Notify::new(),
            gatherer: Once::new(),
        }
    }

    /// How many calls are in flight, as far as waking goes.
    pub(super) fn set_calls(&self, calls: usize) {
        self.calls.store(calls, Ordering::Relaxed);
    }

    /// Puts a letter in and wakes JavaScript.
    ///
    /// With many calls in flight, others are likely to end in the same turn of the runtime: the wake is then left to the
    /// gatherer, which runs when the runtime has nothing else to do, or has done 61 other things. That costs a lone call nothing
    /// and a busy process a fraction of its wakes.
    pub(super) fn push(self: &Arc<Self>, letter: Letter) {
        self.letters.lock().push(letter);
        if self.calls.load(Ordering::Relaxed) <= 1 {
            return self.wake();
        }
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.gatherer.call_once(|| self.start_gatherer());
            self.gather.notify_one();
        }
    }

    /// Puts a letter in that may wait for company: JavaScript is woken at most once in `within` for such letters.
    pub(super) fn push_within(self: &Arc<Self>, letter: Letter, within: Duration) {
        self.letters.lock().push(letter);
        if self.signalled.load(Ordering::Acquire) {
            return;
        }
        let at = {
            let mut later = self.later.lock();
            let at = later.last_drain + within;
            // Asked before the clock is: most letters meet a wake that is on its way.
            if later.due.is_some_and(|due| due <= at) {
                return;
            }
            let waits = at > Instant::now();
            if waits {
                later.due = Some(at);
            }
            waits.then_some(at)
        };
        let (Some(at), Some(tasks)) = (at, runtime::tasks()) else {
            return self.wake();
        };
        let mailbox = self.clone();
        tasks.spawn("mailbox", async move {
            tokio::time::sleep_until(at.into()).await;
            if mailbox.is_due(at) {
                mailbox.wake();
            }
        });
    }

    /// Whether this is the wake that letters wait for: an earlier one may have taken its place.
    fn is_due(&self, at: Instant) -> bool {
        let mut later = self.later.lock();
        let is_due = later.due == Some(at);
        if is_due {
            later.due = None;
        }
        is_due && !self.letters.lock().is_empty()
    }

    /// Takes all letters.
    pub(super) fn take(&self) -> Vec<Letter> {
        // Before the letters: a letter that comes after them wakes again.
        self.signalled.store(false, Ordering::Release);
        self.later.lock().last_drain = Instant::now();
        std::mem::take(&mut self.letters.lock())
    }

    /// Puts letters back that could not be delivered in this turn, before those that came since.
    pub(super) fn put_back(&self, mut letters: Vec<Letter>) {
        let mut queue = self.letters.lock();
        letters.append(&mut queue);
        *queue = letters;
    }

    /// The environment goes: nothing is delivered any more.
    pub(super) fn close(&self) {
        *self.waker.lock() = None;
        self.letters.lock().clear();
        self.gather.notify_one();
    }

    /// Wakes JavaScript, unless it is about to wake.
    pub(super) fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.wake_now();
        }
    }

    /// False once the environment has gone.
    fn wake_now(&self) -> bool {
        match &*self.waker.lock() {
            Some(waker) => {
                waker.wake();
                true
            }
            None => {
                self.letters.lock().clear();
                false
            }
        }
    }

    fn start_gatherer(self: &Arc<Self>) {
        let Some(tasks) = runtime::tasks() else { return };
        let mailbox = self.clone();
        tasks.spawn("gatherer", async move {
            loop {
                mailbox.gather.notified().await;
                // To the end of the run queue, and once past the poll for I/O.
                tokio::task::yield_now().await;
                if !mailbox.wake_now() {
                    return;
                }
            }
        });
    }
}
