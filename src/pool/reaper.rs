//! What has rested too long or is too old goes, and what rested while the machine slept; what an origin or a tenant left behind is
//! forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Reading;
use super::state::State;
use super::stats::CloseReason;
use super::{Config, Shared};

/// How soon an expired socket is seen at the latest, where its idle time allows.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn start(shared: &Arc<Shared>) {
    let pause = pause(&shared.config);
    // Weak: the reaper keeps no pool alive.
    let weak: Weak<Shared> = Arc::downgrade(shared);
    let closing = shared.closing.clone();
    shared.tasks.spawn("reaper", async move {
        while closing.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let Some(shared) = weak.upgrade() else { return };
            let reading = shared.clock.read();
            let mut state = shared.state.lock();
            state.look(&shared.config, reading);
            state.looked = Some(reading);
            state.sweep(&shared.config, reading.now);
        }
    });
}

fn pause(config: &Config) -> Duration {
    let own = config.own.iter().map(|(_, own)| own.idle_timeout);
    let shortest = own.fold(config.idle_timeout, Duration::min);
    (shortest / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

impl State {
    /// Lets go what rested while the machine slept, if it did. Connections with streams finish them, and get no new ones.
    pub(super) fn look(&mut self, config: &Config, reading: Reading) {
        let last = *self.looked.get_or_insert(reading);
        if !reading.slept_since(&last, pause(config)) {
            return;
        }
        self.looked = Some(reading);
        // What would have gone anyway goes for its own reason.
        self.sweep(config, reading.now);
        tracing::debug!(target: "trunkline::pool", "the clock jumped: what rested is closed");
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            line.give_up_idle(resting, |_| Some(CloseReason::ClockJump));
            line.give_up_shared(resting, |_| Some(CloseReason::ClockJump));
        }
    }

    fn sweep(&mut self, config: &Config, now: Instant) {
        self.lose_patience(now);
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            let idle_timeout = config.of(&line.partition.origin).idle_timeout;
            line.give_up_idle(resting, |idle| idle.must_close(now));
            line.give_up_shared(resting, |c| c.must_close(now, idle_timeout));
        }
        self.forget(|line| {
            let idle_timeout = config.of(&line.partition.origin).idle_timeout;
            line.is_unused() && now.saturating_duration_since(line.touched) >= idle_timeout
        });
    }
}
