//! Real servers on loopback: HTTP over TLS or without it, that tell what each client offered them.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::LazyConfigAcceptor;
use trunkline::pool::{Config, Kind, Pool, Protocol, Tasks, TlsConfig};

use super::support::{get, origin, until};

/// An authority of one test.
pub struct Authority {
    pub pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    pub cert: CertificateDer<'static>,
    pub cert_pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A name of its own, as serial numbers would be: one of the same name is another kind of stranger.
        let name = format!("authority {:016x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own = params.self_signed(&key).unwrap();
        Self { pem: own.pem(), der: own.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |_| {})
    }

    pub fn expired_leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        })
    }

    fn leaf_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { cert: made.der().clone(), cert_pem: made.pem(), key }
    }

    /// A pool that trusts this authority.
    pub fn config(&self) -> Config {
        Config { tls: self.trust(), ..Config::default() }
    }

    pub fn trust(&self) -> TlsConfig {
        TlsConfig { ca: vec![self.pem.clone()], ..TlsConfig::default() }
    }

    /// HTTP/2 and HTTP/1.1 over TLS, as `localhost`.
    pub async fn site(&self) -> Site {
        Site::tls(Tls::of(&self.leaf(&["localhost", "127.0.0.1"]))).await
    }
}

/// How a server speaks TLS.
pub struct Tls {
    leaf: (CertificateDer<'static>, PrivateKeyDer<'static>),
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub alpn: Vec<&'static str>,
    /// Whose client certificates are asked for, and whether one must be shown.
    pub clients: Option<(CertificateDer<'static>, bool)>,
}

impl Tls {
    pub fn of(leaf: &Leaf) -> Self {
        let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
        let versions = vec![&version::TLS13, &version::TLS12];
        Self { leaf: (leaf.cert.clone(), key), versions, alpn: vec!["h2", "http/1.1"], clients: None }
    }

    pub fn asking(mut self, authority: &Authority, must: bool) -> Self {
        self.clients = Some((authority.der.clone(), must));
        self
    }

    pub fn config(self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some((authority, must)) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = if must { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(vec![self.leaf.0], self.leaf.1).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What a server saw of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub name: Option<String>,
    pub offered: Vec<String>,
    pub resumed: bool,
    /// Whether a client certificate was shown.
    pub known: bool,
}

/// A server, until it is dropped.
pub struct Site {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Site {
    pub async fn plain(protocol: Protocol) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let told = seen.clone();
        Self::start(seen, move |socket| {
            told.lock().unwrap().push(Seen::default());
            serve(socket, protocol)
        })
        .await
    }

    pub async fn tls(tls: Tls) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (config, told) = (tls.config(), seen.clone());
        Self::start(seen, move |socket| serve_tls(socket, config.clone(), told.clone())).await
    }

    async fn start<F>(
        seen: Arc<Mutex<Vec<Seen>>>,
        serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        });
        Self { address, seen, task }
    }

    /// Its port under a name.
    pub fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.address.port())
    }

    /// The connections so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Speaks TLS and what it agrees on, if the client gets that far.
pub async fn serve_tls<S>(socket: S, config: Arc<ServerConfig>, told: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), socket).await else { return };
    let hello = start.client_hello();
    let offered = hello.alpn().into_iter().flatten().map(|name| String::from_utf8(name.to_vec()).unwrap());
    let mut seen =
        Seen { name: hello.server_name().map(str::to_owned), offered: offered.collect(), ..Seen::default() };
    let Ok(stream) = start.into_stream(config).await else { return };
    let session = stream.get_ref().1;
    seen.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    seen.known = session.peer_certificates().is_some();
    let protocol = if session.alpn_protocol() == Some(b"h2") { Protocol::H2 } else { Protocol::H1 };
    told.lock().unwrap().push(seen);
    serve(stream, protocol).await;
}

/// Answers every request with `ok`.
pub async fn serve<S>(socket: S, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok"))) });
    let socket = TokioIo::new(socket);
    let _ = match protocol {
        Protocol::H1 => hyper::server::conn::http1::Builder::new().serve_connection(socket, service).await,
        Protocol::H2 => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(socket, service)
                .await
        }
    };
}

pub fn pool(config: Config) -> Pool {
    Pool::new(config, Tasks::new(tokio::runtime::Handle::current()))
}

/// A call that must fail, its kind, and all that its error says.
pub async fn failure(pool: &Pool, url: &str) -> (Kind, String) {
    let error = get(pool, &origin(url), "/").await.unwrap_err();
    (error.kind(), format!("{error} {error:?}"))
}

/// Nothing was left behind, and `url` is served.
pub async fn healthy(pool: &Pool, url: &str) {
    until("everything given back", || {
        let now = pool.snapshot();
        let c = now.connections;
        (c.active, c.connecting, c.draining, now.streams.active) == (0, 0, 0, 0)
    })
    .await;
    assert_eq!(get(pool, &origin(url), "/").await.unwrap(), "ok");
}
