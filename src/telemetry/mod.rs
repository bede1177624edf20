//! Figures: counters and histograms of a client, and the snapshot that crosses the border.

mod counters;
mod events;

pub use self::counters::{
    CacheFigures, CallGuard, CircuitFigures, Clocks, Counters, LimitFigures, Metrics, TurnFigures,
};
pub use self::events::{Event, Events};
