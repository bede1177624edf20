//! The asynchronous way through the state: take, or wait for whatever comes first.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connection::{self, Info};
use super::lease::{Lease, RequestBody};
use super::state::{After, Found};
use super::{Error, Kind, Origin, Shared};

/// How a checkout goes.
#[derive(Clone, Copy, Debug)]
pub struct Checkout {
    /// How long to wait for a socket or a stream.
    pub queue_timeout: Duration,
    /// DNS, TCP and TLS together, if this checkout makes a connection.
    pub connect_timeout: Duration,
    /// Takes no socket that has been resting: the last one turned out dead.
    pub fresh: bool,
}

pub(super) async fn checkout(shared: &Arc<Shared>, origin: &Origin, how: Checkout) -> Result<Lease, Error> {
    let mut after = After::default();
    let found = shared.state.lock().take(shared, origin, how.fresh, how.connect_timeout, &mut after);
    shared.run(after);
    let mut lease = match found? {
        Found::Lease(lease) => lease,
        Found::Wait(granted, ticket) => {
            let started = Instant::now();
            let place = Place { shared, origin, ticket, granted };
            let mut lease = place.wait(how.queue_timeout).await?;
            lease.set_waited(started.elapsed());
            shared.stats.waited(lease.waited());
            return Ok(lease);
        }
    };
    lease.set_waited(Duration::ZERO);
    shared.stats.waited(Duration::ZERO);
    Ok(lease)
}

/// A place in the queue of an origin.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    origin: &'a Origin,
    ticket: u64,
    granted: oneshot::Receiver<Result<Lease, Error>>,
}

impl Place<'_> {
    async fn wait(mut self, limit: Duration) -> Result<Lease, Error> {
        match tokio::time::timeout(limit, &mut self.granted).await {
            Ok(Ok(granted)) => granted,
            Ok(Err(_)) => Err(Error::new(Kind::Closed)),
            Err(_) => Err(Error::new(Kind::QueueTimeout(limit))),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.granted.close();
        // What was granted in the very moment of leaving goes back by its own drop.
        if self.granted.try_recv().is_err() {
            self.shared.state.lock().leave(self.origin, self.ticket);
        }
    }
}

pub(super) async fn warm(
    shared: &Arc<Shared>,
    origin: &Origin,
    connections: usize,
    connect_timeout: Duration,
) -> Result<(), Error> {
    // One first: it tells what the origin speaks, and what is wrong with it.
    let how = Checkout { queue_timeout: connect_timeout, connect_timeout, fresh: false };
    let first = checkout(shared, origin, how).await?;
    let held = match first.protocol() {
        super::Protocol::H2 => connections.div_ceil(shared.config.max_streams_per_connection.get()),
        super::Protocol::H1 => connections,
    };
    drop(first);
    let mut after = After::default();
    {
        let mut state = shared.state.lock();
        let have = state.lines.get(origin).map_or(0, |line| line.sockets);
        state.grant_rights(shared, origin, held.saturating_sub(have), &mut after);
    }
    // Each connect holds an end of this until it is through. It goes on if this call is dropped.
    let (opening, mut opened) = mpsc::channel::<()>(1);
    for right in after.open {
        let opening = opening.clone();
        shared.tasks.spawn("warm", async move {
            connection::open(right).await;
            drop(opening);
        });
    }
    drop(opening);
    while opened.recv().await.is_some() {}
    Ok(())
}

// The state's methods, each with the lock taken for just as long, and what they leave to do done outside of it.
impl Shared {
    pub(super) fn run(&self, after: After) {
        for right in after.open {
            self.tasks.spawn("connect", connection::open(right));
        }
    }

    pub(super) fn put_socket(
        self: &Arc<Self>,
        sender: http1::SendRequest<RequestBody>,
        info: Arc<Info>,
        leased: bool,
    ) {
        self.state.lock().put_socket(self, sender, info, leased);
    }

    pub(super) fn put_connection(self: &Arc<Self>, sender: http2::SendRequest<RequestBody>, info: Arc<Info>) {
        self.state.lock().put_connection(self, sender, info);
    }

    pub(super) fn release_stream(self: &Arc<Self>, info: &Info) {
        let mut after = After::default();
        self.state.lock().release_stream(self, info, &mut after);
        self.run(after);
    }

    pub(super) fn discard(&self, info: &Info) {
        self.state.lock().discard(info);
    }

    pub(super) fn set_stream_limit(self: &Arc<Self>, info: &Info, limit: usize) {
        let mut after = After::default();
        self.state.lock().set_stream_limit(self, info, limit, &mut after);
        self.run(after);
    }

    pub(super) fn retire(self: &Arc<Self>, info: &Info) {
        let mut after = After::default();
        self.state.lock().retire(self, info, &mut after);
        self.run(after);
    }

    pub(super) fn close_idle(&self) {
        self.state.lock().close_idle();
    }

    pub(super) fn close(&self) {
        self.state.lock().close();
    }

    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            // Registered before the count is read, or the last close could go unseen.
            gone.as_mut().enable();
            if self.state.lock().sockets == 0 {
                return;
            }
            gone.await;
        }
    }
}
