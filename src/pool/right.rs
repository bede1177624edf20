//! The right to have a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::events::Event;
use super::info::Info;
use super::limit::LineId;
use super::state::After;
use super::stats::CloseReason;
use super::{Origin, Shared};

/// The right to have a socket, from before its connect until its close. It is counted against the limits for exactly as long as
/// it lives, so whoever holds the socket holds it too.
#[must_use = "dropping it gives the right back"]
pub(super) struct SocketRight {
    pub(super) shared: Arc<Shared>,
    pub(super) line: LineId,
    pub(super) origin: Origin,
    pub(super) info: Option<Arc<Info>>,
    pub(super) connect_timeout: Duration,
    /// When the connect may begin, if the last ones failed.
    pub(super) not_before: Option<Instant>,
    /// Whether those who waited for this connect were told that it failed.
    pub(super) told: AtomicBool,
}

impl SocketRight {
    pub(super) fn new(
        shared: Arc<Shared>,
        line: LineId,
        origin: Origin,
        connect_timeout: Duration,
        not_before: Option<Instant>,
    ) -> Self {
        Self { shared, line, origin, info: None, connect_timeout, not_before, told: AtomicBool::new(false) }
    }
}

impl Drop for SocketRight {
    fn drop(&mut self) {
        let info = self.info.as_deref();
        if let Some(info) = info {
            info.close_with(CloseReason::Server);
            self.shared.stats.closed(info.reason());
            tracing::debug!(target: "trunkline::pool", connection = info.id, origin = %self.origin, reason = info.reason().as_str(), "closed");
            self.shared.events.tell(|| Event::closed(info));
        }
        let mut after = After::default();
        {
            let mut state = self.shared.state.lock();
            if info.is_none() && !self.told.load(Ordering::Relaxed) {
                // The connect panicked, or its runtime is going down. Another right for those who wait would end the same
                // way, in this very drop, without end.
                state.connect_abandoned(self.line);
            }
            state.right_ended(&self.shared, self.line, info, &mut after);
        }
        self.shared.run(after);
        self.shared.gone.notify_waiters();
    }
}
