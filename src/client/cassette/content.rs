//! Bodies as they are written: JSON as JSON, events a line each, text as text, and other bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::redact::{Redact, without};
use super::text::{indent, minify};
use crate::protocol::json::{Text, quote};

/// A body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    None,
    /// Without white space between its tokens.
    Json(String),
    Text(String),
    Binary(Bytes),
    /// Piece by piece.
    Stream(Vec<Bytes>),
}

/// The members of a request or an answer that tell of its body; one of them at most is there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Written<'a> {
    #[serde(borrow)]
    pub(super) json: Option<&'a RawValue>,
    pub(super) text: Option<String>,
    pub(super) base64: Option<String>,
    #[serde(borrow)]
    pub(super) stream: Option<Vec<&'a RawValue>>,
}

/// An event of a stream that says `data: …`, with a line that names it before or without.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    event: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    crlf: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    base64: String,
}

impl Content {
    /// A body that comes whole.
    pub(super) fn of(body: &[u8], redact: &Redact, secrets: &[Vec<u8>]) -> Self {
        let clean = without(body, secrets);
        let Ok(text) = std::str::from_utf8(&clean) else {
            return Self::Binary(clean.into_owned().into());
        };
        let is_json =
            text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<&RawValue>(text).is_ok();
        match text {
            "" => Self::None,
            _ if is_json => Self::Json(redact.json(text).unwrap_or_else(|| minify(text))),
            _ => Self::Text(text.to_owned()),
        }
    }

    /// A body that comes as events. Where something in them is to be hidden by its path, a piece ends where an event does.
    pub(super) fn of_stream(pieces: Vec<Bytes>, redact: &Redact, secrets: &[Vec<u8>]) -> Self {
        let joined;
        let pieces = if redact.has_paths() {
            joined = pieces.concat();
            events(&joined).map(Bytes::copy_from_slice).collect()
        } else {
            pieces
        };
        let hidden = |piece: Bytes| {
            let clean = without(&piece, secrets);
            let changed: Vec<_> = events(&clean).map(|event| hidden(event, redact)).collect();
            match changed.iter().any(Option::is_some) || clean.len() != piece.len() {
                true => {
                    let same = events(&clean).map(<[u8]>::to_vec);
                    changed
                        .into_iter()
                        .zip(same)
                        .flat_map(|(new, same)| new.unwrap_or(same))
                        .collect::<Vec<_>>()
                        .into()
                }
                false => piece,
            }
        };
        Self::Stream(pieces.into_iter().map(hidden).collect())
    }

    /// What is compared: neither white space nor the order of members makes a difference.
    pub(super) fn canonical(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Json(json) => {
                serde_json::from_str::<Value>(json).map_or_else(|_| json.clone(), |value| value.to_string())
            }
            Self::Text(text) => text.clone(),
            Self::Binary(bytes) => STANDARD.encode(bytes),
            Self::Stream(pieces) => STANDARD.encode(pieces.concat()),
        }
    }

    /// As JSON, for an error.
    pub(super) fn shown(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Json(json) => serde_json::from_str(json).unwrap_or_default(),
            Self::Text(text) => text.clone().into(),
            Self::Binary(bytes) => format!("{} bytes", bytes.len()).into(),
            Self::Stream(pieces) => format!("{} pieces", pieces.len()).into(),
        }
    }

    /// The pieces that it is replayed in.
    pub(super) fn pieces(&self) -> Vec<Bytes> {
        match self {
            Self::None => Vec::new(),
            Self::Json(text) | Self::Text(text) => vec![text.clone().into()],
            Self::Binary(bytes) => vec![bytes.clone()],
            Self::Stream(pieces) => pieces.clone(),
        }
    }

    /// The member that tells of it, after a comma; nothing where there is no body.
    pub(super) fn write(&self, out: &mut String, depth: usize) {
        let space = "  ".repeat(depth);
        let mut member = |name: &str, value: &str| {
            out.push_str(",\n");
            out.push_str(&space);
            out.push_str(&format!("\"{name}\": {value}"));
        };
        match self {
            Self::None => {}
            Self::Json(json) => member("json", &indent(json, depth)),
            Self::Text(text) => member("text", &quote(text)),
            Self::Binary(bytes) => member("base64", &quote(&STANDARD.encode(bytes))),
            Self::Stream(pieces) if pieces.is_empty() => member("stream", "[]"),
            Self::Stream(pieces) => {
                let inner = format!("{space}  ");
                let lines: Vec<_> =
                    pieces.iter().map(|piece| format!("\n{inner}{}", piece_lines(piece, &inner))).collect();
                member("stream", &format!("[{}\n{space}]", lines.join(",")));
            }
        }
    }

    /// What was written. The error says which member is wrong.
    pub(super) fn read(written: Written<'_>) -> Result<Self, &'static str> {
        Ok(match written {
            Written { json: None, text: None, base64: None, stream: None } => Self::None,
            Written { json: Some(json), text: None, base64: None, stream: None } => {
                Self::Json(minify(json.get()))
            }
            Written { json: None, text: Some(text), base64: None, stream: None } => Self::Text(text),
            Written { json: None, text: None, base64: Some(base64), stream: None } => {
                Self::Binary(STANDARD.decode(base64).map_err(|_| "base64")?.into())
            }
            Written { json: None, text: None, base64: None, stream: Some(pieces) } => {
                let pieces = pieces.into_iter().map(|piece| read_piece(piece.get()));
                Self::Stream(pieces.collect::<Option<_>>().ok_or("stream")?)
            }
            _ => return Err("json, text, base64 or stream, which are one too many"),
        })
    }
}

