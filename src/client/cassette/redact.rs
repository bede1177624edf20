//! What is never written: keys, and whatever else the test suite wants hidden.
//!
//! Of a request no header is written at all. Of what is written, credentials are told by the names of headers, parameters and members,
//! and by their values: what a request has as a key is nowhere in its recording.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::config::is_credential;

/// Stands in the place of what is hidden.
pub(super) const REDACTED: &str = "REDACTED";

/// A shorter credential is no key, and might be a word of any text.
const SHORTEST_SECRET: usize = 8;

/// What is hidden beside credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Redact {
    /// Headers of answers, and parameters of queries, in lower case.
    names: Vec<String>,
    /// In the JSON of requests, answers and events.
    paths: Vec<Vec<Step>>,
    /// Whether scheme, host and port are hidden.
    origin: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    /// Each member or element.
    Each,
    /// A member of this name, however deep.
    Anywhere(String),
}

impl Redact {
    /// Names of headers and parameters, JSON paths (they begin with `$`), and `origin`. The error says what is wrong with one.
    pub(super) fn parse(items: &[String]) -> Result<Self, (usize, &'static str)> {
        let mut redact = Self::default();
        for (at, item) in items.iter().enumerate() {
            if item == "origin" {
                redact.origin = true;
            } else if item.starts_with('$') {
                redact.paths.push(steps(item).ok_or((at, "is no JSON path, as $.user or $.tools[*].name"))?);
            } else if item.parse::<HeaderName>().is_ok() {
                redact.names.push(item.to_ascii_lowercase());
            } else {
                return Err((
                    at,
                    "must be the name of a header or a parameter, a JSON path that begins with $, or origin",
                ));
            }
        }
        Ok(redact)
    }

    /// Whether JSON may change beyond what credentials have to do with it.
    pub(super) fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// An absolute URL as it is written.
    pub(super) fn url(&self, url: &str) -> String {
        let url = match url
            .find("://")
            .and_then(|at| url[at + 3..].find(['/', '?']).map(|path| at + 3 + path))
        {
            Some(path) if self.origin => format!("https://{}{}", REDACTED.to_ascii_lowercase(), &url[path..]),
            _ => url.to_owned(),
        };
        let Some((path, query)) = url.split_once('?') else { return url };
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if self.hides_parameter(name) => format!("{name}={REDACTED}"),
            _ => parameter.to_owned(),
        });
        format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
    }

    fn hides_parameter(&self, name: &str) -> bool {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
        if self.names.contains(&name) {
            return true;
        }
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let words = ["secret", "password", "signature", "credential", "authorization"];
        let ends = ["accesstoken", "authtoken", "idtoken", "refreshtoken", "securitytoken", "sessiontoken"];
        plain.ends_with("key")
            || matches!(&*plain, "token" | "sig")
            || words.iter().any(|word| plain.contains(word))
            || ends.iter().any(|end| plain.ends_with(end))
    }

    /// The value of a header of an answer as it is written; None for one that is not.
    pub(super) fn header(&self, name: &HeaderName, value: &str) -> Option<String> {
        if HOP_BY_HOP.contains(&name.as_str()) {
            return None;
        }
        if self.names.iter().any(|hidden| hidden == name.as_str()) || is_credential(name) {
            return Some(REDACTED.to_owned());
        }
        // Where an upload or a download goes may be told with a signature.
        Some(if name == "location" { self.url(value) } else { value.to_owned() })
    }

    /// JSON as it is written; None where nothing of it is hidden.
    pub(super) fn json(&self, json: &str) -> Option<String> {
        if self.paths.is_empty() && !may_name_a_key(json) {
            return None;
        }
        let mut value = serde_json::from_str::<Value>(json).ok()?;
        let mut hidden = hide_keys(&mut value);
        for path in &self.paths {
            hidden |= hide(&mut value, path);
        }
        hidden.then(|| value.to_string())
    }
}

/// They belong to the connection or to how the body came; `content-length` is that of what was sent, and not of what is written.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The credentials among the headers of a request, as they might stand elsewhere.
pub(super) fn secrets_of<'a>(
    headers: &'a HeaderMap,
    key: Option<&'a HeaderValue>,
) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(|(name, _)| is_credential(name)).map(|(_, value)| value);
    named.chain(key).filter_map(|value| {
        // Without its scheme.
        let secret = value.as_bytes().rsplit(|byte| *byte == b' ').next()?;
        (secret.len() >= SHORTEST_SECRET).then_some(secret)
    })
}

