//! Cassettes, as JavaScript holds them: by number.
#![expect(unreachable_pub, reason = "what is not public is not exported")]
#![cfg_attr(test, allow(dead_code, reason = "called by JavaScript alone"))]

use napi::{Error, Result, Status};
use napi_derive::napi;

use crate::client::Cassette;

/// Opens a file of recordings by options, as JSON. Bad ones, or a file that is none, throw an error whose message is the description of a
/// `ConfigError` as JSON.
#[napi(catch_unwind)]
pub fn open_cassette(options: String) -> Result<u32> {
    let options = serde_json::from_str(&options)
        .map_err(|error| Error::new(Status::GenericFailure, format!("a bug in trunkline: {error}")))?;
    Cassette::open(options).map_err(|error| Error::new(Status::InvalidArg, error.to_json()))
}

/// Nobody holds it any more.
#[napi(catch_unwind)]
pub fn close_cassette(number: u32) {
    Cassette::close(number);
}

/// Writes whatever is recorded and not written: the process ends.
#[napi(catch_unwind)]
pub fn write_cassettes() {
    Cassette::write_all();
}
