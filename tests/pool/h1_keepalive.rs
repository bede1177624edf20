//! HTTP/1.1 sockets between two requests: how long one may rest, what must not follow a response, and one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use trunkline::pool::{Config, Kind, Pool, Protocol, Tasks};

const SITE: &str = "http://a.test";

/// Raw ends of the connections, as they are made.
fn ends() -> (Pool, Arc<Net>, Tasks, mpsc::UnboundedReceiver<DuplexStream>) {
    ends_of(config(1, 1))
}

fn ends_of(settings: Config) -> (Pool, Arc<Net>, Tasks, mpsc::UnboundedReceiver<DuplexStream>) {
    let (arrived, ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H1, Box::new(move |end| arrived.send(end).unwrap()))
    });
    let (pool, net, tasks) = net.pool(settings);
    (pool, net, tasks, ends)
}

/// Reads one question whole; false if there is none any more.
async fn question(end: &mut DuplexStream) -> bool {
    let mut asked = Vec::new();
    while !asked.ends_with(b"question") {
        let Ok(byte) = end.read_u8().await else { return false };
        asked.push(byte);
    }
    assert_eq!(asked.windows(4).filter(|four| four == b"POST").count(), 1, "one at a time");
    true
}

fn ask(pool: &Pool) -> tokio::task::JoinHandle<bytes::Bytes> {
    let pool = pool.clone();
    tokio::spawn(async move { get(&pool, &origin(SITE), "/").await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn a_socket_rests_as_long_as_its_server_says_less_a_margin() {
    for (hint, rested, reused) in [
        ("/hint:timeout=5", 2900, true),
        ("/hint:timeout=5", 3100, false),
        ("/hint:timeout=5,max=100", 2900, true),
        ("/hint:timeout=5,max=0", 0, false),
        ("/hint:timeout=0", 0, false),
        ("/hint:timeout=1", 400, true),
        ("/hint:timeout=1", 600, false),
        // Longer than we would keep it.
        ("/hint:timeout=3600", 119_000, true),
        ("/hint:timeout=3600", 121_000, false),
        // No hint at all, and nonsense, which is as none.
        ("/", 119_000, true),
        ("/hint:timeout=soon,max=few", 119_000, true),
        ("/hint:timeout=-1,max=-1", 119_000, true),
        ("/hint:timeout=99999999999999999999", 119_000, true),
    ] {
        let settings = Config { max_age: Duration::from_secs(10_000), ..config(1, 1) };
        let (pool, net, _) = Net::h1().pool(settings);
        let site = origin(SITE);
        get(&pool, &site, hint).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rested)).await;
        settle().await;
        get(&pool, &site, "/").await.unwrap();
        assert_eq!(net.opened(), if reused { 1 } else { 2 }, "{hint} {rested}");
        whole(&pool, &net).await;
    }
}

/// The last word of the server counts, and not the first.
#[tokio::test(start_paused = true)]
async fn a_hint_holds_until_the_next_one() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    for (path, rested) in [("/hint:timeout=5", 2), ("/hint:timeout=60", 50), ("/hint:timeout=5", 0)] {
        get(&pool, &site, path).await.unwrap();
        tokio::time::sleep(Duration::from_secs(rested)).await;
    }
    assert_eq!(net.opened(), 1);
    tokio::time::sleep(Duration::from_secs(4)).await;
    get(&pool, &site, "/").await.unwrap();
    assert_eq!(net.opened(), 2);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_question_is_not_asked_before_the_first_answer_has_ended() {
    let (pool, net, _, mut ends) = ends();
    let calls = [ask(&pool), ask(&pool), ask(&pool)];
    let mut end = ends.recv().await.unwrap();
    let mut none = [0; 1];
    for _ in &calls {
        assert!(question(&mut end).await);
        for piece in ["HTTP/1.1 200 OK\r\n", "content-length: 4\r\n\r\n", "go", "od"] {
            settle().await;
            let early = tokio::time::timeout(Duration::from_millis(1), end.read(&mut none)).await;
            assert!(early.is_err(), "asked before {piece:?}");
            end.write_all(piece.as_bytes()).await.unwrap();
        }
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), "good");
    }
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

