//! Jobs: what runs them, over real sockets, between sources and sinks of any kind; and whole ones from a file to a file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/client.rs"]
mod support;

mod batches;
mod direct;
mod ends;
mod file;
