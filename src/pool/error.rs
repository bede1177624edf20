//! What can go wrong with a socket. Clonable, since one failed connection may answer many waiters.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, InvalidMessage};

/// An error of the pool: a kind, and what caused it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    /// Of a connection that was not made: the host, host and port, the path of a Unix socket, or the proxy.
    place: Option<Arc<str>>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What happened, as far as it matters for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The name was not resolved.
    Dns,
    /// No TCP connection: refused, unreachable, reset.
    Connect,
    /// No TLS session: certificate, host name, protocol.
    Tls,
    /// The proxy was not reached, refused, or answered with what is no answer; `status` is that of an HTTP proxy.
    Proxy { status: Option<u16> },
    /// DNS, TCP and TLS, those of a proxy included, together took longer than this.
    ConnectTimeout(Duration),
    /// The origin took no connection a moment ago, and is not asked again yet: [`Checkout::fail_fast`](super::Checkout::fail_fast).
    PutOff,
    /// No socket or stream came free within this.
    QueueTimeout(Duration),
    /// This many wait already.
    QueueFull(usize),
    /// This many tenants have calls or sockets already.
    TooManyTenants(usize),
    /// The pool is closed.
    Closed,
    /// Certainly not processed: never written, or not to its end, refused (REFUSED_STREAM), or above the last stream that a
    /// GOAWAY of the peer names. Safe to send again at once.
    Unprocessed,
    /// The same, and nothing is wrong with the connection: it was given more streams than the server takes, before that was known. What is
    /// safe to process twice by its method (a GET) may have been.
    Refused,
    /// The connection ended after the request was written and before a byte of the response. `reused`: the
    /// connection had served before, so the request most likely met a socket that was just being closed.
    NoResponse { reused: bool },
    /// What came was no HTTP, or more of it than the limits allow.
    Protocol,
    /// The response broke off inside its body.
    Body,
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: Kind) -> Self {
        Self { kind, place: None, cause: None }
    }

    /// An error with what caused it; a [`Connect`](super::Connect) of one's own says with it what went wrong. The cause's
    /// message must hold nothing of a request.
    pub fn with(kind: Kind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, place: None, cause: Some(Arc::from(cause.into())) }
    }

    /// Where it happened, unless that is known.
    #[must_use]
    pub(super) fn at(mut self, place: impl fmt::Display) -> Self {
        self.place.get_or_insert_with(|| place.to_string().into());
        self
    }

    /// This error of a connect, for one that is not made because of it.
    pub(super) fn put_off(&self) -> Self {
        Self { kind: Kind::PutOff, ..self.clone() }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What happened, and where; without the causes. It holds nothing of a request either.
    pub fn message(&self) -> String {
        let Some(place) = &self.place else { return self.kind.to_string() };
        match self.kind {
            Kind::Dns => format!("the host name {place} was not resolved"),
            Kind::Connect => format!("no connection to {place}{}", self.what_the_system_says()),
            Kind::PutOff => format!("no connection to {place} a moment ago"),
            Kind::Tls => format!("no TLS session with {place}{}", self.what_tls_says()),
            Kind::Proxy { status: Some(status) } => format!("the proxy {place} answered {status}"),
            Kind::Proxy { status: None } => {
                format!("no connection through the proxy {place}{}", self.what_the_system_says())
            }
            Kind::ConnectTimeout(limit) => {
                format!("no connection to {place} within {} ms", limit.as_millis())
            }
            other => other.to_string(),
        }
    }

    /// What was connected to, if that is what failed.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Whether the peer, or the proxy, showed a certificate whose issuer is not trusted here.
    pub fn is_untrusted(&self) -> bool {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        self.tls_error().is_some_and(|error| *error == unknown)
    }

    /// What the system calls it, where it was the system that said no: `ECONNREFUSED`.
    pub fn system_code(&self) -> Option<&'static str> {
        use std::io::ErrorKind as Io;
        let cause: &(dyn StdError + 'static) = self.cause.as_deref()?;
        if let Some(of_the_proxy) = cause_of::<Self>(cause) {
            return of_the_proxy.system_code();
        }
        Some(match cause_of::<std::io::Error>(cause)?.kind() {
            Io::ConnectionRefused => "ECONNREFUSED",
            Io::ConnectionReset | Io::ConnectionAborted => "ECONNRESET",
            Io::BrokenPipe => "EPIPE",
            Io::TimedOut => "ETIMEDOUT",
            Io::HostUnreachable => "EHOSTUNREACH",
            Io::NetworkUnreachable => "ENETUNREACH",
            Io::AddrNotAvailable => "EADDRNOTAVAIL",
            Io::PermissionDenied => "EACCES",
            Io::NotFound => "ENOENT",
            _ => return None,
        })
    }

    /// Whether a name was not resolved for now, and may be soon.
    pub fn is_temporary(&self) -> bool {
        // What getaddrinfo said, std gives as words alone.
        self.causes().is_some_and(|causes| causes.contains("emporary failure"))
    }

    /// What Node calls a session of TLS that was not made.
    pub fn tls_code(&self) -> &'static str {
        use CertificateError as Of;
        match self.tls_error() {
            Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
                Of::UnknownIssuer => "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
                Of::NotValidForName | Of::NotValidForNameContext { .. } => "ERR_TLS_CERT_ALTNAME_INVALID",
                Of::Expired | Of::ExpiredContext { .. } => "CERT_HAS_EXPIRED",
                Of::NotValidYet | Of::NotValidYetContext { .. } => "CERT_NOT_YET_VALID",
                Of::Revoked => "CERT_REVOKED",
                _ => "CERT_REJECTED",
            },
            _ => "EPROTO",
        }
    }

    /// In words, where rustls' own say little.
    fn what_the_system_says(&self) -> &'static str {
        match self.system_code() {
            Some("ECONNREFUSED") => ": connection refused",
            Some("ECONNRESET") => ": connection reset",
            Some("ETIMEDOUT") => ": timed out",
            Some("EHOSTUNREACH") => ": host unreachable",
            Some("ENETUNREACH") => ": network unreachable",
            Some("EACCES") => ": permission denied",
            Some("ENOENT") => ": no such file",
            _ => "",
        }
    }

    fn what_tls_says(&self) -> &'static str {
        use CertificateError as Of;
        match self.tls_error() {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                ": what answers there speaks no TLS, most likely plain HTTP"
            }
            Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
                Of::UnknownIssuer => ": the issuer of its certificate is not trusted",
                Of::NotValidForName | Of::NotValidForNameContext { .. } => {
                    ": its certificate is not for that name"
                }
                Of::Expired | Of::ExpiredContext { .. } => ": its certificate has expired",
                _ => "",
            },
            _ => "",
        }
    }

    fn tls_error(&self) -> Option<&rustls::Error> {
        let cause: &(dyn StdError + 'static) = self.cause.as_deref()?;
        if let Some(of_the_proxy) = cause_of::<Self>(cause) {
            return of_the_proxy.tls_error();
        }
        // `source()` of an io::Error skips the error that it carries.
        cause_of::<std::io::Error>(cause)?.get_ref()?.downcast_ref()
    }

    /// Whether the peer hung up without the goodbye of TLS. Of a body that nothing but the end of its connection ends, that may be all.
    pub fn is_without_goodbye(&self) -> bool {
        let Some(cause) = self.cause.as_deref() else { return false };
        self.kind == Kind::Body
            && cause_of::<std::io::Error>(cause)
                .is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
    }

    /// The messages of all causes, the nearest first. They are of hyper, rustls and the system, and hold nothing
    /// of a request.
    pub fn causes(&self) -> Option<String> {
        let first = self.cause.as_deref()?;
        let mut text = first.to_string();
        let mut next = first.source();
        while let Some(cause) = next {
            let message = cause.to_string();
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            next = cause.source();
        }
        Some(text)
    }
}

