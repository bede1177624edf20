//! Counters, and the plain snapshot of them. Counting is atomics; histograms are behind short locks of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::info::Info;
use super::line::Multiplexed;
use super::partition::Partition;
use super::{Lane, Phases, Priority, Protocol, Shared};

/// Why a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum CloseReason {
    /// Rested longer than the idle timeout.
    Idle,
    /// Older than its age limit.
    Age,
    /// The server closed or reset it while it rested or after a whole response, with or without a word of TLS.
    Server,
    /// The server sent GOAWAY.
    Goaway,
    /// It broke in the middle of a request, an HTTP/2 PING was not answered, or what came was no HTTP.
    Error,
    /// Its caller went away in the middle of a response.
    Cancelled,
    /// Given up for another, or one idle socket too many.
    Evicted,
    /// The machine had slept while it rested.
    ClockJump,
    /// The pool was closed.
    Shutdown,
}

const REASONS: [CloseReason; 9] = [
    CloseReason::Idle,
    CloseReason::Age,
    CloseReason::Server,
    CloseReason::Goaway,
    CloseReason::Error,
    CloseReason::Cancelled,
    CloseReason::Evicted,
    CloseReason::ClockJump,
    CloseReason::Shutdown,
];

impl CloseReason {
    pub(super) const NONE: u8 = u8::MAX;

    pub(super) fn of(number: u8) -> Self {
        REASONS.get(usize::from(number)).copied().unwrap_or(Self::Server)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Server => "server",
            Self::Goaway => "goaway",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Evicted => "evicted",
            Self::ClockJump => "clockJump",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Durations, in whole microseconds. Their number, sum and bounds are exact; what lies between, from a microsecond to an hour, is
/// kept to two significant figures.
#[derive(Debug)]
pub struct Histogram(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    buckets: hdrhistogram::Histogram<u64>,
    sum: u64,
    min: u64,
    max: u64,
}

/// What a histogram holds, in milliseconds. All zero where `count` is. The percentiles lie within `min` and `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub count: u64,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// How many of a histogram's times are not above each of some bounds, to two significant figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub within: Vec<u64>,
    pub count: u64,
    pub sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        const HOUR_IN_MICROS: u64 = 3_600_000_000;
        #[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram accepts")]
        let buckets = hdrhistogram::Histogram::new_with_max(HOUR_IN_MICROS, 2).expect("constant bounds");
        Self(Mutex::new(Recorded { buckets, sum: 0, min: u64::MAX, max: 0 }))
    }
}

