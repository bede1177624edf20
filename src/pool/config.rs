//! Limits and times of a pool, already parsed. Pools of equal settings can be one.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::connect::{Identity, Route};
use super::origin::Origin;

/// The settings of a pool. Equal settings mean that two clients may share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Sockets to all origins together, those being opened included. Default 200.
    pub max_connections: NonZeroUsize,
    /// Sockets to one origin. Default 100.
    pub max_connections_per_origin: NonZeroUsize,
    /// Idle sockets kept, to all origins together. Default half of `max_connections`.
    pub max_idle_connections: usize,
    /// How long an idle socket is kept. Default 120 s.
    pub idle_timeout: Duration,
    /// A socket older than this takes no new request; each socket's own age lies up to a tenth below it, so that
    /// sockets opened together do not retire together. Default 300 s.
    pub max_age: Duration,
    /// How HTTP/2 comes to be spoken. Default [`Http2::Auto`].
    pub http2: Http2,
    /// Streams on one HTTP/2 connection; the server's own limit wins when it is lower. Default 100.
    pub max_streams_per_connection: NonZeroUsize,
    /// HTTP/2 PING after this long without a frame, on a connection with work. Default 30 s.
    pub ping_interval: Duration,
    /// An unanswered PING ends the connection after this. Default 10 s.
    pub ping_timeout: Duration,
    /// Sockets of an origin set aside for either kind of call. Default: all are for both.
    pub lanes: Option<Lanes>,
    /// Sockets of one tenant, to all origins together. Default: as many as there are.
    pub max_connections_per_tenant: Option<NonZeroUsize>,
    /// Tenants with sockets or calls at one time. Those without either are forgotten; where there are so many, sockets that rest of
    /// tenants without calls are let go for others. Default 10 000.
    pub max_tenants: NonZeroUsize,
    /// How long the addresses of a host are good. For ten times that they are still used while new ones are looked up in the
    /// background. Zero: every connect waits for a lookup. Default 30 s.
    pub dns_ttl: Duration,
    pub tls: TlsConfig,
    /// Default [`Route::Direct`].
    pub route: Route,
    /// Origins with settings of their own, in the order of their names: [`Config::set_for`].
    pub own: Vec<(Origin, Self)>,
}

/// How the sockets of one origin are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lanes {
    pub streaming: NonZeroUsize,
    pub unary: NonZeroUsize,
}

/// How HTTP/2 comes to be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http2 {
    /// Over TLS, ALPN offers it; plain text is HTTP/1.1.
    Auto,
    /// HTTP/1.1 only.
    Never,
    /// Without asking: h2c over plain text, and ALPN with `h2` alone over TLS.
    PriorKnowledge,
}

/// Settings of TLS. Versions 1.2 and 1.3.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    /// PEM texts, trusted besides the system's roots.
    pub ca: Vec<String>,
    /// A PEM file, trusted besides the system's roots; one that cannot be read is passed over with a warning
    /// (as Node does with `NODE_EXTRA_CA_CERTS`).
    pub extra_ca_file: Option<PathBuf>,
    /// Where the system's roots are, if not where the platform keeps them (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    pub system_ca_file: Option<PathBuf>,
    pub system_ca_dir: Option<PathBuf>,
    /// TLS 1.3 only.
    pub require_tls13: bool,
    /// Shown to origins that ask for a client certificate.
    pub identity: Option<Identity>,
    /// False: any certificate is taken, a proxy's as well. Development only.
    pub verify: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: const { NonZeroUsize::new(200).unwrap() },
            max_connections_per_origin: const { NonZeroUsize::new(100).unwrap() },
            max_idle_connections: 100,
            idle_timeout: Duration::from_secs(120),
            max_age: Duration::from_secs(300),
            http2: Http2::Auto,
            max_streams_per_connection: const { NonZeroUsize::new(100).unwrap() },
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            lanes: None,
            max_connections_per_tenant: None,
            max_tenants: const { NonZeroUsize::new(10_000).unwrap() },
            dns_ttl: Duration::from_secs(30),
            tls: TlsConfig::default(),
            route: Route::Direct,
            own: Vec::new(),
        }
    }
}

impl Config {
    /// Gives an origin settings of its own. The totals are still those of the pool: `max_connections`, `max_idle_connections`,
    /// `max_connections_per_tenant` and `max_tenants` of `own` are not looked at.
    pub fn set_for(&mut self, origin: Origin, own: Self) {
        // In all that is not looked at it is as this one, and so equal to what means the same.
        let own = Self {
            max_connections: self.max_connections,
            max_idle_connections: self.max_idle_connections,
            max_connections_per_tenant: self.max_connections_per_tenant,
            max_tenants: self.max_tenants,
            own: Vec::new(),
            ..own
        };
        match self.own.binary_search_by(|(known, _)| known.shown().cmp(origin.shown())) {
            Ok(at) => self.own[at] = (origin, own),
            Err(at) => self.own.insert(at, (origin, own)),
        }
    }

    /// What holds for an origin.
    pub fn of(&self, origin: &Origin) -> &Self {
        let own = self.own.iter().find(|(known, _)| known == origin);
        own.map_or(self, |(_, own)| own)
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            extra_ca_file: None,
            system_ca_file: None,
            system_ca_dir: None,
            require_tls13: false,
            identity: None,
            verify: true,
        }
    }
}
