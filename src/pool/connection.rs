//! hyper's connections: what each one is, the task that drives it, and what HTTP/2 announces while it runs.
//!
//! # HTTP/2: seeing SETTINGS and GOAWAY
//! hyper's `SendRequest` says nothing of the server's stream limit, and `is_closed()` stays false after a GOAWAY while old
//! streams run. Both can be seen from hyper's `Connection` (the driver), but a SETTINGS or GOAWAY frame wakes only the task
//! that hyper spawns for h2 itself. So our [`Exec`] wraps that task, the first one spawned, and wakes the driver after each of
//! its polls: the driver then reads the limit, or ends because of the GOAWAY.
//!
//! # HTTP/2: windows
//! h2 charges each DATA frame that is shorter than 256 bytes with what it lacks of them, for as long as it lies unread, and closes the
//! whole connection (ENHANCE_YOUR_CALM) when that comes to half of the connection's window. One reader that sleeps on a stream of
//! tiny events must not kill its neighbours: so the stream window is small (64 KiB: what a stream may have unread), and the
//! connection's window as large as the protocol allows. That is enough for 64 streams full of frames of one byte each, and for 194
//! of three; what is read, or dropped, is credited. Empty frames are not: h2 takes a hundred of them in the life of a connection.
//! Nor does the connection's window ever stall the streams that are read, since all that can lie unread is a fraction of it.
//!
//! # HTTP/2: the end
//! Whoever lets a connection go drops its senders. hyper then waits for the streams that run, sends GOAWAY (NO_ERROR) and shuts
//! down; a peer that reads no more gets a second for that, from its last stream on. After a GOAWAY of the peer hyper sends PINGs
//! only while two streams or more run on: for the last one alone it takes the connection for one at rest.
//!
//! # HTTP/2: dropped streams
//! Frames that were on their way when a stream was reset come in late. h2 remembers the last ten resets for a second; a frame for
//! an older one counts as an error, and 1,024 of these, over the whole life of a connection, close it. Callers who leave are no
//! error: so it remembers a burst of them, and the count has no limit (a connection ends by its age anyway).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::connect::{Connected, Phases};
use super::error::is_hang_up;
use super::events::Event;
use super::keep_alive::Hint;
use super::last_words::LastWords;
use super::limit::LineId;
use super::sent::SentBody;
use super::state::After;
use super::stats::CloseReason;
use super::supply::Arrival;
use super::{Error, Kind, Origin, Protocol, Shared, Tasks};

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

const REMEMBERED_RESETS: usize = 1024;

/// What h2 reports as the stream limit until the server's SETTINGS are there; no limit is `usize::MAX`. Streams are counted in
/// `state`, so this never has to hold anything back.
const UNANNOUNCED: usize = usize::MAX - 1;

/// How long a socket that is done with may take to shut down.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

type Socket = LastWords<Box<dyn super::Io>>;

/// What one connection is.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) id: u64,
    /// The number of its line, which lives as long as the connection, and as leases of it.
    pub(super) line: LineId,
    pub(super) origin: Origin,
    pub(super) protocol: Protocol,
    pub(super) phases: Phases,
    pub(super) retire_at: Instant,
    /// Whether it counts as connecting no longer.
    placed: AtomicBool,
    leased: AtomicBool,
    /// What the server said of how long it may rest, in milliseconds, and whether it has served for the last time.
    may_rest: AtomicU64,
    spent: AtomicBool,
    /// Of its line.
    reused: Arc<AtomicU64>,
    answers: AtomicUsize,
    /// Cancelled when the server turns out to take fewer streams than were given out before it said so.
    pub(super) oversubscribed: CancellationToken,
    /// Whether it turned out that the server takes none at all.
    useless: AtomicBool,
    reason: AtomicU8,
    /// Told when there is a reason.
    closing: Notify,
    /// HTTP/2 streams in use, also after it was told to go, and who is told when there are none.
    riding: AtomicUsize,
    empty: Notify,
    /// Cancelled when its driver has ended, and takes no more requests, and when all of it has.
    undriven: CancellationToken,
    gone: CancellationToken,
}

/// One stream in use.
#[derive(Debug)]
pub(super) struct Riding(Arc<Info>);

impl Riding {
    pub(super) fn new(info: &Arc<Info>) -> Self {
        info.riding.fetch_add(1, Ordering::Relaxed);
        Self(info.clone())
    }
}

impl Drop for Riding {
    fn drop(&mut self) {
        if self.0.riding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.empty.notify_one();
        }
    }
}

impl Info {
    /// True once.
    pub(super) fn place(&self) -> bool {
        !self.placed.swap(true, Ordering::Relaxed)
    }

