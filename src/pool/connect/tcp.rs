//! A TCP connection to one of a host's addresses.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::super::{Error, Kind};

/// TCP keep-alive finds out about a peer that is gone without a word on a socket without work.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// One address after the other; the error is that of the last.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::new(Kind::Connect);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Neither option is worth a connection.
                let _ = stream.set_nodelay(true);
                let keep_alive = socket2::TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
                return Ok(stream);
            }
            Err(error) => last = Error::with(Kind::Connect, error),
        }
    }
    Err(last)
}
