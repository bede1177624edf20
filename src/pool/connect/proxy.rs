//! A proxy: its address and credentials, and how it is asked to lead to an origin.
//!
//! | scheme | what is spoken |
//! |---|---|
//! | `http` | HTTP/1.1's CONNECT, for `http:` origins as well: a socket belongs to one origin |
//! | `https` | the same, inside TLS with the proxy |
//! | `socks5` | SOCKS5 (RFC 1928, 1929) with an address that is looked up here, as curl and Node's agents have it |
//! | `socks5h` | SOCKS5 with the name, which the proxy looks up |
//!
//! CONNECT is hyper's own: hyper-util's `Tunnel` names no status, and loses what comes right behind the head of the answer. SOCKS is
//! tokio-socks': hyper-util's `SocksV5` loses the same, and has 262 bytes for all of a handshake's messages together.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::{self, Upgraded};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{IntoTargetAddr, TargetAddr};

use super::super::{Error, Kind, Origin};
use super::socket::Socket;

/// The head of a proxy's answer has at most this many bytes.
const MAX_HEAD: usize = 16 * 1024;

/// What a URL of a proxy must be.
const WANTED: &str = "must be a URL with http, https, socks5 or socks5h, a host and no path";

/// A proxy. Its `Debug` and `Display` have no credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub(super) scheme: Scheme,
    /// Where it is.
    pub(super) address: Origin,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
    Socks5,
    Socks5h,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Credentials {
    /// The value of `Proxy-Authorization`.
    Basic(HeaderValue),
    Password {
        user: String,
        password: String,
    },
}

/// What is wrong with a URL, as the end of a sentence. The URL is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyError(&'static str);

impl Proxy {
    /// A proxy by its URL. Without a port, that of the scheme: 80, 443 or 1080. Credentials are percent-decoded.
    ///
    /// # Errors
    /// Anything but an absolute URL of a scheme that is spoken here.
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let wanted = ProxyError(WANTED);
        let (scheme, rest) = url.trim().split_once("://").ok_or(wanted)?;
        let uri: Uri = format!("{}://{rest}", scheme.to_ascii_lowercase()).parse().map_err(|_| wanted)?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            Some("socks5") => (Scheme::Socks5, 1080),
            Some("socks5h") => (Scheme::Socks5h, 1080),
            _ => return Err(wanted),
        };
        // A path is most often that of a script (`/proxy.pac`), which is not a proxy.
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
            return Err(wanted);
        }
        let authority = uri.authority().ok_or(wanted)?;
        if authority.host().is_empty() || authority.as_str().matches('@').count() > 1 {
            return Err(wanted);
        }
        let port = match authority.as_str().rsplit('@').next() {
            // `port_u16` has none for a port that is too large.
            Some(host_and_port) if host_and_port.len() > authority.host().len() => {
                authority.port_u16().filter(|port| *port > 0).ok_or(wanted)?
            }
            _ => default_port,
        };
        let address = Origin::new(scheme == Scheme::Https, authority.host(), port);
        Ok(Self { scheme, address, credentials: Credentials::of(&uri)? })
    }

    /// Whether TLS is spoken with the proxy itself.
    pub(super) fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// An error of this proxy.
    pub(super) fn failed(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.failed_with(None, cause)
    }

    fn failed_with(
        &self,
        status: Option<u16>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::with(Kind::Proxy { status }, Failed { proxy: self.to_string(), cause: cause.into() }).at(self)
    }

    /// Asks for a tunnel by HTTP. What comes right behind the head of the answer is the tunnel's first.
    pub(super) async fn connect<S>(&self, socket: S, origin: &Origin) -> Result<TokioIo<Upgraded>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = self.connect_request(origin).map_err(|error| self.failed(error))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| self.failed(error))?;
        let mut asking = std::pin::pin!(async {
            let response = sender.send_request(request).await.map_err(|error| self.failed(error))?;
            let status = response.status();
            if !status.is_success() {
                return Err(self.failed_with(Some(status.as_u16()), "refused"));
            }
            upgrade::on(response).await.map_err(|error| self.failed(error))
        });
        // Not a task: the tunnel takes the place of hyper's connection, and a connect that is given up takes both along.
        let tunnel = tokio::select! {
            biased;
            tunnel = &mut asking => tunnel,
            _ = connection.with_upgrades() => asking.await,
        };
        tunnel.map(TokioIo::new)
    }

    fn connect_request(&self, origin: &Origin) -> Result<Request<Empty<Bytes>>, http::Error> {
        let target = origin.host_and_port();
        let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, target);
        if let Some(Credentials::Basic(authorization)) = &self.credentials {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        request.body(Empty::new())
    }

    /// Asks for a tunnel by SOCKS5: to an address, or to the origin's name.
    pub(super) async fn socks(
        &self,
        socket: Socket,
        origin: &Origin,
        address: Option<SocketAddr>,
    ) -> Result<Socket, Error> {
        let target = match address {
            Some(address) => Ok(TargetAddr::Ip(address)),
            // A host that is an address is sent as one.
            None => (origin.bare_host(), origin.port).into_target_addr(),
        };
        let target = target.map_err(|error| self.failed(error))?;
        let tunnel = match &self.credentials {
            Some(Credentials::Password { user, password }) => {
                Socks5Stream::connect_with_password_and_socket(socket, target, user, password).await
            }
            _ => Socks5Stream::connect_with_socket(socket, target).await,
        };
        tunnel.map(Socks5Stream::into_inner).map_err(|error| self.failed(error))
    }
}

