//! Where a call goes to, in which words, and with which headers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::Entry;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::cassette::Asked;
use super::keys::UsedKey;
use crate::config::{BaseUrl, Hidden, ProviderConfig};
use crate::error::{Error, header_text};
use crate::pool::{Protocol as Wire, RequestBody};
use crate::protocol::anthropic;
use crate::protocol::dialect::{Chat, Protocol, Reply, Said};
use crate::protocol::translate::Inexpressible;

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Chat,
    Embeddings,
    /// A path below the base URL, with a JSON body.
    Post(String),
    /// A path below the base URL, without a body.
    Get(String),
}

/// The URLs and headers of a provider, made once.
#[derive(Debug)]
pub(super) struct Endpoints {
    protocol: Protocol,
    base: BaseUrl,
    /// What paths of ours begin with: none where the base URL ends in a version.
    version: &'static str,
    /// Parameters of every request; empty for none.
    query: Hidden<String>,
    chat: Address,
    embeddings: Address,
    key_header: HeaderName,
    /// Of a request for one JSON text, for a stream of events, and for one without a body: shared by the calls that add
    /// none of their own, so that only the request itself copies them.
    posted: Hidden<Arc<HeaderMap>>,
    streamed: Hidden<Arc<HeaderMap>>,
    fetched: Hidden<Arc<HeaderMap>>,
    /// Whether the client has providers of other protocols, whose answers may be in a conversation.
    mixed: bool,
}

/// A URL in the two forms that HTTP/1.1 and HTTP/2 want it in. Its query may have a key.
#[derive(Clone)]
struct Address {
    path: Uri,
    absolute: Uri,
}

/// What is asked for, of whichever target.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// In OpenAI's shape, where it is a chat or for embeddings; it was a text.
    pub(super) body: &'a Bytes,
    /// The model that the request names.
    pub(super) asked: &'a str,
    /// Whether the request itself asks for a stream.
    pub(super) asks_stream: bool,
    pub(super) headers: &'a HeaderMap,
}

/// A request as often as it is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    method: Method,
    address: Address,
    headers: Hidden<Arc<HeaderMap>>,
    key_header: HeaderName,
    pub(super) body: Hidden<Bytes>,
    /// How its answer is to be understood.
    pub(super) reply: Reply,
    /// What of the request the target has no words for.
    pub(super) dropped: Vec<Cow<'static, str>>,
}

/// A request, to be looked at.
pub(super) struct Described {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// Where a key will be; no key is empty.
const PLACE: HeaderValue = HeaderValue::from_static("");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION")));

impl Endpoints {
    pub(super) fn of(config: &ProviderConfig, mixed: bool) -> Result<Self, Error> {
        let ProviderConfig { base, protocol, headers: own, query, .. } = config;
        let protocol = *protocol;
        let host = HeaderValue::from_str(&base.origin.authority()).map_err(|_| {
            Error::config("baseURL: must be an absolute http or https URL, such as https://api.openai.com/v1")
        })?;
        let key_header = protocol.key_header();
        let headers = |accept: HeaderValue, has_body: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, AGENT);
            headers.insert(ACCEPT, accept);
            if has_body {
                headers.insert(CONTENT_TYPE, JSON);
            }
            if protocol == Protocol::Anthropic {
                let (name, version) = anthropic::VERSION_HEADER;
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(version));
            }
            // Places for what each request brings: a copy that had to grow would cost more than the copying.
            headers.insert(HOST, host.clone());
            // Also where there is none: one may be given later.
            headers.insert(&key_header, PLACE);
            headers.extend(own.0.clone());
            Hidden(Arc::new(headers))
        };
        let version = if has_version(&base.path) { "" } else { protocol.version() };
        let at = |path: &str| Address::of(base, &format!("{version}{path}"), query);
        Ok(Self {
            chat: at(chat_path(protocol))?,
            embeddings: at("/embeddings")?,
            version,
            posted: headers(JSON, true),
            streamed: headers(EVENTS, true),
            fetched: headers(JSON, false),
            protocol,
            base: base.clone(),
            query: query.clone(),
            key_header,
            mixed,
        })
    }

    /// What paths of ours begin with.
    pub(super) fn version(&self) -> &'static str {
        self.version
    }

    /// The request as this provider takes it. `model`: what it calls the model, where that is not what the request says.
    pub(super) fn outgoing(
        &self,
        asking: Asking<'_>,
        model: Option<&str>,
        prefill: Option<&str>,
        is_stream: bool,
    ) -> Result<Outgoing, Error> {
        let Asking { endpoint, body, asked, asks_stream, headers: own } = asking;
        // What crosses the border as a text is one.
        let text = || std::str::from_utf8(body).map_err(|_| Error::config("request: must be UTF-8"));
        let mut reply = Reply::Same;
        let mut dropped = Vec::new();
        let mut said = |said: Result<Said, Inexpressible>, usual: &Address, usual_path: &str| {
            let Said { path, body: made, dropped: lost, reply: understood } = said.map_err(cannot_say)?;
            (reply, dropped) = (understood, lost);
            let address = match path == usual_path {
                true => usual.clone(),
                false => Address::of(&self.base, &format!("{}{path}", self.version), &self.query)?,
            };
            Ok::<_, Error>((address, made.map_or_else(|| body.clone(), Bytes::from)))
        };
        let (method, (address, body)) = match endpoint {
            Endpoint::Chat => {
                let mixed = self.mixed;
                let chat = Chat { body: text()?, model, asked, is_stream, asks_stream, prefill, mixed };
                let chat = self.protocol.chat(chat);
                (Method::POST, said(chat, &self.chat, chat_path(self.protocol))?)
            }
            Endpoint::Embeddings => {
                let embeddings = self.protocol.embeddings(text()?, model, asked);
                (Method::POST, said(embeddings, &self.embeddings, "/embeddings")?)
            }
            Endpoint::Post(path) => {
                (Method::POST, (Address::of(&self.base, path, &self.query)?, body.clone()))
            }
            Endpoint::Get(path) => (Method::GET, (Address::of(&self.base, path, &self.query)?, Bytes::new())),
        };
        let mut headers = match (is_stream, &method) {
            (true, _) => self.streamed.clone(),
            (false, &Method::GET) => self.fetched.clone(),
            (false, _) => self.posted.clone(),
        };
        if !own.is_empty() {
            Arc::make_mut(&mut headers.0).extend(own.clone());
        }
        let key_header = self.key_header.clone();
        Ok(Outgoing { method, address, headers, key_header, body: Hidden(body), reply, dropped })
    }
}

