//! HTTP/2 flow control: who waits for room waits alone.

use std::time::{Duration, Instant};

use crate::support::frames::{
    CANCEL, DATA, GOAWAY, HEADERS, PING, Peer, RST_STREAM, WINDOW, WINDOW_UPDATE, peers, peers_that_say,
};
use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use trunkline::pool::{Body, Config, Error, Kind, Pool};

const SITE: &str = "https://a.test";
/// What a stream may have unread, and what a server of frames by hand grants us.
const SMALL: usize = 65_535;

/// A call with a question of so many bytes.
fn asks(pool: &Pool, bytes: usize) -> JoinHandle<Result<Bytes, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move {
        let lease = lease(&pool, &origin(SITE)).await;
        let request = request(&lease, "/").map(|_| Bytes::from(vec![b'x'; bytes]));
        Ok(lease.send(request).await?.into_body().collect().await?.to_bytes())
    })
}

/// A response of which nothing is read, and its stream.
async fn unread(pool: &Pool, peer: &mut Peer) -> (Body, u32) {
    let lease = lease(pool, &origin(SITE)).await;
    let request = request(&lease, "/");
    let sending = tokio::spawn(lease.send(request));
    let stream = peer.requests(1).await[0];
    peer.head(stream);
    (sending.await.unwrap().unwrap().into_body(), stream)
}

