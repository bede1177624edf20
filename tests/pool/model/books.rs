//! What the model knows: who waits, what is leased, which calls run; and how each step is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trunkline::pool::{Checkout, Error, Kind, Lane, Lease, Origin, Pool, Priority, Tasks, Tenant};

use super::ops::{Ask, Case, Connects, Knobs, Op};
use super::order::{Ended, Passed};
use super::quiet::Quiet;
use super::world::{SITES, Server, World};
use crate::support::{self, Net};

pub const TENANTS: [&str; 3] = ["x", "y", "z"];

/// When one is due, and when it came.
pub type Rank = (Duration, u64);

/// A partition, by number.
pub type Key = (usize, Option<usize>, Option<Lane>);

pub struct Model {
    pub knobs: Knobs,
    pub pool: Pool,
    pub net: Arc<Net>,
    pub tasks: Tasks,
    pub world: World,
    pub waiters: Vec<Waiter>,
    pub leases: Vec<Held>,
    pub calls: Vec<Call>,
    pub warming: Vec<(Key, JoinHandle<Result<(), Error>>)>,
    /// Whom each connection serves.
    pub served: HashMap<u64, Key>,
    pub granted: u64,
    /// Waits that ended in a timeout or in the failure of a connect.
    pub waited_in_vain: u64,
    /// Checkouts that met the close of the pool, waiting or not.
    pub met_close: u64,
    pub warmed: u64,
    /// Waiters that left.
    pub left: u64,
    /// Those that left in the step that is being done: they may have been asked first.
    gone: Vec<Ended>,
    /// How often each line was warmed: that may have waited there as well, at some time.
    pub warmers: HashMap<Key, usize>,
    pub reused: Arc<AtomicU64>,
    pub seen: Seen,
    origins: [Origin; 3],
    wall: Arc<AtomicU64>,
    arrivals: u64,
    pub step: u64,
}

/// What happened so far, and so may be the reason of a close.
#[derive(Default)]
pub struct Seen {
    pub slept: Duration,
    pub jumped: bool,
    pub goaway: bool,
    pub ended_by_server: bool,
    pub aborted: bool,
    pub closed: bool,
    pub closed_for_good: bool,
    pub zero: bool,
    /// Somebody wanted a fresh socket.
    pub fresh: bool,
}

pub struct Waiter {
    pub key: Key,
    pub fresh: bool,
    pub priority: Priority,
    pub rank: Rank,
    /// How those who ended while it waited stood to it.
    pub passed: Passed,
    pub since: Instant,
    pub patience: Duration,
    pub max_waiting: usize,
    /// In which step it came.
    pub step: u64,
    pub task: JoinHandle<Result<Lease, Error>>,
}

pub struct Held {
    pub key: Key,
    pub lease: Lease,
    /// Granted in the step that has just been done.
    pub is_new: bool,
}

pub struct Call {
    pub key: Key,
    pub connection: u64,
    task: JoinHandle<Result<(), Error>>,
}

impl Call {
    pub fn abort(self) {
        self.task.abort();
    }
}

pub type Verdict<T = ()> = Result<T, String>;

impl Model {
    pub fn new(case: &Case, start: Instant) -> Self {
        let knobs = case.knobs.clone();
        let world = World::new(&knobs);
        let wall = Arc::new(AtomicU64::new(0));
        let ahead = wall.clone();
        let mut net = world.net().watching(&knobs.config());
        net.stubborn = knobs.stubborn;
        let (pool, net, tasks) = net.pool_with_clock(knobs.config(), move || {
            SystemTime::UNIX_EPOCH + start.elapsed() + Duration::from_millis(ahead.load(Ordering::Relaxed))
        });
        Self {
            knobs,
            pool,
            net,
            tasks,
            world,
            waiters: Vec::new(),
            leases: Vec::new(),
            calls: Vec::new(),
            warming: Vec::new(),
            served: HashMap::new(),
            granted: 0,
            waited_in_vain: 0,
            met_close: 0,
            warmed: 0,
            left: 0,
            gone: Vec::new(),
            warmers: HashMap::new(),
            reused: Arc::default(),
            seen: Seen::default(),
            origins: SITES.map(support::origin),
            wall,
            arrivals: 0,
            step: 0,
        }
    }

    pub fn key(&self, ask: &Ask) -> Key {
        let lane = if ask.streaming { Lane::Streaming } else { Lane::Unary };
        (ask.site, ask.tenant, self.knobs.lanes.map(|_| lane))
    }

    fn how(ask: &Ask) -> Checkout {
        Checkout {
            priority: ask.priority,
            aging: Duration::from_millis(ask.aging),
            since: None,
            lane: if ask.streaming { Lane::Streaming } else { Lane::Unary },
            tenant: ask.tenant.map(|tenant| Tenant::new(TENANTS[tenant])),
            max_waiting: ask.max_waiting,
            queue_timeout: Duration::from_millis(ask.patience),
            connect_timeout: Duration::from_millis(ask.connect),
            fresh: ask.fresh,
            fail_fast: false,
        }
    }

