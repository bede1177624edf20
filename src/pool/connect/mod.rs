//! DNS, TCP and TLS, each timed, straight or through a proxy. Behind the [`Connect`] trait, so that tests can script a network.
//!
//! | file | idea |
//! |---|---|
//! | `route` | straight, through a proxy or through a Unix socket |
//! | `dns` | the addresses of a host, remembered for a while |
//! | `socket` | a TCP socket that knows at once when its peer has closed it |
//! | `tcp` | a connection to one of them, whichever answers first |
//! | `unix` | a connection to a Unix socket |
//! | `proxy` | a proxy, and how it is asked to lead to an origin |
//! | `no_proxy` | origins that no proxy is used for |
//! | `tls` | TLS over any of these |
//! | `roots` | settings of TLS, and whom it trusts |
//! | `identity` | a client certificate with its key |

mod dns;
mod identity;
mod no_proxy;
mod proxy;
mod roots;
mod route;
mod socket;
mod tcp;
mod tls;
mod unix;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::dns::Lookup;
pub use self::identity::{Identity, IdentityError};
pub use self::no_proxy::{NoProxy, NoProxyError};
pub use self::proxy::{Proxy, ProxyError};
pub use self::roots::{RootsError, roots_of};
pub use self::route::{Proxies, Route};

use self::proxy::Scheme;
use self::roots::TlsSettings;
use self::socket::Socket;
use super::{Config, Error, Http2, Kind, Origin, Protocol, Tasks, TlsConfig};

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
    common: Way,
    /// Of origins with settings of their own.
    own: Vec<(Origin, Way)>,
}

/// How an origin is connected to. Clones share what they remember.
#[derive(Debug, Clone)]
struct Way {
    http2: Http2,
    tls: TlsConfig,
    dns_ttl: Duration,
    dns: dns::Resolver,
    route: Route,
    /// Made at the first session: reading the roots costs milliseconds.
    tls_settings: Arc<OnceCell<TlsSettings>>,
}

impl Connector {
    pub fn new(config: &Config, tasks: &Tasks) -> Self {
        Self::with_lookup(config, tasks, Arc::new(dns::System))
    }

    /// One that asks for the addresses of hosts in its own way: in tests, a scripted one.
    pub fn with_lookup(config: &Config, tasks: &Tasks, lookup: Arc<dyn Lookup>) -> Self {
        let common = Way {
            http2: config.http2,
            tls: config.tls.clone(),
            dns_ttl: config.dns_ttl,
            dns: dns::Resolver::new(config.dns_ttl, lookup.clone(), tasks.clone()),
            route: config.route.clone(),
            tls_settings: Arc::default(),
        };
        let own = config.own.iter().map(|(origin, config)| {
            // What is as with the others is remembered with them: addresses, roots and sessions of TLS.
            let mut way = common.clone();
            if config.dns_ttl != way.dns_ttl {
                way.dns_ttl = config.dns_ttl;
                way.dns = dns::Resolver::new(config.dns_ttl, lookup.clone(), tasks.clone());
            }
            if (&config.tls, config.http2) != (&way.tls, way.http2) {
                (way.tls, way.http2) = (config.tls.clone(), config.http2);
                way.tls_settings = Arc::default();
            }
            way.route = config.route.clone();
            (origin.clone(), way)
        });
        Self { own: own.collect(), common }
    }

    fn way_to(&self, origin: &Origin) -> &Way {
        let own = self.own.iter().find(|(known, _)| known == origin);
        own.map_or(&self.common, |(_, way)| way)
    }
}

impl Way {
    async fn tls_settings(&self) -> Result<&TlsSettings, Error> {
        let made = self.tls_settings.get_or_try_init(|| async {
            let (tls, http2) = (self.tls.clone(), self.http2);
            tokio::task::spawn_blocking(move || TlsSettings::of(&tls, http2))
                .await
                .map_err(|error| Error::with(Kind::Tls, error))?
        });
        made.await
    }

    fn proxy_to(&self, origin: &Origin) -> Option<&Proxy> {
        match &self.route {
            Route::Proxied(proxies) => proxies.lead_to(origin),
            Route::Direct | Route::UnixSocket(_) => None,
        }
    }

    fn needs_tls(&self, origin: &Origin) -> bool {
        origin.secure || self.proxy_to(origin).is_some_and(Proxy::is_secure)
    }

