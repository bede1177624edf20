//! Errors of a fetch. Each has the code by which Node's own fetch tells of the same, as `cause.code`: SDKs look at it.

use std::time::Duration;

use super::super::body::BodyError;
use super::super::exchange::error_of;
use crate::error::{Billed, ConnectionPhase, Error, Kind, TimeoutPhase, millis};
use crate::pool;

pub(super) fn of_pool(error: &pool::Error) -> Error {
    use pool::Kind as Pool;
    let system = error.system_code();
    let code = match error.kind() {
        Pool::Dns => Some(if error.is_temporary() { "EAI_AGAIN" } else { "ENOTFOUND" }),
        Pool::ConnectTimeout(_) => Some("UND_ERR_CONNECT_TIMEOUT"),
        Pool::Tls => Some(error.tls_code()),
        Pool::Connect | Pool::Proxy { .. } => system,
        Pool::NoResponse { .. } | Pool::Unprocessed | Pool::Refused | Pool::Body => {
            Some(system.filter(|&code| code == "ECONNRESET").unwrap_or("UND_ERR_SOCKET"))
        }
        _ => None,
    };
    coded(error_of(error, None), code)
}

pub(super) fn of_body(error: BodyError) -> Error {
    match error {
        BodyError::Pool(error) => of_pool(&error),
        BodyError::Cassette(error) => error,
    }
}

pub(super) fn silent_head(limit: Duration) -> Error {
    silent(TimeoutPhase::FirstByte, limit, "no head of the answer", "UND_ERR_HEADERS_TIMEOUT")
}

pub(super) fn silent_body(limit: Duration) -> Error {
    silent(TimeoutPhase::Idle, limit, "no further piece of the answer", "UND_ERR_BODY_TIMEOUT")
}

fn silent(phase: TimeoutPhase, limit: Duration, what: &str, code: &'static str) -> Error {
    let limit_ms = millis(limit);
    let mut error = Error::new(Kind::Timeout { phase, limit_ms }, format!("{what} within {limit_ms} ms"));
    error.retryable = true;
    error.billed = Billed::Maybe;
    coded(error, Some(code))
}

/// A header that belongs to the connection, or a body that is not as long as its header says.
pub(super) fn bad_request(message: &str, code: &'static str) -> Error {
    coded(Error::config(message), Some(code))
}

pub(super) fn body_is_used() -> Error {
    Error::new(Kind::Connection(ConnectionPhase::Receive), "the body of the request was used up")
}

/// A body that is not what its `content-encoding` says, or much more than it could be.
pub(super) fn bad_coding(message: impl Into<String>, cause: Option<String>) -> Error {
    let mut error = Error::new(Kind::InvalidResponse, message).caused_by(cause);
    error.billed = Billed::Maybe;
    error
}

pub(super) fn too_large() -> Error {
    bad_coding("the answer has more bytes than can be taken whole", None)
}

fn coded(mut error: Error, code: Option<&'static str>) -> Error {
    error.node_code = code;
    error
}
