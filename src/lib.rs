//! One warm, bounded, multiplexed connection pool to AI providers for a whole Node.js process.
#![deny(unsafe_code)]

pub mod client;
pub mod config;
pub mod error;
pub mod mock;
pub mod policy;
pub mod pool;
pub mod protocol;
pub mod telemetry;
