//! Figures: counters and histograms of a client, and the snapshot that crosses the border; what it tells of its calls, and what it logs.

mod counters;
mod events;
mod log;

pub use self::counters::{
    CacheFigures, CallGuard, CircuitFigures, Clocks, Counters, LimitFigures, Metrics, TurnFigures,
};
pub use self::events::{Event, Events};
pub use self::log::{Log, next_client};
