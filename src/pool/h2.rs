//! An HTTP/2 connection: the tasks that drive it, and what its server announces while it runs.
//!
//! # seeing SETTINGS and GOAWAY
//! hyper's `SendRequest` says nothing of the server's stream limit, and `is_closed()` stays false after a GOAWAY while old
//! streams run. Both can be seen from hyper's `Connection` (the driver), but a SETTINGS or GOAWAY frame wakes only the task
//! that hyper spawns for h2 itself. So our [`Exec`] wraps that task, the first one spawned, and wakes the driver after each of
//! its polls: the driver then reads the limit, or ends because of the GOAWAY.
//!
//! # windows
//! h2 charges each DATA frame that is shorter than 256 bytes with what it lacks of them, for as long as it lies unread, and closes the
//! whole connection (ENHANCE_YOUR_CALM) when that comes to half of the connection's window. One reader that sleeps on a stream of
//! tiny events must not kill its neighbours: so the stream window is small (64 KiB: what a stream may have unread), and the
//! connection's window as large as the protocol allows. That is enough for 64 streams full of frames of one byte each, and for 194
//! of three; what is read, or dropped, is credited. Empty frames are not: h2 takes a hundred of them in the life of a connection.
//! Nor does the connection's window ever stall the streams that are read, since all that can lie unread is a fraction of it.
//!
//! # the end
//! Whoever lets a connection go drops its senders. hyper then waits for the streams that run, sends GOAWAY (NO_ERROR) and shuts
//! down; a peer that reads no more gets a second for that, from its last stream on. After a GOAWAY of the peer hyper sends PINGs
//! only while two streams or more run on: for the last one alone it takes the connection for one at rest.
//!
//! # dropped streams
//! Frames that were on their way when a stream was reset come in late. h2 remembers the last ten resets for a second; a frame for
//! an older one counts as an error, and 1,024 of these, over the whole life of a connection, close it. Callers who leave are no
//! error: so it remembers a burst of them, and the count has no limit (a connection ends by its age anyway).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_util::sync::DropGuard;

use super::connection::{Failed, SHUTDOWN_LIMIT, Socket};
use super::error::is_hang_up;
use super::info::Info;
use super::right::SocketRight;
use super::sent::SentBody;
use super::stats::CloseReason;
use super::{Error, Kind, Shared, Tasks};

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

const REMEMBERED_RESETS: usize = 1024;

/// What h2 reports as the stream limit until the server's SETTINGS are there; no limit is `usize::MAX`. Streams are counted in
/// `state`, so this never has to hold anything back.
const UNANNOUNCED: usize = usize::MAX - 1;

pub(super) async fn establish_h2(
    shared: &Arc<Shared>,
    right: Arc<SocketRight>,
    info: Arc<Info>,
    io: Socket,
) -> Result<(), Failed> {
    let config = shared.config.of(&info.origin);
    let h2 = Arc::new(H2Task::default());
    let first = First { right: right.clone(), gone: info.gone.clone().drop_guard() };
    let exec = Exec { tasks: shared.tasks.clone(), h2: h2.clone(), first: Arc::new(Mutex::new(Some(first))) };
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
        let known = match &ended {
            Ok(()) => Some(CloseReason::Goaway),
            Err(error) if is_hang_up(error) => None,
            Err(_) => Some(CloseReason::Error),
        };
        known.into_iter().for_each(|reason| driven_info.close_with(reason));
        driven.retire(&driven_info);
        drop((connection, undriven));
        if known.is_none() {
            driven_info.close_with(driven_info.hang_up_reason().await);
        }
        // The streams that it has run on. After them it is closed with a GOAWAY of ours, for which a peer may read no more.
        let goodbye = async {
            driven_info.empty().await;
            sleep(SHUTDOWN_LIMIT).await;
        };
        if driven_info.gone.run_until_cancelled(goodbye).await.is_some()
            && let Some(task) = h2.task.get()
        {
            task.abort();
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
    /// The task itself, to end it.
    task: OnceLock<AbortHandle>,
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
}

impl<F> hyper::rt::Executor<F> for Exec
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        match self.first.lock().take() {
            Some(First { right, gone }) => {
                let watched = Watched { task, h2: self.h2.clone(), _gone: gone, _right: right };
                let _ = self.h2.task.set(self.tasks.spawn("h2 connection", watched));
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
        polled
    }
}
