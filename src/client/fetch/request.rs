//! A request as it crosses the border, and as it is sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONNECTION, CONTENT_LENGTH, EXPECT, Entry, HOST, TE,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;

use super::failure::bad_request;
use super::upload::{Upload, Uploading};
use crate::client::cassette::Asked;
use crate::error::Error;
use crate::pool::{Lane, Origin, Priority, Protocol, RequestBody, Tenant};

/// A request of fetch's, ready to be sent.
#[derive(Debug)]
pub struct FetchRequest {
    pub(super) method: Method,
    pub(super) origin: Origin,
    url: Uri,
    headers: HeaderMap,
    body: FetchBody,
    /// Whether a redirect will be followed, so that nobody wants its body.
    pub(super) follows: bool,
    pub(super) priority: Priority,
    pub(super) tenant: Option<Tenant>,
}

#[derive(Debug)]
pub enum FetchBody {
    None,
    Whole(Bytes),
    Pieces(Arc<Upload>),
}

/// Of the name of a tenant, as in a call's options.
const LONGEST_TENANT: usize = 256;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Ours: they say how the request waits, and are not sent on.
const PRIORITY: HeaderName = HeaderName::from_static("trunkline-priority");
const TENANT: HeaderName = HeaderName::from_static("trunkline-tenant");

impl FetchRequest {
    /// Parses what `lib/fetch` writes: lines of the method, the URL, `1` where redirects are followed, and names and values of headers in
    /// turn. JavaScript has checked what fetch checks before it sends; what is wrong here fails the fetch.
    pub fn parse(head: &str, body: FetchBody) -> Result<Self, Error> {
        let bad = |what: &str| bad_request(&format!("fetch: {what}"), "UND_ERR_INVALID_ARG");
        let mut lines = head.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (method, url, follows) = (line(), line(), line() == "1");
        let method = method.parse().map_err(|_| bad("invalid method"))?;
        let url: Uri = url.parse().map_err(|_| bad("the URL cannot be sent"))?;
        let origin = Origin::of(&url).map_err(|_| bad("the URL must be an http or https URL"))?;
        let mut headers = HeaderMap::with_capacity(16);
        while let Some(name) = lines.next() {
            let value = lines.next().unwrap_or_default();
            let name: HeaderName = name.parse().map_err(|_| bad("invalid header name"))?;
            headers.append(name, latin1(value).ok_or_else(|| bad("invalid header value"))?);
        }
        let mut request =
            Self { method, origin, url, headers, body, follows, priority: Priority::default(), tenant: None };
        request.take_ours()?;
        request.check_connection()?;
        request.complete();
        Ok(request)
    }

    /// Headers that are for us.
    fn take_ours(&mut self) -> Result<(), Error> {
        if let Some(value) = self.headers.remove(PRIORITY) {
            let named =
                Priority::ALL.into_iter().find(|priority| priority.as_str().as_bytes() == value.as_bytes());
            self.priority = named.ok_or_else(|| {
                let names = Priority::ALL.map(Priority::as_str).join(", ");
                Error::config(format!("trunkline-priority: must be one of {names}"))
            })?;
        }
        if let Some(value) = self.headers.remove(TENANT) {
            let name = value.to_str().ok().filter(|name| (1..=LONGEST_TENANT).contains(&name.len()));
            let name = name.ok_or_else(|| {
                Error::config(format!("trunkline-tenant: must be 1 to {LONGEST_TENANT} characters of ASCII"))
            })?;
            self.tenant = Some(Tenant::new(name));
        }
        Ok(())
    }