/// Bytes without these secrets.
pub(super) fn without<'a>(bytes: &'a [u8], secrets: &[Vec<u8>]) -> Cow<'a, [u8]> {
    let mut clean = Cow::Borrowed(bytes);
    for secret in secrets {
        if let Cow::Owned(changed) = replaced(&clean, secret, REDACTED.as_bytes()) {
            clean = Cow::Owned(changed);
        }
    }
    clean
}

/// Bytes with others in the place of some.
pub(super) fn replaced<'a>(bytes: &'a [u8], old: &[u8], new: &[u8]) -> Cow<'a, [u8]> {
    let mut found = memchr::memmem::find_iter(bytes, old).peekable();
    if found.peek().is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut changed = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in found {
        changed.extend_from_slice(&bytes[from..at]);
        changed.extend_from_slice(new);
        from = at + old.len();
    }
    changed.extend_from_slice(&bytes[from..]);
    Cow::Owned(changed)
}

/// Members that are credentials wherever they stand, in lower case and without dashes: as of the servers that a model may call by itself.
const KEYS: [&str; 11] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "authorization",
    "authtoken",
    "clientsecret",
    "password",
    "privatekey",
    "refreshtoken",
    "secretaccesskey",
    "secretkey",
];

fn is_key(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let plain = plain.strip_prefix('x').unwrap_or(&plain);
    KEYS.contains(&plain) || plain == "googapikey"
}

/// A look that costs less than reading: few bodies have such a member.
fn may_name_a_key(json: &str) -> bool {
    let bytes = json.as_bytes();
    let words: [&[u8]; 5] = [b"key", b"oken", b"ecret", b"assword", b"uthorization"];
    words.iter().any(|word| memchr::memmem::find(bytes, word).is_some())
        || memchr::memmem::find(bytes, b"Key").is_some()
        || memchr::memmem::find(bytes, b"KEY").is_some()
}

fn hide_keys(value: &mut Value) -> bool {
    match value {
        Value::Array(elements) => {
            elements.iter_mut().fold(false, |hidden, element| hide_keys(element) | hidden)
        }
        Value::Object(members) => members.iter_mut().fold(false, |hidden, (name, member)| match member {
            Value::String(text) if is_key(name) && !text.is_empty() => {
                REDACTED.clone_into(text);
                true
            }
            member => hide_keys(member) | hidden,
        }),
        _ => false,
    }
}

fn hide(value: &mut Value, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else {
        *value = REDACTED.into();
        return true;
    };
    match (step, value) {
        (Step::Member(name), Value::Object(members)) => {
            members.get_mut(name).is_some_and(|member| hide(member, rest))
        }
        (Step::Element(at), Value::Array(elements)) => {
            elements.get_mut(*at).is_some_and(|element| hide(element, rest))
        }
        (Step::Each, Value::Object(members)) => {
            members.values_mut().fold(false, |hidden, member| hide(member, rest) | hidden)
        }
        (Step::Each, Value::Array(elements)) => {
            elements.iter_mut().fold(false, |hidden, element| hide(element, rest) | hidden)
        }
        (Step::Anywhere(wanted), Value::Object(members)) => {
            members.iter_mut().fold(false, |hidden, (name, member)| {
                let found = if name == wanted { hide(member, rest) } else { hide(member, path) };
                found | hidden
            })
        }
        (Step::Anywhere(_), Value::Array(elements)) => {
            elements.iter_mut().fold(false, |hidden, element| hide(element, path) | hidden)
        }
        _ => false,
    }
}

