//! What is known of one connection, by all who have a part in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
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
    /// Cancelled when the server turns out to take fewer streams than were given out before it said so.
    pub(super) oversubscribed: CancellationToken,
    /// Whether it turned out that the server takes none at all.
    pub(super) useless: AtomicBool,
    reason: AtomicU8,
    /// Told when there is a reason.
    pub(super) closing: Notify,
    /// HTTP/2 streams in use, also after it was told to go, and who is told when there are none.
    riding: AtomicUsize,
    empty: Notify,
    /// Cancelled when its driver has ended, and takes no more requests, and when all of it has.
    pub(super) undriven: CancellationToken,
    pub(super) gone: CancellationToken,
}

/// One stream in use.
#[derive(Debug)]
pub(super) struct Riding(Arc<Info>);

impl Riding {
    pub(super) fn new(info: &Arc<Info>) -> Self {
        info.riding.fetch_add(1, Ordering::Relaxed);
        Self(info.clone())
    }
}

impl Drop for Riding {
    fn drop(&mut self) {
        if self.0.riding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.empty.notify_one();
        }
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
            oversubscribed: CancellationToken::new(),
            useless: AtomicBool::new(false),
            reason: AtomicU8::new(CloseReason::NONE),
            closing: Notify::new(),
            riding: AtomicUsize::new(0),
            empty: Notify::new(),
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

    /// Notes that the server takes fewer streams than were given out before it said so.
    pub(super) fn oversubscribe(&self) {
        self.oversubscribed.cancel();
    }

    pub(super) fn is_oversubscribed(&self) -> bool {
        self.oversubscribed.is_cancelled()
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

    /// Waits until no stream is in use.
    pub(super) async fn empty(&self) {
        while self.riding.load(Ordering::Acquire) > 0 {
            self.empty.notified().await;
        }
    }

    pub(super) fn reason(&self) -> CloseReason {
        CloseReason::of(self.reason.load(Ordering::Relaxed))
    }
}
