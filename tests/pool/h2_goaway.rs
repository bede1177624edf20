//! GOAWAY: what the server says that it has not processed is sent again, and nothing else is.

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INTERNAL_ERROR, NO_ERROR, PING, SETTINGS, frame,
    peers,
};
use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trunkline::pool::{Config, Error, Http2, Kind, Pool, Protocol, Tasks};

const SITE: &str = "https://a.test";
/// "I am about to leave": the first word of a graceful shutdown.
const NONE_YET: u32 = (1 << 31) - 1;

type Calls = Vec<JoinHandle<Result<Bytes, Error>>>;

/// How each call ended; the streams of the calls are in their order.
async fn kinds(calls: Calls) -> Vec<Option<Kind>> {
    let mut kinds = Vec::new();
    for call in calls {
        kinds.push(call.await.unwrap().err().map(|error| error.kind()));
    }
    kinds
}

#[tokio::test(start_paused = true)]
async fn streams_up_to_the_last_finish_and_those_above_are_unprocessed() {
    for code in [NO_ERROR, INTERNAL_ERROR] {
        for processed in [0, 1, 7, 19, 20] {
            let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
            let calls: Calls = (0..20).map(|_| call(&pool, "/")).collect();
            let mut peer = peers.recv().await.unwrap();
            let running = peer.requests(20).await;
            let last = if processed == 0 { 0 } else { running[processed - 1] };
            peer.goaway_because(last, code);
            settle().await;
            assert_eq!(pool.snapshot().connections.draining, usize::from(processed > 0));
            for stream in &running[..processed] {
                peer.answer(*stream);
            }
            let expected = (0..20).map(|n| (n >= processed).then_some(Kind::Unprocessed));
            assert_eq!(kinds(calls).await, expected.collect::<Vec<_>>(), "{code} {processed}");
            until("the connection has gone", || net.open() == 0).await;
            whole(&pool, &net).await;
            assert_eq!(net.connects(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_graceful_shutdown_in_two_words_loses_nothing() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let calls: Calls = (0..4).map(|_| call(&pool, "/")).collect();
    let mut old = peers.recv().await.unwrap();
    let running = old.requests(4).await;
    old.goaway(NONE_YET);
    settle().await;
    // From here on everything new goes elsewhere; nothing was refused yet.
    let later = call(&pool, "/");
    let mut new = peers.recv().await.unwrap();
    let stream = new.requests(1).await[0];
    new.answer(stream);
    later.await.unwrap().unwrap();
    assert_eq!(pool.snapshot().connections.draining, 1);
    old.goaway(running[2]);
    for stream in &running[..3] {
        old.answer(*stream);
    }
    assert_eq!(kinds(calls).await, [None, None, None, Some(Kind::Unprocessed)]);
    until("the old one has gone", || net.open() == 1).await;
    assert!(!old.unread().contains(&HEADERS));
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_goaway_said_was_processed_is_never_called_unprocessed() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let calls: Calls = (0..4).map(|_| call(&pool, "/")).collect();
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(4).await;
    peer.goaway(running[1]);
    // And hangs up, without an answer.
    drop(peer);
    // Not by one that had served: it was new for both.
    assert_eq!(kinds(calls).await[..2], [Some(Kind::NoResponse { reused: false }); 2]);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_goaway_that_takes_more_than_the_one_before_is_no_http() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let calls: Calls = (0..3).map(|_| call(&pool, "/")).collect();
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(3).await;
    peer.goaway(running[0]);
    peer.goaway(running[2]);
    let kinds = kinds(calls).await;
    assert_eq!(kinds[1..], [Some(Kind::Unprocessed), Some(Kind::Unprocessed)]);
    // It may have been worked on.
    assert!(matches!(kinds[0], Some(Kind::NoResponse { .. } | Kind::Protocol)), "{kinds:?}");
    whole(&pool, &net).await;
}

/// The server does not read any more, has said so, and hangs up: h2 meets a write that fails before it has read the GOAWAY.
#[tokio::test(start_paused = true)]
async fn a_goaway_is_heard_though_the_peer_has_stopped_reading() {
    let (arrived, mut ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H2, Box::new(move |end| arrived.send(end).unwrap()))
    });
    let (pool, net, _) = net.pool(config(1, 1));
    let large = tokio::spawn({
        let pool = pool.clone();
        async move {
            let lease = lease(&pool, &origin(SITE)).await;
            let request = request(&lease, "/").map(|_| Bytes::from(vec![b'x'; 65_535]));
            Ok(lease.send(request).await?.into_body().collect().await?.to_bytes())
        }
    });
    let mut end = ends.recv().await.unwrap();
    end.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    end.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    settle().await;
    let calls: Calls = [large].into_iter().chain((0..9).map(|_| call(&pool, "/"))).collect();
    settle().await;
    assert_eq!(pool.snapshot().streams.active, 10);
    // To be answered before anything else is read, and there is no room for the answer.
    end.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
    end.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
    drop(end);
    assert_eq!(kinds(calls).await, [Some(Kind::Unprocessed); 10]);
    whole(&pool, &net).await;
}

/// Answers the first requests, takes some more, says with GOAWAY that it has not processed them, and closes; what else had come in
/// by then is unread, so that the kernel resets the connection. All in one write: what is not under way by then would be lost.
async fn leave_in_the_middle(mut socket: TcpStream, answered: u32) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let (mut read, mut write) = socket.split();
    write.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    read.read_exact(&mut [0; 24]).await.ok()?;
    let last = 2 * answered - 1;
    // Which requests are whole; their ends do not come in the order of their beginnings.
    let (mut first, mut later) = (0, 0);
    while first < answered || later < answered {
        let mut head = [0; 9];
        read.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        read.read_exact(&mut vec![0; length as usize]).await.ok()?;
        let (kind, flags, stream) = (head[3], head[4], u32::from_be_bytes(head[5..].try_into().unwrap()));
        if kind == SETTINGS && flags & ACK == 0 {
            write.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?;
        }
        if kind == DATA && flags & END_STREAM != 0 {
            *if stream <= last { &mut first } else { &mut later } += 1;
        }
    }
    let head = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88]);
    let mut answers: Vec<u8> = (1..=last).step_by(2).flat_map(head).collect();
    answers.extend(frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()));
    write.write_all(&answers).await.ok()
}

