//! Server-sent events by the letter: the cases of format that the web platform tests have for EventSource, named for what they hold, with
//! every body given whole, byte by byte, and in two pieces of every length.
//!
//! What EventSource does beside reading (it reconnects, after `retry`, with the last `id`; it refuses other media types) is not the decoder's:
//! a client of AI providers repeats requests by rules of its own, and never in the middle of an answer that it cannot resume.

use std::borrow::Cow;

use trunkline::protocol::sse::{Decoder, Event, TooLong};

/// An event as a reader sees it: its name, its data, the last id so far.
type Seen = (String, String, String);

/// The letter decodes the stream as UTF-8 before it cuts it, with U+FFFD for what is none; field by field that is the same, since no byte of a
/// longer character is a line end, a colon or a space.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn read(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let fed = decoder.feed::<TooLong>(piece, |Event { name, data, id }| {
            seen.push((decoded(name).into_owned(), decoded(data).into_owned(), decoded(id).into_owned()));
            Ok(())
        });
        assert_eq!(fed, Ok(()));
    }
    seen
}

/// Holds a body to its events, however it is cut.
fn holds(promise: &str, body: &[u8], events: &[Seen]) {
    assert_eq!(read(&[body]), events, "{promise}");
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(read(&bytes), events, "{promise}: byte by byte");
    for at in 0..body.len().min(200) {
        let (head, tail) = body.split_at(at);
        assert_eq!(read(&[head, tail]), events, "{promise}: cut at {at}");
    }
}

fn seen(name: &str, data: &str, id: &str) -> Seen {
    (name.to_owned(), data.to_owned(), id.to_owned())
}

/// Events without name and id.
fn messages(data: &[&str]) -> Vec<Seen> {
    data.iter().map(|data| seen("", data, "")).collect()
}

/// What the tests' server puts behind a message unless it is told not to.
const END: &str = "\n\n\n";

/// The test's name, what it holds, the body, and the data of its events.
type Case = (&'static str, &'static str, String, &'static [&'static str]);

fn cases() -> Vec<Case> {
    let long = "x".repeat(2048);
    vec![
        (
            "format-bom",
            "a byte order mark before everything is no part of the first field, and one later is",
            format!("\u{FEFF}data:1\n\n\u{FEFF}data:2\n\ndata:3{END}"),
            &["1", "3"],
        ),
        (
            "format-bom-2",
            "only one byte order mark is dropped",
            format!("\u{FEFF}\u{FEFF}data:1\n\ndata:2\n\ndata:3{END}"),
            &["2", "3"],
        ),
        (
            "format-comments",
            "a line that begins with a colon says nothing, whatever follows",
            format!(
                "data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n"
            ),
            &["1\n2\n3\n4"],
        ),
        (
            "format-data-before-final-empty-line",
            "what has no blank line behind it is no event",
            "retry:1000\ndata:test1\n\nid:test\ndata:test2".to_owned(),
            &["test1"],
        ),
        (
            "format-data-before-final-empty-line",
            "nor is what ends with its line but without the blank one",
            "data:test1\n\ndata:test2\n".to_owned(),
            &["test1"],
        ),
        (
            "format-field-data",
            "a data field may be empty, with and without its colon, and counts",
            format!("data:\n\ndata\ndata\n\ndata:test{END}"),
            &["", "\n", "test"],
        ),
        (
            "format-field-parsing",
            "names of fields are whole, exact and case-sensitive, a NULL is a character like others, and one space goes",
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n".to_owned(),
            &["\0\n 2\n1\n3\n\n4"],
        ),
        (
            "format-field-retry-empty",
            "a retry without a value is passed over",
            format!("retry\ndata:test{END}"),
            &["test"],
        ),
        (
            "format-field-retry-bogus",
            "so is one that is no number, and one that is, since it is for whoever reconnects",
            format!("retry:3000\nretry:1000x\nretry:03000\ndata:x{END}"),
            &["x"],
        ),
        (
            "format-field-unknown",
            "what is no known field is passed over, with a space before its name too",
            format!("data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test{END}"),
            &["test\n\ntest"],
        ),
        (
            "format-leading-space",
            "of the white space before a value one space goes, and no tab",
            format!("data:\ttest\rdata: \ndata:test{END}"),
            &["\ttest\n\ntest"],
        ),
        (
            "format-newlines",
            "CR, LF and CRLF each end a line, also mixed",
            "data:test\r\ndata\ndata:test\r\n\r\n".to_owned(),
            &["test\n\ntest"],
        ),
        (
            "format-newlines",
            "and a blank line may end otherwise than the one before",
            "data:a\r\n\rdata:b\r\rdata:c\n\r\ndata:d\r\r\n".to_owned(),
            &["a", "b", "c", "d"],
        ),
        ("format-null-character", "a NULL alone is data", format!("data:\0\n{END}"), &["\0"]),
        ("format-utf-8", "it is UTF-8, whatever charset is said", format!("data:ok…{END}"), &["ok…"]),
        (
            "event-data",
            "lines of data are joined; blocks without any are no events",
            "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n".to_owned(),
            &["msg\nmsg", "", "end"],
        ),
    ]
}