/// The events of some bytes, each with the blank line that ends it; what follows the last of these comes as it is.
fn events(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = [&b"\n\n"[..], b"\r\n\r\n"]
            .into_iter()
            .filter_map(|end| memchr::memmem::find(rest, end).map(|at| at + end.len()))
            .min();
        let (event, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(event)
    })
}

/// A piece: an event as an object, anything else as a string, and several of them as an array, a line each.
fn piece_lines(piece: &[u8], space: &str) -> String {
    if std::str::from_utf8(piece).is_err() {
        return format!("{{ \"base64\": {} }}", quote(&STANDARD.encode(piece)));
    }
    let written: Vec<_> = events(piece).map(event_line).collect();
    match &written[..] {
        [one] => one.clone(),
        many => format!("[\n{space}  {}\n{space}]", many.join(&format!(",\n{space}  "))),
    }
}

fn event_line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let Some((name, data, crlf)) = parts(&text) else { return quote(&text) };
    let name = name.map(|name| format!("\"event\": {}, ", quote(name))).unwrap_or_default();
    let crlf = if crlf { ", \"crlf\": true" } else { "" };
    format!("{{ {name}\"data\": {data}{crlf} }}")
}

/// Name, data and line ends of an event that is JSON on one line, and nothing else.
fn parts(event: &str) -> Option<(Option<&str>, &str, bool)> {
    let (lines, end) = match event.strip_suffix("\r\n\r\n") {
        Some(lines) => (lines, "\r\n"),
        None => (event.strip_suffix("\n\n")?, "\n"),
    };
    let (name, data) = match lines.split_once(end) {
        Some((name, data)) => (Some(name.strip_prefix("event: ")?), data),
        None => (None, lines),
    };
    let data = data.strip_prefix("data: ")?;
    let is_line = |text: &str| !text.contains(['\r', '\n']);
    let is_json = serde_json::from_str::<&RawValue>(data).is_ok_and(|raw| raw.get().len() == data.len());
    (is_json && is_line(data) && name.is_none_or(is_line)).then_some((name, data, end == "\r\n"))
}

/// The event without what is hidden in it; None where nothing is.
fn hidden(event: &[u8], redact: &Redact) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(event).ok()?;
    let (_, data, _) = parts(text)?;
    let clean = redact.json(data)?;
    Some(text.replacen(data, &clean, 1).into_bytes())
}

fn read_piece(written: &str) -> Option<Bytes> {
    let mut piece = Vec::new();
    match written.as_bytes().first()? {
        b'[' => {
            let several: Vec<&RawValue> = serde_json::from_str(written).ok()?;
            several.into_iter().try_for_each(|one| read_event(one.get(), &mut piece))?;
        }
        _ => read_event(written, &mut piece)?,
    }
    Some(piece.into())
}

