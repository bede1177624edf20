//! Decisions: pure functions plus a little state. A policy takes the time as an argument or reads tokio's clock, so
//! that its tests run in virtual time.

pub mod backoff;
pub mod judge;
pub mod learn;
pub mod rate;
pub mod retry_after;
pub mod timeouts;
