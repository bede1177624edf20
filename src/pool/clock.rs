//! Whether the machine was asleep: a laptop that was closed, a function that was frozen between two calls. What rested meanwhile has
//! most likely been closed by its server, and nobody was there to see it.

use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A shorter sleep outlives no server's idle timeout that the idle timeout here would not.
const SLEEP: Duration = Duration::from_secs(5);

/// Two clocks side by side: the monotonic one stands still while some machines sleep, and the wall's goes on.
pub(super) struct Clock {
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clock {
    pub(super) fn new(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall: Box::new(wall) }
    }

    pub(super) fn read(&self) -> Reading {
        Reading { now: Instant::now(), wall: (self.wall)() }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) now: Instant,
    wall: SystemTime,
}

impl Reading {
    /// Whether the machine slept since `last`, after which somebody should have looked within `pause`. A wall clock that is set
    /// forward looks the same, and costs what rests.
    pub(super) fn slept_since(&self, last: &Self, pause: Duration) -> bool {
        let passed = self.now.saturating_duration_since(last.now);
        let on_the_wall = self.wall.duration_since(last.wall).unwrap_or_default();
        // The monotonic clock went on, but nobody was there to look; or it stood still.
        passed > pause + SLEEP || on_the_wall > passed + SLEEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_seen_whether_or_not_the_monotonic_clock_goes_on() {
        let pause = Duration::from_secs(1);
        let last = Reading { now: Instant::now(), wall: SystemTime::now() };
        let after = |passed, on_the_wall| Reading {
            now: last.now + Duration::from_secs(passed),
            wall: last.wall + Duration::from_secs(on_the_wall),
        };
        assert!(!after(1, 1).slept_since(&last, pause));
        assert!(!after(6, 6).slept_since(&last, pause), "somebody was late");
        assert!(after(7, 7).slept_since(&last, pause), "the monotonic clock went on");
        assert!(after(0, 6).slept_since(&last, pause), "it stood still");
        let back = Reading { now: last.now, wall: last.wall - Duration::from_secs(60) };
        assert!(!back.slept_since(&last, pause), "the wall's was set back");
    }
}
