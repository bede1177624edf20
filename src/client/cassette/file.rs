//! The file: what was asked and what came back, in the order of asking, for people to read and for `diff`.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, Written};
use crate::error::Error;
use crate::protocol::json::quote;

/// Of the format: what a newer one has written is refused.
const VERSION: u64 = 1;

/// What is asked, as it is written.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) body: Content,
    /// Of the body: what is compared.
    canonical: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Values by names; several of one name in their order.
    pub(super) headers: BTreeMap<String, Vec<String>>,
    pub(super) body: Content,
    /// Whether its reader left before its end.
    pub(super) cut: bool,
}

/// One exchange, and the text that stands for it.
#[derive(Debug, Clone)]
pub(super) struct Interaction {
    pub(super) request: Arc<Request>,
    pub(super) answer: Arc<Answer>,
    text: Arc<str>,
    /// Of the text.
    pub(super) hash: u64,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, Option<SystemTime>);

impl Request {
    pub(super) fn new(method: String, url: String, body: Content) -> Self {
        Self { canonical: body.canonical(), method, url, body }
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.canonical == other.canonical && self.method == other.method
    }
}

impl Eq for Request {}

impl Hash for Request {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.method, &self.url, &self.canonical).hash(state);
    }
}

impl Answer {
    pub(super) fn header_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            let Ok(name) = name.parse::<HeaderName>() else { continue };
            for value in values {
                // Latin-1, as headers are told everywhere.
                let bytes: Option<Vec<u8>> = value.chars().map(|char| u8::try_from(char).ok()).collect();
                if let Some(value) = bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok()) {
                    headers.append(name.clone(), value);
                }
            }
        }
        headers
    }
}

impl Interaction {
    pub(super) fn new(request: Arc<Request>, answer: Arc<Answer>) -> Self {
        let text: Arc<str> = write(&request, &answer).into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { request, answer, text, hash: hasher.finish() }
    }
}

/// Reads a file; none is one without interactions. The stamp is that of what was read.
pub(super) fn read(path: &Path) -> Result<(Vec<Interaction>, Option<Stamp>), Error> {
    // Taken first: what is written meanwhile is seen as another state.
    let stamp = stamp(path);
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text).map(|interactions| (interactions, stamp)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((Vec::new(), None)),
        Err(error) => Err(Error::config(format!("cassette: {} cannot be read: {error}", path.display()))),
    }
}

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp(metadata.len(), metadata.modified().ok()))
}

/// Writes a file in place of the one that is there: whoever reads it meanwhile sees one of the two, and never a part.
pub(super) fn save<'a>(
    path: &Path,
    interactions: impl Iterator<Item = &'a Interaction>,
) -> io::Result<Option<Stamp>> {
    let mut text = format!("{{\n  \"cassette\": {VERSION},\n  \"interactions\": [");
    let mut separator = "\n";
    for interaction in interactions {
        text.push_str(separator);
        text.push_str(&interaction.text);
        separator = ",\n";
    }
    text.push_str(if separator == "\n" { "]\n}\n" } else { "\n  ]\n}\n" });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = Temporary::beside(path);
    let mut file = fs::File::create_new(&temporary.0)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&temporary.0, path)?;
    Ok(stamp(path))
}

/// A file that is renamed, or removed again.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        Self(name.into())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is none.
        let _ = fs::remove_file(&self.0);
    }
}

