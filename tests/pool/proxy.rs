//! Origins behind proxies: tunnels of HTTP and SOCKS5 on loopback, and proxies that are no good.

use std::time::Duration;

use crate::proxies::{Http, Proxy, Socks};
use crate::servers::*;
use crate::support::*;
use trunkline::pool::{self, Checkout, Config, Http2, Identity, Kind, NoProxy, Protocol, Proxies, Route};

const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const NO_STATUS: Kind = Kind::Proxy { status: None };

fn through(url: &str) -> Route {
    through_except(url, "")
}

fn through_except(url: &str, except: &str) -> Route {
    let proxy = pool::Proxy::parse(url).unwrap();
    Route::through(Proxies {
        https: Some(proxy.clone()),
        http: Some(proxy),
        except: NoProxy::lenient(except),
    })
}

/// Over each kind of proxy, a call to an origin whose name only the proxy knows.
#[tokio::test]
async fn a_tunnel_leads_to_the_origin_and_tls_is_spoken_with_the_origin() {
    let authority = Authority::new();
    for http2 in [Http2::Auto, Http2::Never] {
        let site = Site::tls(Tls::of(&authority.leaf(&["a.test"]))).await;
        let as_proxy = Tls::of(&authority.leaf(&["127.0.0.1"])).config();
        let table = [
            ("http://", Proxy::http(Http::Tunnel(OK), site.address).await),
            ("https://", Proxy::https(Http::Tunnel(OK), site.address, as_proxy).await),
            ("socks5h://", Proxy::socks(Socks::Tunnel, site.address).await),
        ];
        for (scheme, proxy) in table {
            let route = through(&proxy.url(scheme));
            let pool = crate::servers::pool(Config { http2, route, ..authority.config() });
            let url = site.url("https", "a.test");
            for _ in 0..3 {
                assert_eq!(get(&pool, &origin(&url), "/secret-path").await.unwrap(), "ok");
            }
            let target = format!("a.test:{}", site.address.port());
            let seen = proxy.seen();
            // One tunnel, used again.
            assert_eq!(seen.asked.len(), 1, "{scheme}");
            if scheme == "socks5h://" {
                assert_eq!(seen.asked[0], target);
            } else {
                let expected = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
                assert_eq!(seen.asked[0], expected);
            }
            assert_eq!(site.seen().pop().unwrap().name.as_deref(), Some("a.test"));
            // What is said to the origin is inside of TLS.
            assert!(!seen.sent.is_empty());
            assert!(!seen.sent.windows(11).any(|bytes| bytes == b"secret-path"), "{scheme}");
            let phases = pool.snapshot().handshake;
            assert_eq!(phases.count, 1);
        }
    }
}

#[tokio::test]
async fn an_origin_without_tls_has_a_tunnel_as_well() {
    let site = Site::plain(Protocol::H1).await;
    for (scheme, proxy) in [
        ("http://", Proxy::http(Http::Tunnel(OK), site.address).await),
        ("socks5h://", Proxy::socks(Socks::Tunnel, site.address).await),
    ] {
        let pool = crate::servers::pool(Config { route: through(&proxy.url(scheme)), ..Config::default() });
        healthy(&pool, "http://a.test").await;
        let asked = proxy.seen().asked.remove(0);
        assert!(asked.contains("a.test:80"), "{asked}");
    }
}

#[tokio::test]
async fn the_name_is_looked_up_here_for_socks5_and_there_for_socks5h() {
    let site = Site::plain(Protocol::H1).await;
    for (scheme, target) in [("socks5://", "127.0.0.1:7"), ("socks5h://", "localhost:7")] {
        let proxy = Proxy::socks(Socks::Tunnel, site.address).await;
        let pool = crate::servers::pool(Config { route: through(&proxy.url(scheme)), ..Config::default() });
        healthy(&pool, "http://localhost:7").await;
        assert_eq!(proxy.seen().asked, [target]);
    }
    // An address is one for both.
    let proxy = Proxy::socks(Socks::Tunnel, site.address).await;
    let pool = crate::servers::pool(Config { route: through(&proxy.url("socks5h://")), ..Config::default() });
    healthy(&pool, "http://[::1]:7").await;
    assert_eq!(proxy.seen().asked, ["[::1]:7"]);
}

