//! TLS with real peers on loopback: what is offered, what is taken, what is refused.

use crate::servers::*;
use crate::support::*;
use rustls::version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use trunkline::pool::{Config, Http2, Identity, Kind, Pool, Protocol, TlsConfig};

fn identity(leaf: &Leaf) -> Option<Identity> {
    Some(Identity::of(&leaf.cert_pem, leaf.key.serialize_pem().into()).unwrap())
}

#[tokio::test]
async fn the_server_sees_the_name_and_what_may_be_spoken() {
    let authority = Authority::new();
    let site = authority.site().await;
    let table: [(_, _, _, &[&str]); 4] = [
        ("localhost", Http2::Auto, Protocol::H2, &["h2", "http/1.1"]),
        ("localhost", Http2::Never, Protocol::H1, &["http/1.1"]),
        ("localhost", Http2::PriorKnowledge, Protocol::H2, &["h2"]),
        // An address is no name (RFC 6066), and is verified all the same.
        ("127.0.0.1", Http2::Auto, Protocol::H2, &["h2", "http/1.1"]),
    ];
    for (host, http2, protocol, offered) in table {
        let pool = pool(Config { http2, ..authority.config() });
        let lease = lease(&pool, &origin(&site.url("https", host))).await;
        assert_eq!(lease.protocol(), protocol, "{http2:?}");
        assert_eq!(exchange(lease, "/").await.unwrap(), "ok");
        let seen = site.seen().pop().unwrap();
        assert_eq!(seen.name.as_deref(), (host == "localhost").then_some("localhost"));
        assert_eq!(seen.offered, offered);
    }
}

#[tokio::test]
async fn a_server_without_alpn_is_spoken_to_in_http_1() {
    let authority = Authority::new();
    let mut tls = Tls::of(&authority.leaf(&["localhost"]));
    tls.alpn.clear();
    let site = Site::tls(tls).await;
    let pool = pool(authority.config());
    let lease = lease(&pool, &origin(&site.url("https", "localhost"))).await;
    assert_eq!(lease.protocol(), Protocol::H1);
    assert_eq!(exchange(lease, "/").await.unwrap(), "ok");
}

#[tokio::test]
async fn a_second_connection_resumes_the_session_of_the_first_and_is_counted() {
    let authority = Authority::new();
    for tls_version in [&version::TLS12, &version::TLS13] {
        for http2 in [Http2::Never, Http2::Auto] {
            let mut tls = Tls::of(&authority.leaf(&["localhost"]));
            tls.versions = vec![tls_version];
            let site = Site::tls(tls).await;
            let url = origin(&site.url("https", "localhost"));
            // One stream for each connection, so that two leases are two connections.
            let pool = pool(Config { http2, ..streams(1, authority.config()) });
            // The ticket comes with the first answer.
            let first = lease(&pool, &url).await;
            assert_eq!(exchange(first, "/").await.unwrap(), "ok");
            assert_eq!(pool.snapshot().tls_resumed, 0);
            let (old, new) = (lease(&pool, &url).await, lease(&pool, &url).await);
            assert_eq!((old.is_reused(), new.is_reused()), (true, false));
            assert_eq!(exchange(new, "/").await.unwrap(), "ok");
            drop(old);
            let resumed: Vec<_> = site.seen().iter().map(|seen| seen.resumed).collect();
            assert_eq!(resumed, [false, true], "{tls_version:?} {http2:?}");
            assert_eq!(pool.snapshot().tls_resumed, 1);
        }
    }
}

