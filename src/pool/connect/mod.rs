//! DNS, TCP and TLS, each timed. Behind the [`Connect`] trait, so that tests can script a network.
//!
//! | file | idea |
//! |---|---|
//! | `dns` | the addresses of a host, remembered for a while |
//! | `tcp` | a connection to one of them, whichever answers first |
//! | `tls` | TLS over it |
//! | `roots` | settings of TLS, and whom it trusts |

mod dns;
mod roots;
mod tcp;
mod tls;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::dns::Lookup;
pub(crate) use self::roots::certificates;
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
    http2: Http2,
    tls: TlsConfig,
    dns: dns::Resolver,
    /// Made at the first secure origin: reading the roots costs milliseconds.
    client_config: OnceCell<Arc<ClientConfig>>,
}

impl Connector {
    pub fn new(config: &Config, tasks: &Tasks) -> Self {
        Self::with_lookup(config, tasks, Arc::new(dns::System))
    }

    /// One that asks for the addresses of hosts in its own way: in tests, a scripted one.
    pub fn with_lookup(config: &Config, tasks: &Tasks, lookup: Arc<dyn Lookup>) -> Self {
        Self {
            http2: config.http2,
            tls: config.tls.clone(),
            dns: dns::Resolver::new(config.dns_ttl, lookup, tasks.clone()),
            client_config: OnceCell::new(),
        }
    }

    async fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let made = self.client_config.get_or_try_init(|| async {
            let (tls, http2) = (self.tls.clone(), self.http2);
            tokio::task::spawn_blocking(move || roots::client_config(&tls, http2))
                .await
                .map_err(|error| Error::with(Kind::Tls, error))?
        });
        made.await.cloned()
    }

    /// A TCP connection to a host: its phases but TLS.
    async fn reach(&self, host: &str, port: u16) -> Result<(TcpStream, Phases), Error> {
        let mut phases = Phases::default();
        let mut again = false;
        loop {
            let started = Instant::now();
            let found = self.dns.resolve(host, port).await?;
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
                    return Ok((tcp, phases));
                }
                Some(Err(error)) if again || !found.is_stale() => return Err(error),
                // The host may have moved since its addresses were looked up.
                _ => again = true,
            }
        }
    }

    async fn open(&self, origin: &Origin) -> Result<Connected, Error> {
        // The roots are read outside of the phases: once in a process, and not the network's doing.
        let config = if origin.secure { Some(self.client_config().await?) } else { None };
        let (tcp, mut phases) = self.reach(origin.bare_host(), origin.port).await?;
        let connected = Instant::now();
        let Some(config) = config else {
            let protocol = if self.http2 == Http2::PriorKnowledge { Protocol::H2 } else { Protocol::H1 };
            return Ok(Connected { io: Box::new(TokioIo::new(tcp)), protocol, phases, tls_resumed: false });
        };
        let (io, protocol, tls_resumed) = tls::connect(origin, tcp, config, self.http2).await?;
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