    pub fn checkout(&mut self, ask: &Ask, start: Instant) {
        let (pool, origin, how) = (self.pool.clone(), self.origins[ask.site].clone(), Self::how(ask));
        self.arrivals += 1;
        self.seen.fresh |= ask.fresh;
        let due = start.elapsed() + how.aging * how.priority as u32;
        self.waiters.push(Waiter {
            key: self.key(ask),
            fresh: ask.fresh,
            priority: how.priority,
            rank: (due, self.arrivals),
            passed: Passed::default(),
            since: Instant::now(),
            patience: how.queue_timeout,
            max_waiting: how.max_waiting,
            step: self.step,
            task: tokio::spawn(async move { pool.checkout(&origin, how).await }),
        });
    }

    pub fn send(&mut self, at: usize) {
        let Held { key, lease, .. } = self.leases.remove(at);
        let connection = lease.connection_id();
        let reused = self.reused.clone();
        let task = tokio::spawn(async move {
            // Here, since it may be aborted before its first turn.
            reused.fetch_add(u64::from(lease.is_reused()), Ordering::Relaxed);
            let request = support::request(&lease, "/");
            let body = lease.send(request).await?.into_body();
            body.collect().await.map(|_| ())
        });
        self.calls.push(Call { key, connection, task });
    }

    /// Does what a step says. What it refers to may not be there: then nothing happens.
    pub async fn apply(&mut self, op: &Op, quiet: &Quiet, start: Instant) {
        let (world, http2) = (self.world.clone(), self.knobs.http2);
        match op {
            Op::Checkout(ask, count) => (0..*count).for_each(|_| self.checkout(ask, start)),
            Op::CancelWaiter(at) => {
                if let Some(at) = pick(*at, self.waiters.len()) {
                    let waiter = self.waiters.remove(at);
                    self.gone.push(waiter.ended(self.step, false));
                    waiter.task.abort();
                    // It may have its lease, and be asked too late.
                    self.left += 1;
                }
            }
            Op::DropLease(at) => {
                if let Some(at) = pick(*at, self.leases.len()) {
                    drop(self.leases.remove(at));
                }
            }
            Op::Send(at) => {
                if let Some(at) = pick(*at, self.leases.len()) {
                    self.send(at);
                }
            }
            Op::AbortCall(at) => {
                if let Some(at) = pick(*at, self.calls.len()) {
                    self.calls.remove(at).abort();
                    self.seen.aborted = true;
                }
            }
            Op::Head(at) => self.of_asked(*at, |world, which| world.head(which)),
            Op::Answer(at) => self.of_asked(*at, |world, which| world.answer(which, false)),
            Op::LastAnswer(at) => {
                self.seen.ended_by_server = true;
                self.of_asked(*at, |world, which| {
                    world.connections[which.0].disturbed = true;
                    world.answer(which, true);
                });
            }
            Op::Refuse(at) => self.of_asked(*at, |world, which| world.refuse(which)),
            Op::Goaway(at, last) => {
                self.seen.goaway = true;
                self.of_live(*at, |world, which| world.goaway(which, *last));
            }
            Op::Settings(at, streams) => {
                self.seen.zero |= *streams == 0;
                self.of_live(*at, |world, which| world.settings(which, *streams));
            }
            Op::HangUp(at) => {
                self.seen.ended_by_server = true;
                self.of_live(*at, |world, which| world.hang_up(which));
            }
            Op::Speaks(site, h2) => world.lock().set_speaks(*site, *h2, http2),
            Op::Announces(site, streams) => {
                self.seen.zero |= *streams == Some(0);
                world.lock().set_announces(*site, *streams);
            }
            Op::Connects(site, connects) => world.lock().set_connects(*site, *connects),
            Op::Land(at, well) => world.lock().land(*at, *well),
            Op::Sleep(millis) => self.sleep(*millis).await,
            Op::Jump(millis) => {
                // What has been asked for in this instant is under way.
                quiet.wait().await;
                let time = Duration::from_millis(*millis);
                tokio::time::advance(time).await;
                self.seen.slept += time;
                self.seen.jumped = true;
            }
            Op::WallJump(millis) => {
                self.wall.fetch_add(*millis, Ordering::Relaxed);
                self.seen.jumped = true;
            }
            Op::Warm(ask, count) => {
                let (pool, origin, how, count) =
                    (self.pool.clone(), self.origins[ask.site].clone(), Self::how(ask), *count);
                let task = tokio::spawn(async move { pool.warm(&origin, count, how).await });
                self.warmed += 1;
                *self.warmers.entry(self.key(ask)).or_default() += 1;
                self.warming.push((self.key(ask), task));
            }
            Op::CloseIdle => {
                self.pool.close_idle();
                self.seen.closed = true;
            }
        }
    }

    pub async fn sleep(&mut self, millis: u64) {
        let time = Duration::from_millis(millis);
        tokio::time::sleep(time).await;
        // The timer's clock counts whole milliseconds.
        self.seen.slept += time + Duration::from_millis(1);
    }

