//! Servers that speak nonsense: an error that says so, the connection gone, and the next call served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, MAX_STREAMS, PING, REFUSED_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, peers,
};
use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use trunkline::pool::{Kind, Protocol};

const STATUS_200: u8 = 0x88;
const PUSH_PROMISE: u8 = 5;

/// Bytes after the request has come in, and then more of the same as often as they are taken.
struct Nonsense {
    protocol: Protocol,
    first: Vec<u8>,
    then: Vec<u8>,
    /// Whether it hangs up at the end, rather than waiting for us to do so.
    hangs_up: bool,
}

impl Nonsense {
    /// What it had to say, until it was cut off; counts the bytes that were taken.
    async fn speak(self, mut end: DuplexStream, taken: Arc<AtomicUsize>) {
        let (mut read, mut write) = tokio::io::split(&mut end);
        // The question, or at least its beginning. Its first byte has a frame of its own where nothing was said before.
        let mut question = [0; 8192];
        if self.protocol == Protocol::H2 {
            let greeting = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
            if self.first.starts_with(&[0]) || self.first.is_empty() {
                write.write_all(&greeting).await.unwrap();
            }
        }
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("uestion") {
            let read = read.read(&mut question).await.unwrap();
            assert_ne!(read, 0, "gone before it had asked");
            seen.extend_from_slice(&question[..read]);
        }
        let listening = async {
            let mut read_on = [0; 8192];
            while read.read(&mut read_on).await.is_ok_and(|read| read > 0) {}
        };
        let speaking = async {
            if write.write_all(&self.first).await.is_err() {
                return;
            }
            taken.fetch_add(self.first.len(), Ordering::Relaxed);
            while !self.then.is_empty() {
                if write.write_all(&self.then).await.is_err() {
                    return;
                }
                taken.fetch_add(self.then.len(), Ordering::Relaxed);
            }
            if !self.hangs_up {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! { () = listening => {}, () = speaking => {} }
    }
}

/// One call meets it, and the next ones a good server. Returns how the first one ended.
async fn meets(nonsense: Nonsense, name: &str) -> Kind {
    let protocol = nonsense.protocol;
    let taken = Arc::new(AtomicUsize::new(0));
    let (bad, counted) = (std::sync::Mutex::new(Some(nonsense)), taken.clone());
    let net = Net::new(move |_, _| match bad.lock().unwrap().take() {
        Some(nonsense) => {
            let taken = counted.clone();
            Plan::Raw(protocol, Box::new(move |end| drop(tokio::spawn(nonsense.speak(end, taken)))))
        }
        None if protocol == Protocol::H2 => Plan::H2(100),
        None => Plan::H1,
    });
    let (pool, net, tasks) = net.pool(config(1, 1));
    let first = tokio::time::timeout(Duration::from_secs(600), call(&pool, "/")).await;
    let error = first.unwrap_or_else(|_| unreachable!("{name} never ends")).unwrap().unwrap_err();
    assert!(error.to_string().len() < 300, "{name}: {error}");
    for _ in 0..3 {
        assert_eq!(call(&pool, "/").await.unwrap().unwrap(), "ok", "{name}");
    }
    whole(&pool, &net).await;
    assert_eq!((net.connects(), net.open()), (2, 1), "{name}");
    let most = 4 << 20;
    assert!(taken.load(Ordering::Relaxed) < most, "{name}: {taken:?} bytes were taken in");
    nothing_left(pool, &net, &tasks).await;
    error.kind()
}

/// Frames one after the other.
fn h2(first: &[Vec<u8>], then: &[Vec<u8>]) -> Nonsense {
    Nonsense { protocol: Protocol::H2, first: first.concat(), then: then.concat(), hangs_up: false }
}

fn noise() -> Vec<u8> {
    (1..5000u32).map(|n| (n * 7919 % 256) as u8).collect()
}

/// A field that is in no table, as HPACK has it.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = text.len();
        match length {
            0..127 => bytes.push(length as u8),
            _ => {
                bytes.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 0x80);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![STATUS_200];
    block.extend(fields.iter().flat_map(|(name, value)| field(name, value)));
    block
}

/// A head with so many fields.
fn fields(count: usize) -> Vec<u8> {
    let mut block = vec![STATUS_200];
    block.extend((0..count).flat_map(|n| field(&format!("x-{n}"), "y")));
    block
}

const WHOLE: u8 = END_HEADERS | END_STREAM;

#[tokio::test(start_paused = true)]
async fn what_is_no_http2_is_a_protocol_error() {
    let ten_megabytes = "y".repeat(10 << 20);
    let block = head(&[("x", &ten_megabytes)]);
    let mut pieces = block.chunks(16_384);
    let mut large = vec![frame(HEADERS, END_STREAM, 1, pieces.next().unwrap())];
    large.extend(pieces.map(|piece| frame(CONTINUATION, 0, 1, piece)));
    let thousands = fields(10_000);
    let mut pieces = thousands.chunks(16_384);
    let mut many = vec![frame(HEADERS, END_STREAM, 1, pieces.next().unwrap())];
    many.extend(pieces.map(|piece| frame(CONTINUATION, 0, 1, piece)));
    many.push(frame(CONTINUATION, END_HEADERS, 1, &[]));
    for (name, nonsense) in [
        ("noise", h2(&[noise()], &[])),
        ("HTTP/1.1", h2(&[b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()], &[])),
        ("a frame that is too large", h2(&[frame(DATA, 0, 1, &[0; 20_000])], &[])),
        ("a field in capitals", h2(&[frame(HEADERS, WHOLE, 1, &head(&[("X-Loud", "y")]))], &[])),
        ("a head of 10 MB", h2(&large, &[])),
        ("ten thousand fields", h2(&many, &[])),
        ("a head without an end", h2(&[frame(HEADERS, 0, 1, &[])], &[frame(CONTINUATION, 0, 1, &[])])),
        ("HPACK that is none", h2(&[frame(HEADERS, WHOLE, 1, &[0xff; 64])], &[])),
        ("data before the head", h2(&[frame(DATA, 0, 1, b"x")], &[])),
        ("a stream that nobody opened", h2(&[frame(HEADERS, WHOLE, 9, &[STATUS_200])], &[])),
        ("a push", h2(&[frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])], &[])),
        ("a window that overflows", { h2(&[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], &[]) }),
        ("a setting out of range", h2(&[frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])], &[])),
        ("half a SETTINGS", h2(&[frame(SETTINGS, 0, 0, &[0, 4])], &[])),
    ] {
        assert_eq!(meets(nonsense, name).await, Kind::Protocol, "{name}");
    }
    // These are of their stream alone, and the connection serves on.
    for (name, frames) in [
        ("a thousand fields", vec![frame(HEADERS, WHOLE, 1, &fields(1000))]),
        ("no status", vec![frame(HEADERS, WHOLE, 1, &field("x", "y"))]),
    ] {
        let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
        let running = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        peer.requests(1).await;
        for frame in frames {
            peer.write(frame);
        }
        assert_eq!(running.await.unwrap().unwrap_err().kind(), Kind::Protocol, "{name}");
        let next = call(&pool, "/");
        let stream = peer.requests(1).await[0];
        peer.answer(stream);
        next.await.unwrap().unwrap();
        whole(&pool, &net).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_body_that_is_not_what_was_said_is_a_cut_body() {
    for (length, said) in [("9", "short"), ("2", "too long"), ("0", "x")] {
        let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
        let running = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        let stream = peer.requests(1).await[0];
        peer.send(HEADERS, END_HEADERS, stream, &head(&[("content-length", length)]));
        settle().await;
        peer.data(stream, said.as_bytes());
        peer.end(stream);
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Body, "{length} {said}");
        let next = call(&pool, "/");
        let stream = peer.requests(1).await[0];
        peer.answer(stream);
        next.await.unwrap().unwrap();
        whole(&pool, &net).await;
    }
}

