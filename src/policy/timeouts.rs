//! Five limits of time, each with its own name in an error.

use std::time::Duration;

/// The limits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together. Default 10 s.
    pub connect: Duration,
    /// Waiting for a socket or a stream. Default 30 s.
    pub queue: Duration,
    /// From the request's sending to the first event of a stream that says something. Default 60 s. An answer that
    /// is no stream may think as long as `total`.
    pub first_byte: Duration,
    /// Between two pieces of a body; paused while the caller is not reading. Default 30 s.
    pub idle: Duration,
    /// The whole call, every attempt and wait included. Default 600 s.
    pub total: Duration,
}

/// Those that somebody gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenTimeouts {
    pub connect: Option<Duration>,
    pub queue: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub idle: Option<Duration>,
    pub total: Option<Duration>,
}

impl GivenTimeouts {
    /// These, and where they say nothing the others.
    pub fn over(&self, others: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(others.connect),
            queue: self.queue.unwrap_or(others.queue),
            first_byte: self.first_byte.unwrap_or(others.first_byte),
            idle: self.idle.unwrap_or(others.idle),
            total: self.total.unwrap_or(others.total),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            queue: Duration::from_secs(30),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}