#[tokio::test]
async fn credentials_reach_the_proxy_and_no_error() {
    let site = Site::plain(Protocol::H1).await;
    let http = Proxy::http(Http::Tunnel(OK), site.address).await;
    let route = through(&http.url("http://us%40er:s%3Aecret@"));
    healthy(&crate::servers::pool(Config { route, ..Config::default() }), "http://a.test").await;
    // `us@er:s:ecret`
    let asked = http.seen().asked.remove(0);
    assert!(asked.contains("\r\nproxy-authorization: Basic dXNAZXI6czplY3JldA==\r\n"), "{asked}");

    let socks = Proxy::socks(Socks::Asks("us@er", "s:ecret"), site.address).await;
    let route = through(&socks.url("socks5h://us%40er:s%3Aecret@"));
    healthy(&crate::servers::pool(Config { route, ..Config::default() }), "http://a.test").await;
    assert_eq!(socks.seen().credentials, ["us@er:s:ecret"]);

    let long = "p".repeat(255);
    let socks = Proxy::socks(Socks::Asks("u", "other"), site.address).await;
    let refusing = Proxy::http(Http::Answer("HTTP/1.1 407 No\r\n\r\n"), site.address).await;
    for url in [
        socks.url(&format!("socks5h://u:{long}@")),
        socks.url("socks5h://"),
        refusing.url("http://us%40er:s%3Aecret@"),
    ] {
        let pool = crate::servers::pool(Config { route: through(&url), ..Config::default() });
        let (kind, said) = failure(&pool, "http://a.test").await;
        assert!(matches!(kind, Kind::Proxy { .. }), "{said}");
        for secret in ["us@er", "us%40er", "ecret", "dXNAZXI", "pppp"] {
            assert!(!said.contains(secret), "{said}");
            assert!(!format!("{pool:?}").contains(secret));
        }
    }
    assert_eq!(socks.seen().credentials, [format!("u:{long}")]);
}

#[tokio::test]
async fn what_comes_right_behind_the_proxys_answer_is_the_origins_first() {
    // The one protocol here whose server speaks first.
    let site = Site::plain(Protocol::H2).await;
    let long = "HTTP/1.1 200 OK\r\nvia: 1.1 proxy\r\ncontent-length: 5\r\n\r\n";
    for (scheme, proxy) in [
        ("http://", Proxy::http(Http::Early(OK), site.address).await),
        ("http://", Proxy::http(Http::Early(long), site.address).await),
        ("socks5h://", Proxy::socks(Socks::Early, site.address).await),
    ] {
        let route = through(&proxy.url(scheme));
        let pool = crate::servers::pool(Config { route, http2: Http2::PriorKnowledge, ..Config::default() });
        healthy(&pool, "http://a.test").await;
    }
}