#[test]
fn every_case_of_format_reads_as_the_letter_has_it() {
    for (test, promise, body, data) in cases() {
        holds(&format!("{test}: {promise}"), body.as_bytes(), &messages(data));
    }
}

#[test]
fn a_name_is_of_one_event_and_an_empty_one_is_none() {
    holds(
        "format-field-event: the event after a named one has no name",
        format!("event:test\ndata:x\n\ndata:x{END}").as_bytes(),
        &[seen("test", "x", ""), seen("", "x", "")],
    );
    holds(
        "format-field-event-empty: a name of nothing is none",
        format!("event: \ndata:data{END}").as_bytes(),
        &messages(&["data"]),
    );
    holds(
        "the last name counts, and a block without data takes its name with it",
        b"event:a\nevent:b\ndata:1\n\nevent:c\n\ndata:2\n\n",
        &[seen("b", "1", ""), seen("", "2", "")],
    );
}

#[test]
fn an_id_is_of_all_events_that_follow_until_another_comes() {
    holds(
        "format-field-id: an id is told with its event",
        "id:…\ndata:hello\n\n".as_bytes(),
        &[seen("", "hello", "…")],
    );
    holds(
        "format-field-id-3: it persists",
        b"id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\ndata:4\n\n",
        &[seen("", "1", "1"), seen("", "2", "1"), seen("", "3", "2"), seen("", "4", "2")],
    );
    for reset in ["id:", "id"] {
        holds(
            "format-field-id-3: one without a value resets it, with a colon and without",
            format!("id: 1\ndata: 1\n\n{reset}\ndata: 2\n\ndata:3\n\n").as_bytes(),
            &[seen("", "1", "1"), seen("", "2", ""), seen("", "3", "")],
        );
    }
    holds(
        "one of a block without data counts for the events behind it",
        b"id:1\n\ndata:x\n\n",
        &[seen("", "x", "1")],
    );
}

#[test]
fn an_id_with_a_null_in_it_is_passed_over() {
    for id in ["\0\0", "x\0", "\0x", "x\0x", " \0"] {
        holds("format-field-id-null", format!("id:{id}\ndata:hello\n\n").as_bytes(), &messages(&["hello"]));
        holds(
            "format-field-id-null: the one before stays",
            format!("id:1\nid:{id}\ndata:hello\n\n").as_bytes(),
            &[seen("", "hello", "1")],
        );
    }
}

#[test]
fn what_is_no_utf_8_is_replaced_and_breaks_no_line() {
    // By the longest beginnings of characters, as the Encoding standard has it.
    let cases: [(&[u8], &str); 6] = [
        (b"data:a\xFFb\n\n", "a\u{FFFD}b"),
        (b"data:a\xE2\x82\n\n", "a\u{FFFD}"),
        (b"data:\xF0\x9F\x98data\n\n", "\u{FFFD}data"),
        (b"data:\xC0\x80\n\n", "\u{FFFD}\u{FFFD}"),
        (b"data:\xED\xA0\x80\n\n", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        ("data:😀\u{2028}\u{85}\u{FEFF}\n\n".as_bytes(), "😀\u{2028}\u{85}\u{FEFF}"),
    ];
    for (body, data) in cases {
        holds("only CR and LF end lines", body, &messages(&[data]));
    }
}

#[test]
fn what_is_said_of_the_last_unfinished_event() {
    for unfinished in ["data:b", "data:b\n", "data:b\r", "event:x\ndata:b\r\n", "id:7\ndata"] {
        holds("it is discarded at the end", format!("data:a\n\n{unfinished}").as_bytes(), &messages(&["a"]));
    }
    holds("a CR that could be half of a CRLF ends its line at once", b"data:a\r\r", &messages(&["a"]));
}
