//! Figures: counters and histograms of a client, and the snapshot that crosses the border; what it tells of its calls, and what it logs.

mod counters;
mod events;
mod exposition;
mod log;
mod rows;

pub use self::counters::{
    CacheFigures, CallGuard, CircuitFigures, Clocks, Counters, LimitFigures, Metrics, Seat, Sums,
    TurnFigures, TurnWaits,
};
pub use self::events::{Audience, Event, Events};
pub use self::exposition::{Families, Family, Format};
pub use self::log::{Log, next_client};
pub use self::rows::{Distribution, End, NONE, OTHERS, Row, Rows, WAITS};
