//! TLS over a connection that is there already.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::{Error, Http2, Kind, Origin, Protocol};

/// A session with the host of `origin`, whose certificate must name it.
pub(super) async fn connect<S>(
    origin: &Origin,
    stream: S,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name =
        ServerName::try_from(origin.bare_host().to_owned()).map_err(|error| Error::with(Kind::Tls, error))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(tls_error)
}

/// What ALPN agreed on, and whether the session was resumed.
pub(super) fn agreed<S>(stream: &TlsStream<S>, http2: Http2) -> (Protocol, bool) {
    let (_, session) = stream.get_ref();
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ if http2 == Http2::PriorKnowledge => Protocol::H2,
        _ => Protocol::H1,
    };
    (protocol, session.handshake_kind() == Some(HandshakeKind::Resumed))
}

/// What TLS itself refused is an error of TLS; a socket that broke during the handshake is one of the connection.
fn tls_error(error: io::Error) -> Error {
    // `source()` of an io::Error skips the error that it carries.
    let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    Error::with(if of_tls { Kind::Tls } else { Kind::Connect }, error)
}
