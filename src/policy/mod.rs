//! Decisions: pure functions plus a little state. A policy takes the time as an argument or reads tokio's clock, so
//! that its tests run in virtual time.

pub mod adaptive;
pub mod alerts;
pub mod backoff;
pub mod breaker;
pub mod cache;
pub mod circuits;
pub mod hedge;
pub mod judge;
pub mod keys;
pub mod learn;
pub mod lease;
pub mod money;
pub mod rate;
pub mod retry_after;
pub mod retry_budget;
pub mod route;
pub mod schedule;
pub mod timeouts;
pub mod turns;
mod window;