fn chat_path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenAi => "/chat/completions",
        Protocol::Anthropic => "/messages",
        // Of each model its own.
        Protocol::Gemini => "/models",
    }
}

/// Whether a path ends in a version: `/v1`, `/v1beta`.
fn has_version(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    let digits = last.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|first: char| first.is_ascii_digit())
}

/// The caller's mistake, or what the target has no words for.
fn cannot_say(Inexpressible { path, message }: Inexpressible) -> Error {
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    Error::config(format!("request{dot}{path}: {message}"))
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.path())
    }
}

impl Address {
    fn of(base: &BaseUrl, path: &str, query: &str) -> Result<Self, Error> {
        if !path.starts_with('/') {
            return Err(Error::config(
                "path: must begin with a slash; a full URL is refused, since credentials stay with their provider",
            ));
        }
        let bad = || Error::config("path: must be a URL's path, with other characters percent-encoded");
        // The parser would drop what is behind it.
        if path.contains('#') {
            return Err(bad());
        }
        if path.split('?').next().is_some_and(climbs) {
            return Err(Error::config("path: must have no segments . and .., which lead out of baseURL"));
        }
        let mut path = format!("{}{path}", base.path);
        if !query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        Ok(Self {
            absolute: format!("{}{path}", base.origin).parse().map_err(|_| bad())?,
            path: path.parse().map_err(|_| bad())?,
        })
    }
}

/// Whether a path has a segment that means another one, as servers and whatever is before them read it.
fn climbs(path: &str) -> bool {
    path.split(['/', '\\'])
        .any(|segment| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | ".."))
}

impl Outgoing {
    /// Whether neither the client nor the caller gave any kind of key.
    pub(super) fn has_no_key(&self, key: &UsedKey) -> bool {
        let is_given = |name| self.headers.get(name).is_some_and(|value| *value != PLACE);
        let usual = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
        key.header().is_none() && !usual.into_iter().any(is_given)
    }

    /// What is asked for, and of which path: its URI may have a query, which is nobody else's to see.
    pub(super) fn asks(&self) -> (Method, Uri) {
        (self.method.clone(), self.address.path.clone())
    }

    /// The request as a cassette knows it.
    pub(super) fn asked<'a>(&'a self, key: &'a UsedKey) -> Asked<'a> {
        Asked {
            method: &self.method,
            url: self.address.absolute.to_string(),
            headers: &self.headers,
            key: key.header(),
            body: &self.body,
        }
    }

    /// What would be sent, without the key and without what belongs to the connection.
    pub(super) fn described(&self) -> Described {
        let headers = self.headers.iter().filter(|(name, value)| *name != HOST && *value != PLACE);
        let headers =
            headers.map(|(name, value)| (name.as_str().to_owned(), header_text(value).into_owned()));
        Described {
            method: self.method.to_string(),
            url: self.address.absolute.to_string(),
            path: self.address.path.to_string(),
            headers: headers.collect(),
            body: self.body.0.clone(),
        }
    }

    /// The request for a connection of this protocol. `own`: headers in the place of those that are [described](Self::described).
    pub(super) fn request(
        &self,
        protocol: Wire,
        key: &UsedKey,
        own: Option<Box<HeaderMap>>,
    ) -> Request<RequestBody> {
        let mut request = Request::new(self.body.0.clone().into());
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = match own {
            None => HeaderMap::clone(&self.headers),
            Some(mut own) => {
                for (name, value) in
                    self.headers.iter().filter(|(name, value)| *name == HOST || *value == PLACE)
                {
                    own.entry(name).or_insert_with(|| value.clone());
                }
                *own
            }
        };
        match protocol {
            Wire::H1 => *request.uri_mut() = self.address.path.clone(),
            Wire::H2 => {
                // HTTP/2 has it in the URL.
                *request.uri_mut() = self.address.absolute.clone();
                request.headers_mut().remove(HOST);
            }
        }
        // A key that the caller gave among the headers is the caller's will.
        if let Entry::Occupied(mut place) = request.headers_mut().entry(&self.key_header)
            && *place.get() == PLACE
        {
            match key.header() {
                Some(key) => {
                    place.insert(key.clone());
                }
                None => {
                    place.remove();
                }
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_added_where_the_base_url_has_none() {
        for (path, expected) in [
            ("", false),
            ("/v1", true),
            ("/proxy/v1beta", true),
            ("/v1/proxy", false),
            ("/vendor", false),
            ("/v", false),
        ] {
            assert_eq!(has_version(path), expected, "{path}");
        }
    }
}
