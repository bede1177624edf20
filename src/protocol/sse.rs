//! Server-sent events, by the parsing rules of WHATWG HTML §9.2.6, over bytes in any chunking.
//!
//! By the letter but for three things, since nobody reconnects here in the middle of an answer: `retry` is passed over; what is longer than
//! [`MAX_EVENT`] is refused; and bytes that are no UTF-8 are left to the reader, who takes them for an error and not for U+FFFD.
//! `tests/protocol/sse.rs` has the cases.
//!
//! Linear in bytes: a byte is looked at once (by memchr) and copied at most twice, however the network cuts the body.

use memchr::memchr2;

/// An event with more bytes than this, or a line, is refused: 16 MiB.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// One event, as the specification dispatches it. Bytes may be invalid UTF-8, where the sender broke it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field; empty where there was none ("message" to a browser).
    pub name: &'a [u8],
    /// The `data` lines, joined by line feeds.
    pub data: &'a [u8],
    /// The last `id` so far; empty where there was none.
    pub id: &'a [u8],
}

/// An event or line longer than [`MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The begun line, where its end has not come yet.
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    id: Vec<u8>,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    /// Bytes of a byte order mark seen, while there can be one.
    bom: Bom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Bom {
    #[default]
    Possible,
    Past,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and hands over each event that they complete, until `each` says to stop with an error.
    pub fn feed<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                if self.line.len() + bytes.len() > MAX_EVENT {
                    return Err(TooLong.into());
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.after_cr = bytes[end] == b'\r';
            bytes = rest;
            if self.line.is_empty() {
                self.line_ended(head, &mut each)?;
            } else {
                if self.line.len() + head.len() > MAX_EVENT {
                    return Err(TooLong.into());
                }
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                let result = self.line_ended(&line, &mut each);
                // The buffer is kept for the next line that comes in pieces.
                line.clear();
                self.line = line;
                result?;
            }
        }
        Ok(())
    }

    fn line_ended<E: From<TooLong>>(
        &mut self,
        mut line: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.bom == Bom::Possible {
            self.bom = Bom::Past;
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(each);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return Ok(()),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT {
                    return Err(TooLong.into());
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
            }
            // `retry` is for clients that reconnect by themselves; anything else is ignored by the rules.
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, each: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        // Without a data field there is no event; one with an empty data field is an event.
        let result = if self.has_data {
            each(Event { name: &self.name, data: &self.data, id: &self.id })
        } else {
            Ok(())
        };
        self.data.clear();
        self.name.clear();
        self.has_data = false;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<(String, String, String)>;

    fn decode(pieces: &[&[u8]]) -> Seen {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for piece in pieces {
            decoder
                .feed::<TooLong>(piece, |event| {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    seen.push((text(event.name), text(event.data), text(event.id)));
                    Ok(())
                })
                .unwrap();
        }
        seen
    }

    fn data(pieces: &[&[u8]]) -> Vec<String> {
        decode(pieces).into_iter().map(|(_, data, _)| data).collect()
    }

    #[test]
    fn every_line_end_ends_a_line() {
        assert_eq!(data(&[b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\r\n"]), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_crlf_that_is_cut_in_two_is_one_line_end() {
        assert_eq!(data(&[b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"]), ["a\nb"]);
    }

    #[test]
    fn data_lines_are_joined_and_one_space_is_dropped() {
        assert_eq!(data(&[b"data:  a\ndata:b\ndata\ndata: \n\n"]), [" a\nb\n\n"]);
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_are_passed_over() {
        assert_eq!(data(&[b": ping\n\nevent: x\n\nretry: 5\nfoo: bar\n\ndata: a\n\n"]), ["a"]);
    }

    #[test]
    fn names_last_for_one_event_and_ids_for_all_that_follow() {
        let seen = decode(&[b"event: e\nid: 1\ndata: a\n\ndata: b\n\nid: x\0y\nid\ndata: c\n\n"]);
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(seen, [text("e", "a", "1"), text("", "b", "1"), text("", "c", "")]);
    }

    #[test]
    fn an_empty_data_field_is_an_event_as_in_the_specification_example() {
        assert_eq!(data(&[b"data\n\ndata\ndata\n\ndata:"]), ["", "\n"]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_once_even_when_cut() {
        assert_eq!(data(&[b"\xEF\xBB", b"\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n"]), ["a"]);
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_dispatched() {
        assert_eq!(data(&[b"data: a\n\ndata: b\n"]), ["a"]);
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_memory_runs_out() {
        let mut decoder = Decoder::new();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..64).any(|_| decoder.feed::<TooLong>(&piece, |_| Ok(())).is_err());
        assert!(refused);
        assert!(decoder.line.len() <= MAX_EVENT);
    }

    proptest! {
        #[test]
        fn any_chunking_equals_one_piece(
            text in "(data: ?[a-zé\u{1F600}]{0,6}|:c|event: x|id: 7|data|\u{FEFF}|)((\r\n|\n|\r){1,3}(data: ?[a-zé]{0,6}|event:y|: p|data|)){0,12}(\n\n|\r\r|)",
            cuts in proptest::collection::vec(0usize..200, 0..20),
        ) {
            let bytes = text.as_bytes();
            let whole = decode(&[bytes]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&decode(&pieces), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode(&single), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            decode(&[&bytes]);
        }
    }
}
