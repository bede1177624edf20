//! TLS over a connection that is there already.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tower_service::Service;

use super::super::{Error, Http2, Kind, Origin, Protocol};

pub(super) type TlsIo = MaybeHttpsStream<TokioIo<TcpStream>>;

pub(super) async fn connect(
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
