//! The pool serves a program that has nothing else of this repository.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use trunkline_pool::pool::{
    Checkout, Config, Connect, Connected, Error, Kind, Origin, Phases, Pool, Protocol, RequestBody, Tasks,
};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn over_memory_a_socket_serves_one_call_after_another_and_goes_with_the_pool() {
    let tasks = Tasks::new(Handle::current());
    let memory = Arc::new(Memory::default());
    let pool = Pool::with_connector(one_socket(), tasks.clone(), memory.clone());
    let site = origin("http://a.test");
    for number in 1..=3 {
        assert_eq!(call(&pool, &site).await, format!("answer {number}"));
    }
    // The one that waits gets the socket of the one that does not want it after all.
    let held = pool.checkout(&site, how()).await.unwrap();
    let (answer, ()) = tokio::join!(call(&pool, &site), async {
        tokio::task::yield_now().await;
        assert_eq!(pool.snapshot().origins[0].waiting, 1);
        drop(held);
    });
    assert_eq!(answer, "answer 4");
    let now = pool.snapshot();
    assert_eq!((now.opened, now.reused, now.connections.idle, now.connections.active), (1, 3, 1, 0));

    pool.close();
    assert_eq!(pool.checkout(&site, how()).await.unwrap_err().kind(), Kind::Closed);
    pool.closed().await;
    for peer in memory.ended() {
        peer.await.unwrap();
    }
    assert_eq!(pool.snapshot().closed["shutdown"], 1);
}

#[tokio::test]
async fn over_loopback_a_socket_serves_one_call_after_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(socket));
        }
    });
    let pool = Pool::new(one_socket(), Tasks::new(Handle::current()));
    let site = origin(&url);
    for number in 1..=3 {
        assert_eq!(call(&pool, &site).await, format!("answer {number}"));
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
    pool.close();
    pool.closed().await;
}

fn one_socket() -> Config {
    let one = const { std::num::NonZeroUsize::new(1).unwrap() };
    Config {
        max_connections: one,
        max_connections_per_origin: one,
        max_idle_connections: 1,
        ..Config::default()
    }
}

fn origin(url: &str) -> Origin {
    Origin::of(&url.parse().unwrap()).unwrap()
}

fn how() -> Checkout {
    Checkout { queue_timeout: LONG, connect_timeout: LONG, ..Checkout::default() }
}

async fn call(pool: &Pool, site: &Origin) -> String {
    let lease = pool.checkout(site, how()).await.unwrap();
    let request = Request::get("/").header("host", site.authority()).body(RequestBody::default()).unwrap();
    let answer = lease.send(request).await.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(answer.to_bytes().to_vec()).unwrap()
}

/// A network of memory. It keeps the peers, so that their end can be awaited.
#[derive(Default)]
struct Memory(Mutex<Vec<tokio::task::JoinHandle<()>>>);

impl Memory {
    fn ended(&self) -> Vec<tokio::task::JoinHandle<()>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Connect for Memory {
    fn connect<'a>(
        &'a self,
        _: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>> {
        Box::pin(async {
            let (ours, theirs) = tokio::io::duplex(1024);
            self.0.lock().unwrap().push(tokio::spawn(serve(theirs)));
            Ok(Connected {
                io: Box::new(TokioIo::new(ours)),
                protocol: Protocol::H1,
                phases: Phases::default(),
                tls_resumed: false,
            })
        })
    }
}

/// Answers with the number of the request on its socket, until the socket ends.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut request, mut number) = (Vec::new(), 0);
    while matches!(socket.read_buf(&mut request).await, Ok(1..)) {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            number += 1;
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 8";
            socket.write_all(format!("{head}\r\n\r\nanswer {number}").as_bytes()).await.unwrap();
        }
    }
}
