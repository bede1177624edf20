//! The options of the pool.

use std::num::NonZeroUsize;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Environment;
use super::route::parse_route;
use super::section::Section;
use crate::error::Error;
use crate::pool::{self, Http2, Identity, IdentityError, Lanes, Origin, TlsConfig};

/// `origins`: where the calls of the client go, as far as they go the client's way.
pub(super) fn parse_pool(
    top: &mut Section,
    environment: &Environment,
    origins: &[&Origin],
) -> Result<pool::Config, Error> {
    let mut pool = pool::Config::default();
    pool.tls.extra_ca_file = environment.extra_ca_certs.as_ref().map(Into::into);
    pool.tls.system_ca_file = environment.ssl_cert_file.as_ref().map(Into::into);
    pool.tls.system_ca_dir = environment.ssl_cert_dir.as_ref().map(Into::into);
    let mut section = top.section("pool")?;
    pool.route = parse_route(section.as_mut(), environment, origins)?;
    let Some(mut given) = section else {
        return Ok(pool);
    };
    if let Some(max) = given.positive("maxConnections")? {
        pool.max_connections = max;
        pool.max_connections_per_origin = pool.max_connections_per_origin.min(max);
        pool.max_idle_connections = max.get().div_ceil(2);
    }
    if let Some(max) = given.count("maxIdleConnections")? {
        if max > pool.max_connections.get() {
            let total = pool.max_connections;
            let error = format!("must not be above pool.maxConnections ({total}), got {max}");
            return Err(given.error("maxIdleConnections", error));
        }
        pool.max_idle_connections = max;
    }
    parse_of_origin(given, &mut pool)?;
    Ok(pool)
}

/// `pool` of a provider: what may differ by origin. `pool` comes with the settings of the client.
pub(super) fn parse_own_pool(
    mut given: Section,
    environment: &Environment,
    origin: &Origin,
    pool: &mut pool::Config,
) -> Result<(), Error> {
    for name in ["maxConnections", "maxIdleConnections"] {
        if given.holds(name) {
            let error = format!(
                "is of all providers together, and stands in pool.{name}; a provider has {}.maxConnectionsPerOrigin",
                given.path()
            );
            return Err(given.error(name, error));
        }
    }
    if given.holds("noProxy") && !given.holds("proxy") {
        let error = format!("must be given with {}.proxy; where that is false, none is used", given.path());
        return Err(given.error("noProxy", error));
    }
    if has_own_route(&given) {
        pool.route = parse_route(Some(&mut given), environment, &[origin])?;
    }
    parse_of_origin(given, pool)
}

/// Whether a provider's options of the pool say how it is reached.
pub(super) fn has_own_route(given: &Section) -> bool {
    ["proxy", "socketPath"].iter().any(|name| given.holds(name))
}

/// What one origin can have of its own.
fn parse_of_origin(mut given: Section, pool: &mut pool::Config) -> Result<(), Error> {
    if let Some(max) = given.positive("maxConnectionsPerOrigin")? {
        if max > pool.max_connections {
            let total = pool.max_connections;
            let error = format!("must not be above pool.maxConnections ({total}), got {max}");
            return Err(given.error("maxConnectionsPerOrigin", error));
        }
        pool.max_connections_per_origin = max;
    }
    let durations: [(&str, &mut Duration); 4] = [
        ("idleTimeout", &mut pool.idle_timeout),
        ("maxAge", &mut pool.max_age),
        ("pingInterval", &mut pool.ping_interval),
        ("pingTimeout", &mut pool.ping_timeout),
    ];
    for (name, field) in durations {
        if let Some(time) = given.duration(name)? {
            *field = time;
        }
    }
    if let Some(ttl) = given.duration_or_zero("dnsTtl")? {
        pool.dns_ttl = ttl;
    }
    let modes = [("auto", Http2::Auto), ("never", Http2::Never), ("prior-knowledge", Http2::PriorKnowledge)];
    if let Some(mode) = given.one_of("http2", &modes)? {
        pool.http2 = mode;
    }
    if let Some(max) = given.positive("maxStreamsPerConnection")? {
        pool.max_streams_per_connection = max;
    }
    let path = given.path().to_owned();
    let all = pool.max_connections_per_origin;
    match given.section("lanes")? {
        Some(lanes) => pool.lanes = parse_lanes(lanes, &path, all)?,
        None => {
            if let Some(Lanes { streaming, unary }) =
                pool.lanes.filter(|lanes| lanes.streaming.get() + lanes.unary.get() > all.get())
            {
                let error = format!("must have room for pool.lanes ({streaming} + {unary}), got {all}");
                return Err(given.error("maxConnectionsPerOrigin", error));
            }
        }
    }
    if let Some(tls) = given.section("tls")? {
        parse_tls(tls, &mut pool.tls)?;
    }
    given.finish()
}

/// What one lane does not get, the other has.
fn parse_lanes(mut given: Section, pool: &str, all: NonZeroUsize) -> Result<Option<Lanes>, Error> {
    let mut sizes = [None; 2];
    for (size, name) in sizes.iter_mut().zip(["streaming", "unary"]) {
        let Some(mut lane) = given.section(name)? else { continue };
        if let Some(max) = lane.positive("maxConnections")? {
            if max > all {
                let error = format!("must not be above {pool}.maxConnectionsPerOrigin ({all}), got {max}");
                return Err(lane.error("maxConnections", error));
            }
            *size = Some(max);
        }
        lane.finish()?;
    }
    let rest = |taken: NonZeroUsize| NonZeroUsize::new(all.get() - taken.get());
    let lanes = match sizes {
        [None, None] => None,
        [Some(streaming), Some(unary)] => {
            (streaming.get() + unary.get() <= all.get()).then_some((streaming, unary))
        }
        [Some(streaming), None] => rest(streaming).map(|unary| (streaming, unary)),
        [None, Some(unary)] => rest(unary).map(|streaming| (streaming, unary)),
    };
    if lanes.is_none() && sizes != [None, None] {
        let error = match sizes {
            [Some(streaming), Some(unary)] => format!(
                "must not be above {pool}.maxConnectionsPerOrigin ({all}) together, got {streaming} + {unary}"
            ),
            _ => format!("must leave each lane a connection of {pool}.maxConnectionsPerOrigin ({all})"),
        };
        return Err(Error::config(format!("{}: {error}", given.path())));
    }
    given.finish()?;
    Ok(lanes.map(|(streaming, unary)| Lanes { streaming, unary }))
}

