//! Cassettes: the options of one, and the number by which those of a client name it.

use serde_json::Value;

use super::section::{KIND, Section, kind_of};
use crate::error::Error;

/// Where the answers to requests come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CassetteMode {
    /// From the file alone: a request that is not there is an error.
    Replay,
    /// From the network, and into the file in place of what was there.
    Record,
    /// From the file, or else from the network and into the file.
    Auto,
}

/// What a cassette is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassetteOptions {
    /// Absolute.
    pub path: String,
    pub mode: CassetteMode,
    /// What is hidden beside credentials; read by who hides it.
    pub redact: Vec<String>,
}

impl CassetteOptions {
    /// Parses what JavaScript has made of its arguments: which mode holds where none is given, it knows.
    ///
    /// # Errors
    /// The first mistake found, with its path.
    pub fn parse(options: Value) -> Result<Self, Error> {
        let mut top = Section::top("options", options)?;
        let path = top.string("path")?.filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Error::config("path: must be the path of a file"))?;
        let modes = [
            ("replay", CassetteMode::Replay),
            ("record", CassetteMode::Record),
            ("auto", CassetteMode::Auto),
        ];
        let mode = top.one_of("mode", &modes)?.unwrap_or(CassetteMode::Replay);
        let redact = top.list("redact")?.unwrap_or_default();
        let redact = redact.into_iter().enumerate().map(|(at, item)| match item {
            Value::String(item) => Ok(item),
            other => Err(Error::config(format!("redact[{at}]: must be a string, got {}", kind_of(&other)))),
        });
        let redact = redact.collect::<Result<_, _>>()?;
        top.finish()?;
        Ok(Self { path, mode, redact })
    }
}

/// The number of the cassette that a client is given.
pub(super) fn parse_cassette(top: &mut Section) -> Result<Option<u32>, Error> {
    let Some(value) = top.value("cassette") else {
        return Ok(None);
    };
    let number = value.get(KIND).filter(|kind| *kind == "a cassette").and_then(|_| value.get("cassette"));
    let number = number.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| {
        let got = kind_of(&value);
        top.error("cassette", format!("must be what cassette() of 'trunkline/testing' gives, got {got}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cassette_has_a_path_and_one_of_three_modes() {
        let parse = |options| CassetteOptions::parse(options).map_err(|error| error.message.clone());
        let full = parse(json!({ "path": "/x.json", "mode": "auto", "redact": ["a"] })).unwrap();
        assert_eq!((full.mode, full.redact), (CassetteMode::Auto, vec!["a".to_owned()]));
        assert_eq!(parse(json!({ "path": "/x.json" })).unwrap().mode, CassetteMode::Replay);
        for (wrong, message) in [
            (json!({}), "path: must be the path of a file"),
            (json!({ "path": 5 }), "path: must be a string, got a number (5)"),
            (
                json!({ "path": "/x", "mode": "rec" }),
                "mode: must be one of 'replay', 'record', 'auto', got 'rec'",
            ),
            (json!({ "path": "/x", "redact": [1] }), "redact[0]: must be a string, got a number (1)"),
            (json!({ "path": "/x", "redacted": [] }), "redacted: is not an option; did you mean redact?"),
        ] {
            assert_eq!(parse(wrong).unwrap_err(), message);
        }
    }

    #[test]
    fn a_client_takes_a_cassette_and_nothing_that_looks_like_one() {
        let parse =
            |value: Value| parse_cassette(&mut Section::top("options", json!({ "cassette": value }))?);
        assert_eq!(parse(json!({ "\u{0}kind": "a cassette", "cassette": 7 })).unwrap(), Some(7));
        let error = parse(json!({ "path": "x", "mode": "replay" })).unwrap_err();
        assert_eq!(
            error.message,
            "cassette: must be what cassette() of 'trunkline/testing' gives, got an object"
        );
    }
}
