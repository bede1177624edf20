//! One warm, bounded, multiplexed connection pool to AI providers for a whole Node.js process.
//!
//! The floors, from the top; a file may use what is on its own floor or below:
//!
//! - `node`: the border to JavaScript, the only code that names napi (feature `node`)
//! - [`job`]: many calls, from a file to a file
//! - [`client`]: one call, from its acceptance to its end
//! - [`policy`]: decisions; [`protocol`]: what bytes mean; [`pool`]: sockets. They do not know each other
//! - [`telemetry`]: figures; [`mock`]: the stand-in upstream
//! - [`config`] and [`error`]: options parsed once into types that cannot be wrong, and one error type
#![deny(unsafe_code)]

pub mod client;
pub mod config;
pub mod error;
pub mod job;
pub mod mock;
#[cfg(feature = "node")]
mod node;
pub mod policy;
pub mod pool;
pub mod protocol;
pub mod telemetry;
