//! What a client counts. Atomics while calls run; a plain copy when asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::rows::{End, LEFT, NONE, Row, Rows};
use crate::pool::{Histogram, Priority, Snapshot, Spread};

/// The counters of one client.
#[derive(Debug)]
pub struct Counters {
    since: Instant,
    /// The same by the clock on the wall.
    born: SystemTime,
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    aborted: AtomicU64,
    retried: AtomicU64,
    hedged: AtomicU64,
    failed_over: AtomicU64,
    cached: AtomicU64,
    coalesced: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Output by second, of the last minute.
    pace: Mutex<Pace>,
    sent: AtomicU64,
    received: AtomicU64,
    latency: Histogram,
    first_byte: Histogram,
    /// At whichever provider.
    pub turns: TurnWaits,
    /// By provider and model.
    pub rows: Rows,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            born: SystemTime::now(),
            started: AtomicU64::default(),
            succeeded: AtomicU64::default(),
            failed: AtomicU64::default(),
            aborted: AtomicU64::default(),
            retried: AtomicU64::default(),
            hedged: AtomicU64::default(),
            failed_over: AtomicU64::default(),
            cached: AtomicU64::default(),
            coalesced: AtomicU64::default(),
            input_tokens: AtomicU64::default(),
            output_tokens: AtomicU64::default(),
            pace: Mutex::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            latency: Histogram::default(),
            first_byte: Histogram::default(),
            turns: TurnWaits::default(),
            rows: Rows::default(),
        }
    }
}

/// A call in flight. Settled once; dropped unsettled it counts as aborted.
#[derive(Debug)]
pub struct CallGuard {
    counters: Arc<Counters>,
    started: Instant,
    settled: bool,
    seat: Seat,
}

/// Who is asked for a call at present, for when its caller leaves. Shared with whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Seat(Arc<Mutex<Option<Arc<Row>>>>);

impl Seat {
    pub fn take(&self, row: &Arc<Row>) {
        *self.0.lock() = Some(row.clone());
    }
}

/// Plain sums, as they are now.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    pub in_flight: u64,
    pub cached: u64,
    pub coalesced: u64,
    pub sent: u64,
    pub received: u64,
}

/// The figures of a client at one moment. Times in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    requests: Requests,
    queue: Queue,
    /// From a call's start to its end, failed ones included.
    latency: Spread,
    /// From a request's sending to the head of its answer or, in a stream, to the first piece that says something.
    first_byte: Spread,
    pool: Snapshot,
    circuits: BTreeMap<String, CircuitFigures>,
    limits: BTreeMap<String, LimitFigures>,
    /// Null where nothing is kept or shared.
    cache: Option<CacheFigures>,
    tokens: Tokens,
    /// In dollars, as far as there are prices.
    cost: f64,
    bytes: Bytes,
    uptime: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    started: u64,
    succeeded: u64,
    failed: u64,
    aborted: u64,
    retried: u64,
    hedged: u64,
    failed_over: u64,
    cached: u64,
    coalesced: u64,
    in_flight: u64,
}

/// Calls that wait for their turn or a connection.
#[derive(Debug, Serialize)]
struct Queue {
    depth: BTreeMap<&'static str, usize>,
    /// How long calls waited for a connection, those that did not have to and those that gave up included.
    wait: Spread,
    /// How long those waited for their turn that had to.
    turns: Spread,
    /// Calls that found too many waiting, or too many tenants.
    refused: u64,
}

/// Of the calls of one client, whoever else waits at the same gates.
#[derive(Debug, Default)]
pub struct TurnWaits {
    pub times: Histogram,
    /// Those that found too many waiting.
    pub refused: AtomicU64,
}

/// Of those that wait for their turn.
#[derive(Debug, Default)]
pub struct TurnFigures {
    pub depth: [usize; Priority::ALL.len()],
    pub refused: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitFigures {
    pub state: &'static str,
    /// Of its window.
    pub failures: u64,
    pub opened_at: Option<u64>,
    pub transitions: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitFigures {
    pub requests_remaining: Option<u64>,
    pub tokens_remaining: Option<u64>,
    pub reset_at: Option<u64>,
    pub throttled: u64,
}

/// Of the answers that are kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheFigures {
    pub entries: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    pub hits: u64,
    pub misses: u64,
    pub evicted: u64,
    pub expired: u64,
}

/// Both clocks at one moment, since JavaScript reads the other one.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub now: Instant,
    since_epoch: Duration,
}

impl Clocks {
    pub fn read() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { now: Instant::now(), since_epoch: since_epoch.unwrap_or_default() }
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self, at: Instant) -> u64 {
        let passed = self.now.saturating_duration_since(at);
        let to_come = at.saturating_duration_since(self.now);
        let time = self.since_epoch.saturating_add(to_come).saturating_sub(passed);
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }
}

/// As the providers reported them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    input: u64,
    output: u64,
    /// Of the output, over the last minute.
    per_second: f64,
}

const MINUTE: usize = 60;

/// By second since the beginning, which one it is and how much came in it.
#[derive(Debug)]
struct Pace([(u64, u64); MINUTE]);

impl Default for Pace {
    fn default() -> Self {
        Self([(0, 0); MINUTE])
    }
}

impl Pace {
    fn add(&mut self, second: u64, tokens: u64) {
        let slot = &mut self.0[second as usize % MINUTE];
        *slot = if slot.0 == second { (second, slot.1.saturating_add(tokens)) } else { (second, tokens) };
    }