/// What is not the pool's: calls at once of each tenant.
pub(super) fn parse_tenants(
    top: &mut Section,
    pool: &mut pool::Config,
) -> Result<Option<NonZeroUsize>, Error> {
    let Some(mut given) = top.section("tenants")? else {
        return Ok(None);
    };
    if let Some(max) = given.positive("maxConnections")? {
        if max > pool.max_connections {
            let total = pool.max_connections;
            let error = format!("must not be above pool.maxConnections ({total}), got {max}");
            return Err(given.error("maxConnections", error));
        }
        pool.max_connections_per_tenant = Some(max);
    }
    if let Some(max) = given.positive("maxTenants")? {
        pool.max_tenants = max;
    }
    let at_once = given.positive("maxConcurrent")?;
    given.finish()?;
    Ok(at_once)
}

fn parse_tls(mut given: Section, tls: &mut TlsConfig) -> Result<(), Error> {
    if let Some(pems) = given.strings("ca")? {
        for pem in &pems {
            // Only looked at: reading the roots of the system, which they are added to, would take milliseconds.
            pool::roots_of(pem).map_err(|error| given.error("ca", error))?;
        }
        tls.ca = pems;
    }
    if let Some(identity) = parse_identity(&mut given)? {
        tls.identity = Some(identity);
    }
    if let Some(require) = given.one_of("minVersion", &[("TLSv1.2", false), ("TLSv1.3", true)])? {
        tls.require_tls13 = require;
    }
    if let Some(verify) = given.boolean("rejectUnauthorized")? {
        tls.verify = verify;
    }
    given.finish()
}

fn parse_identity(given: &mut Section) -> Result<Option<Identity>, Error> {
    let key = given.string("key")?.map(Zeroizing::new);
    match (given.string("cert")?, key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(given.error("key", format!("must be given with {}.cert", given.path()))),
        (None, Some(_)) => Err(given.error("cert", format!("must be given with {}.key", given.path()))),
        (Some(cert), Some(key)) => match Identity::of(&cert, key) {
            Ok(identity) => Ok(Some(identity)),
            Err(error @ IdentityError::NoCertificate) => Err(given.error("cert", error)),
            Err(error) => Err(given.error("key", error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClientConfig;
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use serde_json::{Value, json};

    fn tls(options: Value) -> Result<TlsConfig, String> {
        let config = ClientConfig::parse(json!({ "pool": { "tls": options } }), &Environment::default());
        config.map(|config| config.pool.tls).map_err(|error| error.message.clone())
    }

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.example".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_client_certificate_comes_with_its_own_key_or_not_at_all() {
        let ((cert, key), (_, other)) = (pair(), pair());
        assert!(tls(json!({ "cert": cert, "key": key })).unwrap().identity.is_some());
        let no_cert = "pool.tls.cert: must be PEM text with at least one certificate, and is not";
        let no_key = "pool.tls.key: must be PEM text with a private key that is not encrypted, and is not";
        let table = [
            (json!({ "cert": cert }), "pool.tls.key: must be given with pool.tls.cert"),
            (json!({ "key": key }), "pool.tls.cert: must be given with pool.tls.key"),
            (json!({ "cert": "x", "key": key }), no_cert),
            (json!({ "cert": key, "key": key }), no_cert),
            (json!({ "cert": cert, "key": "x" }), no_key),
            (json!({ "cert": cert, "key": cert }), no_key),
            (json!({ "cert": cert, "key": other }), "pool.tls.key: is not the key of the certificate"),
            (json!({ "cert": 1, "key": key }), "pool.tls.cert: must be a string, got a number (1)"),
        ];
        for (options, message) in table {
            assert_eq!(tls(options).unwrap_err(), message);
        }
    }

    #[test]
    fn a_root_that_cannot_be_decoded_is_refused_by_its_path() {
        let (cert, key) = pair();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(tls(json!({ "ca": [cert, format!("{cert}{cert}")] })).unwrap().ca.len(), 2);
        let none = "pool.tls.ca: must be PEM text with at least one certificate, and is not";
        let undecodable = |number| {
            format!(
                "pool.tls.ca: must hold certificates alone, and number {number} in it cannot be decoded as one"
            )
        };
        let table = [
            (json!(broken), undecodable(1)),
            (json!([cert, format!("{cert}{broken}")]), undecodable(2)),
            (json!(""), none.to_owned()),
            (json!([cert, key]), none.to_owned()),
        ];
        for (ca, message) in table {
            assert_eq!(tls(json!({ "ca": ca })).unwrap_err(), message);
        }
    }

    #[test]
    fn equal_certificates_are_equal_settings_and_show_no_key() {
        let (cert, key) = pair();
        let one = tls(json!({ "cert": cert, "key": key })).unwrap();
        assert_eq!(one, tls(json!({ "cert": cert, "key": key })).unwrap());
        assert_ne!(one, tls(json!({})).unwrap());
        let secret = key.lines().nth(1).unwrap();
        assert!(!format!("{one:?}").contains(secret));
    }
}
