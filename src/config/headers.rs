//! Headers that are sent with each request, the client's or a call's.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::secret;
use super::section::{self, Section};
use crate::error::Error;

/// Headers that belong to the connection or to the body, and so to the pool.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What `hooks.beforeAttempt` makes of the headers of an attempt.
pub fn parse_hook_headers(headers: Value) -> Result<HeaderMap, Error> {
    let given = serde_json::Map::from_iter([("headers".to_owned(), headers)]);
    parse_headers(&mut Section::of("hooks.beforeAttempt".to_owned(), given.into())?)
}

pub(super) fn parse_headers(section: &mut Section) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let Some(given) = section.section("headers")? else {
        return Ok(headers);
    };
    let path = given.path().to_owned();
    for (name, value) in given.into_entries() {
        let at = format!("{path}.{name}");
        let header: HeaderName =
            name.parse().map_err(|_| Error::config(format!("{at}: is no name of a header")))?;
        if OURS.contains(&header.as_str()) {
            return Err(Error::config(format!("{at}: is set by the connection, and cannot be given")));
        }
        let Value::String(mut text) = value else {
            return Err(Error::config(format!("{at}: must be a string, got {}", section::kind_of(&value))));
        };
        // Latin-1, as `Headers` has it. A line break would split the request, and is refused with the other controls.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        let is_latin = text.chars().all(|c| u8::try_from(u32::from(c)).map(|byte| bytes.push(byte)).is_ok());
        let is_secret = secret::is_credential(&header);
        let value = match (is_latin, is_secret) {
            (false, _) => None,
            (true, false) => HeaderValue::from_bytes(&bytes).ok(),
            (true, true) => secret::secret_value(bytes),
        };
        if is_secret {
            text.zeroize();
        }
        let value = value.ok_or_else(|| {
            Error::config(format!(
                "{at}: must hold no line breaks, control characters or characters beyond Latin-1"
            ))
        })?;
        headers.insert(header, value);
    }
    Ok(headers)
}
