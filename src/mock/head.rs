//! Small things about header fields that both protocols need.

use http::header;

use super::shapes::Headers;

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

/// The header that names a request.
pub(super) const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

/// The id of a request, unique at its upstream.
pub(super) fn request_id(number: u64) -> [u8; 20] {
    let mut id = *b"req_0000000000000000";
    let mut rest = number;
    for digit in id.iter_mut().skip(4).rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    id
}
