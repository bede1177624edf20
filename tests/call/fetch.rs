//! Exchanges of fetch: over each protocol, cancelled anywhere, sent again only where they were certainly not processed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use trunkline::client::{Drain, FetchBody, FetchRequest, Fetched, Head, Reading, Tell, Upload, Whole};
use trunkline::error::Error;

/// A reader of the body of an answer, and what it was told of.
struct Reader {
    drain: Arc<Drain>,
    head: Arc<Mutex<Option<Head>>>,
    told: Arc<Notify>,
}

fn reader() -> Reader {
    let (head, told) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
    let (slot, tell) = (head.clone(), told.clone());
    let drain = Drain::new(Box::new(move |news| {
        if let Tell::Head(head) = news {
            *slot.lock() = Some(head);
        }
        tell.notify_one();
    }));
    Reader { drain: Arc::new(drain), head, told }
}

fn request_of(site: &Site, headers: &str, body: FetchBody) -> FetchRequest {
    let url = format!("{}/v1/chat/completions", site.upstream.url());
    let head = format!("POST\n{url}\n1\ncontent-type\napplication/json{headers}");
    FetchRequest::parse(&head, body).unwrap()
}

async fn fetch(site: &Site, body: FetchBody) -> (Result<Fetched, Error>, Reader) {
    let reader = reader();
    let fetched = site.client.fetch(request_of(site, "", body), reader.drain.clone()).await;
    (fetched, reader)
}

fn whole(value: &Value) -> FetchBody {
    FetchBody::Whole(value.to_string().into())
}

fn text(whole: Whole) -> String {
    match whole {
        Whole::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Whole::Pieces(pieces) | Whole::Bytes(pieces) => String::from_utf8(pieces.concat()).unwrap(),
    }
}

#[tokio::test]
async fn an_answer_comes_with_its_head_over_each_protocol() {
    for way in WAYS {
        let site = Site::new(way);
        for _ in 0..3 {
            let (fetched, reader) = fetch(&site, whole(&request())).await;
            let head = fetched.unwrap().head.or_else(|| reader.head.lock().take()).unwrap();
            assert_eq!(head.status, 200);
            assert!(head.text.contains("\ncontent-type\napplication/json"), "{}", head.text);
            let answer: Value = serde_json::from_str(&text(reader.drain.finish())).unwrap();
            assert_eq!(answer["object"], "chat.completion");
        }
        site.quiet().await;
        assert_eq!(site.metrics()["requests"]["succeeded"], 3);
    }
}

