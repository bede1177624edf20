//! A connection to a Unix socket.

use std::path::Path;

use super::super::{Error, Kind};

#[cfg(unix)]
pub(super) async fn connect(path: &Path) -> Result<tokio::net::UnixStream, Error> {
    let connected = tokio::net::UnixStream::connect(path).await;
    connected.map_err(|error| Error::with(Kind::Connect, error))
}

/// Options that ask for one are refused there, so this is for those who use the pool by itself.
#[cfg(not(unix))]
pub(super) async fn connect(_: &Path) -> Result<tokio::net::TcpStream, Error> {
    Err(Error::with(Kind::Connect, "there are no Unix sockets on this system"))
}
