//! DNS, TCP and TLS, each timed. Behind the [`Connect`] trait, so that tests can script a network.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tower_service::Service;

use super::{Config, Error, Http2, Kind, Origin, Protocol, TlsConfig, tls};

/// A bidirectional byte stream, as hyper wants it.
pub trait Io: hyper::rt::Read + hyper::rt::Write + Send + Unpin {}

impl<T: hyper::rt::Read + hyper::rt::Write + Send + Unpin> Io for T {}

/// What a connect took, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub dns: Duration,
    pub connect: Duration,
    pub tls: Duration,
}

impl Phases {
    pub fn total(&self) -> Duration {
        self.dns + self.connect + self.tls
    }
}

/// A connection that was made, before HTTP.
pub struct Connected {
    pub io: Box<dyn Io>,
    pub protocol: Protocol,
    pub phases: Phases,
    pub tls_resumed: bool,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("protocol", &self.protocol)
            .field("phases", &self.phases)
            .finish_non_exhaustive()
    }
}

/// Makes connections.
pub trait Connect: Send + Sync {
    /// Does ahead what the first connection to an origin would have to wait for, and the network has no part in.
    fn prepare<'a>(&'a self, _origin: &'a Origin) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    /// Connects to an origin. The pool limits the time and may drop the future.
    fn connect<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>>;
}

/// The real thing.
#[derive(Debug)]
pub struct Connector {
    http2: Http2,
    tls: TlsConfig,
    /// Made at the first secure origin: reading the roots costs milliseconds.
    client_config: OnceCell<Arc<ClientConfig>>,
}

/// TCP keep-alive finds out about a peer that is gone without a word on a socket without work.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

impl Connector {
    pub fn new(config: &Config) -> Self {
        Self { http2: config.http2, tls: config.tls.clone(), client_config: OnceCell::new() }
    }

    async fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let made = self.client_config.get_or_try_init(|| async {
            let (tls, http2) = (self.tls.clone(), self.http2);
            tokio::task::spawn_blocking(move || tls::client_config(&tls, http2))
                .await
                .map_err(|error| Error::with(Kind::Tls, error))?
        });
        made.await.cloned()
    }

    async fn open(&self, origin: &Origin) -> Result<Connected, Error> {
        // The roots are read outside of the phases: once in a process, and not the network's doing.
        let config = if origin.secure { Some(self.client_config().await?) } else { None };
        let started = Instant::now();
        let addresses = resolve(origin).await?;
        let resolved = Instant::now();
        let tcp = connect_tcp(&addresses).await?;
        let connected = Instant::now();
        let mut phases =
            Phases { dns: resolved - started, connect: connected - resolved, tls: Duration::ZERO };
        let Some(config) = config else {
            let protocol = if self.http2 == Http2::PriorKnowledge { Protocol::H2 } else { Protocol::H1 };
            return Ok(Connected { io: Box::new(TokioIo::new(tcp)), protocol, phases, tls_resumed: false });
        };
        let (io, protocol, tls_resumed) = connect_tls(origin, tcp, config, self.http2).await?;
        phases.tls = connected.elapsed();
        Ok(Connected { io: Box::new(io), protocol, phases, tls_resumed })
    }
}

impl Connect for Connector {
    fn prepare<'a>(&'a self, origin: &'a Origin) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if origin.secure {
                // What is wrong with the roots, the first connection says.
                let _ = self.client_config().await;
            }
        })
    }

    fn connect<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>> {
        Box::pin(self.open(origin))
    }
}

async fn resolve(origin: &Origin) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(literal) = origin.bare_host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, origin.port)]);
    }
    let found = tokio::net::lookup_host((origin.bare_host(), origin.port))
        .await
        .map_err(|error| Error::with(Kind::Dns, error))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        return Err(Error::new(Kind::Dns));
    }
    Ok(addresses)
}

/// One address after the other; the error is that of the last.
async fn connect_tcp(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::new(Kind::Connect);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Neither option is worth a connection.
                let _ = stream.set_nodelay(true);
                let keep_alive = socket2::TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
                return Ok(stream);
            }
            Err(error) => last = Error::with(Kind::Connect, error),
        }
    }
    Err(last)
}

type TlsIo = MaybeHttpsStream<TokioIo<TcpStream>>;

async fn connect_tls(
    origin: &Origin,
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    http2: Http2,
) -> Result<(TlsIo, Protocol, bool), Error> {
    let uri: Uri =
        origin.to_string().parse().map_err(|error: http::uri::InvalidUri| Error::with(Kind::Tls, error))?;
    let names = Arc::new(DefaultServerNameResolver::default());
    let mut connector = HttpsConnector::new(Made(Some(TokioIo::new(tcp))), config, true, names);
    let stream = connector.call(uri).await.map_err(tls_error)?;
    let MaybeHttpsStream::Https(tls) = &stream else {
        return Err(Error::new(Kind::Tls));
    };
    let (_, session) = tls.inner().get_ref();
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ if http2 == Http2::PriorKnowledge => Protocol::H2,
        _ => Protocol::H1,
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok((stream, protocol, resumed))
}

/// A TCP connection that is there already, as the service that hyper-rustls puts TLS on: so TCP and TLS are timed apart.
struct Made(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Made {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// What TLS itself refused is an error of TLS; a socket that broke during the handshake is one of the connection.
fn tls_error(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
        if error.is::<rustls::Error>() || error.is::<rustls_pki_types::InvalidDnsNameError>() {
            return true;
        }
        // `source()` of an io::Error skips the error that it carries.
        error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(|inner| is_of_tls(inner))
    }
    let kind = if is_of_tls(error.as_ref()) { Kind::Tls } else { Kind::Connect };
    Error::with(kind, error)
}