#[tokio::test]
async fn a_stream_is_handed_over_as_it_comes() {
    for way in WAYS {
        let site = Site::new(way);
        let words = "word ".repeat(2000);
        site.says(json!({ "content": words, "chunks": 500 }));
        let reader = reader();
        reader.drain.choose(Reading::Pieces);
        let running = site
            .client
            .fetch(request_of(&site, "", whole(&with(json!({ "stream": true })))), reader.drain.clone());
        tokio::pin!(running);
        let mut came = Vec::new();
        let take = || {
            let pieces = reader.drain.take();
            reader.drain.read(pieces.iter().map(Bytes::len).sum());
            pieces.concat()
        };
        let fetched = loop {
            tokio::select! {
                biased;
                fetched = &mut running => break fetched,
                () = reader.told.notified() => came.extend(take()),
            }
        };
        let head = fetched.unwrap().head.or_else(|| reader.head.lock().take()).unwrap();
        assert!(head.text.contains("\ncontent-type\ntext/event-stream"));
        came.extend(text(reader.drain.finish()).into_bytes());
        let came = String::from_utf8(came).unwrap();
        assert!(came.ends_with("data: [DONE]\n\n"));
        assert_eq!(
            came.matches("\"content\":\"").count(),
            501,
            "the role comes first; nothing is lost, nothing twice"
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_there_at_once_crosses_as_the_bytes_that_its_readers_want() {
    let site = Site::new(WAYS[0]);
    for (streams, as_text) in [(false, true), (true, false)] {
        let (fetched, reader) = fetch(&site, whole(&with(json!({ "stream": streams })))).await;
        fetched.unwrap();
        assert_eq!(matches!(reader.drain.finish(), Whole::Text(_)), as_text, "stream: {streams}");
    }
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again_and_nothing_else_is() {
    for way in [Way::H2c, Way::H2] {
        let site = Site::new(way);
        site.once(json!({ "kind": "goaway", "lastStream": "refused" }));
        fetch(&site, whole(&request())).await.0.unwrap();
        assert_eq!(site.metrics()["requests"]["retried"], 0, "it is the pool's, and no retry");
        site.once(json!({ "kind": "goaway", "lastStream": "processed" }));
        let seen = site.seen();
        let (result, _) = fetch(&site, whole(&request())).await;
        assert!(result.is_ok() || site.seen() == seen + 1);
    }
    for way in WAYS {
        let site = Site::new(way);
        site.once(json!({ "kind": "status", "status": 503, "headers": { "retry-after-ms": "1" } }));
        let (fetched, _) = fetch(&site, whole(&request())).await;
        assert_eq!((fetched.unwrap().head.unwrap().status, site.seen()), (503, 1));
        site.once(json!({ "kind": "reset", "after": "request" }));
        let error = fetch(&site, whole(&request())).await.0.unwrap_err();
        assert!(matches!(error.node_code, Some("ECONNRESET" | "UND_ERR_SOCKET")), "{error:?}");
        assert_eq!(site.seen(), 2);
        site.works().await;
    }
}

#[tokio::test]
async fn a_body_in_pieces_is_asked_for_piece_by_piece() {
    for way in WAYS {
        let site = Site::new(way);
        let body = request().to_string();
        let asked = Arc::new(Mutex::new(0));
        let upload = Arc::new_cyclic(|this: &std::sync::Weak<Upload>| {
            let (this, asked) = (this.clone(), asked.clone());
            Upload::new(Box::new(move || {
                let at = *asked.lock();
                *asked.lock() += 1;
                let piece = body.get(at * 10..).filter(|rest| !rest.is_empty());
                let piece = piece.map(|rest| Bytes::copy_from_slice(&rest.as_bytes()[..rest.len().min(10)]));
                this.upgrade().unwrap().give(piece);
            }))
        });
        let (fetched, reader) = fetch(&site, FetchBody::Pieces(upload)).await;
        let head = fetched.unwrap().head.or_else(|| reader.head.lock().take()).unwrap();
        assert_eq!(head.status, 200, "{}", text(reader.drain.finish()));
        assert_eq!(*asked.lock(), request().to_string().len().div_ceil(10) + 1);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_tells_its_head_and_fails() {
    for way in WAYS {
        let site = Site::new(way);
        site.says(json!({ "content": "word ".repeat(50), "chunks": 50 }));
        site.once(json!({ "kind": "reset", "after": 5 }));
        let (fetched, reader) = fetch(&site, whole(&with(json!({ "stream": true })))).await;
        let error = fetched.unwrap_err();
        assert!(matches!(error.node_code, Some("ECONNRESET" | "UND_ERR_SOCKET")), "{error:?}");
        assert_eq!(reader.head.lock().as_ref().unwrap().status, 200);
        site.quiet().await;
        assert_eq!(site.metrics()["requests"]["failed"], 1);
    }
}

/// What a server says to a request before it falls silent.
async fn speak(listener: &TcpListener, says: &[u8]) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"}") {
        assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0);
    }
    socket.write_all(says).await.unwrap();
    socket
}

#[tokio::test]
async fn a_silent_server_has_five_minutes_for_its_head_and_for_each_further_piece() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    const LIMIT: Duration = Duration::from_secs(300);
    for (says, code) in [
        (Vec::new(), "UND_ERR_HEADERS_TIMEOUT"),
        (HEAD.to_vec(), "UND_ERR_BODY_TIMEOUT"),
        ([HEAD, b"half"].concat(), "UND_ERR_BODY_TIMEOUT"),
    ] {
        let site = Site::new(Way::H1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let head = format!("POST\nhttp://{}/\n1", listener.local_addr().unwrap());
        let (reader, asked) = (reader(), FetchRequest::parse(&head, whole(&request())).unwrap());
        reader.drain.choose(Reading::Text);
        let mut exchange = pin!(site.client.fetch(asked, reader.drain.clone()));
        let spoken = async {
            let socket = speak(&listener, &says).await;
            while !says.is_empty() && reader.head.lock().is_none() {
                reader.told.notified().await;
            }
            socket
        };
        let _socket = tokio::select! {
            ended = &mut exchange => panic!("{ended:?}"),
            socket = spoken => socket,
        };
        // From here on the clock goes on by itself, to whatever is waited for next.
        tokio::time::pause();
        let silent_since = Instant::now();
        let error = exchange.await.unwrap_err();
        let waited = silent_since.elapsed();
        assert_eq!(error.node_code, Some(code), "{error:?}");
        assert!(waited.abs_diff(LIMIT) < Duration::from_secs(1), "{code} after {waited:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn whoever_does_not_read_may_take_as_long_as_they_like() {
    let site = Site::new(Way::H1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let head = format!("POST\nhttp://{}/\n1", listener.local_addr().unwrap());
    let (reader, asked) = (reader(), FetchRequest::parse(&head, whole(&request())).unwrap());
    let mut exchange = pin!(site.client.fetch(asked, reader.drain.clone()));
    let says = [&b"HTTP/1.1 200 OK\r\ncontent-length: 80000\r\n\r\n"[..], &[b'x'; 70_000]].concat();
    let spoken = async {
        let socket = speak(&listener, &says).await;
        while reader.head.lock().is_none() {
            reader.told.notified().await;
        }
        socket
    };
    let mut socket = tokio::select! {
        ended = &mut exchange => panic!("{ended:?}"),
        socket = spoken => socket,
    };
    tokio::time::pause();
    let hour = tokio::time::timeout(Duration::from_secs(3600), &mut exchange).await;
    assert!(hour.is_err(), "nobody has asked for more: {hour:?}");
    tokio::time::resume();
    reader.drain.choose(Reading::Bytes);
    let (fetched, ()) = tokio::join!(exchange, async { socket.write_all(&[b'x'; 10_000]).await.unwrap() });
    assert!(fetched.unwrap().head.is_none());
    assert_eq!(text(reader.drain.finish()).len(), 80_000);
}

/// `whole`, by gzip.
const WHOLE: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\xcf\xc8\xcf\x49\x05\x00\x4f\x29\x59\xc4\x05\x00\x00\x00";

/// Many servers just hang up behind the last byte. Where nothing but that ends a body, it is whole only if its coding has ended within.
#[tokio::test]
async fn a_body_that_nothing_ends_but_a_rude_server_is_whole_only_by_its_coding() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into();
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let (tls, listener) = (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tasks = trunkline::pool::Tasks::new(tokio::runtime::Handle::current());
    let client = client_of(&url, json!({ "pool": { "tls": { "ca": certified.cert.pem() } } }), &tasks);
    let gzip = "content-encoding: gzip\r\n";
    for (headers, body, read) in [
        (gzip, WHOLE, Some("whole")),
        (gzip, &WHOLE[..WHOLE.len() - 1], None),
        (gzip, &WHOLE[..12], None),
        (gzip, b"", None),
        ("content-encoding: gzip\r\ncontent-length: 26\r\n", WHOLE, None),
        ("", b"half", None),
    ] {
        let (reader, head) = (reader(), format!("POST\n{url}/\n1"));
        let asked = FetchRequest::parse(&head, whole(&request())).unwrap();
        reader.drain.choose(Reading::Text);
        let answering = async {
            let mut socket = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0);
            }
            let answer = [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat();
            socket.write_all(&answer).await.unwrap();
            socket.flush().await.unwrap();
            // Of TCP alone.
            socket.get_mut().0.shutdown().await.unwrap();
            socket
        };
        let (fetched, _socket) = tokio::join!(client.fetch(asked, reader.drain.clone()), answering);
        let came = fetched.map(|_| text(reader.drain.finish()));
        assert_eq!(came.as_deref().ok(), read, "{headers:?} and {} bytes: {came:?}", body.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_dropped_at_random_moments_leave_nothing_and_each_counts_once() {
    const FETCHES: u64 = 600;
    for way in WAYS {
        let site =
            Arc::new(Site::with(way, json!({ "record": false }), json!({ "pool": { "maxConnections": 4 } })));
        let mut running = JoinSet::new();
        for n in 0..FETCHES {
            let site = site.clone();
            running.spawn(async move {
                let body = whole(&with(json!({ "stream": n % 2 == 0 })));
                let reader = reader();
                reader.drain.choose(if n % 3 == 0 { Reading::Pieces } else { Reading::Text });
                let exchange = site.client.fetch(request_of(&site, "", body), reader.drain.clone());
                let _ = tokio::time::timeout(Duration::from_micros(fastrand::u64(0..8000)), exchange).await;
            });
            if running.len() >= 40 {
                running.join_next().await.unwrap().unwrap();
            }
        }
        while running.join_next().await.is_some() {}
        site.quiet().await;
        let requests = &site.metrics()["requests"];
        let count = |name: &str| requests[name].as_u64().unwrap();
        assert_eq!(count("started"), count("succeeded") + count("failed") + count("aborted"));
        site.works().await;
    }
}

#[tokio::test]
async fn a_closed_client_refuses() {
    let site = Site::new(Way::H1);
    site.client.begin_close();
    assert_eq!(fetch(&site, FetchBody::None).await.0.unwrap_err().name_and_code().0, "ClosedError");
}
