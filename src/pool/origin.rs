//! Where a socket goes to.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use http::Uri;

/// Scheme, host and port: what two requests must have in common to share a connection (RFC 6454).
#[derive(Clone)]
pub struct Origin {
    pub(super) secure: bool,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// As it is shown. It says all that the others do, so that it alone is compared and hashed.
    shown: Arc<str>,
    /// Of `shown`: each checkout looks its origin up.
    hash: u64,
}

/// One for all origins: equal ones must have equal hashes.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A URL that names no HTTP origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginError;

impl Origin {
    /// The origin of an absolute `http:` or `https:` URL.
    pub fn of(uri: &Uri) -> Result<Self, OriginError> {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(OriginError),
        };
        let authority = uri.authority().ok_or(OriginError)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(OriginError);
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self::new(secure, authority.host(), port))
    }

    pub(super) fn new(secure: bool, host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        let scheme = if secure { "https" } else { "http" };
        let shown = format!("{scheme}://{}", authority_of(secure, &host, port));
        Self { secure, host: host.into(), port, hash: HASHER.hash_one(&shown), shown: shown.into() }
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The value of the `Host` header: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        authority_of(self.secure, &self.host, self.port)
    }

    /// What is connected to: `api.example.com:443`.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// As it is shown: `https://api.example.com`.
    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// The host without the brackets of an IPv6 literal.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

fn authority_of(secure: bool, host: &str, port: u16) -> String {
    match (secure, port) {
        (true, 443) | (false, 80) => host.to_owned(),
        _ => format!("{host}:{port}"),
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shown, &other.shown) || self.hash == other.hash && self.shown == other.shown
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an absolute http or https URL")
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<Origin, OriginError> {
        Origin::of(&url.parse().unwrap())
    }

    #[test]
    fn default_ports_and_case_do_not_make_a_new_origin() {
        assert_eq!(
            origin("https://API.example.com/v1").unwrap(),
            origin("https://api.example.com:443/x").unwrap()
        );
        assert_ne!(origin("http://a.example").unwrap(), origin("https://a.example").unwrap());
        assert_eq!(origin("http://a.example:8080").unwrap().to_string(), "http://a.example:8080");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for bad in ["/v1/chat", "ftp://a.example", "a.example:80", "https://user:secret@a.example"] {
            assert_eq!(origin(bad), Err(OriginError), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_literal_keeps_its_brackets_in_the_authority_only() {
        let six = origin("http://[::1]:9").unwrap();
        assert_eq!(six.authority(), "[::1]:9");
        assert_eq!(six.bare_host(), "::1");
    }
}
