//! How figures are written for whoever scrapes them.

use serde_json::Value;

use super::section::{Section, kind_of};
use crate::error::Error;
use crate::telemetry::Format;

/// Labels of every figure, as the caller wants them.
const MAX_LABELS: usize = 10;
/// Bytes of a label's name and value.
const LONGEST: usize = 256;
/// Labels that figures have of their own.
const OURS: [&str; 16] = [
    "provider", "model", "status", "error", "le", "pool", "origin", "state", "reason", "priority", "stage",
    "kind", "type", "unit", "window", "version",
];

#[derive(Debug, Default)]
pub struct ExportOptions {
    pub format: Format,
    pub labels: Vec<(String, String)>,
}

impl ExportOptions {
    /// # Errors
    /// The first mistake found, with its path.
    pub fn parse(options: Value) -> Result<Self, Error> {
        let mut top = Section::top("options", options)?;
        let formats = [("prometheus", Format::Prometheus), ("openmetrics", Format::OpenMetrics)];
        let format = top.one_of("format", &formats)?.unwrap_or_default();
        let labels = match top.value("labels") {
            None => Vec::new(),
            Some(Value::Object(labels)) if labels.len() <= MAX_LABELS => {
                labels.into_iter().map(label).collect::<Result<_, _>>()?
            }
            Some(Value::Object(labels)) => {
                let (most, got) = (MAX_LABELS, labels.len());
                return Err(Error::config(format!("labels: must be at most {most}, got {got}")));
            }
            Some(other) => {
                let kind = kind_of(&other);
                return Err(Error::config(format!("labels: must be an object of strings, got {kind}")));
            }
        };
        top.finish()?;
        Ok(Self { format, labels })
    }
}

fn label((name, value): (String, Value)) -> Result<(String, String), Error> {
    let is_first = |char: u8| char.is_ascii_alphabetic() || char == b'_';
    let is_name = name.bytes().next().is_some_and(is_first)
        && name.bytes().all(|char| is_first(char) || char.is_ascii_digit())
        && !name.starts_with("__")
        && name.len() <= LONGEST;
    if !is_name {
        let shown: String = name.chars().take(40).collect();
        return Err(Error::config(format!(
            "labels: must have names of letters, digits and underscores, got '{shown}'"
        )));
    }
    if OURS.contains(&&*name) {
        return Err(Error::config(format!("labels.{name}: is a label that figures have already")));
    }
    match value {
        Value::String(value) if value.len() <= LONGEST => Ok((name, value)),
        Value::String(value) => {
            let got = value.len();
            Err(Error::config(format!("labels.{name}: must be at most {LONGEST} bytes, got {got}")))
        }
        other => Err(Error::config(format!("labels.{name}: must be a string, got {}", kind_of(&other)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_label_is_refused_with_its_path() {
        for (options, message) in [
            (
                json!({"labels": {"service": "x".repeat(10_240)}}),
                "labels.service: must be at most 256 bytes, got 10240",
            ),
            (json!({"labels": {"service": 1}}), "labels.service: must be a string, got a number (1)"),
            (json!({"labels": {"le": "1"}}), "labels.le: is a label that figures have already"),
            (
                json!({"labels": {"__name__": "1"}}),
                "labels: must have names of letters, digits and underscores, got '__name__'",
            ),
            (
                json!({"labels": {"a-b": "1"}}),
                "labels: must have names of letters, digits and underscores, got 'a-b'",
            ),
            (json!({"labels": ["a"]}), "labels: must be an object of strings, got an array"),
        ] {
            assert_eq!(ExportOptions::parse(options).unwrap_err().message, message);
        }
        assert!(ExportOptions::parse(json!({"format": "xml"})).is_err());
        assert!(ExportOptions::parse(json!({"labels": {"service": "x"}, "format": "openmetrics"})).is_ok());
    }
}
