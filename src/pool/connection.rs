//! How a connection is made, and driven while it is open. Over HTTP/2, `h2` has more to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Connected;
use super::error::is_hang_up;
use super::events::Event;
use super::h2::establish_h2;
use super::info::Info;
use super::last_words::LastWords;
use super::right::SocketRight;
use super::sent::SentBody;
use super::state::After;
use super::stats::CloseReason;
use super::supply::Arrival;
use super::{Error, Kind, Origin, Protocol, Shared};

/// How long a socket that is done with may take to shut down.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

pub(super) type Socket = LastWords<Box<dyn super::Io>>;

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
        let error = located(error, &shared, &origin);
        tracing::debug!(target: "trunkline::pool", %origin, %error, "not connected");
        // Before the right is given back: those who are told now do not ask for another connection.
        let mut after = After::default();
        shared.state.lock().connect_failed(&shared, line, began, &error, &mut after);
        shared.run(after);
        right.told.store(true, Ordering::Relaxed);
    }
}

/// An error of connecting, with the place that it names.
fn located(error: Error, shared: &Shared, origin: &Origin) -> Error {
    match error.kind() {
        Kind::Dns => error.at(origin.bare_host()),
        Kind::Connect | Kind::ConnectTimeout(_) => error.at(shared.config.of(origin).route.place_of(origin)),
        // The certificate is the host's, whatever the way to it.
        Kind::Tls => error.at(origin.host_and_port()),
        _ => error,
    }
}

pub(super) type Failed = (Arc<SocketRight>, Error);

async fn establish(mut right: SocketRight, connected: Connected) -> Result<(), Failed> {
    let shared = right.shared.clone();
    let Connected { io, protocol, phases, tls_resumed } = connected;
    let mut after = After::default();
    let (id, reused) = shared.state.lock().connected(&shared, right.line, protocol, &mut after);
    shared.run(after);
    // Up to a tenth less, so that sockets opened together do not retire together.
    let age = shared.config.of(&right.origin).max_age.mul_f64(1.0 - 0.1 * fastrand::f64());
    let info = Arc::new(Info::new(id, right.line, right.origin.clone(), protocol, phases, age, reused));
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
    let (driven, held) = (info.clone(), right.clone());
    let ended = (info.undriven.clone().drop_guard(), info.gone.clone().drop_guard());
    let driver = shared.tasks.spawn("h1", async move {
        // First, and so dropped last.
        let (held, ended) = (held, ended);
        if let Err(error) = connection.await {
            tracing::trace!(target: "trunkline::pool", connection = driven.id, %error, "h1");
            if !is_hang_up(&error) {
                driven.close_with(CloseReason::Error);
            }
        }
        // It is closed. What hyper tells a request in flight, it does not tell us.
        drop(ended);
        driven.close_with(driven.hang_up_reason().await);
        drop(held);
    });
    shared.tasks.spawn("h1 end", see_closed(info.clone(), driver));
    // Ready once the driver has had its first turn.
    match sender.ready().await {
        Ok(()) => {
            shared.put_socket(sender, info, Arrival::New);
            Ok(())
        }
        Err(error) => Err((right, Error::with(Kind::Connect, error))),
    }
}

/// Whoever closes a socket drops its sender, and then hyper shuts it down; but that, over TLS, waits for a peer that may read no
/// more, and a socket in the middle of a response is worth no farewell. A task of its own, since the driver runs for each call.
async fn see_closed(info: Arc<Info>, driver: AbortHandle) {
    let overdue = async {
        info.closing.notified().await;
        if info.reason() != CloseReason::Cancelled {
            sleep(SHUTDOWN_LIMIT).await;
        }
    };
    if info.gone.run_until_cancelled(overdue).await.is_some() {
        driver.abort();
    }
}