/// The steps of `$.a.b[0][*]['c']..d`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = match inside.chars().next()? {
                quote @ ('\'' | '"') => {
                    let (name, after) = inside[1..].split_once(quote)?;
                    (Step::Member(name.to_owned()), after.strip_prefix(']')?)
                }
                _ => {
                    let (index, after) = inside.split_once(']')?;
                    let step = if index == "*" { Step::Each } else { Step::Element(index.parse().ok()?) };
                    (step, after)
                }
            };
            steps.push(step);
            rest = after;
            continue;
        }
        let (deep, inside) = match rest.strip_prefix("..") {
            Some(inside) => (true, inside),
            None => (false, rest.strip_prefix('.')?),
        };
        let end = inside.find(['.', '[']).unwrap_or(inside.len());
        let (name, after) = inside.split_at(end);
        steps.push(match (deep, name) {
            (_, "") | (true, "*") => return None,
            (true, name) => Step::Anywhere(name.to_owned()),
            (false, "*") => Step::Each,
            (false, name) => Step::Member(name.to_owned()),
        });
        rest = after;
    }
    (!steps.is_empty()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redact(items: &[&str]) -> Redact {
        Redact::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn parameters_that_are_keys_are_hidden_and_pages_are_not() {
        let url =
            "http://a.test:1/v1/x?key=AIza1&pageToken=p2&api-version=1&X-Amz-Signature=s&access_token=t&b";
        let hidden = "http://a.test:1/v1/x?key=REDACTED&pageToken=p2&api-version=1&X-Amz-Signature=REDACTED\
                      &access_token=REDACTED&b";
        assert_eq!(redact(&[]).url(url), hidden);
        assert_eq!(redact(&["origin", "B"]).url("http://a.test:1/x?b=1"), "https://redacted/x?b=REDACTED");
    }

    #[test]
    fn headers_that_are_keys_are_hidden_and_those_of_the_connection_left_out() {
        let redact = redact(&["openai-organization"]);
        let header = |name: &str, value: &str| redact.header(&name.parse().unwrap(), value);
        assert_eq!(header("set-cookie", "a=b").as_deref(), Some(REDACTED));
        assert_eq!(header("openai-organization", "acme").as_deref(), Some(REDACTED));
        assert_eq!(header("x-request-id", "r1").as_deref(), Some("r1"));
        assert_eq!(
            header("location", "https://s.test/f?sig=1").as_deref(),
            Some("https://s.test/f?sig=REDACTED")
        );
        assert_eq!(header("transfer-encoding", "chunked"), None);
    }

    #[test]
    fn members_that_are_keys_are_hidden_and_words_that_look_like_them_are_not() {
        let said = json!({
            "tools": [{ "type": "mcp", "authorization": "Bearer x", "headers": { "X-Api-Key": "k" } }],
            "prompt_cache_key": "c", "max_tokens": 5, "logprobs": [{ "token": "a", "key": "b" }],
            "properties": { "password": { "type": "string" } },
        });
        let hidden: Value = serde_json::from_str(&redact(&[]).json(&said.to_string()).unwrap()).unwrap();
        let mut expected = said;
        expected["tools"][0]["authorization"] = REDACTED.into();
        expected["tools"][0]["headers"]["X-Api-Key"] = REDACTED.into();
        assert_eq!(hidden, expected);
        assert_eq!(redact(&[]).json(r#"{"token":"a"}"#), None);
    }

    #[test]
    fn paths_hide_what_they_lead_to() {
        let redact = redact(&["$.user", "$.messages[*].name", "$.a['b.c'][1]", "$..email"]);
        let said = json!({
            "user": { "id": 1 }, "messages": [{ "name": "n", "content": "c" }, {}], "a": { "b.c": [1, 2] },
            "x": [{ "email": "e" }],
        });
        let hidden: Value = serde_json::from_str(&redact.json(&said.to_string()).unwrap()).unwrap();
        assert_eq!(
            hidden,
            json!({
                "user": REDACTED, "messages": [{ "name": REDACTED, "content": "c" }, {}], "a": { "b.c": [1, REDACTED] },
                "x": [{ "email": REDACTED }],
            })
        );
        assert_eq!(redact.json(r#"{"b":1}"#), None);
    }

    #[test]
    fn what_is_no_path_and_no_name_is_refused_by_its_place() {
        for bad in ["$", "$user", "$.a[x]", "$.a..", "$..*", "a b", "$.a['b]"] {
            let items = ["x-a".to_owned(), bad.to_owned()];
            assert_eq!(Redact::parse(&items).map_err(|(at, _)| at), Err(1), "{bad}");
        }
    }

    #[test]
    fn the_keys_of_a_request_are_hidden_wherever_they_stand() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("short"));
        headers.insert("accept", HeaderValue::from_static("application/json"));
        let key = HeaderValue::from_static("Bearer sk-0123456789");
        let secrets: Vec<Vec<u8>> = secrets_of(&headers, Some(&key)).map(<[u8]>::to_vec).collect();
        assert_eq!(secrets, [b"sk-0123456789"]);
        assert_eq!(&*without(b"a sk-0123456789, sk-0123456789!", &secrets), b"a REDACTED, REDACTED!");
    }
}