/// Linux keeps what was received before a reset. Where a system does not, nobody can know what the GOAWAY said.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_that_meets_a_goaway_and_a_reset_is_answered_or_unprocessed() {
    const ANSWERED: u32 = 40;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = Config { http2: Http2::PriorKnowledge, ..streams(200, config(1, 1)) };
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            leave_in_the_middle(socket, ANSWERED).await;
        }
    });
    for round in 0..100 {
        // One that has not learned how few the server answers on a connection.
        let pool = Pool::new(settings.clone(), Tasks::new(tokio::runtime::Handle::current()));
        // All on the one connection, before the first is sent.
        let site = origin(&url);
        let leases = futures_util::future::join_all((0..100).map(|_| lease(&pool, &site))).await;
        let calls: Calls = leases.into_iter().map(|lease| tokio::spawn(exchange(lease, "/"))).collect();
        let kinds = kinds(calls).await;
        let answered = kinds.iter().filter(|kind| kind.is_none()).count();
        let unprocessed = kinds.iter().filter(|kind| **kind == Some(Kind::Unprocessed)).count();
        let others: Vec<_> = kinds.iter().flatten().filter(|kind| **kind != Kind::Unprocessed).collect();
        assert!(others.is_empty(), "round {round}: {answered} {unprocessed} {others:?}");
        assert_eq!(answered, ANSWERED as usize, "round {round}");
    }
    server.abort();
}