impl Credentials {
    /// hyper-util's reader of the same URLs decodes and encodes them.
    fn of(uri: &Uri) -> Result<Option<Self>, ProxyError> {
        let any = Uri::from_static("http://a.invalid");
        let read = Matcher::builder().all(uri.to_string()).build().intercept(&any);
        let found = read.ok_or(ProxyError(WANTED))?;
        if let Some(basic) = found.basic_auth() {
            return Ok(Some(Self::Basic(basic.clone())));
        }
        let Some((user, password)) = found.raw_auth() else { return Ok(None) };
        // RFC 1929 has a byte for each length.
        if !(1..=255).contains(&user.len()) || !(1..=255).contains(&password.len()) {
            return Err(ProxyError("must have a user and a password of 1 to 255 bytes each, or neither"));
        }
        Ok(Some(Self::Password { user: user.to_owned(), password: password.to_owned() }))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Socks5 => "socks5",
            Scheme::Socks5h => "socks5h",
        };
        write!(f, "{scheme}://{}:{}", self.address.host, self.address.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        f.write_str(if self.credentials.is_some() { " with credentials" } else { "" })
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProxyError {}

/// Names the proxy in the chain of causes.
#[derive(Debug)]
struct Failed {
    proxy: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.proxy)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_proxy_is_and_what_it_speaks() {
        let table = [
            ("http://Proxy.Example", "http://proxy.example:80"),
            ("https://proxy.example/", "https://proxy.example:443"),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080"),
            ("SOCKS5H://[::1]:9", "socks5h://[::1]:9"),
            (" http://u:p@proxy.example:3128 ", "http://proxy.example:3128"),
        ];
        for (url, shown) in table {
            assert_eq!(Proxy::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_it() {
        let bad = [
            "",
            "proxy.example",
            "proxy.example:3128",
            "ftp://u:secret@proxy.example",
            "socks4://proxy.example",
            "http://",
            "http://:80",
            "http://u:secret@",
            "http://u:sec@ret@proxy.example",
            "http://proxy.example:0",
            "http://proxy.example:70000",
            "http://proxy.example/proxy.pac",
            "http://proxy.example?x",
            "http://proxy.example/#x",
            "http://u:sec ret@proxy.example",
        ];
        for url in bad {
            assert_eq!(Proxy::parse(url), Err(ProxyError(WANTED)), "{url}");
        }
        for url in ["socks5://u@proxy.example", &format!("socks5://u:{}@proxy.example", "p".repeat(256))] {
            assert!(Proxy::parse(url).unwrap_err().to_string().contains("1 to 255 bytes"), "{url}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let http = Proxy::parse("http://us%40er:s%3Aecr%2Fet@proxy.example").unwrap();
        let origin = Origin::of(&Uri::from_static("https://a.example")).unwrap();
        let request = http.connect_request(&origin).unwrap();
        // `us@er:s:ecr/et`
        assert_eq!(request.headers()[PROXY_AUTHORIZATION], "Basic dXNAZXI6czplY3IvZXQ=");
        let socks = Proxy::parse("socks5h://us%40er:s%3Aecr%2Fet@proxy.example").unwrap();
        assert!(
            matches!(&socks.credentials, Some(Credentials::Password { user, password }) if user == "us@er" && password == "s:ecr/et")
        );
        for proxy in [http, socks] {
            let shown = format!("{proxy} {proxy:?} {} {:?}", proxy.failed("x"), proxy.failed("x"));
            assert!(
                !shown.contains("ecr")
                    && !shown.contains("us@")
                    && !shown.contains("us%40")
                    && !shown.contains("dXNA"),
                "{shown}"
            );
        }
    }

    #[test]
    fn other_credentials_are_another_proxy() {
        let of = |url| Proxy::parse(url).unwrap();
        assert_eq!(of("http://u:p@a.example"), of("http://u:p@A.example:80/"));
        assert_ne!(of("http://u:p@a.example"), of("http://u:q@a.example"));
        assert_ne!(of("http://a.example"), of("https://a.example:80"));
    }
}