/// Where a server, or somebody before it, says more than was asked for, the rest is no answer to the next question.
#[tokio::test(start_paused = true)]
async fn what_follows_a_response_closes_its_socket() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
    for surplus in
        ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", "\r\n", "x", "HTTP/1.1 408 Timeout\r\n\r\n"]
    {
        for at_once in [true, false] {
            let (pool, net, _, mut ends) = ends();
            let first = ask(&pool);
            let mut end = ends.recv().await.unwrap();
            assert!(question(&mut end).await);
            if at_once {
                end.write_all(format!("{answer}{surplus}").as_bytes()).await.unwrap();
                assert_eq!(first.await.unwrap(), "good");
            } else {
                end.write_all(answer.as_bytes()).await.unwrap();
                assert_eq!(first.await.unwrap(), "good");
                settle().await;
                end.write_all(surplus.as_bytes()).await.unwrap();
                settle().await;
            }
            let second = ask(&pool);
            let mut end = ends.recv().await.unwrap();
            assert!(question(&mut end).await);
            end.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(second.await.unwrap(), "good", "{surplus:?} {at_once}");
            whole(&pool, &net).await;
            assert_eq!(net.connects(), 2);
        }
    }
}

/// Closes after a second of rest, or with its fifth answer, and says so or does not.
async fn impatient(mut end: DuplexStream, hint: &'static str) {
    for answered in 1..=5 {
        let next = tokio::time::timeout(Duration::from_secs(1), question(&mut end));
        if next.await != Ok(true) {
            return;
        }
        let last = if answered == 5 && !hint.is_empty() { "connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\n{hint}{last}content-length: 4\r\n\r\ngood");
        end.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Asked again as the client does it: what was not processed, and what met a socket that had served before.
#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_around_the_idle_timeout_of_a_server_all_succeed() {
    for (hint, allowed) in [("keep-alive: timeout=1\r\n", 0), ("", 1000)] {
        let (pool, net, _, mut ends) = ends_of(config(100, 100));
        let server = tokio::spawn(async move {
            while let Some(end) = ends.recv().await {
                tokio::spawn(impatient(end, hint));
            }
        });
        let again = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let (pool, again) = (pool.clone(), again.clone());
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let mut answer = get(&pool, &origin(SITE), "/").await;
                        for _ in 0..2 {
                            let Err(error) = &answer else { break };
                            match error.kind() {
                                Kind::Unprocessed => {}
                                Kind::NoResponse { reused: true } => {
                                    again.fetch_add(1, Ordering::Relaxed);
                                }
                                _ => break,
                            }
                            answer = get(&pool, &origin(SITE), "/").await;
                        }
                        assert_eq!(answer.unwrap(), "good");
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(800..1200))).await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let again = again.load(Ordering::Relaxed);
        assert!(again <= allowed, "{again} of 10000 took a retry, with {hint:?}");
        whole(&pool, &net).await;
        server.abort();
    }
}

/// A server that refuses a large question before it has read it, and closes: what it said counts, and not that we could not go on.
/// Linux keeps what was received before a reset.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_question_has_ended_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut some = [0; 4096];
            assert_ne!(socket.read(&mut some).await.unwrap(), 0);
            let answer =
                "HTTP/1.1 413 Content Too Large\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntoo big";
            socket.write_all(answer.as_bytes()).await.unwrap();
            // Closed with most of it unread, which resets it.
        }
    });
    let pool = Pool::new(Config::default(), Tasks::new(tokio::runtime::Handle::current()));
    let site = origin(&url);
    for round in 0..100 {
        let lease = lease(&pool, &site).await;
        let request = request(&lease, "/").map(|_| Bytes::from(vec![b'x'; 8 << 20]));
        let response = lease.send(request).await;
        let response = response.unwrap_or_else(|error| unreachable!("round {round}: {error}"));
        assert_eq!(response.status(), 413);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "too big");
    }
    server.abort();
}
