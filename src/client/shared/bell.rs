//! Wakes the lender when it is due, and no earlier: each call looks here, and most need not wake anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(crate) struct Bell {
    begin: Instant,
    /// Microseconds after `begin` at which it rings by itself.
    set: AtomicU64,
    rung: Notify,
}

impl Default for Bell {
    fn default() -> Self {
        Self { begin: Instant::now(), set: AtomicU64::new(u64::MAX), rung: Notify::new() }
    }
}

impl Bell {
    /// The lender is due then.
    pub(crate) fn ring(&self, at: Instant) {
        let at = self.micros(at);
        if at < self.set.load(Ordering::Acquire) && self.set.fetch_min(at, Ordering::AcqRel) > at {
            self.rung.notify_one();
        }
    }

    pub(super) fn ring_now(&self) {
        self.set.store(0, Ordering::Release);
        self.rung.notify_one();
    }

    /// Before it is looked up what is due: whatever is due earlier than what was found then rings.
    pub(super) fn unset(&self) {
        self.set.store(u64::MAX, Ordering::Release);
    }

    /// Until then, or until something is due earlier.
    pub(super) async fn wait(&self, until: Option<Instant>) {
        let Some(until) = until else { return self.rung.notified().await };
        self.set.fetch_min(self.micros(until), Ordering::AcqRel);
        tokio::select! {
            () = self.rung.notified() => {}
            () = sleep_until(until) => {}
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begin).as_micros()).unwrap_or(u64::MAX)
    }
}
