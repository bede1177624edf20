//! Figures: counters and histograms of a client, and the snapshot that crosses the border.

mod counters;

pub use self::counters::{CallGuard, Counters, Metrics};