/// Each is answered by us, and no further one is read while it cannot be: so there is nothing that grows.
#[tokio::test(start_paused = true)]
async fn floods_of_settings_and_pings_are_answered_and_cost_nobody_anything() {
    for kind in [SETTINGS, PING] {
        let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
        let running = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        let stream = peer.requests(1).await[0];
        settle().await;
        peer.unread();
        for _ in 0..10_000 {
            peer.send(kind, 0, 0, if kind == PING { &[0; 8] } else { &[] });
        }
        peer.answer(stream);
        running.await.unwrap().unwrap();
        for _ in 0..10_000 {
            peer.next(kind).await;
        }
        whole(&pool, &net).await;
        assert_eq!(net.connects(), 1);
    }
    // A server that only speaks and never listens is a silent one to us.
    let flood = |kind, payload: &[u8]| Nonsense {
        protocol: Protocol::H2,
        first: Vec::new(),
        then: frame(kind, 0, 0, payload),
        hangs_up: false,
    };
    for deaf in [flood(SETTINGS, &[]), flood(PING, &[0; 8])] {
        let net = Net::new(move |_, n| match n {
            0 => {
                let bytes = deaf.then.clone();
                Plan::Raw(
                    Protocol::H2,
                    Box::new(move |mut end| {
                        drop(tokio::spawn(async move {
                            end.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                            while end.write_all(&bytes).await.is_ok() {}
                        }))
                    }),
                )
            }
            _ => Plan::H2(100),
        });
        let (pool, net, _) = net.pool(config(1, 1));
        let error = call(&pool, "/").await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::NoResponse { reused: false });
        call(&pool, "/").await.unwrap().unwrap();
        whole(&pool, &net).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_streams_is_no_connection() {
    let (pool, net, _, mut peers) = peers(Some(0), config(1, 1));
    let refusing = tokio::spawn(async move {
        while let Some(mut peer) = peers.recv().await {
            tokio::spawn(async move {
                while let Some(frame) = peer.frames.recv().await {
                    if frame.kind == HEADERS {
                        peer.reset(frame.stream, REFUSED_STREAM);
                    }
                }
            });
        }
    });
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { get_in_the_end(&pool, &origin("https://a.test"), "/").await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        // Given out before it was known, or told that there is no use in waiting.
        assert!(matches!(error.kind(), Kind::Refused | Kind::Unprocessed | Kind::Connect), "{error}");
    }
    // Once it is known, nothing is sent at all.
    let error = call(&pool, "/").await.unwrap().unwrap_err();
    assert!(error.to_string().contains("takes no HTTP/2 streams"), "{error}");
    until("it has gone", || net.open() == 0).await;
    whole(&pool, &net).await;
    refusing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_more_streams_finishes_those_it_has() {
    for raised in [true, false] {
        let (pool, net, _, mut peers) = peers(Some(10), config(1, 1));
        let running = [call(&pool, "/"), call(&pool, "/")];
        let mut peer = peers.recv().await.unwrap();
        let streams = peer.requests(2).await;
        peer.set(&[(MAX_STREAMS, 0)]);
        settle().await;
        let later = call(&pool, "/");
        settle().await;
        assert_eq!((waiting(&pool), peer.unread().contains(&HEADERS)), (1, false));
        if raised {
            peer.set(&[(MAX_STREAMS, 10)]);
            let stream = peer.requests(1).await[0];
            peer.answer(stream);
        }
        for stream in streams {
            peer.answer(stream);
        }
        for call in running {
            call.await.unwrap().unwrap();
        }
        if !raised {
            // That it takes none says nothing of the next connection.
            let mut next = peers.recv().await.unwrap();
            let stream = next.requests(1).await[0];
            next.answer(stream);
            later.await.unwrap().unwrap();
            assert_eq!(net.connects(), 2);
            continue;
        }
        later.await.unwrap().unwrap();
        assert_eq!(net.connects(), 1);
        whole(&pool, &net).await;
    }
}

fn h1(first: impl Into<Vec<u8>>, then: &str) -> Nonsense {
    let (first, then) = (first.into(), then.as_bytes().to_vec());
    Nonsense { protocol: Protocol::H1, first, then, hangs_up: false }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http1_is_a_protocol_error() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let both = format!("{ok}content-length: 2\r\ncontent-length: 3\r\n\r\nok!");
    for (name, nonsense) in [
        ("noise", h1(noise(), "")),
        ("HTTP/2", h1([frame(SETTINGS, 0, 0, &[]), frame(HEADERS, WHOLE, 1, &[STATUS_200])].concat(), "")),
        ("a goodbye of HTTP/2", h1(frame(GOAWAY, 0, 0, &[0; 8]), "")),
        ("another version", h1("HTTP/3.0 200 OK\r\n\r\n", "")),
        ("a status that is none", h1("HTTP/1.1 20 OK\r\n\r\n", "")),
        ("a head of endless length", h1(format!("{ok}x: "), &"y".repeat(10_000))),
        ("fields without end", h1(ok, "a: b\r\n")),
        ("ten thousand fields", h1(format!("{ok}{}\r\n", "a: b\r\n".repeat(10_000)), "")),
        ("a field without a colon", h1(format!("{ok}nonsense\r\n\r\n"), "")),
        ("two lengths", h1(both, "")),
        ("a length below zero", h1(format!("{ok}content-length: -1\r\n\r\n"), "")),
        ("a length beyond all numbers", h1(format!("{ok}content-length: {}\r\n\r\n", "9".repeat(40)), "")),
    ] {
        assert_eq!(meets(nonsense, name).await, Kind::Protocol, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_http1_body_that_is_none_is_a_cut_body() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (name, nonsense) in [
        ("a chunk without a size", h1(format!("{chunked}nonsense\r\n"), "")),
        ("a chunk of endless size", h1(format!("{chunked}ffffffffffffffffff\r\n"), "")),
        ("a chunk that is longer than it says", h1(format!("{chunked}2\r\nlonger\r\n0\r\n\r\n"), "")),
        ("an extension without end", h1(format!("{chunked}2;"), "yyyyyyyyyyyyyyyy")),
        ("trailers without end", h1(format!("{chunked}2\r\nok\r\n0\r\n"), "a: b\r\n")),
        (
            "fewer bytes than it says",
            Nonsense { hangs_up: true, ..h1("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "") },
        ),
        ("chunks without their end", Nonsense { hangs_up: true, ..h1(format!("{chunked}2\r\nok\r\n"), "") }),
    ] {
        assert_eq!(meets(nonsense, name).await, Kind::Body, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn words_on_the_way_are_passed_over_however_many() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let answer = format!("{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", hint.repeat(10_000));
    let net = Net::new(move |_, _| {
        let answer = answer.clone();
        Plan::Raw(
            Protocol::H1,
            Box::new(move |mut end| {
                drop(tokio::spawn(async move {
                    let mut question = [0; 1024];
                    assert_ne!(end.read(&mut question).await.unwrap(), 0);
                    end.write_all(answer.as_bytes()).await.unwrap();
                    let _ = end.read(&mut question).await;
                }))
            }),
        )
    });
    let (pool, net, _) = net.pool(config(1, 1));
    assert_eq!(call(&pool, "/").await.unwrap().unwrap(), "ok");
    whole(&pool, &net).await;
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let running = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    for _ in 0..10_000 {
        // `:status: 103`, by the name of the eighth entry.
        peer.send(HEADERS, END_HEADERS, stream, &[0x08, 3, b'1', b'0', b'3']);
    }
    peer.answer(stream);
    running.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn empty_frames_without_end_are_not_taken_for_ever() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let running = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    peer.head(stream);
    for _ in 0..1000 {
        peer.data(stream, b"");
    }
    assert_eq!(running.await.unwrap().unwrap_err().kind(), Kind::Body);
    until("it has gone", || net.open() == 0).await;
    whole(&pool, &net).await;
}
