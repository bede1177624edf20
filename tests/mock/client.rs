//! A client of one connection, so that a test sees what one connection meets.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use trunkline::mock::{FaultScope, MockFault, MockOptions, MockUpstream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

pub(crate) const BOTH: [Protocol; 2] = [Protocol::H1, Protocol::H2];

pub(crate) enum Client {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// What came of a body: its bytes up to the end or the error.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) text: String,
    pub(crate) error: Option<hyper::Error>,
}

pub(crate) fn start(options: Value) -> MockUpstream {
    MockUpstream::start(serde_json::from_value::<MockOptions>(options).unwrap()).unwrap()
}

pub(crate) fn fault(upstream: &MockUpstream, fault: Value) {
    upstream.fault(serde_json::from_value::<MockFault>(fault).unwrap(), FaultScope::default());
}

pub(crate) fn address(upstream: &MockUpstream) -> String {
    upstream.url().split_once("://").unwrap().1.to_owned()
}

pub(crate) fn chat(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

pub(crate) fn stream(text: &str) -> Value {
    json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] })
}

/// TLS to the upstream, with its authority alone trusted.
pub(crate) async fn tls(
    upstream: &MockUpstream,
    alpn: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    tls_connector(upstream, alpn)
        .connect(ServerName::try_from("127.0.0.1").unwrap(), TcpStream::connect(address(upstream)).await?)
        .await
}

pub(crate) fn tls_connector(upstream: &MockUpstream, alpn: &[&str]) -> tokio_rustls::TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(upstream.ca().unwrap().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

impl Client {
    pub(crate) async fn connect(upstream: &MockUpstream, protocol: Protocol) -> Self {
        let socket = TcpStream::connect(address(upstream)).await.unwrap();
        // Or else Nagle holds each body back for the delayed acknowledgement of its head, 40 ms.
        socket.set_nodelay(true).unwrap();
        Self::over(socket, protocol).await.unwrap()
    }

    pub(crate) async fn over<I>(io: I, protocol: Protocol) -> hyper::Result<Self>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(io);
        match protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Ok(Self::H1(sender))
            }
            Protocol::H2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Ok(Self::H2(sender))
            }
        }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: String,
    ) -> hyper::Result<Response<Incoming>> {
        self.send_with(method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                let request = request.uri(path).header("host", "mock").body(Full::from(body)).unwrap();
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                let uri = format!("http://mock{path}");
                sender.send_request(request.uri(uri).body(Full::from(body)).unwrap()).await
            }
        }
    }

    pub(crate) async fn chat(&mut self, body: &Value) -> hyper::Result<Response<Incoming>> {
        self.send("POST", "/v1/chat/completions", body.to_string()).await
    }

    /// The whole answer to a chat, which has to be JSON.
    pub(crate) async fn json(&mut self, body: &Value) -> Value {
        serde_json::from_str(&read(self.chat(body).await.unwrap()).await.text).unwrap()
    }

    pub(crate) async fn text(&mut self, body: &Value) -> Body {
        read(self.chat(body).await.unwrap()).await
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&mut self) {
        match self {
            Self::H1(sender) => {
                while sender.ready().await.is_ok() && !sender.is_closed() {
                    tokio::task::yield_now().await;
                }
            }
            Self::H2(sender) => {
                while !sender.is_closed() {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> Body {
    let mut bytes = Vec::new();
    let mut body = response.into_body();
    let mut error = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Err(cause) => {
                error = Some(cause);
                break;
            }
        }
    }
    Body { text: String::from_utf8_lossy(&bytes).into_owned(), error }
}

impl Body {
    /// The data of the events.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }

    /// The data of the events of any protocol, as JSON.
    pub(crate) fn data(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// The text that the events carry, and how many deltas it came in.
    pub(crate) fn content(&self) -> (String, usize) {
        let events = self.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let deltas: Vec<_> = events
            .filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str().map(str::to_owned))
            .filter(|delta| !delta.is_empty())
            .collect();
        (deltas.concat(), deltas.len())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.text.ends_with("data: [DONE]\n\n")
    }
}

/// Sets what is at a pointer, or takes it away.
pub(crate) fn spoilt(mut body: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
        (Value::Object(fields), None) => assert!(fields.remove(name).is_some(), "{pointer}"),
        (Value::Array(items), Some(value)) => match name.parse::<usize>() {
            Ok(at) => items[at] = value,
            Err(_) => items.push(value),
        },
        (Value::Array(items), None) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!(),
    }
    body
}