/// Whether an error leaves the other streams of its connection alone: a reset, or a request that was no good.
pub(super) fn is_of_one_stream(error: &hyper::Error) -> bool {
    error.is_user() || cause_of::<h2::Error>(error).is_some_and(h2::Error::is_reset)
}

/// Whether an error means that the peer closed or reset the socket, and said nothing wrong. Without `close_notify` over TLS it did
/// so all the same.
pub(super) fn is_hang_up(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    // A broken pipe is also h2's own word for an end of file.
    cause_of::<std::io::Error>(error).is_some_and(|io| {
        matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
    })
}

/// Whether an error of h2 means that the peer has certainly not processed the request. A GOAWAY that our own library
/// sent does not: the peer may have worked on the stream.
pub(super) fn is_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    cause_of::<h2::Error>(error).is_some_and(|h2| h2.is_remote() && h2.is_go_away())
}

/// Whether an error of h2 means that what came was no HTTP/2: our own library ended the stream, or the connection.
pub(super) fn is_no_http2(error: &(dyn StdError + 'static)) -> bool {
    cause_of::<h2::Error>(error).is_some_and(h2::Error::is_library)
}

/// Whether an error of h2 means that the peer refused the stream, and so has not processed the request.
pub(super) fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    cause_of::<h2::Error>(error)
        .is_some_and(|h2| h2.is_remote() && h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The first of a kind in the chain of causes.
fn cause_of<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("the host name was not resolved"),
            Self::Connect => f.write_str("no connection"),
            Self::PutOff => f.write_str("no connection a moment ago"),
            Self::Tls => f.write_str("no TLS session"),
            Self::Proxy { status: Some(status) } => write!(f, "the proxy answered {status}"),
            Self::Proxy { status: None } => f.write_str("no connection through the proxy"),
            Self::ConnectTimeout(limit) => write!(f, "no connection within {} ms", limit.as_millis()),
            Self::QueueTimeout(limit) => write!(f, "no free connection within {} ms", limit.as_millis()),
            Self::QueueFull(max) => write!(f, "{max} calls wait for a connection already"),
            Self::TooManyTenants(max) => write!(f, "{max} tenants have calls or sockets already"),
            Self::Closed => f.write_str("the pool is closed"),
            Self::Unprocessed => f.write_str("the request was not processed"),
            Self::Refused => f.write_str("the server takes fewer streams"),
            Self::NoResponse { .. } => f.write_str("the connection closed before a response"),
            Self::Protocol => f.write_str("the response is not HTTP"),
            Self::Body => f.write_str("the response broke off"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.causes() {
            Some(causes) => write!(f, ": {causes}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {}