fn write(request: &Request, answer: &Answer) -> String {
    let mut out = format!(
        "    {{\n      \"request\": {{\n        \"method\": {},\n        \"url\": {}",
        quote(&request.method),
        quote(&request.url)
    );
    request.body.write(&mut out, 4);
    out.push_str(&format!(
        "\n      }},\n      \"response\": {{\n        \"status\": {}",
        answer.status.as_u16()
    ));
    if !answer.headers.is_empty() {
        let headers = answer.headers.iter().map(|(name, values)| {
            let values: Vec<_> = values.iter().map(|value| quote(value)).collect();
            let values = if values.len() == 1 { values.concat() } else { format!("[{}]", values.join(", ")) };
            format!("\n          {}: {values}", quote(name))
        });
        let headers: Vec<_> = headers.collect();
        out.push_str(&format!(",\n        \"headers\": {{{}\n        }}", headers.join(",")));
    }
    answer.body.write(&mut out, 4);
    if answer.cut {
        out.push_str(",\n        \"cut\": true");
    }
    out.push_str("\n      }\n    }");
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<'a> {
    #[serde(rename = "cassette")]
    _version: u64,
    #[serde(borrow)]
    interactions: Vec<Exchange<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange<'a> {
    #[serde(borrow)]
    request: Asked<'a>,
    #[serde(borrow)]
    response: Answered<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    method: String,
    url: String,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered<'a> {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    #[serde(borrow)]
    stream: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    cut: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// The error names the file and the line, and nothing of what stands there: it may be a prompt.
fn parse(path: &Path, text: &str) -> Result<Vec<Interaction>, Error> {
    let wrong = |what: String| Error::config(format!("cassette: {}{what}", path.display()));
    let at = |error: &serde_json::Error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is not what a cassette has there",
            serde_json::error::Category::Eof => "the file breaks off",
            _ => "is no JSON",
        };
        wrong(format!(", line {}, column {}: {what}", error.line(), error.column()))
    };
    #[derive(Deserialize)]
    struct Versioned {
        cassette: Option<u64>,
    }
    let Versioned { cassette } = serde_json::from_str(text).map_err(|error| at(&error))?;
    match cassette {
        Some(VERSION) => {}
        Some(version) => {
            let message =
                format!(": has version {version} of the format; this trunkline reads version {VERSION}");
            return Err(wrong(message));
        }
        None => return Err(wrong(", line 1: is no cassette, which begins with \"cassette\": 1".to_owned())),
    }
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| at(&error))?;
    let read = |(number, exchange): (usize, Exchange<'_>)| {
        let bad = |what: &str| wrong(format!(": interactions[{number}].{what} cannot be read"));
        let Exchange { request, response } = exchange;
        let Asked { method, url, json, text, base64 } = request;
        let body = Content::read(Written { json, text, base64, stream: None });
        let body = body.map_err(|what| bad(&format!("request.{what}")))?;
        let request = Request::new(method, url, body);
        let Answered { status, headers, json, text, base64, stream, cut } = response;
        let body = Content::read(Written { json, text, base64, stream });
        let body = body.map_err(|what| bad(&format!("response.{what}")))?;
        let status = StatusCode::from_u16(status).map_err(|_| bad("response.status"))?;
        let headers = headers.into_iter().map(|(name, values)| match values {
            Values::One(value) => (name, vec![value]),
            Values::Several(values) => (name, values),
        });
        let answer = Answer { status, headers: headers.collect(), body, cut };
        Ok(Interaction::new(Arc::new(request), Arc::new(answer)))
    };
    whole.interactions.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "cassette": 1,
  "interactions": [
    {
      "request": {
        "method": "POST",
        "url": "https://api.test/v1/chat/completions",
        "json": {
          "model": "m",
          "messages": []
        }
      },
      "response": {
        "status": 200,
        "headers": {
          "content-type": "application/json",
          "x-b": ["1", "2"]
        },
        "json": {
          "z": 1.0,
          "a": []
        }
      }
    },
    {
      "request": {
        "method": "GET",
        "url": "https://api.test/v1/events"
      },
      "response": {
        "status": 200,
        "stream": [
          { "data": {"a":1} },
          "data: [DONE]\n\n"
        ],
        "cut": true
      }
    }
  ]
}
"#;

    fn message(text: &str) -> String {
        parse(Path::new("/tapes/x.json"), text).unwrap_err().message.clone()
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        let folder = std::env::temp_dir().join(format!("trunkline-file-{}", std::process::id()));
        let path = folder.join("deep").join("tape.json");
        let interactions = parse(&path, FILE).unwrap();
        let stamp = save(&path, interactions.iter()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
        assert_eq!(read(&path).unwrap().1, stamp);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        save(&path, [].iter()).unwrap();
        assert!(read(&path).unwrap().0.is_empty());
        fs::remove_dir_all(folder).unwrap();
        assert!(read(&path).unwrap().0.is_empty(), "no file is an empty one");
    }

    #[test]
    fn a_file_that_is_none_is_refused_by_its_line_and_without_its_words() {
        let broken = FILE.replace(
            "\"status\": 200,\n        \"headers\"",
            "\"status\": \"a secret\",\n        \"headers\"",
        );
        assert_eq!(
            message(&broken),
            "cassette: /tapes/x.json, line 14, column 28: is not what a cassette has there"
        );
        assert_eq!(message(&FILE[..200]), "cassette: /tapes/x.json, line 10, column 13: the file breaks off");
        assert_eq!(message(""), "cassette: /tapes/x.json, line 1, column 0: the file breaks off");
        assert!(
            message("{ \"cassette\": 1, \"interactions\": 5 }").contains("is not what a cassette has there")
        );
        assert!(message(&FILE.replace("\"method\": \"GET\"", "<<<<<<< HEAD")).contains("is no JSON"));
        assert!(message(&FILE.replace("\"cassette\": 1", "\"cassette\": 2")).contains("has version 2"));
        assert!(message("{}").contains("is no cassette"));
        assert!(message(&FILE.replace("\"cut\"", "\"cuts\"")).contains("is not what a cassette has there"));
    }

    #[test]
    fn requests_are_equal_by_what_they_say() {
        let of = |body: &str| {
            let body = Content::Json(body.to_owned());
            Request::new("POST".into(), "https://a.test/".into(), body)
        };
        assert_eq!(of(r#"{"a":1,"b":2}"#), of(r#"{"b":2,"a":1}"#));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
    }
}