    fn of_asked(&self, at: usize, act: impl FnOnce(&mut super::world::Inner, (usize, u32))) {
        let mut world = self.world.lock();
        let asked = world.asked();
        if let Some(at) = pick(at, asked.len()) {
            act(&mut world, asked[at]);
        }
    }

    fn of_live(&self, at: usize, act: impl FnOnce(&mut super::world::Inner, usize)) {
        let mut world = self.world.lock();
        let live = world.live();
        if let Some(at) = pick(at, live.len()) {
            act(&mut world, live[at]);
        }
    }

    /// All is quiet: writes down what has ended meanwhile. What it finds wrong: an answer that should not be, or one out of turn.
    pub async fn book(&mut self) -> Verdict {
        self.world.lock().read();
        for held in &mut self.leases {
            held.is_new = false;
        }
        let mut ended_now = std::mem::take(&mut self.gone);
        for waiter in self.waiters.extract_if(.., |waiter| waiter.task.is_finished()).collect::<Vec<_>>() {
            let mut as_served = waiter.ended(self.step, true);
            let ended = waiter.task.await.map_err(|error| format!("a checkout broke: {error}"))?;
            let waited = waiter.since.elapsed();
            match ended {
                Ok(lease) => {
                    self.granted += 1;
                    let whose = *self.served.entry(lease.connection_id()).or_insert(waiter.key);
                    if whose != waiter.key {
                        return Err(format!(
                            "{:?} was given a connection of {whose:?}: {lease:?}",
                            waiter.key
                        ));
                    }
                    self.leases.push(Held { key: waiter.key, lease, is_new: true });
                }
                Err(error) => {
                    let fine = match error.kind() {
                        Kind::QueueTimeout(limit) => limit == waiter.patience && waited >= waiter.patience,
                        Kind::QueueFull(max) => max == waiter.max_waiting && waiter.step == self.step,
                        Kind::TooManyTenants(max) => max == self.knobs.tenants && waiter.key.1.is_some(),
                        Kind::Connect | Kind::ConnectTimeout(_) => {
                            self.world.lock().sites[waiter.key.0].ever_failed
                        }
                        Kind::Closed => self.seen.closed,
                        _ => false,
                    };
                    if !fine {
                        return Err(format!("a waiter of {:?} got {error:?} after {waited:?}", waiter.key));
                    }
                    match error.kind() {
                        Kind::QueueTimeout(_) | Kind::Connect | Kind::ConnectTimeout(_) => {
                            self.waited_in_vain += 1;
                        }
                        Kind::Closed => self.met_close += 1,
                        _ => {}
                    }
                    as_served.was_served = matches!(error.kind(), Kind::Connect | Kind::ConnectTimeout(_));
                }
            }
            ended_now.push(as_served);
        }
        self.they_went_in_order(&ended_now)?;
        for call in self.calls.extract_if(.., |call| call.task.is_finished()).collect::<Vec<_>>() {
            let ended = call.task.await.map_err(|error| format!("a call broke: {error}"))?;
            let world = self.world.lock();
            let connection = &world.connections[call.connection as usize - 1];
            match ended.map_err(|error| error.kind()) {
                Ok(()) | Err(Kind::Refused) => {}
                Err(_) if connection.disturbed || self.knobs.stubborn => {}
                // A server that takes no streams has processed none.
                Err(Kind::Unprocessed) if world.sites[connection.site].ever_zero => {}
                Err(kind) => {
                    return Err(format!("a call on connection {} failed: {kind:?}", call.connection));
                }
            }
        }
        for (key, task) in self.warming.extract_if(.., |(_, task)| task.is_finished()).collect::<Vec<_>>() {
            if let Err(error) = task.await.map_err(|error| format!("a warm-up broke: {error}"))?
                && matches!(error.kind(), Kind::Closed)
                && !self.seen.closed
            {
                return Err(format!("warming {key:?}: {error:?}"));
            }
        }
        Ok(())
    }

    pub fn next_step(&mut self) {
        self.step += 1;
        self.world.lock().quiet();
    }

    pub fn abort_hopeless_calls(&mut self) {
        let world = self.world.lock();
        let is_gone = |number: u64| matches!(world.connections[number as usize - 1].server, Server::Gone);
        for call in self.calls.extract_if(.., |call| is_gone(call.connection)) {
            self.seen.aborted = true;
            call.abort();
        }
    }

    /// Streams and sockets of a connection that are in use.
    pub fn in_use(&self, connection: u64) -> usize {
        self.leases.iter().filter(|held| held.lease.connection_id() == connection).count()
            + self.calls.iter().filter(|call| call.connection == connection).count()
    }

    /// From now on all goes well: connects succeed, servers take streams, and answer what they were asked.
    pub fn heal(&mut self) {
        let mut world = self.world.lock();
        for site in 0..SITES.len() {
            world.set_connects(site, Connects::Succeed);
            world.set_announces(site, Some(100));
        }
        while world.held() > 0 {
            world.land(0, true);
        }
        for at in world.live() {
            world.settings(at, 100);
        }
        for which in world.asked() {
            world.answer(which, false);
        }
    }
}

fn pick(at: usize, among: usize) -> Option<usize> {
    (among > 0).then(|| at % among)
}