    /// A TCP connection to host and port, which may be a proxy's.
    async fn tcp_to(&self, host: &Origin, phases: &mut Phases) -> Result<Socket, Error> {
        let mut again = false;
        loop {
            let started = Instant::now();
            let found = self.dns.resolve(host.bare_host(), host.port).await?;
            let resolved = Instant::now();
            phases.dns += resolved - started;
            let result = tokio::select! {
                biased;
                result = tcp::connect(found.addresses()) => Some(result),
                () = found.moved(), if !again => None,
            };
            phases.connect += resolved.elapsed();
            match result {
                Some(Ok((tcp, address))) => {
                    found.worked(address);
                    return Ok(Socket::new(tcp));
                }
                Some(Err(error)) if again || !found.is_stale() => return Err(error),
                // The host may have moved since its addresses were looked up.
                _ => again = true,
            }
        }
    }

    /// The address that a SOCKS proxy is given. It is asked for one alone, so for what every proxy speaks: IPv4, if there is any.
    async fn address_for_socks(&self, origin: &Origin, phases: &mut Phases) -> Result<SocketAddr, Error> {
        let started = Instant::now();
        let found = self.dns.resolve(origin.bare_host(), origin.port).await?;
        phases.dns += started.elapsed();
        let addresses = found.addresses();
        let four = addresses.iter().find(|address| address.is_ipv4());
        let chosen = four.or(addresses.first()).copied().ok_or_else(|| Error::new(Kind::Dns))?;
        // Whether it is any good, the proxy finds out.
        found.worked(chosen);
        Ok(chosen)
    }

    async fn open(&self, origin: &Origin) -> Result<Connected, Error> {
        if self.needs_tls(origin) {
            // The roots are read outside of the phases: once in a process, and not the network's doing.
            self.tls_settings().await?;
        }
        let mut phases = Phases::default();
        // Boxed: each way is a large future of its own, and a connect takes one of them.
        match (&self.route, self.proxy_to(origin)) {
            (_, Some(proxy)) => Box::pin(self.open_through(proxy, origin, phases)).await,
            (Route::UnixSocket(path), None) => {
                let started = Instant::now();
                let socket = unix::connect(path).await?;
                phases.connect = started.elapsed();
                Box::pin(self.finish(origin, socket, phases)).await
            }
            (Route::Direct | Route::Proxied(_), None) => {
                let socket = self.tcp_to(origin, &mut phases).await?;
                Box::pin(self.finish(origin, socket, phases)).await
            }
        }
    }

    /// What the proxy takes, TLS with it included, counts as `connect`.
    async fn open_through(
        &self,
        proxy: &Proxy,
        origin: &Origin,
        mut phases: Phases,
    ) -> Result<Connected, Error> {
        let local = match proxy.scheme {
            Scheme::Socks5 => Some(self.address_for_socks(origin, &mut phases).await?),
            Scheme::Http | Scheme::Https | Scheme::Socks5h => None,
        };
        let socket = self.tcp_to(&proxy.address, &mut phases).await.map_err(|error| proxy.failed(error))?;
        let started = Instant::now();
        match proxy.scheme {
            Scheme::Http => {
                let tunnel = proxy.connect(socket, origin).await?;
                phases.connect += started.elapsed();
                self.finish(origin, tunnel, phases).await
            }
            Scheme::Https => {
                let settings = self.tls_settings().await?.proxies.clone();
                let session = tls::connect(&proxy.address, socket, settings).await;
                let tunnel = proxy.connect(session.map_err(|error| proxy.failed(error))?, origin).await?;
                phases.connect += started.elapsed();
                self.finish(origin, tunnel, phases).await
            }
            Scheme::Socks5 | Scheme::Socks5h => {
                let tunnel = proxy.socks(socket, origin, local).await?;
                phases.connect += started.elapsed();
                self.finish(origin, tunnel, phases).await
            }
        }
    }

    /// A way to the origin is there; what is left is TLS with it, if it is spoken.
    async fn finish<S>(&self, origin: &Origin, stream: S, mut phases: Phases) -> Result<Connected, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !origin.secure {
            let protocol = if self.http2 == Http2::PriorKnowledge { Protocol::H2 } else { Protocol::H1 };
            let io = Box::new(TokioIo::new(stream));
            return Ok(Connected { io, protocol, phases, tls_resumed: false });
        }
        let settings = self.tls_settings().await?.origins.clone();
        let started = Instant::now();
        let session = tls::connect(origin, stream, settings).await?;
        phases.tls = started.elapsed();
        let (protocol, tls_resumed) = tls::agreed(&session, self.http2);
        Ok(Connected { io: Box::new(TokioIo::new(session)), protocol, phases, tls_resumed })
    }
}

impl Connect for Connector {
    fn prepare<'a>(&'a self, origin: &'a Origin) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let way = self.way_to(origin);
            if way.needs_tls(origin) {
                // What is wrong with the roots, the first connection says.
                let _ = way.tls_settings().await;
            }
        })
    }

    fn connect<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>> {
        Box::pin(self.way_to(origin).open(origin))
    }
}
