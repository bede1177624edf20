//! Reads the head and the chunks of an HTTP/1.1 request.

use std::{io, ops::Range};

use super::request::MAX_HEADERS;

pub(super) const MAX_HEAD: usize = 256 * 1024;
pub(super) const MAX_BODY: usize = 256 * 1024 * 1024;
/// Of the line that gives a chunk's size, and of a trailer.
const MAX_LINE: usize = 16 * 1024;

/// What the head of a request says that matters for reading on, with places in the bytes it was parsed from.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) method: Range<usize>,
    pub(super) path: Range<usize>,
    /// Length of the body; `None` when it comes in chunks.
    pub(super) body: Option<usize>,
    pub(super) expects_continue: bool,
    pub(super) is_head: bool,
    pub(super) is_http10: bool,
    /// The client wants no further exchange on this connection.
    pub(super) is_last: bool,
}

/// Where the body of a request is.
#[derive(Debug)]
pub(super) enum Body {
    /// After the head, this long.
    Within(usize),
    /// Put together from chunks, which end at `used`.
    Decoded { bytes: Vec<u8>, used: usize },
}

/// The head at the beginning of these bytes, if it is there whole.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let place = |part: Option<&str>| {
        let part = part.unwrap_or_default();
        let start = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
        start..start + part.len()
    };
    let is_http10 = request.version == Some(0);
    let mut head = Head {
        length,
        method: place(request.method),
        path: place(request.path),
        body: Some(0),
        expects_continue: false,
        is_head: request.method == Some("HEAD"),
        is_http10,
        is_last: is_http10,
    };
    for field in &*request.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // The length first: no need to compare each of two dozen names with four others.
        match field.name.len() {
            14 if is("content-length") => {
                let length = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
                let length = length.ok_or_else(|| io::Error::other("content-length is no number"))?;
                head.body = head.body.map(|_| length);
            }
            17 if is("transfer-encoding") => head.body = None,
            10 if is("connection") => head.is_last |= field.value.eq_ignore_ascii_case(b"close"),
            6 if is("expect") => head.expects_continue = field.value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
    }
    Ok(Some(head))
}

/// A chunked body, put together as it comes; no byte of it is looked at twice.
#[derive(Debug)]
pub(super) struct Chunked {
    at: usize,
    bytes: Vec<u8>,
    /// Bytes of the chunk at hand, its line end included, that are still to come.
    left: usize,
    in_trailers: bool,
}

impl Chunked {
    pub(super) fn new(at: usize) -> Self {
        Self { at, bytes: Vec::new(), left: 0, in_trailers: false }
    }

    /// Goes on in all that was read so far; says whether the body is whole.
    pub(super) fn advance(&mut self, inbox: &[u8]) -> io::Result<bool> {
        loop {
            let rest = inbox.get(self.at..).unwrap_or_default();
            if self.left > 0 {
                let taken = rest.len().min(self.left);
                let data = taken.min(self.left.saturating_sub(2));
                self.bytes.extend_from_slice(&rest[..data]);
                self.left -= taken;
                self.at += taken;
                if self.left > 0 {
                    return Ok(false);
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return match rest.len() < MAX_LINE {
                    true => Ok(false),
                    false => Err(io::Error::other("a chunk's line is too long")),
                };
            };
            let line = rest[..end].trim_ascii();
            self.at += end + 1;
            if self.in_trailers {
                if line.is_empty() {
                    return Ok(true);
                }
                continue;
            }
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size = std::str::from_utf8(size).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            match size {
                Some(0) => self.in_trailers = true,
                Some(size) if self.bytes.len().saturating_add(size) <= MAX_BODY => self.left = size + 2,
                Some(_) => return Err(io::Error::other("the body is too long")),
                None => return Err(io::Error::other("a chunk's size is no number")),
            }
        }
    }

    pub(super) fn into_body(self) -> Body {
        Body::Decoded { bytes: self.bytes, used: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_the_same_in_whatever_pieces_it_comes() {
        let wire = b"HEAD5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nt: 1\r\n\r\nnext";
        for step in 1..wire.len() {
            let mut chunked = Chunked::new(4);
            let mut seen = 4;
            while !chunked.advance(&wire[..seen]).unwrap() {
                seen = (seen + step).min(wire.len());
            }
            let Body::Decoded { bytes, used } = chunked.into_body() else { unreachable!() };
            assert_eq!((bytes.as_slice(), &wire[used..]), (&b"hello world"[..], &b"next"[..]));
        }
    }

    #[test]
    fn a_head_is_read_with_its_places() {
        let wire = b"POST /v1/x?y HTTP/1.1\r\nContent-Length: 12\r\nConnection: close\r\n\r\nbody";
        let head = parse(wire).unwrap().unwrap();
        assert_eq!(
            (&wire[head.path], head.body, head.is_last, head.length),
            (&b"/v1/x?y"[..], Some(12), true, 64)
        );
        assert!(parse(&wire[..30]).unwrap().is_none());
        assert!(parse(b"\x00\x01 nonsense\r\n\r\n").is_err());
    }
}
