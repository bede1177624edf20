//! Origins behind a Unix socket.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::servers::*;
use tokio::net::UnixListener;
use trunkline::pool::{Config, Http2, Kind, Protocol, Route};

/// The path of a socket, removed on drop.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("trunkline-{:016x}.sock", fastrand::u64(..))))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn route(&self) -> Route {
        Route::UnixSocket(self.0.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn every_origin_of_the_pool_is_behind_the_socket() {
    for (protocol, http2) in [(Protocol::H1, Http2::Auto), (Protocol::H2, Http2::PriorKnowledge)] {
        let place = Place::new();
        let listener = UnixListener::bind(place.path()).unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, protocol));
            }
        });
        let pool = pool(Config { http2, route: place.route(), ..Config::default() });
        // Neither name is one: nothing is looked up.
        for url in ["http://a.invalid", "http://b.invalid:99", "http://a.invalid"] {
            healthy(&pool, url).await;
        }
        let now = pool.snapshot();
        assert_eq!((now.opened, now.reused), (2, 1));
    }
}

#[tokio::test]
async fn tls_is_spoken_over_the_socket_with_the_origin() {
    let authority = Authority::new();
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    let config = Tls::of(&authority.leaf(&["a.invalid"])).config();
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve_tls(socket, config.clone(), told.clone()));
        }
    });
    let pool = pool(Config { route: place.route(), ..authority.config() });
    healthy(&pool, "https://a.invalid").await;
    assert_eq!(seen.lock().unwrap()[0].name.as_deref(), Some("a.invalid"));
    assert_eq!(failure(&pool, "https://b.invalid").await.0, Kind::Tls);
    healthy(&pool, "https://a.invalid").await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_an_error_until_it_is() {
    let place = Place::new();
    let pool = pool(Config { route: place.route(), ..Config::default() });
    assert_eq!(failure(&pool, "http://a.invalid").await.0, Kind::Connect);
    // A file that nobody listens behind.
    std::fs::write(place.path(), "").unwrap();
    assert_eq!(failure(&pool, "http://a.invalid").await.0, Kind::Connect);
    std::fs::remove_file(place.path()).unwrap();
    let listener = UnixListener::bind(place.path()).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, Protocol::H1));
        }
    });
    healthy(&pool, "http://a.invalid").await;
}
