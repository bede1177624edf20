//! What is known of one connection, by all who have a part in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::Phases;
use super::keep_alive::Hint;
use super::limit::LineId;
use super::stats::CloseReason;
use super::{Origin, Protocol};

/// What one connection is.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) id: u64,
    /// The number of its line, which lives as long as the connection and its streams.
    pub(super) line: LineId,
    pub(super) origin: Origin,
    pub(super) protocol: Protocol,
    pub(super) phases: Phases,
    pub(super) retire_at: Instant,
    /// Whether it counts as connecting no longer.
    placed: AtomicBool,
    leased: AtomicBool,
    /// What the server said of how long it may rest, in milliseconds, and whether it has served for the last time.
    may_rest: AtomicU64,
    spent: AtomicBool,
    /// Of its line.
    reused: Arc<AtomicU64>,
    answers: AtomicUsize,
    /// Cancelled when the server has said how many streams it takes.
    pub(super) told: CancellationToken,
    /// Whether those were fewer than had been given out by then.
    oversubscribed: AtomicBool,
    /// Whether it turned out that the server takes none at all.
    pub(super) useless: AtomicBool,
    reason: AtomicU8,
    /// Told when there is a reason.
    pub(super) closing: Notify,
    /// Whether it ended in the middle of a request.
    broke: AtomicBool,
    /// Requests, each from its sending to the end of its response.
    asked: Count,
    /// HTTP/2 streams in use, also after it was told to go.
    riding: Count,
    /// Held while a request is handed to hyper.
    handing_over: Mutex<()>,
    /// Cancelled when its driver has ended, and takes no more requests, and when all of it has.
    pub(super) undriven: CancellationToken,
    pub(super) gone: CancellationToken,
}

/// How long a connection that has closed keeps its place for a caller who does not read the end of its response.
const VERDICT_LIMIT: Duration = Duration::from_secs(1);

/// How many there are; its one waiter is told when there are none.
#[derive(Debug, Default)]
struct Count {
    number: AtomicUsize,
    none: Notify,
}

impl Count {
    fn add(&self) {
        self.number.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        if self.number.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_one();
        }
    }

    async fn none(&self) {
        while self.number.load(Ordering::Acquire) > 0 {
            self.none.notified().await;
        }
    }
}

/// One stream in use.
#[derive(Debug)]
pub(super) struct Riding(Arc<Info>);

impl Riding {
    pub(super) fn new(info: &Arc<Info>) -> Self {
        info.riding.add();
        Self(info.clone())
    }
}

impl Drop for Riding {
    fn drop(&mut self) {
        self.0.riding.remove();
    }
}

/// One request that was sent, until the end of its response.
#[derive(Debug)]
pub(super) struct Asked(Arc<Info>);

impl Asked {
    pub(super) fn new(info: &Arc<Info>) -> Self {
        info.asked.add();
        Self(info.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked.remove();
    }
}

impl Info {
    /// Of a connection that was made just now, and takes no new request when it is so old.
    pub(super) fn new(
        id: u64,
        line: LineId,
        origin: Origin,
        protocol: Protocol,
        phases: Phases,
        age: Duration,
        reused: Arc<AtomicU64>,
    ) -> Self {
        Self {
            id,
            line,
            origin,
            protocol,
            phases,
            retire_at: Instant::now() + age,
            placed: AtomicBool::new(false),
            leased: AtomicBool::new(false),
            may_rest: AtomicU64::new(u64::MAX),
            spent: AtomicBool::new(false),
            reused,
            answers: AtomicUsize::new(0),
            told: CancellationToken::new(),
            oversubscribed: AtomicBool::new(false),
            useless: AtomicBool::new(false),
            reason: AtomicU8::new(CloseReason::NONE),
            closing: Notify::new(),
            broke: AtomicBool::new(false),
            asked: Count::default(),
            riding: Count::default(),
            handing_over: Mutex::default(),
            undriven: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }

    /// True once.
    pub(super) fn place(&self) -> bool {
        !self.placed.swap(true, Ordering::Relaxed)
    }

    /// Notes a lease; true if it is not the first.
    pub(super) fn lease_again(&self) -> bool {
        self.leased.swap(true, Ordering::Relaxed)
    }

    /// Notes a request on a connection that was there already.
    pub(super) fn count_reuse(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the head of a response.
    pub(super) fn count_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Notes what the server says of the connection's future.
    pub(super) fn take_hint(&self, hint: Hint) {
        if let Some(rest) = hint.rest {
            self.may_rest.store(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        if hint.is_last {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn may_rest(&self) -> Duration {
        Duration::from_millis(self.may_rest.load(Ordering::Relaxed))
    }

    /// Whether the server said that it answers no more requests on it.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Notes that the server has said how many streams it takes, and whether that is fewer than were given out before.
    pub(super) fn tell(&self, is_oversubscribed: bool) {
        self.oversubscribed.fetch_or(is_oversubscribed, Ordering::Release);
        self.told.cancel();
    }

    /// Hands a request to hyper while nobody else does.
    pub(super) fn in_turn<T>(&self, hand_over: impl FnOnce() -> T) -> T {
        let _ours = self.handing_over.lock();
        hand_over()
    }

    /// Waits until it is told, or never will be.
    pub(super) async fn heard(&self) {
        self.undriven.run_until_cancelled(self.told.cancelled()).await;
    }

    /// Known once it is told.
    pub(super) fn is_oversubscribed(&self) -> bool {
        self.oversubscribed.load(Ordering::Acquire)
    }

    /// Notes that the server takes no streams, and never did: what h2 has by now would wait in it for ever.
    pub(super) fn takes_none(&self) {
        self.useless.store(true, Ordering::Release);
    }

    /// Notes why the connection closes; the first reason stays. The closing itself is the drop of its senders, and the
    /// driver of an HTTP/1.1 socket sees to it that it comes to an end.
    pub(super) fn close_with(&self, reason: CloseReason) {
        let _ = self.reason.compare_exchange(
            CloseReason::NONE,
            reason as u8,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.closing.notify_one();
    }

    /// Notes that it ended in the middle of a request.
    pub(super) fn break_off(&self) {
        self.broke.store(true, Ordering::Release);
    }

    /// Why it closes whose peer has hung up: known when those who had a request on it have seen how far that came. One who does not
    /// look is not waited for.
    pub(super) async fn hang_up_reason(&self) -> CloseReason {
        let _ = timeout(VERDICT_LIMIT, self.asked.none()).await;
        if self.broke.load(Ordering::Acquire) { CloseReason::Error } else { CloseReason::Server }
    }

    /// Waits until no stream is in use.
    pub(super) async fn empty(&self) {
        self.riding.none().await;
    }

    pub(super) fn reason(&self) -> CloseReason {
        CloseReason::of(self.reason.load(Ordering::Relaxed))
    }
}
