//! The asynchronous way through the state: take, or wait for whatever comes first.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connection;
use super::info::Info;
use super::lease::Lease;
use super::limit::LineId;
use super::partition::{Lane, Partition, Tenant};
use super::queue::{Priority, Rank};
use super::sent::SentBody;
use super::state::{After, Found};
use super::supply::Arrival;
use super::{Error, Kind, Origin, Shared};

/// How a checkout goes.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Who goes first among those who wait. Default [`Priority::Interactive`].
    pub priority: Priority,
    /// A waiter that has waited such a span for each priority between has a share of what goes to the more urgent. Default 5 s.
    pub aging: Duration,
    /// Since when it waits, be it for other things before, by which it is ordered. Default: now.
    pub since: Option<Instant>,
    /// Which sockets of the origin it may have, where the pool has lanes. Default [`Lane::Unary`].
    pub lane: Lane,
    /// Whose sockets it may have. Default: those of nobody in particular.
    pub tenant: Option<Tenant>,
    /// How many may wait already (for the same origin, lane and tenant), beside those that wait for a connection of their own to be
    /// made; one more is refused at once. Default 10 000.
    pub max_waiting: usize,
    /// How long to wait for a socket or a stream. Default 30 s.
    pub queue_timeout: Duration,
    /// DNS, TCP and TLS together, if this checkout makes a connection. Default 10 s.
    pub connect_timeout: Duration,
    /// Takes no socket that has been resting: the last one turned out dead.
    pub fresh: bool,
    /// Waits for no origin that takes no connections: for a connect that is put off since the last one failed, or that finds out whether
    /// the next one does.
    pub fail_fast: bool,
}

impl Default for Checkout {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            aging: Duration::from_secs(5),
            since: None,
            lane: Lane::Unary,
            tenant: None,
            max_waiting: 10_000,
            queue_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            fresh: false,
            fail_fast: false,
        }
    }
}

/// What has rested for longer than this is asked whether it still lives, after its driver had a turn. What has not was polled within
/// that time.
const LONG_REST: Duration = Duration::from_millis(500);

pub(super) async fn checkout(shared: &Arc<Shared>, origin: &Origin, how: &Checkout) -> Result<Lease, Error> {
    let partition = shared.partition(origin, how);
    loop {
        let mut after = After::default();
        let found = shared.state.lock().take(shared, &partition, how, &mut after);
        shared.run(after);
        let mut lease = match found? {
            Found::Lease(lease) => lease,
            Found::Wait(granted, line, rank) => {
                let since = Instant::now();
                let place =
                    Place { shared, line, rank, priority: how.priority, since, granted, answered: false };
                let mut lease = place.wait(how.queue_timeout).await?;
                lease.set_waited(since.elapsed());
                return Ok(lease);
            }
        };
        if lease.rested() > LONG_REST {
            // The end of a socket may lie unread, if this thread was kept from its drivers. After the first yield tokio has looked for
            // such news and woken the driver; after the second it has run.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            if !lease.lives() {
                lease.give_up();
                continue;
            }
        }
        lease.set_waited(Duration::ZERO);
        shared.stats.waited(Duration::ZERO);
        return Ok(lease);
    }
}

/// A place in the queue of a line.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    line: LineId,
    rank: Rank,
    priority: Priority,
    since: Instant,
    granted: oneshot::Receiver<Result<Lease, Error>>,
    /// Whether it was left with an answer.
    answered: bool,
}

impl Place<'_> {
    async fn wait(mut self, limit: Duration) -> Result<Lease, Error> {
        match tokio::time::timeout(limit, &mut self.granted).await {
            Ok(Ok(granted)) => {
                self.answered = true;
                granted
            }
            Ok(Err(_)) => Err(Error::new(Kind::Closed)),
            Err(_) => Err(Error::new(Kind::QueueTimeout(limit))),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // However it ended: a pool that is dry shows in those who gave up.
        self.shared.stats.waited(self.since.elapsed());
        if self.answered {
            return;
        }
        self.granted.close();
        // What was granted in the very moment of leaving goes back by its own drop.
        if self.granted.try_recv().is_err() {
            let mut after = After::default();
            self.shared.state.lock().leave(self.shared, self.line, self.priority, self.rank, &mut after);
            self.shared.run(after);
        }
    }
}

pub(super) async fn warm(
    shared: &Arc<Shared>,
    origin: &Origin,
    connections: usize,
    how: &Checkout,
) -> Result<(), Error> {
    if shared.config.max_idle_connections == 0 {
        // It would close at once.
        return if shared.closing.is_cancelled() { Err(Error::new(Kind::Closed)) } else { Ok(()) };
    }
    // One first: it tells what the origin speaks, and what is wrong with it.
    let first = checkout(shared, origin, how).await?;
    let mut after = After::default();
    shared.state.lock().open_up_to(shared, first.line(), first.protocol(), connections, &mut after);
    drop(first);
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
    fn partition(&self, origin: &Origin, how: &Checkout) -> Partition {
        let lane = self.config.of(origin).lanes.is_some().then_some(how.lane);
        Partition { origin: origin.clone(), tenant: how.tenant.clone(), lane }
    }

    pub(super) fn run(&self, after: After) {
        for right in after.open {
            self.tasks.spawn("connect", connection::open(right));
        }
    }

    pub(super) fn put_socket(
        self: &Arc<Self>,
        sender: http1::SendRequest<SentBody>,
        info: Arc<Info>,
        arrival: Arrival,
    ) {
        let mut after = After::default();
        self.state.lock().put_socket(self, sender, info, arrival, &mut after);
        self.run(after);
    }

    pub(super) fn put_connection(
        self: &Arc<Self>,
        sender: http2::SendRequest<SentBody>,
        info: Arc<Info>,
        told: Option<usize>,
    ) {
        let mut after = After::default();
        self.state.lock().put_connection(self, sender, info, told, &mut after);
        self.run(after);
    }

    pub(super) fn release_stream(self: &Arc<Self>, info: &Info, unused: Option<Instant>) {
        let mut after = After::default();
        self.state.lock().release_stream(self, info, unused, &mut after);
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
        // Connects under way end here.
        self.closing.cancel();
    }

    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            // Registered before the count is read, or the last close could go unseen.
            gone.as_mut().enable();
            if self.state.lock().all.used() == 0 {
                return;
            }
            gone.await;
        }
    }
}