    /// Headers that the connection has, and what undici says of them.
    fn check_connection(&mut self) -> Result<(), Error> {
        for name in [TRANSFER_ENCODING, KEEP_ALIVE, UPGRADE] {
            if self.headers.contains_key(&name) {
                return Err(bad_request(&format!("invalid {name} header"), "UND_ERR_INVALID_ARG"));
            }
        }
        if self.headers.contains_key(EXPECT) {
            return Err(bad_request("expect header not supported", "UND_ERR_NOT_SUPPORTED"));
        }
        if let Some(value) = self.headers.remove(CONNECTION) {
            match &*value.to_str().unwrap_or_default().to_ascii_lowercase() {
                "keep-alive" => {}
                "close" => {
                    self.headers.insert(CONNECTION, value);
                }
                _ => return Err(bad_request("invalid connection header", "UND_ERR_INVALID_ARG")),
            }
        }
        if let Some(length) = self.headers.remove(CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
            let length =
                length.ok_or_else(|| bad_request("invalid content-length header", "UND_ERR_INVALID_ARG"))?;
            match &self.body {
                // JavaScript counts the pieces.
                FetchBody::Pieces(_) => {
                    self.headers.insert(CONTENT_LENGTH, length.into());
                }
                _ if length != self.size() => {
                    return Err(bad_request(
                        "Request body length does not match content-length header",
                        "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The headers that fetch adds.
    fn complete(&mut self) {
        let codings = self.codings();
        for (name, value) in [
            (ACCEPT, "*/*"),
            (ACCEPT_LANGUAGE, "*"),
            (FETCH_MODE, "cors"),
            (USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION"))),
            (ACCEPT_ENCODING, codings),
        ] {
            if let Entry::Vacant(place) = self.headers.entry(name) {
                place.insert(HeaderValue::from_static(value));
            }
        }
        let says_nothing = match &self.body {
            FetchBody::None => matches!(self.method, Method::POST | Method::PUT),
            FetchBody::Whole(body) => body.is_empty(),
            FetchBody::Pieces(_) => false,
        };
        if says_nothing {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Entry::Vacant(place) = self.headers.entry(HOST)
            && let Ok(value) = HeaderValue::try_from(self.origin.authority())
        {
            place.insert(value);
        }
    }

    /// Which sockets it may have, where the pool has lanes: a stream is known by what it asks for.
    pub(super) fn lane(&self) -> Lane {
        let accepts = self.headers.get(ACCEPT).is_some_and(|value| value.as_bytes() == b"text/event-stream");
        let asks = |body: &Bytes| memchr::memmem::find(body, br#""stream":true"#).is_some();
        match &self.body {
            _ if accepts => Lane::Streaming,
            FetchBody::Whole(body) if asks(body) => Lane::Streaming,
            _ => Lane::Unary,
        }
    }

    pub(super) fn size(&self) -> usize {
        if let FetchBody::Whole(body) = &self.body { body.len() } else { 0 }
    }

    /// Whether it can be sent as often as one likes.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(&self.body, FetchBody::Pieces(_))
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn can_be_sent(&self) -> bool {
        !matches!(&self.body, FetchBody::Pieces(upload) if upload.has_begun())
    }

    /// Takes the whole body in, and asks for an answer that people can read: for a cassette.
    pub(super) async fn settle(&mut self) {
        if let FetchBody::Pieces(upload) = &self.body {
            let mut body = Uploading(upload.clone());
            let mut whole = BytesMut::new();
            while let Some(Ok(frame)) = body.frame().await {
                whole.extend(frame.into_data());
            }
            // hyper tells its length.
            self.headers.remove(CONTENT_LENGTH);
            self.body = FetchBody::Whole(whole.freeze());
        }
        if self.headers.get(ACCEPT_ENCODING).is_some_and(|value| value == self.codings()) {
            self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// The request as a cassette knows it.
    pub(super) fn asked(&self) -> Asked<'_> {
        let body = if let FetchBody::Whole(body) = &self.body { &body[..] } else { &[] };
        Asked { method: &self.method, url: self.url.to_string(), headers: &self.headers, key: None, body }
    }

    /// The codings of an answer that is asked for by who does not say which.
    fn codings(&self) -> &'static str {
        if self.origin.is_secure() { "zstd, br, gzip, deflate" } else { "gzip, deflate" }
    }

    /// The request for a connection of this protocol.
    pub(super) fn message(&self, protocol: Protocol) -> Option<Request<RequestBody>> {
        let body = match &self.body {
            FetchBody::None => Bytes::new().into(),
            FetchBody::Whole(body) => body.clone().into(),
            FetchBody::Pieces(_) if !self.can_be_sent() => return None,
            FetchBody::Pieces(upload) => RequestBody::Pieces(Box::pin(Uploading(upload.clone()))),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        match protocol {
            Protocol::H1 => {
                let path = self.url.path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = path.parse().ok()?;
            }
            Protocol::H2 => {
                for name in [HOST, CONNECTION, PROXY_CONNECTION] {
                    headers.remove(name);
                }
                if headers.get(TE).is_some_and(|value| value != "trailers") {
                    headers.remove(TE);
                }
                *request.uri_mut() = self.url.clone();
            }
        }
        Some(request)
    }
}

/// A value whose characters are the bytes of it, as fetch has them.
fn latin1(value: &str) -> Option<HeaderValue> {
    if value.is_ascii() {
        return HeaderValue::from_str(value).ok();
    }
    let bytes: Option<Vec<u8>> = value.chars().map(|char| u8::try_from(char).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<FetchRequest, Error> {
        FetchRequest::parse(head, FetchBody::Whole("{}".into()))
    }

    fn code(head: &str) -> Option<&'static str> {
        parse(head).unwrap_err().node_code
    }

    #[test]
    fn what_is_for_us_is_not_sent_on() {
        let head = "POST\nhttp://a.test/x?y\n1\ntrunkline-priority\nbatch\ntrunkline-tenant\nacme\nx-é\n1";
        assert!(parse(head).is_err(), "a name must be a token");
        let request = parse(&head.replace("x-é\n1", "x-a\né")).unwrap();
        assert_eq!((request.priority, request.follows), (Priority::Batch, true));
        let message = request.message(Protocol::H1).unwrap();
        assert_eq!(message.uri(), "/x?y");
        assert_eq!(message.headers()["x-a"].as_bytes(), b"\xE9");
        assert_eq!(message.headers()["accept-encoding"], "gzip, deflate");
        assert!(message.headers().keys().all(|name| !name.as_str().starts_with("trunkline")));
        let message = request.message(Protocol::H2).unwrap();
        assert!(!message.headers().contains_key("host"));
        assert_eq!(message.uri(), "http://a.test/x?y");
    }

    #[test]
    fn headers_of_the_connection_are_refused_as_undici_refuses_them() {
        for (header, expected) in [
            ("transfer-encoding\nchunked", "UND_ERR_INVALID_ARG"),
            ("connection\nupgrade", "UND_ERR_INVALID_ARG"),
            ("expect\n100-continue", "UND_ERR_NOT_SUPPORTED"),
            ("content-length\n3", "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH"),
        ] {
            assert_eq!(code(&format!("POST\nhttp://a.test/\n0\n{header}")), Some(expected), "{header}");
        }
        assert!(parse("POST\nhttp://a.test/\n0\ncontent-length\n2\nconnection\nkeep-alive").is_ok());
    }
}
