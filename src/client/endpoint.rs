//! Where a call goes to, and with which headers.

use std::sync::Arc;

use http::header::Entry;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::key::UsedKey;
use crate::config::{BaseUrl, CallOptions, ClientConfig, Key, ProviderConfig};
use crate::error::Error;
use crate::pool::{Protocol, RequestBody};

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

/// The URLs and headers of a client, made once.
#[derive(Debug)]
pub(super) struct Endpoints {
    base: BaseUrl,
    chat: Target,
    embeddings: Target,
    /// Of a request for one JSON text, for a stream of events, and for one without a body: shared by the calls that add
    /// none of their own, so that only the request itself copies them.
    posted: Arc<HeaderMap>,
    streamed: Arc<HeaderMap>,
    fetched: Arc<HeaderMap>,
}

/// A URL in the two forms that HTTP/1.1 and HTTP/2 want it in.
#[derive(Debug, Clone)]
pub(super) struct Target {
    path: Uri,
    absolute: Uri,
}

/// A request as often as it is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    method: Method,
    target: Target,
    headers: Arc<HeaderMap>,
    pub(super) body: bytes::Bytes,
}

/// Where a key will be; no key is empty.
const PLACE: HeaderValue = HeaderValue::from_static("");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION")));

impl Endpoints {
    pub(super) fn of(config: &ClientConfig) -> Result<Self, Error> {
        let ProviderConfig { base, keys, headers: own, .. } = config.default_provider();
        let base = base.clone();
        let host = HeaderValue::from_str(&base.origin.authority())
            .map_err(|_| Error::config("baseURL: must be an absolute http or https URL"))?;
        let headers = |accept: HeaderValue, has_body: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, AGENT);
            headers.insert(ACCEPT, accept);
            if has_body {
                headers.insert(CONTENT_TYPE, JSON);
            }
            // Places for what each request brings: a copy that had to grow would cost more than the copying.
            headers.insert(HOST, host.clone());
            if !matches!(**keys, [Key::None]) {
                headers.insert(AUTHORIZATION, PLACE);
            }
            headers.extend(own.clone());
            Arc::new(headers)
        };
        Ok(Self {
            chat: Target::of(&base, "/chat/completions")?,
            embeddings: Target::of(&base, "/embeddings")?,
            posted: headers(JSON, true),
            streamed: headers(EVENTS, true),
            fetched: headers(JSON, false),
            base,
        })
    }

    pub(super) fn outgoing(
        &self,
        endpoint: &Endpoint,
        body: String,
        streamed: bool,
        options: &CallOptions,
    ) -> Result<Outgoing, Error> {
        let target = match endpoint {
            Endpoint::Chat => self.chat.clone(),
            Endpoint::Embeddings => self.embeddings.clone(),
            Endpoint::Post(path) | Endpoint::Get(path) => Target::of(&self.base, path)?,
        };
        let (method, body) = match endpoint {
            Endpoint::Get(_) => (Method::GET, String::new()),
            _ => (Method::POST, body),
        };
        let mut headers = match (streamed, &method) {
            (true, _) => self.streamed.clone(),
            (false, &Method::GET) => self.fetched.clone(),
            (false, _) => self.posted.clone(),
        };
        if !options.headers.is_empty() {
            Arc::make_mut(&mut headers).extend(options.headers.clone());
        }
        Ok(Outgoing { method, target, headers, body: body.into() })
    }
}

impl Target {
    fn of(base: &BaseUrl, path: &str) -> Result<Self, Error> {
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
        let path = format!("{}{path}", base.path);
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
    pub(super) fn has_no_key(&self) -> bool {
        ["authorization", "x-api-key", "api-key"].iter().all(|name| !self.headers.contains_key(*name))
    }

    /// What is asked for, and of which path: its URI may have a query, which is nobody else's to see.
    pub(super) fn asks(&self) -> (Method, Uri) {
        (self.method.clone(), self.target.path.clone())
    }

    /// The request for a connection of this protocol.
    pub(super) fn request(&self, protocol: Protocol, key: &UsedKey) -> Request<RequestBody> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = HeaderMap::clone(&self.headers);
        match protocol {
            Protocol::H1 => *request.uri_mut() = self.target.path.clone(),
            Protocol::H2 => {
                // HTTP/2 has it in the URL.
                *request.uri_mut() = self.target.absolute.clone();
                request.headers_mut().remove(HOST);
            }
        }
        // A key that the caller gave among the headers is the caller's will.
        if let Entry::Occupied(mut place) = request.headers_mut().entry(AUTHORIZATION)
            && *place.get() == PLACE
        {
            match &key.value {
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
