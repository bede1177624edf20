//! What can happen to a pool, as plain values: proptest makes lists of them, and cuts those that fail short.

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use trunkline::pool::{Config, Http2, Lanes, Priority};

use crate::support;

/// One run.
#[derive(Clone)]
pub struct Case {
    pub knobs: Knobs,
    /// Of the pool's own randomness: ages, back-off.
    pub seed: u64,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Knobs {
    pub all: usize,
    pub by_origin: usize,
    pub idle: usize,
    /// Streaming, unary.
    pub lanes: Option<(usize, usize)>,
    pub by_tenant: Option<usize>,
    pub tenants: usize,
    pub streams: usize,
    pub idle_timeout: u64,
    pub max_age: u64,
    pub http2: Http2,
    /// Sockets take their whole time to shut down.
    pub stubborn: bool,
}

/// Something that happens, and whether the next thing follows in the same instant, before any task had a turn.
#[derive(Clone, Debug)]
pub struct Step {
    pub op: Op,
    pub at_once: bool,
}

/// Whatever is chosen by number is chosen among what there is then: leases, waiters, connections. Times are milliseconds.
#[derive(Clone, Debug)]
pub enum Op {
    Checkout(Ask, usize),
    CancelWaiter(usize),
    DropLease(usize),
    Send(usize),
    /// Drops a call between its request and the end of its response.
    AbortCall(usize),
    /// The server's head, with the body to come.
    Head(usize),
    Answer(usize),
    /// The same, and over HTTP/1.1 the last on its socket.
    LastAnswer(usize),
    Refuse(usize),
    Goaway(usize, GoawayLast),
    Settings(usize, u32),
    /// The server closes a connection, whatever runs on it.
    HangUp(usize),
    /// What an https origin will speak and announce from now on.
    Speaks(usize, bool),
    Announces(usize, Option<u32>),
    /// What becomes of an origin's connects from now on.
    Connects(usize, Connects),
    /// A connect that is held comes to its end.
    Land(usize, bool),
    Sleep(u64),
    /// Time passes, and nobody was there to look.
    Jump(u64),
    /// The wall's clock alone goes on.
    WallJump(u64),
    Warm(Ask, usize),
    CloseIdle,
}

#[derive(Clone)]
pub struct Ask {
    pub site: usize,
    pub tenant: Option<usize>,
    pub streaming: bool,
    pub priority: Priority,
    pub fresh: bool,
    pub patience: u64,
    pub connect: u64,
    pub aging: u64,
    pub max_waiting: usize,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            site: 0,
            tenant: None,
            streaming: false,
            priority: Priority::default(),
            fresh: false,
            patience: 100_000_000,
            connect: 30_000,
            aging: 5_000,
            max_waiting: 10_000,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum GoawayLast {
    None,
    All,
}

#[derive(Clone, Copy, Debug)]
pub enum Connects {
    Succeed,
    Fail,
    Take(u64),
    Hold,
}

impl Knobs {
    pub fn config(&self) -> Config {
        Config {
            max_idle_connections: self.idle,
            idle_timeout: Duration::from_millis(self.idle_timeout),
            max_age: Duration::from_millis(self.max_age),
            http2: self.http2,
            lanes: self.lanes.map(|(streaming, unary)| Lanes {
                streaming: streaming.try_into().unwrap(),
                unary: unary.try_into().unwrap(),
            }),
            max_connections_per_tenant: self.by_tenant.map(|max| max.try_into().unwrap()),
            max_tenants: self.tenants.try_into().unwrap(),
            ..support::streams(self.streams, support::config(self.all, self.by_origin))
        }
    }
}

pub fn cases() -> impl Strategy<Value = Case> {
    // Two hundred steps in the mean. In pieces, since proptest leaves out one element at a time: first whole pieces, then steps.
    let pieces = vec(vec(step(), 1..30), 1..28);
    (knobs(), any::<u64>(), pieces).prop_map(|(knobs, seed, pieces)| Case {
        knobs,
        seed,
        steps: pieces.concat(),
    })
}

fn knobs() -> impl Strategy<Value = Knobs> {
    let limits = (1..=6usize, 1..=6usize, 0..=6usize);
    let parts = (weighted(0.3, (1..=3usize, 1..=3usize)), weighted(0.4, 1..=3usize));
    let tenants = prop_oneof![4 => Just(100usize), 1 => Just(2usize)];
    let times =
        (prop_oneof![Just(200u64), Just(2_000), Just(60_000)], prop_oneof![Just(1_000u64), Just(300_000)]);
    let http2 =
        prop_oneof![6 => Just(Http2::Auto), 1 => Just(Http2::Never), 1 => Just(Http2::PriorKnowledge)];
    (limits, parts, tenants, 1..=4usize, times, http2, proptest::bool::weighted(0.15)).prop_map(
        |(
            (all, by_origin, idle),
            (lanes, by_tenant),
            tenants,
            streams,
            (idle_timeout, max_age),
            http2,
            stubborn,
        )| Knobs {
            all,
            by_origin,
            idle,
            lanes,
            by_tenant,
            tenants,
            streams,
            idle_timeout,
            max_age,
            http2,
            stubborn,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    (op(), proptest::bool::weighted(0.2)).prop_map(|(op, at_once)| Step { op, at_once })
}

fn op() -> impl Strategy<Value = Op> {
    let any = || 0..64usize;
    let site = || 0..3usize;
    prop_oneof![
        24 => (ask(), prop_oneof![6 => Just(1usize), 1 => 2..6usize]).prop_map(|(ask, count)| Op::Checkout(ask, count)),
        6 => any().prop_map(Op::CancelWaiter),
        10 => any().prop_map(Op::DropLease),
        12 => any().prop_map(Op::Send),
        5 => any().prop_map(Op::AbortCall),
        3 => any().prop_map(Op::Head),
        12 => any().prop_map(Op::Answer),
        2 => any().prop_map(Op::LastAnswer),
        2 => any().prop_map(Op::Refuse),
        2 => (any(), prop_oneof![Just(GoawayLast::None), Just(GoawayLast::All)]).prop_map(|(at, last)| Op::Goaway(at, last)),
        3 => (any(), limit()).prop_map(|(at, streams)| Op::Settings(at, streams)),
        3 => any().prop_map(Op::HangUp),
        1 => (site(), proptest::bool::ANY).prop_map(|(at, h2)| Op::Speaks(at, h2)),
        1 => (site(), prop_oneof![1 => Just(None), 4 => limit().prop_map(Some)]).prop_map(|(at, limit)| Op::Announces(at, limit)),
        4 => (site(), connects()).prop_map(|(at, connects)| Op::Connects(at, connects)),
        5 => (any(), proptest::bool::weighted(0.8)).prop_map(|(at, well)| Op::Land(at, well)),
        8 => prop_oneof![3 => 1..100u64, 2 => 100..3_000u64, 1 => 3_000..20_000u64].prop_map(Op::Sleep),
        1 => prop_oneof![1..1_000u64, Just(70_000u64)].prop_map(Op::Jump),
        1 => Just(Op::WallJump(60_000)),
        1 => (ask(), 1..5usize).prop_map(|(ask, count)| Op::Warm(ask, count)),
        1 => Just(Op::CloseIdle),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let whose = (0..3usize, weighted(0.4, 0..3usize), proptest::bool::ANY);
    let priority = proptest::sample::select(Priority::ALL.to_vec());
    let patience = prop_oneof![3 => Just(100_000_000u64), 1 => 1..3_000u64];
    let connect = prop_oneof![3 => Just(30_000u64), 1 => 1..2_000u64];
    let aging = prop_oneof![4 => Just(5_000u64), 1 => Just(100u64)];
    let max_waiting = prop_oneof![9 => Just(10_000usize), 1 => 0..3usize];
    (whose, priority, proptest::bool::weighted(0.15), patience, connect, aging, max_waiting).prop_map(
        |((site, tenant, streaming), priority, fresh, patience, connect, aging, max_waiting)| Ask {
            site,
            tenant,
            streaming,
            priority,
            fresh,
            patience,
            connect,
            aging,
            max_waiting,
        },
    )
}

/// Of streams. None at all is rare: what comes of it hides much else.
fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![15 => 1..6u32, 1 => Just(0u32)]
}

fn connects() -> impl Strategy<Value = Connects> {
    prop_oneof![
        5 => Just(Connects::Succeed),
        2 => Just(Connects::Fail),
        2 => (1..500u64).prop_map(Connects::Take),
        2 => Just(Connects::Hold),
    ]
}

/// Only what is not as usual.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        write!(f, "site {} {:?}", self.site, self.priority)?;
        if let Some(tenant) = self.tenant {
            write!(f, " tenant {tenant}")?;
        }
        if self.streaming {
            f.write_str(" streaming")?;
        }
        if self.fresh {
            f.write_str(" fresh")?;
        }
        let numbers = [
            ("patience", self.patience, usual.patience),
            ("connect", self.connect, usual.connect),
            ("aging", self.aging, usual.aging),
            ("max_waiting", self.max_waiting as u64, usual.max_waiting as u64),
        ];
        for (name, number, usual) in numbers {
            if number != usual {
                write!(f, " {name} {number}")?;
            }
        }
        Ok(())
    }
}

/// As a list that can be read.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}\nseed {}", self.knobs, self.seed)?;
        for (number, Step { op, at_once }) in self.steps.iter().enumerate() {
            writeln!(f, "{number:4} {op:?}{}", if *at_once { " and at once" } else { "" })?;
        }
        Ok(())
    }
}
