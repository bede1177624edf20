//! One warm, bounded, multiplexed connection pool to AI providers for a whole Node.js process.
#![deny(unsafe_code)]

pub mod mock;
pub mod pool;
