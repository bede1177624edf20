//! What is measured, with what is wanted of it.

use trunkline_pool::pool::Protocol;

use crate::net::Way;
use crate::rounds::{
    Round, Timed, bare_calls, beside_snapshot, calls_over, drain, drain_origins, drain_semaphore, evictions,
    pairs, pairs_over, queue, snapshot,
};

pub(crate) struct Row {
    /// Rows of one kind differ in size alone.
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) goal: Option<Goal>,
    /// One measurement: what each of it took.
    pub(crate) round: Round,
}

/// What is wanted of the best round, in the row's unit.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(u32),
    AtLeast(u32),
    /// The first row of its kind costs about as much.
    Flat,
    /// So does the row of that kind which is the same in size, and comes before.
    Beside(&'static str),
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Nanos,
    Micros,
    PerSecond,
}

/// How much of it.
pub(crate) struct Scale {
    pub(crate) calls: usize,
    pub(crate) exchanges: usize,
    pub(crate) waiters: usize,
    /// The limit of all connections, where it is to be reached.
    pub(crate) limit: usize,
    /// Numbers of origins.
    pub(crate) sizes: Vec<usize>,
}

impl Scale {
    pub(crate) fn whole() -> Self {
        Self { calls: 5_000, exchanges: 1_000, waiters: 10_000, limit: 200, sizes: vec![1, 10, 100, 1000] }
    }

    /// Only to see that it works.
    pub(crate) fn smoke() -> Self {
        Self { calls: 20, exchanges: 20, waiters: 100, limit: 5, sizes: vec![1, 10] }
    }
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    use Unit::{Micros, Nanos, PerSecond};
    const PAIR: Option<Goal> = Some(Goal::AtMost(1000));
    const DRAIN: Option<Goal> = Some(Goal::AtLeast(200_000));
    const SNAPSHOT: Option<Goal> = Some(Goal::AtMost(50));
    const FLAT: Option<Goal> = Some(Goal::Flat);
    let Scale { calls, exchanges, waiters, limit, ref sizes } = *scale;
    let most = sizes.iter().copied().max().unwrap_or_default();
    let mut rows = Vec::new();
    let mut add = |kind, title: String, unit, goal: Option<Goal>, round| {
        rows.push(Row { kind, title, unit, goal, round });
    };

    let title = |what| format!("{what}, taken and given back");
    add("h1", title("an idle socket"), Nanos, PAIR, pairs(Protocol::H1, calls));
    add("h2", title("a free stream"), Nanos, PAIR, pairs(Protocol::H2, calls));
    for &count in sizes {
        let title = format!("an idle socket of {} in turn", counted(count, "origin"));
        add("origins", title, Nanos, FLAT, pairs_over(count, 2 * count, calls));
    }
    for &count in sizes {
        let title = format!("the same, with no more than {} allowed", counted(count, "socket"));
        add("full", title, Nanos, FLAT, pairs_over(count, count, calls / 5));
    }
    // What a thousand sockets cost the system and hyper is no matter of the pool's.
    for &count in sizes {
        let title = format!("a call over loopback by hyper alone, {} in turn", counted(count, "connection"));
        add("bare", title, Micros, None, bare_calls(count, exchanges, Way::Sockets));
    }
    for &count in sizes {
        let title = format!("the same through the pool, {} in turn", counted(count, "origin"));
        add("call", title, Micros, Some(Goal::Beside("bare")), calls_over(count, exchanges, Way::Sockets));
    }
    for &count in sizes {
        let title = format!("a call over memory by hyper alone, {} in turn", counted(count, "connection"));
        add("bare-memory", title, Micros, None, bare_calls(count, exchanges, Way::Pipes));
    }
    for &count in sizes {
        let title = format!("the same through the pool, {} in turn", counted(count, "origin"));
        add("call-memory", title, Micros, None, calls_over(count, exchanges, Way::Pipes));
    }
    for count in [limit + 1, 2 * limit, 5 * limit] {
        let title = format!("one of {limit} idle sockets closed and one opened, {count} origins in turn");
        add("evict", title, Micros, FLAT, evictions(count, limit, exchanges / 4));
    }

    let title = |by| format!("{waiters} waiters served in order by {by}");
    add("drain-h1", title("1 socket"), PerSecond, DRAIN, drain(Protocol::H1, 1, waiters));
    add("drain-h2", title("100 streams"), PerSecond, DRAIN, drain(Protocol::H2, 100, waiters));
    add("drain-semaphore", title("tokio's semaphore"), PerSecond, None, drain_semaphore(waiters));
    let title = format!("{most} waiters of as many origins served by {limit} sockets");
    add("drain-origins", title, PerSecond, None, drain_origins(most, limit));
    let title = |how| format!("the queue {how} by {waiters}");
    add("join", title("joined"), Nanos, None, queue(waiters, Timed::Join));
    add("leave", title("left in any order"), Nanos, None, queue(waiters, Timed::Leave));

    add("snapshot", format!("the snapshot of {most} origins"), Micros, SNAPSHOT, snapshot(most));
    let title = "the longest that a checkout waits beside it".to_owned();
    add("beside-snapshot", title, Micros, None, beside_snapshot(most));
    rows
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