/// A connection of which the SETTINGS are known.
async fn settled(pool: &Pool, peers: &mut tokio::sync::mpsc::UnboundedReceiver<Peer>) -> Peer {
    let first = call(pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    peer.answer(stream);
    let _ = first.await.unwrap();
    settle().await;
    peer.unread();
    peer
}

/// The bytes of the DATA frames that lie unread, by stream.
fn sent(peer: &mut Peer, stream: u32) -> usize {
    let frames = std::iter::from_fn(|| peer.frames.try_recv().ok());
    frames.filter(|frame| frame.kind == DATA && frame.stream == stream).map(|f| f.payload.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_its_stream_to_get_room_and_holds_nobody_up() {
    let (pool, net, _, mut peers) = peers_that_say(vec![(WINDOW, 0)], config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let waiting = asks(&pool, 1000);
    let stuck = peer.requests(1).await[0];
    settle().await;
    assert_eq!(sent(&mut peer, stuck), 0);
    // Streams that get room go on beside it.
    for _ in 0..10 {
        let beside = call(&pool, "/");
        let stream = peer.requests(1).await[0];
        peer.open_window(stream, 100);
        assert_eq!(peer.next(DATA).await.stream, stream);
        peer.answer(stream);
        beside.await.unwrap().unwrap();
    }
    // It goes on as far as there is room.
    peer.open_window(stuck, 600);
    settle().await;
    assert_eq!(sent(&mut peer, stuck), 600);
    peer.open_window(stuck, 400);
    settle().await;
    assert_eq!(sent(&mut peer, stuck), 400);
    peer.answer(stuck);
    waiting.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn settings_that_open_the_windows_let_every_body_go_on() {
    let (pool, net, _, mut peers) = peers_that_say(vec![(WINDOW, 0)], config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let calls: Vec<_> = (0..20).map(|_| asks(&pool, 1000)).collect();
    let streams = peer.requests(20).await;
    settle().await;
    assert!(!peer.unread().contains(&DATA));
    peer.set(&[(WINDOW, 1000)]);
    let mut asked = 0;
    while asked < streams.len() {
        let data = peer.next(DATA).await;
        // That of the first call comes too, whose answer did not wait for it.
        if streams.contains(&data.stream) {
            assert_eq!(data.payload.len(), 1000);
            peer.answer(data.stream);
            asked += 1;
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_wait_for_the_connection_to_get_room_and_answers_still_come() {
    let (pool, net, _, mut peers) = peers_that_say(vec![(WINDOW, 1 << 20)], config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let reading = unread(&pool, &mut peer).await;
    // All that the connection takes, and more.
    let large = asks(&pool, 2 * SMALL);
    let stuck = peer.requests(1).await[0];
    settle().await;
    assert!(sent(&mut peer, stuck) < SMALL);
    let small = call(&pool, "/");
    let behind = peer.requests(1).await[0];
    settle().await;
    assert!(!peer.unread().contains(&DATA));
    // What comes is read meanwhile.
    let (body, stream) = reading;
    peer.data(stream, b"news");
    peer.end(stream);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "news");
    peer.open_window(0, 4 * SMALL as u32);
    settle().await;
    for stream in [stuck, behind] {
        peer.answer(stream);
    }
    large.await.unwrap().unwrap();
    small.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_for_room_resets_its_stream() {
    let (pool, net, _, mut peers) = peers_that_say(vec![(WINDOW, 0)], config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let waiting = asks(&pool, 1000);
    let stuck = peer.requests(1).await[0];
    settle().await;
    waiting.abort();
    let reset = peer.next(RST_STREAM).await;
    assert_eq!((reset.stream, reset.payload), (stuck, CANCEL.to_be_bytes().to_vec()));
    settle().await;
    assert!(!peer.unread().contains(&RST_STREAM));
    whole(&pool, &net).await;
    assert_eq!(net.open(), 1);
}

/// Silence is not forgiven because it is we who wait to write.
#[tokio::test(start_paused = true)]
async fn a_server_that_gives_no_room_is_asked_by_ping_whether_it_lives() {
    let settings = Config { ping_interval: Duration::from_secs(30), ..config(1, 1) };
    let (pool, net, _, mut peers) = peers_that_say(vec![(WINDOW, 0)], settings);
    let mut peer = settled(&pool, &mut peers).await;
    let waiting = asks(&pool, 1000);
    let stuck = peer.requests(1).await[0];
    for _ in 0..3 {
        peer.next(PING).await;
    }
    // It answers, and so the connection stays.
    assert_eq!(net.open(), 1);
    peer.open_window(stuck, 1000);
    peer.next(DATA).await;
    peer.answer(stuck);
    waiting.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

/// A stream whose reader sleeps has as much unread as it may have; its neighbours do not notice.
#[tokio::test(start_paused = true)]
async fn a_full_unread_stream_does_not_stall_ninety_nine_neighbours() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let (asleep, full) = unread(&pool, &mut peer).await;
    for piece in vec![b'x'; SMALL].chunks(16_000) {
        peer.data(full, piece);
    }
    let calls: Vec<_> = (0..99).map(|_| call(&pool, "/")).collect();
    let neighbours = peer.requests(99).await;
    for stream in &neighbours {
        peer.head(*stream);
    }
    // Five times the window of a stream, which each gets back as it reads.
    const ROUNDS: usize = 5 * SMALL / 15_000;
    for _ in 0..ROUNDS {
        for stream in &neighbours {
            peer.data(*stream, &[b'y'; 15_000]);
        }
        settle().await;
    }
    for stream in &neighbours {
        peer.end(*stream);
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().len(), ROUNDS * 15_000);
    }
    assert!(peer.unread().contains(&WINDOW_UPDATE));
    peer.end(full);
    assert_eq!(asleep.collect().await.unwrap().to_bytes().len(), SMALL);
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_more_than_it_may_breaks_that_stream_alone() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let (asleep, full) = unread(&pool, &mut peer).await;
    let neighbour = call(&pool, "/");
    let other = peer.requests(1).await[0];
    for piece in vec![b'x'; SMALL + 100].chunks(16_000) {
        peer.data(full, piece);
    }
    assert_eq!(peer.next(RST_STREAM).await.stream, full);
    assert_eq!(asleep.collect().await.unwrap_err().kind(), Kind::Body);
    peer.answer(other);
    neighbour.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

/// Trap 1a. Each reader but one reads a stream of tokens, one or two bytes at a time; h2 charges for such frames while they lie unread,
/// and ends the connection when that is too much. For a short while here; with `LONG=1`, for five minutes of real time.
#[tokio::test]
async fn an_unread_stream_of_tiny_frames_costs_its_connection_nothing_however_long_it_lasts() {
    let long = std::env::var_os("LONG").is_some();
    let lasts = Duration::from_secs(if long { 300 } else { 1 });
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let (asleep, full) = unread(&pool, &mut peer).await;
    let calls: Vec<_> = (0..99).map(|_| call(&pool, "/")).collect();
    let neighbours = peer.requests(99).await;
    for stream in &neighbours {
        peer.head(*stream);
    }
    let (end, mut tokens, mut lain) = (Instant::now() + lasts, 0, 0);
    while Instant::now() < end {
        for stream in &neighbours {
            peer.data(*stream, b"y");
        }
        tokens += neighbours.len();
        // As fast as its window lets it, which is as much as there can be.
        for _ in 0..100 {
            if lain < SMALL {
                peer.data(full, b"x");
                lain += 1;
            }
        }
        settle().await;
        peer.unread();
    }
    for stream in &neighbours {
        peer.end(*stream);
    }
    let mut read = 0;
    for call in calls {
        read += call.await.unwrap().unwrap().len();
    }
    assert_eq!(read, tokens);
    peer.end(full);
    assert_eq!(asleep.collect().await.unwrap().to_bytes().len(), lain);
    let left = peer.unread();
    assert!(!left.contains(&GOAWAY) && !left.contains(&HEADERS));
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
    if long {
        println!("{tokens} tokens beside {lain} unread ones");
    }
}

/// What lies unread of them is charged by h2 to the connection as a whole: its allowance is enough for sixty-four streams that are full
/// of one-byte frames, and for two hundred where a frame has three bytes.
/// In real time, since the pool takes a wall clock that runs ahead of a paused one for a machine that has slept.
#[tokio::test]
async fn a_hundred_readers_may_sleep_at_once() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let mut peer = settled(&pool, &mut peers).await;
    let mut asleep = Vec::new();
    for _ in 0..99 {
        asleep.push(unread(&pool, &mut peer).await);
    }
    for _ in 0..SMALL / 15 {
        for (_, stream) in &asleep {
            peer.data(*stream, b"a token of text");
        }
        tokio::task::yield_now().await;
    }
    let beside = call(&pool, "/");
    let stream = peer.requests(1).await[0];
    peer.answer(stream);
    beside.await.unwrap().unwrap();
    for (body, stream) in asleep {
        peer.end(stream);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), SMALL);
    }
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}
