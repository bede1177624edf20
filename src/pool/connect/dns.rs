//! The addresses of a host.

use std::net::{IpAddr, SocketAddr};

use super::super::{Error, Kind, Origin};

pub(super) async fn resolve(origin: &Origin) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(literal) = origin.bare_host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, origin.port)]);
    }
    let found = tokio::net::lookup_host((origin.bare_host(), origin.port))
        .await
        .map_err(|error| Error::with(Kind::Dns, error))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        return Err(Error::new(Kind::Dns));
    }
    Ok(addresses)
}
