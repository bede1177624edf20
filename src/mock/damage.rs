//! Bytes that are wrong in one way each.

use bytes::Bytes;

use super::answer::Kind;

/// HTTP/2 frames of a kind and length that no client takes: a SETTINGS frame on a stream. As HTTP/1.1, or
/// anything else, it is noise as well.
pub(super) const GARBAGE: &[u8] =
    b"\x00\x00\x05\x04\x00\x00\x00\x00\x07\xff\xfe\x13\x37\x00 no protocol at all \x00\x01\r\n\r\n";

/// The same bytes with the JSON in them broken off in the middle.
pub(super) fn break_json(bytes: &Bytes, kind: Kind) -> Bytes {
    // Half of the data, and not of the event's name before it.
    let start = memchr::memmem::find(bytes, b"data: ").filter(|_| kind != Kind::Whole).map_or(0, |at| at + 6);
    let mut broken = bytes.slice(..start + (bytes.len() - start) / 2).to_vec();
    if kind != Kind::Whole {
        broken.extend_from_slice(b"\n\n");
    }
    broken.into()
}

/// The same bytes with one within a text replaced by what UTF-8 never holds.
pub(super) fn break_utf8(bytes: &Bytes) -> Bytes {
    let mut broken = bytes.to_vec();
    let marks: [&[u8]; 4] = [b"\"content\":\"", b"\"arguments\":\"", b"\"text\":\"", b"\"partial_json\":\""];
    let found = marks.iter().find_map(|mark| memchr::memmem::rfind(bytes, mark).map(|at| at + mark.len()));
    // An empty text ends here: the quote must not be hit, or it would be no JSON either.
    let at = found.filter(|at| bytes.get(*at) != Some(&b'"'));
    let at = at.or_else(|| bytes.iter().rposition(u8::is_ascii_alphabetic));
    if let Some(byte) = at.and_then(|at| broken.get_mut(at)) {
        *byte = 0xff;
    }
    broken.into()
}
