//! What has rested too long or is too old goes; what an origin left behind is forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::state::State;
use super::stats::CloseReason;
use super::{Config, Shared};

/// How soon an expired socket is seen at the latest, where its idle time allows.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn start(shared: &Arc<Shared>) {
    let pause = (shared.config.idle_timeout / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    // Weak: the reaper keeps no pool alive.
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.tasks.spawn("reaper", async move {
        loop {
            tokio::time::sleep(pause).await;
            let Some(shared) = weak.upgrade() else { return };
            let mut state = shared.state.lock();
            if state.closing && state.sockets == 0 {
                return;
            }
            sweep(&mut state, &shared.config, Instant::now());
        }
    });
}

fn sweep(state: &mut State, config: &Config, now: Instant) {
    for line in state.lines.values_mut() {
        line.idle.retain(|idle| {
            let reason = if idle.sender.is_closed() {
                CloseReason::Server
            } else if now.duration_since(idle.since) >= config.idle_timeout {
                CloseReason::Idle
            } else if now >= idle.info.retire_at {
                CloseReason::Age
            } else {
                return true;
            };
            idle.info.close_with(reason);
            false
        });
        line.shared.retain(|connection| {
            let reason = if now >= connection.info.retire_at {
                CloseReason::Age
            } else if connection.active == 0
                && now.duration_since(connection.idle_since) >= config.idle_timeout
            {
                CloseReason::Idle
            } else {
                return true;
            };
            connection.info.close_with(reason);
            false
        });
    }
    state.lines.retain(|_, line| {
        // A lease can outlive its socket: a body that nobody reads while the server hangs up.
        line.sockets > 0
            || line.leased > 0
            || line.waiting() > 0
            || line.touched.is_some_and(|touched| now.duration_since(touched) < config.idle_timeout)
    });
}
