//! The way to an origin: straight, through a proxy, or through a Unix socket.

use std::path::PathBuf;

use super::super::Origin;
use super::no_proxy::NoProxy;
use super::proxy::Proxy;

/// The way from here to the origins of a pool. Whatever it is, one socket belongs to one origin, and TLS is spoken with the
/// origin itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Route {
    /// To an address of the origin's own host.
    #[default]
    Direct,
    Proxied(Box<Proxies>),
    /// Every origin is behind this socket. Not on Windows.
    UnixSocket(PathBuf),
}

/// Which proxy, if any, leads to an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proxies {
    /// To `https:` origins.
    pub https: Option<Proxy>,
    /// To `http:` origins.
    pub http: Option<Proxy>,
    /// Origins that are connected to straight.
    pub except: NoProxy,
}

impl Route {
    /// The way through these proxies; straight, if there are none.
    pub fn through(proxies: Proxies) -> Self {
        match proxies {
            Proxies { https: None, http: None, .. } => Self::Direct,
            proxies => Self::Proxied(Box::new(proxies)),
        }
    }

    /// What a connect to an origin has for its address, as an error names it.
    pub(in super::super) fn place_of(&self, origin: &Origin) -> String {
        match self {
            Self::UnixSocket(path) => path.display().to_string(),
            Self::Direct | Self::Proxied(_) => origin.host_and_port(),
        }
    }
}

impl Proxies {
    pub(super) fn lead_to(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.secure { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.except.contains(origin))
    }
}
