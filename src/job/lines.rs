//! The lines of a file, one at a time, with their numbers: however long the file is, what is held is one line.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;
use ring::digest::{Context, Digest, SHA256};

/// A longer line is told of, and its text is not held. A request with a few pictures has some megabytes.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;

const BUFFER: usize = 256 * 1024;
const FEW: usize = 8 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    offset: u64,
    text: Vec<u8>,
    longest: usize,
    digest: Option<Context>,
}

#[derive(Debug)]
pub(super) struct Line<'a> {
    /// From 1 on.
    pub(super) number: u64,
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// Without its end; empty where it is too long.
    pub(super) text: &'a [u8],
    pub(super) is_too_long: bool,
    /// Whether it has its end: the last line of a file need not.
    pub(super) is_ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(file: R) -> Self {
        Self::buffered(file, BUFFER)
    }

    /// The same, of a file of which little is to be read.
    pub(super) fn a_few(file: R) -> Self {
        Self::buffered(file, FEW)
    }

    /// The same, with lines as long as they are: they were written by us, and held then.
    pub(super) fn of_any_length(file: R) -> Self {
        Self { longest: usize::MAX, ..Self::new(file) }
    }

    fn buffered(file: R, bytes: usize) -> Self {
        let reader = BufReader::with_capacity(bytes, file);
        Self { reader, number: 0, offset: 0, text: Vec::new(), longest: LONGEST, digest: None }
    }

    /// The same, of a file that is read from its beginning and told apart from others by what is in it.
    pub(super) fn digested(file: R) -> Self {
        Self { digest: Some(Context::new(&SHA256)), ..Self::new(file) }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.text.clear();
        let (offset, mut is_too_long, mut is_ended) = (self.offset, false, false);
        while !is_ended {
            let bytes = match self.reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                break;
            }
            let end = memchr(b'\n', bytes);
            is_ended = end.is_some();
            let taken = end.map_or(bytes.len(), |end| end + 1);
            let (read, text) = (&bytes[..taken], &bytes[..end.unwrap_or(taken)]);
            if let Some(digest) = &mut self.digest {
                digest.update(read);
            }
            if self.text.len() + text.len() > self.longest {
                is_too_long = true;
                // Its room too: one such line should not be paid for as long as the file is read.
                self.text = Vec::new();
            } else if !is_too_long {
                self.text.extend_from_slice(text);
            }
            self.offset += taken as u64;
            self.reader.consume(taken);
        }
        if self.offset == offset {
            return Ok(None);
        }
        self.number += 1;
        let mut text = &self.text[..];
        if self.number == 1 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        text = text.strip_suffix(b"\r").unwrap_or(text);
        Ok(Some(Line { number: self.number, offset, text, is_too_long, is_ended }))
    }

    /// Of what was read, and how much that was.
    pub(super) fn finish(self) -> (Option<Digest>, u64) {
        (self.digest.map(Context::finish), self.offset)
    }
}

impl Line<'_> {
    /// Whether it asks for nothing.
    pub(super) fn is_blank(&self) -> bool {
        !self.is_too_long && self.text.iter().all(u8::is_ascii_whitespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, u64, String, bool)> {
        let mut lines = Lines::new(text);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = String::from_utf8(line.text.to_vec()).unwrap();
            all.push((line.number, line.offset, text, line.is_ended));
        }
        all
    }

    #[test]
    fn lines_are_numbered_and_come_without_their_ends_and_marks() {
        let read = read(b"\xef\xbb\xbfa\r\n\nccc\nd");
        let wanted = [(1, 0, "a", true), (2, 6, "", true), (3, 7, "ccc", true), (4, 11, "d", false)];
        let wanted = wanted.map(|(number, offset, text, ended)| (number, offset, text.to_owned(), ended));
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_of_and_not_held() {
        let mut text = vec![b'x'; LONGEST + 1];
        text.extend_from_slice(b"\nb\n");
        let mut lines = Lines::digested(&text[..]);
        let line = lines.next().unwrap().unwrap();
        assert!(line.is_too_long && line.text.is_empty() && !line.is_blank());
        let line = lines.next().unwrap().unwrap();
        assert_eq!((line.number, line.text), (2, &b"b"[..]));
        assert!(lines.next().unwrap().is_none());
        assert!(lines.text.capacity() < BUFFER);
        let (digest, bytes) = lines.finish();
        assert_eq!(digest.unwrap().as_ref(), ring::digest::digest(&SHA256, &text).as_ref());
        assert_eq!(bytes, text.len() as u64);
    }
}