impl Histogram {
    pub fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut recorded = self.0.lock();
        recorded.buckets.saturating_record(micros);
        recorded.sum = recorded.sum.saturating_add(micros);
        recorded.min = recorded.min.min(micros);
        recorded.max = recorded.max.max(micros);
    }

    /// `bounds` rise.
    pub fn tally(&self, bounds: &[Duration]) -> Tally {
        let Recorded { buckets, sum, .. } = &*self.0.lock();
        let mut within = vec![0; bounds.len()];
        for slot in buckets.iter_recorded() {
            // What is within the precision of a bound counts as within the bound.
            let time = Duration::from_micros(buckets.lowest_equivalent(slot.value_iterated_to()));
            if let Some(here) = within.get_mut(bounds.partition_point(|bound| *bound < time)) {
                *here += slot.count_at_value();
            }
        }
        let mut so_far = 0;
        for here in &mut within {
            so_far += *here;
            *here = so_far;
        }
        Tally { within, count: buckets.len(), sum: Duration::from_micros(*sum) }
    }

    pub fn spread(&self) -> Spread {
        let Recorded { buckets, sum, min, max } = &*self.0.lock();
        if buckets.is_empty() {
            return Spread::default();
        }
        let ms = |micros: u64| micros as f64 / 1000.0;
        // A bucket is told by its upper end, which may lie above all that is in it.
        let quantile = |share| ms(buckets.value_at_quantile(share).clamp(*min, *max));
        Spread {
            count: buckets.len(),
            mean: (*sum as f64 / buckets.len() as f64).round() / 1000.0,
            min: ms(*min),
            max: ms(*max),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    opened: AtomicU64,
    reused: AtomicU64,
    tls_resumed: AtomicU64,
    closed: [AtomicU64; REASONS.len()],
    peak: AtomicUsize,
    received: AtomicU64,
    refused: AtomicU64,
    saved_micros: AtomicU64,
    handshake: Histogram,
    wait: Histogram,
}

impl Stats {
    pub(super) fn opened(&self, phases: &Phases, tls_resumed: bool) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.handshake.record(phases.total());
        if tls_resumed {
            self.tls_resumed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A checkout found too many waiting, or too many tenants.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A request on a connection that was there already: what its handshake took is what was saved.
    pub(super) fn reused(&self, info: &Info) {
        self.reused.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(info.phases.total().as_micros()).unwrap_or(u64::MAX);
        self.saved_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait.record(time);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw_sockets(&self, sockets: usize) {
        self.peak.fetch_max(sockets, Ordering::Relaxed);
    }
}

/// The figures of a pool at one moment. Times in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub connections: Connections,
    /// Share of `max` that is in use, 0 to 1.
    pub utilization: f64,
    pub opened: u64,
    /// By [`CloseReason`].
    pub closed: std::collections::BTreeMap<&'static str, u64>,
    pub tls_resumed: u64,
    pub reused: u64,
    /// reused ÷ (reused + opened), 0 to 1.
    pub reuse_rate: f64,
    /// Time of each DNS, TCP and TLS together.
    pub handshake: Spread,
    /// The sum of what the reused connections' handshakes had taken.
    pub handshake_time_saved: f64,
    pub acquire_wait: Spread,
    pub streams: Streams,
    pub origins: Vec<OriginSnapshot>,
    #[serde(skip)]
    pub queue: QueueSnapshot,
    /// Bytes of response bodies.
    #[serde(skip)]
    pub bytes_received: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Connections {
    pub active: usize,
    pub idle: usize,
    pub connecting: usize,
    /// Closing, or an HTTP/2 connection that only finishes its streams.
    pub draining: usize,
    pub peak: usize,
    pub max: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Streams {
    pub active: usize,
    /// What the open HTTP/2 connections take together.
    pub capacity: usize,
    /// Mean of active streams for each HTTP/2 connection.
    pub per_connection: f64,
}

/// Those who wait, in all lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueSnapshot {
    /// By [`Priority`], the highest first.
    pub depth: [usize; Priority::ALL.len()],
    /// Checkouts that found too many waiting, or too many tenants.
    pub refused: u64,
}

/// One line: an origin or, with lanes and tenants, a part of it.
#[derive(Clone, Debug, Serialize)]
pub struct OriginSnapshot {
    pub origin: Arc<str>,
    /// None here: the pool knows no providers. For whoever does.
    pub provider: Option<Arc<str>>,
    pub tenant: Option<Arc<str>>,
    pub lane: Option<&'static str>,
    pub protocol: Option<&'static str>,
    pub active: usize,
    pub idle: usize,
    pub connecting: usize,
    /// Closing, or an HTTP/2 connection that only finishes its streams.
    #[serde(skip)]
    pub draining: usize,
    pub waiting: usize,
    pub streams: usize,
    /// What its open HTTP/2 connections take together.
    #[serde(skip)]
    pub capacity: usize,
    /// Streams that its connections would take now.
    #[serde(skip)]
    pub free_streams: usize,
    pub opened: u64,
    pub reused: u64,
    pub closed: u64,
}

impl Shared {
    /// The times of handshakes, and of waits.
    pub(super) fn tallies(&self, bounds: &[Duration]) -> [Tally; 2] {
        [&self.stats.handshake, &self.stats.wait].map(|histogram| histogram.tally(bounds))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut connections =
            Connections { max: self.config.max_connections.get(), ..Connections::default() };
        let mut streams = Streams::default();
        let mut multiplexed = 0;
        let mut origins = Vec::new();
        let mut queue =
            QueueSnapshot { refused: self.stats.refused.load(Ordering::Relaxed), ..QueueSnapshot::default() };
        {
            let state = self.state.lock();
            origins.reserve(state.lines.len());
            for (id, line) in &state.lines {
                let protocol = state.line_and_site(id).and_then(|(_, site)| site.protocol);
                let idle = line.resting();
                let active = line.leased + line.shared.iter().filter(|c| c.active > 0).count();
                connections.active += active;
                connections.idle += idle;
                connections.connecting += line.connecting;
                let draining = line.sockets.saturating_sub(active + idle + line.connecting);
                connections.draining += draining;
                let capacity = line.shared.iter().map(|c| c.limit).sum::<usize>();
                streams.active += line.streams;
                streams.capacity += capacity;
                // Those that only finish their streams included.
                if protocol == Some(Protocol::H2) {
                    multiplexed += line.sockets.saturating_sub(line.connecting);
                }
                let depth = line.queue.depth();
                for (all, here) in queue.depth.iter_mut().zip(depth) {
                    *all += here;
                }
                let Partition { origin, tenant, lane } = &line.partition;
                origins.push(OriginSnapshot {
                    origin: origin.shown().clone(),
                    provider: None,
                    tenant: tenant.as_ref().map(|tenant| tenant.name().clone()),
                    lane: lane.map(Lane::as_str),
                    protocol: protocol.map(Protocol::as_str),
                    active,
                    idle,
                    connecting: line.connecting,
                    draining,
                    waiting: depth.iter().sum(),
                    streams: line.streams,
                    capacity,
                    free_streams: line.shared.iter().map(Multiplexed::room).sum(),
                    opened: line.opened,
                    reused: line.reused.load(Ordering::Relaxed),
                    closed: line.closed,
                });
            }
        }
        let stats = &self.stats;
        connections.peak = stats.peak.load(Ordering::Relaxed);
        if multiplexed > 0 {
            streams.per_connection = streams.active as f64 / multiplexed as f64;
        }
        let opened = stats.opened.load(Ordering::Relaxed);
        let reused = stats.reused.load(Ordering::Relaxed);
        let closed = REASONS
            .iter()
            .map(|reason| (reason.as_str(), stats.closed[*reason as usize].load(Ordering::Relaxed)))
            .collect();
        Snapshot {
            utilization: connections.active as f64 / connections.max as f64,
            connections,
            opened,
            closed,
            tls_resumed: stats.tls_resumed.load(Ordering::Relaxed),
            reused,
            reuse_rate: if reused == 0 { 0.0 } else { reused as f64 / (reused + opened) as f64 },
            handshake: stats.handshake.spread(),
            handshake_time_saved: stats.saved_micros.load(Ordering::Relaxed) as f64 / 1000.0,
            acquire_wait: stats.wait.spread(),
            streams,
            origins,
            queue,
            bytes_received: stats.received.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(micros: &[u64]) -> Spread {
        let histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(*micros));
        }
        histogram.spread()
    }

    #[test]
    fn one_time_is_its_own_bounds_mean_and_percentiles() {
        for micros in [0, 1, 2_632, 41_129, 3_599_999_999, 7_200_000_001] {
            let ms = micros as f64 / 1000.0;
            let one = Spread { count: 1, mean: ms, min: ms, max: ms, p50: ms, p90: ms, p99: ms };
            assert_eq!(spread(&[micros]), one);
        }
    }

    #[test]
    fn bounds_and_mean_are_exact_and_percentiles_lie_within_them() {
        let two = spread(&[41_129, 41_294]);
        assert_eq!((two.count, two.min, two.mean, two.max), (2, 41.129, 41.212, 41.294));
        let mut times: Vec<u64> = (0..1000).map(|n| 100 + n * n * 37).collect();
        let all = spread(&times);
        times.sort_unstable();
        assert_eq!((all.min, all.max), (0.1, times[999] as f64 / 1000.0));
        for (told, at) in [(all.p50, 499), (all.p90, 899), (all.p99, 989)] {
            let exact = times[at] as f64 / 1000.0;
            assert!((told - exact).abs() <= exact / 100.0, "{told} {exact}");
            assert!((all.min..=all.max).contains(&told));
        }
    }

    #[test]
    fn a_tally_counts_each_time_within_the_bounds_that_it_is_not_above() {
        let histogram = Histogram::default();
        for millis in [1, 10, 10, 11, 5000] {
            histogram.record(Duration::from_millis(millis));
        }
        let tally = histogram.tally(&[0, 1, 10, 100, 1000].map(Duration::from_millis));
        assert_eq!((tally.within, tally.count), (vec![0, 1, 3, 4, 4], 5));
        assert_eq!(tally.sum, Duration::from_millis(5032));
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(spread(&[]), Spread::default());
    }
}