fn read_event(written: &str, piece: &mut Vec<u8>) -> Option<()> {
    if written.starts_with('"') {
        let Text(text) = serde_json::from_str(written).ok()?;
        piece.extend_from_slice(text.as_bytes());
    } else if let Ok(Binary { base64 }) = serde_json::from_str(written) {
        piece.extend_from_slice(&STANDARD.decode(base64).ok()?);
    } else {
        let Event { event, data, crlf } = serde_json::from_str(written).ok()?;
        let end = if crlf { "\r\n" } else { "\n" };
        // Somebody may have laid it out anew.
        let data = if data.get().contains('\n') { minify(data.get()) } else { data.get().to_owned() };
        let name = event.map(|name| format!("event: {name}{end}")).unwrap_or_default();
        piece.extend_from_slice(format!("{name}data: {data}{end}{end}").as_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(content: &Content) -> String {
        let mut out = String::from("{ \"x\": 1");
        content.write(&mut out, 0);
        out + "\n}"
    }

    fn read(text: &str) -> Content {
        let members = crate::protocol::json::Members::of(text).unwrap();
        let written = Written {
            json: members.value("json"),
            text: members.value("text"),
            base64: members.value("base64"),
            stream: members.value("stream"),
        };
        Content::read(written).unwrap()
    }

    fn stream(pieces: &[&'static [u8]]) -> Content {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        Content::of_stream(pieces, &Redact::default(), &[])
    }

    #[test]
    fn events_are_written_as_json_a_line_each_and_read_as_the_bytes_they_were() {
        let content = stream(&[
            b"data: {\"a\":1.0}\n\n",
            b"event: ping\ndata: {\"type\": \"ping\"}\n\ndata: [DONE]\n\n",
            b": hello\n\n",
            b"data: {\"half\":",
            b"data: {\"a\": 1}\r\n\r\n",
            b"data: {\"padded\":1}  \n\n",
            b"\xff\n\n",
        ]);
        let text = written(&content);
        for line in [
            r#"  { "data": {"a":1.0} },"#,
            r#"    { "event": "ping", "data": {"type": "ping"} },"#,
            r#"    "data: [DONE]\n\n""#,
            r#"  ": hello\n\n","#,
            r#"  "data: {\"half\":","#,
            r#"  { "data": {"a": 1}, "crlf": true },"#,
            r#"  "data: {\"padded\":1}  \n\n","#,
            r#"  { "base64": "/woK" }"#,
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
        }
        assert_eq!(read(&text), content);
    }

    #[test]
    fn bodies_are_written_as_what_they_are() {
        let redact = Redact::default();
        for (body, expected) in [
            (&b"{ \"b\": 1, \"a\": [ ] }"[..], "\"json\": {\n  \"b\": 1,\n  \"a\": []\n}"),
            (b"hello \"you\"\n", "\"text\": \"hello \\\"you\\\"\\n\""),
            (b"{no json", "\"text\": \"{no json\""),
            (b"\x00\xff", "\"base64\": \"AP8=\""),
            (b"", "1\n}"),
        ] {
            let content = Content::of(body, &redact, &[]);
            let text = written(&content);
            assert!(text.contains(expected), "{text}");
            assert_eq!(read(&text), content);
        }
    }

    #[test]
    fn what_is_hidden_by_its_path_is_hidden_where_pieces_break_in_the_middle_of_it() {
        let redact = Redact::parse(&["$.user".to_owned()]).unwrap();
        let pieces = ["data: {\"user\":\"An", "na\",\"b\":1}\n\ndata: [DONE]\n\n"].map(Bytes::from);
        let content = Content::of_stream(pieces.to_vec(), &redact, &[]);
        let hidden = ["data: {\"b\":1,\"user\":\"REDACTED\"}\n\n", "data: [DONE]\n\n"].map(Bytes::from);
        assert_eq!(content, Content::Stream(hidden.to_vec()));
    }

    #[test]
    fn the_order_of_members_and_white_space_make_no_difference() {
        let redact = Redact::default();
        let of = |text: &str| Content::of(text.as_bytes(), &redact, &[]).canonical();
        assert_eq!(of(r#"{"a":1,"b":{"c":[1,2]}}"#), of(" {\"b\": {\"c\":[1, 2]},\n\"a\": 1}"));
        assert_ne!(of(r#"{"a":[1,2]}"#), of(r#"{"a":[2,1]}"#));
    }

    proptest! {
        #[test]
        fn any_pieces_come_back_as_they_were(pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..20),
                "(data: |event: e\n|\\{\"a\": ?1\\}|\r?\n\r?\n|x){1,8}".prop_map(String::into_bytes),
            ], 0..8)) {
            let content = Content::Stream(pieces.into_iter().map(Bytes::from).collect());
            prop_assert_eq!(read(&written(&content)), content);
        }
    }
}
