#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../mock/client.rs"]
#[allow(dead_code, reason = "others use the rest of it")]
mod raw;
#[path = "../support/client.rs"]
mod support;

mod anthropic;
mod gemini;
mod round_trips;
mod sse;