#[tokio::test]
async fn any_good_answer_opens_the_tunnel() {
    let site = Site::plain(Protocol::H1).await;
    for answer in [
        "HTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let proxy = Proxy::http(Http::Tunnel(answer), site.address).await;
        let pool =
            crate::servers::pool(Config { route: through(&proxy.url("http://")), ..Config::default() });
        healthy(&pool, "http://a.test").await;
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_speaks_garbage_is_an_error_of_its_own_and_leaves_the_pool_well() {
    let site = Site::plain(Protocol::H1).await;
    let status = |status| Kind::Proxy { status: Some(status) };
    let http = [
        (Http::Close("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"), status(407)),
        (Http::Answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 1000\r\n\r\n<html>"), status(403)),
        (Http::Answer("HTTP/1.0 502 Bad Gateway\r\n\r\n"), status(502)),
        (Http::Answer("HTTP/1.1 302 Found\r\nlocation: http://b.test\r\n\r\n"), status(302)),
        (Http::Answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), status(101)),
        (Http::Close(""), NO_STATUS),
        (Http::Close("HTTP/1.1 200 OK\r\n"), NO_STATUS),
        (Http::Close("HTTP/1.1 200 OK\r\nserver: x"), NO_STATUS),
        (Http::Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"), NO_STATUS),
        (Http::Answer("HTTP/1.1 2000 OK\r\n\r\n"), NO_STATUS),
        (Http::Answer("\u{16}\u{3}\u{1}\u{0}\u{0}"), NO_STATUS),
        (Http::Endless(10 << 20), NO_STATUS),
    ];
    let socks: [(_, &str); 10] = [
        (Socks::Refuses(1), "General SOCKS server failure"),
        (Socks::Refuses(2), "Connection not allowed by ruleset"),
        (Socks::Refuses(5), "Connection refused"),
        (Socks::Refuses(200), ""),
        (Socks::Asks("u", "p"), "No acceptable auth methods"),
        (Socks::Says(b""), ""),
        (Socks::Says(b"\x05"), ""),
        (Socks::Says(b"\x05\x00"), ""),
        (Socks::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "Invalid response version"),
        (Socks::Says(b"\x05\x7f"), "Unknown auth method"),
    ];
    let mut proxies = Vec::new();
    for (how, kind) in http {
        let proxy = Proxy::http(how, site.address).await;
        proxies.push((format!("{how:?}"), proxy.url("http://"), proxy, kind, ""));
    }
    for (how, why) in socks {
        let proxy = Proxy::socks(how, site.address).await;
        proxies.push((format!("{how:?}"), proxy.url("socks5h://"), proxy, NO_STATUS, why));
    }
    // One that speaks no TLS, though its URL says so.
    let plain = Proxy::socks(Socks::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), site.address).await;
    proxies.push(("plain".to_owned(), plain.url("https://"), plain, NO_STATUS, "TLS"));
    for (how, url, proxy, kind, why) in &proxies {
        // The site itself is reached straight, which shows that the pool is well.
        let route = through_except(url, "127.0.0.1");
        let pool = crate::servers::pool(Config { route, ..config(1, 1) });
        for target in ["http://a.test", "https://a.test"] {
            let (got, said) = failure(&pool, target).await;
            assert_eq!(got, *kind, "{how}: {said}");
            assert!(said.contains(why), "{how}: {said}");
            assert!(said.contains(&proxy.address.to_string()), "{how}: {said}");
        }
        healthy(&pool, &site.url("http", "127.0.0.1")).await;
        // The sockets to it are closed.
        until("the proxy is let go", || proxy.seen().ended >= 2).await;
        assert!(proxy.seen().taken < 10 << 20, "{how}: the head was read to its end");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_an_error_of_the_proxy() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https", "socks5", "socks5h"] {
        let route = through(&format!("{scheme}://{free}"));
        let pool = crate::servers::pool(Config { route, ..Config::default() });
        let (kind, said) = failure(&pool, "http://127.0.0.1").await;
        assert_eq!(kind, NO_STATUS);
        assert!(said.contains("refused") && said.contains(&free.to_string()), "{said}");
    }
}

#[tokio::test]
async fn a_proxy_whose_certificate_does_not_verify_gets_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let site = authority.site().await;
    let tls = Tls::of(&stranger.leaf(&["127.0.0.1"])).config();
    let proxy = Proxy::https(Http::Tunnel(OK), site.address, tls).await;
    let route = through(&proxy.url("https://u:secret@"));
    let pool = crate::servers::pool(Config { route, ..authority.config() });
    let (kind, said) = failure(&pool, "https://localhost").await;
    assert_eq!(kind, NO_STATUS);
    assert!(said.contains("UnknownIssuer"), "{said}");
    assert!(proxy.seen().asked.is_empty());
}

#[tokio::test]
async fn a_client_certificate_is_for_the_origin_and_not_for_the_proxy() {
    let authority = Authority::new();
    let site = Site::tls(Tls::of(&authority.leaf(&["a.test"])).asking(&authority, true)).await;
    let tls = Tls::of(&authority.leaf(&["127.0.0.1"])).asking(&authority, false).config();
    let proxy = Proxy::https(Http::Tunnel(OK), site.address, tls).await;
    let me = authority.leaf(&["me.test"]);
    let mut settings = Config { route: through(&proxy.url("https://")), ..authority.config() };
    settings.tls.identity = Some(Identity::of(&me.cert_pem, me.key.serialize_pem().into()).unwrap());
    healthy(&crate::servers::pool(settings), "https://a.test").await;
    assert!(site.seen()[0].known);
    assert_eq!(proxy.seen().certificates, 0);
}

#[tokio::test]
async fn the_connect_timeout_spans_a_proxy_that_says_nothing() {
    let site = Site::plain(Protocol::H1).await;
    let limit = Duration::from_millis(50);
    for (scheme, proxy) in [
        ("http://", Proxy::http(Http::Answer(""), site.address).await),
        ("https://", Proxy::socks(Socks::Silent, site.address).await),
        ("socks5h://", Proxy::socks(Socks::Silent, site.address).await),
    ] {
        let pool = crate::servers::pool(Config { route: through(&proxy.url(scheme)), ..Config::default() });
        let how = Checkout { connect_timeout: limit, ..how() };
        let error = pool.checkout(&origin("http://a.test"), how).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ConnectTimeout(limit));
        until("the proxy is let go", || proxy.seen().ended == 1).await;
        assert_eq!(pool.snapshot().connections.connecting, 0);
    }
}

#[tokio::test]
async fn an_origin_that_no_proxy_names_is_connected_to_straight() {
    let site = Site::plain(Protocol::H1).await;
    let proxy = Proxy::http(Http::Tunnel(OK), site.address).await;
    let route = through_except(&proxy.url("http://"), "127.0.0.0/8, b.test");
    let pool = crate::servers::pool(Config { route, ..Config::default() });
    healthy(&pool, &site.url("http", "127.0.0.1")).await;
    assert!(proxy.seen().asked.is_empty());
    // Loopback is nothing special: a list that does not hold it sends it through the proxy, as curl does.
    healthy(&pool, &site.url("http", "localhost")).await;
    assert_eq!(proxy.seen().asked.len(), 1);
}

#[tokio::test]
async fn each_scheme_of_origin_has_its_own_proxy_or_none() {
    let authority = Authority::new();
    let (plain, secure) = (Site::plain(Protocol::H1).await, authority.site().await);
    let proxy = Proxy::http(Http::Tunnel(OK), secure.address).await;
    let https = Some(pool::Proxy::parse(&proxy.url("http://")).unwrap());
    let route = Route::through(Proxies { https, ..Proxies::default() });
    let pool = crate::servers::pool(Config { route, ..authority.config() });
    healthy(&pool, &plain.url("http", "127.0.0.1")).await;
    assert!(proxy.seen().asked.is_empty());
    healthy(&pool, "https://localhost").await;
    assert_eq!(proxy.seen().asked.len(), 1);
}