    fn per_second(&self, now: Duration) -> f64 {
        let is_fresh = |(second, _): &&(u64, u64)| second + MINUTE as u64 > now.as_secs();
        let sum: u64 = self.0.iter().filter(is_fresh).map(|(_, tokens)| tokens).sum();
        // A client that is younger than a minute had less time.
        sum as f64 / now.as_secs_f64().clamp(1.0, MINUTE as f64)
    }
}

/// Of bodies, without heads and TLS.
#[derive(Debug, Serialize)]
struct Bytes {
    sent: u64,
    received: u64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    /// A call begins.
    pub fn begin(self: &Arc<Self>, started: Instant) -> CallGuard {
        self.begin_at(started, Seat::default())
    }

    /// One that is told by others who is asked for it.
    pub fn begin_at(self: &Arc<Self>, started: Instant, seat: Seat) -> CallGuard {
        add(&self.started, 1);
        CallGuard { counters: self.clone(), started, settled: false, seat }
    }

    pub fn retried(&self) {
        add(&self.retried, 1);
    }

    pub fn failed_over(&self) {
        add(&self.failed_over, 1);
    }

    /// A call is answered from memory.
    pub fn cached(&self) {
        add(&self.cached, 1);
    }

    /// A call waits for the exchange of another.
    pub fn coalesced(&self) {
        add(&self.coalesced, 1);
    }

    pub fn hedged(&self) {
        add(&self.hedged, 1);
    }

    pub fn sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
    }

    pub fn received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
    }

    pub fn tokens(&self, input: u64, output: u64) {
        add(&self.input_tokens, input);
        add(&self.output_tokens, output);
        self.pace.lock().add(self.since.elapsed().as_secs(), output);
    }

    pub fn first_byte(&self, time: Duration) {
        self.first_byte.record(time);
    }

    /// Seconds since 1970 at which the client was made.
    pub fn born(&self) -> f64 {
        self.born.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    pub fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn sums(&self) -> Sums {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ended = get(&self.succeeded) + get(&self.failed) + get(&self.aborted);
        Sums {
            in_flight: get(&self.started).saturating_sub(ended),
            cached: get(&self.cached),
            coalesced: get(&self.coalesced),
            sent: get(&self.sent),
            received: get(&self.received),
        }
    }

    pub fn metrics(
        &self,
        pool: Snapshot,
        turns: TurnFigures,
        circuits: BTreeMap<String, CircuitFigures>,
        limits: BTreeMap<String, LimitFigures>,
        cache: Option<CacheFigures>,
        cost: f64,
    ) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read before `started`, so that in_flight never underflows.
        let (succeeded, failed, aborted) = (get(&self.succeeded), get(&self.failed), get(&self.aborted));
        let started = get(&self.started);
        Metrics {
            requests: Requests {
                started,
                succeeded,
                failed,
                aborted,
                retried: get(&self.retried),
                hedged: get(&self.hedged),
                failed_over: get(&self.failed_over),
                cached: get(&self.cached),
                coalesced: get(&self.coalesced),
                in_flight: started.saturating_sub(succeeded + failed + aborted),
            },
            queue: Queue {
                depth: Priority::ALL
                    .iter()
                    .zip(pool.queue.depth.iter().zip(turns.depth))
                    .map(|(priority, (pool, turns))| (priority.as_str(), pool + turns))
                    .collect(),
                wait: pool.acquire_wait,
                turns: self.turns.times.spread(),
                refused: pool.queue.refused + turns.refused,
            },
            latency: self.latency.spread(),
            first_byte: self.first_byte.spread(),
            tokens: Tokens {
                input: get(&self.input_tokens),
                output: get(&self.output_tokens),
                per_second: self.pace.lock().per_second(self.uptime()),
            },
            cost,
            bytes: Bytes { sent: get(&self.sent), received: get(&self.received) },
            uptime: self.uptime().as_secs_f64() * 1000.0,
            pool,
            circuits,
            limits,
            cache,
        }
    }
}

impl CallGuard {
    /// The call has ended, and took this long. `row`: of whoever was asked last.
    pub fn settle(mut self, row: Option<&Arc<Row>>, end: End, took: Duration) {
        self.settled = true;
        let counters = &self.counters;
        let row = row.cloned().unwrap_or_else(|| nobody(counters));
        row.ended(end);
        row.duration.time(took);
        add(if end.error.is_none() { &counters.succeeded } else { &counters.failed }, 1);
        counters.latency.record(took);
    }

    /// Where to tell who is asked.
    pub fn seat(&self) -> Seat {
        self.seat.clone()
    }

    pub fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if !self.settled {
            let asked = self.seat.0.lock().clone();
            asked.unwrap_or_else(|| nobody(&self.counters)).ended(LEFT);
            add(&self.counters.aborted, 1);
        }
    }
}

/// The row of calls that nobody was asked for.
fn nobody(counters: &Counters) -> Arc<Row> {
    let none = Arc::from(NONE);
    counters.rows.of(&none, &none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut pace = Pace::default();
        let at = |second: u64| Duration::from_secs(second);
        pace.add(0, 10);
        assert_eq!(pace.per_second(at(0)), 10.0);
        assert_eq!(pace.per_second(at(5)), 2.0);
        for second in 100..200 {
            pace.add(second, 30);
        }
        assert_eq!(pace.per_second(at(199)), 30.0);
        assert_eq!(pace.per_second(at(229)), 15.0);
        assert_eq!(pace.per_second(at(400)), 0.0);
    }
}