#[tokio::test]
async fn pools_of_other_settings_do_not_share_sessions() {
    let authority = Authority::new();
    let site = authority.site().await;
    for _ in 0..2 {
        let pool = pool(authority.config());
        healthy(&pool, &site.url("https", "localhost")).await;
    }
    assert_eq!(site.seen().iter().filter(|seen| seen.resumed).count(), 0);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_an_error_of_tls_and_leaves_the_pool_well() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.site().await;
    let table = [
        (stranger.leaf(&["localhost"]), "UnknownIssuer", "the issuer of its certificate is not trusted"),
        (authority.leaf(&["other.example"]), "not valid for name", "its certificate is not for that name"),
        (authority.leaf(&["127.0.0.1"]), "not valid for name", "its certificate is not for that name"),
        (authority.expired_leaf(&["localhost"]), "expired", "its certificate has expired"),
    ];
    for (leaf, why, words) in table {
        for http2 in [Http2::Auto, Http2::Never] {
            let site = Site::tls(Tls::of(&leaf)).await;
            let pool = pool(Config { http2, ..authority.config() });
            let (kind, said) = failure(&pool, &site.url("https", "localhost")).await;
            assert_eq!(kind, Kind::Tls, "{said}");
            assert!(said.contains(why), "{said}");
            let place = site.url("https", "localhost").replace("https://", "");
            assert!(said.starts_with(&format!("no TLS session with {place}: {words}: ")), "{said}");
            healthy(&pool, &good.url("https", "localhost")).await;
            // Whoever asks for no verification gets none.
            let tls = TlsConfig { verify: false, ..authority.trust() };
            let trusting = crate::servers::pool(Config { http2, tls, ..Config::default() });
            healthy(&trusting, &site.url("https", "localhost")).await;
        }
    }
}

#[tokio::test]
async fn tls_13_alone_is_not_spoken_with_a_server_of_tls_12() {
    let authority = Authority::new();
    let mut tls = Tls::of(&authority.leaf(&["localhost"]));
    tls.versions = vec![&version::TLS12];
    let (old, good) = (Site::tls(tls).await, authority.site().await);
    let tls = TlsConfig { require_tls13: true, ..authority.trust() };
    let strict = pool(Config { tls, ..Config::default() });
    let (kind, said) = failure(&strict, &old.url("https", "localhost")).await;
    assert_eq!(kind, Kind::Tls, "{said}");
    healthy(&strict, &good.url("https", "localhost")).await;
    healthy(&pool(authority.config()), &old.url("https", "localhost")).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_whom_asks_for_it() {
    let authority = Authority::new();
    let me = authority.leaf(&["me.example"]);
    for tls_version in [&version::TLS12, &version::TLS13] {
        for http2 in [Http2::Auto, Http2::Never] {
            let mut tls = Tls::of(&authority.leaf(&["localhost"])).asking(&authority, true);
            tls.versions = vec![tls_version];
            let site = Site::tls(tls).await;
            let url = site.url("https", "localhost");
            let tls = TlsConfig { identity: identity(&me), ..authority.trust() };
            healthy(&pool(Config { http2, tls, ..Config::default() }), &url).await;
            assert!(site.seen()[0].known);

            let nobody = pool(Config { http2, ..authority.config() });
            let (kind, said) = failure(&nobody, &url).await;
            // Over TLS 1.3 the client is through before the server has looked at what it showed.
            let late = *tls_version == version::TLS13;
            let expected = if late { Kind::NoResponse { reused: false } } else { Kind::Tls };
            assert_eq!(kind, expected, "{said}");
            // Its alert may be lost with the connection.
            assert!(late || said.contains("CertificateRequired"), "{said}");
            healthy(&nobody, &authority.site().await.url("https", "localhost")).await;
        }
    }
}

/// A server that does this with what comes first.
async fn peer<F>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 64]).await;
            serve(socket).await;
        }
    });
    url
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_an_error_and_leaves_the_pool_well() {
    let authority = Authority::new();
    let good = authority.site().await;
    let good = good.url("https", "localhost");
    let pool: Pool = pool(authority.config());
    let garbage = peer(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    assert_eq!(failure(&pool, &garbage).await.0, Kind::Tls);
    healthy(&pool, &good).await;
    let hangs_up = peer(|socket| async { drop(socket) }).await;
    assert_eq!(failure(&pool, &hangs_up).await.0, Kind::Connect);
    healthy(&pool, &good).await;
}
