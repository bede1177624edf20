//! Small things about header fields that both protocols need.

use http::{HeaderValue, header};

use super::{route::Protocol, shapes::Headers};

/// Whether this header may go out on HTTP/2, where those about the connection are forbidden.
pub(super) fn is_about_connection(name: &header::HeaderName) -> bool {
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(name)
        || name.as_str() == "keep-alive"
        || name.as_str() == "proxy-connection"
}

/// Whether a test's own headers take the place of one of ours.
pub(super) fn overrides(headers: &Headers, name: &header::HeaderName) -> bool {
    headers.0.iter().any(|(own, _)| own == name)
}

/// The field that names a request, with an id that is unique at its upstream; Gemini has none.
pub(super) fn request_id(protocol: Protocol, number: u64) -> Option<(header::HeaderName, HeaderValue)> {
    let name = match protocol {
        Protocol::OpenAi => header::HeaderName::from_static("x-request-id"),
        Protocol::Anthropic => header::HeaderName::from_static("request-id"),
        Protocol::Gemini => return None,
    };
    let mut id = *b"req_0000000000000000";
    let mut rest = number;
    for digit in id.iter_mut().skip(4).rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    Some((name, HeaderValue::from_bytes(&id).ok()?))
}