    /// Notes a lease; true if it is not the first.
    pub(super) fn lease_again(&self) -> bool {
        self.leased.swap(true, Ordering::Relaxed)
    }

    /// Notes a request on a connection that was there already.
    pub(super) fn count_reuse(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the head of a response.
    pub(super) fn count_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Notes what the server says of the connection's future.
    pub(super) fn take_hint(&self, hint: Hint) {
        if let Some(rest) = hint.rest {
            self.may_rest.store(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        if hint.is_last {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn may_rest(&self) -> Duration {
        Duration::from_millis(self.may_rest.load(Ordering::Relaxed))
    }

    /// Whether the server said that it answers no more requests on it.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Notes that the server takes fewer streams than were given out before it said so.
    pub(super) fn oversubscribe(&self) {
        self.oversubscribed.cancel();
    }

    pub(super) fn is_oversubscribed(&self) -> bool {
        self.oversubscribed.is_cancelled()
    }

    /// Notes that the server takes no streams, and never did: what h2 has by now would wait in it for ever.
    pub(super) fn takes_none(&self) {
        self.useless.store(true, Ordering::Release);
    }

    /// Notes why the connection closes; the first reason stays. The closing itself is the drop of its senders, and the
    /// driver of an HTTP/1.1 socket sees to it that it comes to an end.
    pub(super) fn close_with(&self, reason: CloseReason) {
        let _ = self.reason.compare_exchange(
            CloseReason::NONE,
            reason as u8,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.closing.notify_one();
    }

    /// Waits until an HTTP/2 connection takes no more requests.
    pub(super) async fn undriven(&self) {
        self.undriven.cancelled().await;
    }

    /// Waits until an HTTP/2 connection has gone.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Waits until no stream is in use.
    async fn empty(&self) {
        while self.riding.load(Ordering::Acquire) > 0 {
            self.empty.notified().await;
        }
    }

    pub(super) fn reason(&self) -> CloseReason {
        CloseReason::of(self.reason.load(Ordering::Relaxed))
    }
}

/// The right to have a socket, from before its connect until its close. It is counted against the limits for exactly as long as
/// it lives, so whoever holds the socket holds it too.
#[must_use = "dropping it gives the right back"]
pub(super) struct SocketRight {
    shared: Arc<Shared>,
    line: LineId,
    origin: Origin,
    info: Option<Arc<Info>>,
    connect_timeout: Duration,
    /// When the connect may begin, if the last ones failed.
    not_before: Option<Instant>,
    /// Whether those who waited for this connect were told that it failed.
    told: AtomicBool,
}

impl SocketRight {
    pub(super) fn new(
        shared: Arc<Shared>,
        line: LineId,
        origin: Origin,
        connect_timeout: Duration,
        not_before: Option<Instant>,
    ) -> Self {
        Self { shared, line, origin, info: None, connect_timeout, not_before, told: AtomicBool::new(false) }
    }
}

impl Drop for SocketRight {
    fn drop(&mut self) {
        let info = self.info.as_deref();
        if let Some(info) = info {
            info.close_with(CloseReason::Server);
            self.shared.stats.closed(info.reason());
            tracing::debug!(target: "trunkline::pool", connection = info.id, origin = %self.origin, reason = info.reason().as_str(), "closed");
            self.shared.events.tell(|| Event::closed(info));
        }
        let mut after = After::default();
        {
            let mut state = self.shared.state.lock();
            if info.is_none() && !self.told.load(Ordering::Relaxed) {
                // The connect panicked, or its runtime is going down. Another right for those who wait would end the same
                // way, in this very drop, without end.
                state.connect_abandoned(self.line);
            }
            state.right_ended(&self.shared, self.line, info, &mut after);
        }
        self.shared.run(after);
        self.shared.gone.notify_waiters();
    }
}

/// Uses a right: connects, and gives the connection to whoever waits by then.
pub(super) async fn open(right: SocketRight) {
    let shared = right.shared.clone();
    let (line, origin, limit) = (right.line, right.origin.clone(), right.connect_timeout);
    if let Some(begin) = right.not_before {
        // Nobody is told of a close here: it has told them all.
        let _ = shared.closing.run_until_cancelled(tokio::time::sleep_until(begin)).await;
    }
    let began = Instant::now();
    let connect = timeout(limit, shared.connector.connect(&origin));
    let result = match shared.closing.run_until_cancelled(connect).await {
        Some(Ok(Ok(connected))) => establish(right, connected).await,
        Some(Ok(Err(error))) => Err((Arc::new(right), error)),
        Some(Err(_)) => Err((Arc::new(right), Error::new(Kind::ConnectTimeout(limit)))),
        None => Err((Arc::new(right), Error::new(Kind::Closed))),
    };
    if let Err((right, error)) = result {
        tracing::debug!(target: "trunkline::pool", %origin, %error, "not connected");
        // Before the right is given back: those who are told now do not ask for another connection.
        let mut after = After::default();
        shared.state.lock().connect_failed(&shared, line, began, &error, &mut after);
        shared.run(after);
        right.told.store(true, Ordering::Relaxed);
    }
}

type Failed = (Arc<SocketRight>, Error);

async fn establish(mut right: SocketRight, connected: Connected) -> Result<(), Failed> {
    let shared = right.shared.clone();
    let Connected { io, protocol, phases, tls_resumed } = connected;
    let mut after = After::default();
    let (id, reused) = shared.state.lock().connected(&shared, right.line, protocol, &mut after);
    shared.run(after);
    // Up to a tenth less, so that sockets opened together do not retire together.
    let age = shared.config.max_age.mul_f64(1.0 - 0.1 * fastrand::f64());
    let info = Arc::new(Info {
        id,
        line: right.line,
        origin: right.origin.clone(),
        protocol,
        phases,
        retire_at: Instant::now() + age,
        placed: AtomicBool::new(false),
        leased: AtomicBool::new(false),
        may_rest: AtomicU64::new(u64::MAX),
        spent: AtomicBool::new(false),
        reused,
        answers: AtomicUsize::new(0),
        oversubscribed: CancellationToken::new(),
        useless: AtomicBool::new(false),
        reason: AtomicU8::new(CloseReason::NONE),
        closing: Notify::new(),
        riding: AtomicUsize::new(0),
        empty: Notify::new(),
        undriven: CancellationToken::new(),
        gone: CancellationToken::new(),
    });
    shared.stats.opened(&phases, tls_resumed);
    tracing::debug!(target: "trunkline::pool", connection = id, origin = %right.origin, protocol = protocol.as_str(), "opened");
    shared.events.tell(|| Event::opened(&info));
    right.info = Some(info.clone());
    // Held here until the connection was offered, and by what drives it: whoever lets go last ends it.
    let right = Arc::new(right);
    let io = LastWords::new(io);
    match protocol {
        Protocol::H1 => establish_h1(&shared, right, info, io).await,
        Protocol::H2 => establish_h2(&shared, right, info, io).await,
    }
}

async fn establish_h1(
    shared: &Arc<Shared>,
    right: Arc<SocketRight>,
    info: Arc<Info>,
    io: Socket,
) -> Result<(), Failed> {
    let handshake = http1::Builder::new().writev(false).handshake::<_, SentBody>(io).await;
    let (mut sender, connection) = match handshake {
        Ok(made) => made,
        Err(error) => return Err((right, Error::with(Kind::Connect, error))),
    };
    let (closing, held) = (info.clone(), right.clone());
    shared.tasks.spawn("h1", async move {
        let held = held;
        if let Err(error) = drive_h1(connection, &closing).await {
            tracing::trace!(target: "trunkline::pool", connection = closing.id, %error, "h1");
            closing.close_with(CloseReason::Error);
        }
        drop(held);
    });
    // Ready once the driver has had its first turn.
    match sender.ready().await {
        Ok(()) => {
            shared.put_socket(sender, info, Arrival::New);
            Ok(())
        }
        Err(error) => Err((right, Error::with(Kind::Connect, error))),
    }
}

/// Ends with the socket closed. Whoever closes it drops its sender, and then hyper shuts it down; but that, over TLS, waits for a
/// peer that may read no more, and a socket in the middle of a response is worth no farewell.
async fn drive_h1(connection: http1::Connection<Socket, SentBody>, info: &Info) -> hyper::Result<()> {
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = info.closing.notified() => {}
    }
    match info.reason() {
        CloseReason::Cancelled => Ok(()),
        _ => timeout(SHUTDOWN_LIMIT, connection).await.unwrap_or(Ok(())),
    }
}

async fn establish_h2(
    shared: &Arc<Shared>,
    right: Arc<SocketRight>,
    info: Arc<Info>,
    io: Socket,
) -> Result<(), Failed> {
    let config = &shared.config;
    let h2 = Arc::new(H2Task::default());
    let overdue = CancellationToken::new();
    let exec = Exec {
        tasks: shared.tasks.clone(),
        h2: h2.clone(),
        first: Arc::new(Mutex::new(Some(First {
            right: right.clone(),
            gone: info.gone.clone().drop_guard(),
            overdue: overdue.clone(),
        }))),
    };
    let handshake = http2::Builder::new(exec.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(UNANNOUNCED)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(config.ping_interval)
        .keep_alive_timeout(config.ping_timeout)
        .keep_alive_while_idle(false)
        .handshake::<_, SentBody>(io)
        .await;
    let (sender, mut connection) = match handshake {
        Ok(made) => made,
        Err(error) => {
            drop(exec.first.lock().take());
            return Err((right, Error::with(Kind::Connect, error)));
        }
    };
    let (driven, driven_info, held) = (shared.clone(), info.clone(), right.clone());
    let (offer, offered) = oneshot::channel();
    let undriven = info.undriven.clone().drop_guard();
    shared.tasks.spawn("h2 driver", async move {
        let mut unoffered = Some((sender, offer));
        let mut told = UNANNOUNCED;
        let ended = poll_fn(|cx| {
            h2.driver.register(cx.waker());
            // Before hyper has its turn, in which it takes requests for h2; and after it.
            for turn in [Turn::Ours, Turn::Hypers] {
                if turn == Turn::Hypers
                    && let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx)
                {
                    return Poll::Ready(ended);
                }
                let announced = connection.current_max_send_streams();
                let is_news = announced != told;
                told = announced;
                // What came with the handshake is known once h2 has read.
                if let Some((sender, offer)) = unoffered.take_if(|_| h2.has_read.load(Ordering::Acquire)) {
                    let known = (told != UNANNOUNCED).then_some(told);
                    driven.put_connection(sender, driven_info.clone(), known);
                    // Nobody waits for it where the runtime goes down.
                    let _ = offer.send(Ok(()));
                } else if is_news && unoffered.is_none() {
                    driven.set_stream_limit(&driven_info, told);
                }
                if driven_info.useless.load(Ordering::Acquire) {
                    // What hyper has not written comes back.
                    driven_info.close_with(CloseReason::Error);
                    return Poll::Ready(Ok(()));
                }
            }
            Poll::Pending
        })
        .await;
        if let Some((_, offer)) = unoffered {
            let error = ended.as_ref().err().map(ToString::to_string);
            let error = error.unwrap_or_else(|| "the server left at once".to_owned());
            let _ = offer.send(Err(Error::with(Kind::Connect, error)));
        }
        // A GOAWAY ends the driver without an error, while old streams run on.
        driven_info.close_with(match &ended {
            Ok(()) => CloseReason::Goaway,
            Err(error) if is_hang_up(error) => CloseReason::Server,
            Err(_) => CloseReason::Error,
        });
        driven.retire(&driven_info);
        drop((connection, undriven));
        // The streams that it has run on. After them it is closed with a GOAWAY of ours, for which a peer may read no more.
        let goodbye = async {
            driven_info.empty().await;
            sleep(SHUTDOWN_LIMIT).await;
        };
        if driven_info.gone.run_until_cancelled(goodbye).await.is_some() {
            overdue.cancel();
        }
        drop(held);
    });
    match offered.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err((right, error)),
        Err(_) => Err((right, Error::new(Kind::Connect))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ours,
    Hypers,
}

/// What our driver knows of the task that hyper spawns for h2.
#[derive(Debug, Default)]
struct H2Task {
    /// Woken after each of its polls.
    driver: AtomicWaker,
    /// Whether it has read from the socket.
    has_read: AtomicBool,
}

/// Spawns hyper's h2 tasks; the first of them is the connection itself, which holds the right and wakes our driver.
#[derive(Clone)]
struct Exec {
    tasks: Tasks,
    h2: Arc<H2Task>,
    first: Arc<Mutex<Option<First>>>,
}

/// What the first task gets.
struct First {
    right: Arc<SocketRight>,
    /// Dropped with the task.
    gone: DropGuard,
    /// Ends it.
    overdue: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Exec
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        match self.first.lock().take() {
            Some(First { right, gone, overdue }) => {
                let overdue = overdue.cancelled_owned();
                let watched = Watched { task, overdue, h2: self.h2.clone(), _gone: gone, _right: right };
                self.tasks.spawn("h2 connection", watched);
            }
            None => {
                self.tasks.spawn("h2 stream", task);
            }
        }
    }
}

pin_project! {
    struct Watched<F> {
        #[pin]
        task: F,
        #[pin]
        overdue: WaitForCancellationFutureOwned,
        h2: Arc<H2Task>,
        _gone: DropGuard,
        _right: Arc<SocketRight>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.task.poll(cx);
        this.h2.has_read.store(true, Ordering::Release);
        this.h2.driver.wake();
        if polled.is_pending() { this.overdue.poll(cx) } else { polled }
    }
}
