//! What all lines of one origin have in common: its limits, what it speaks, and whether it takes connections at all.

use std::time::Duration;

use tokio::time::Instant;

use super::limit::Limit;
use super::{Config, Error, Http2, Lane, Origin, Protocol};

/// The streams that a first HTTP/2 connection takes until its SETTINGS come: what RFC 9113, section 6.5.2, recommends as the least
/// limit of a server, and what the providers announce. What a lower limit refuses was not processed, and is sent again.
const STREAMS_UNTIL_TOLD: usize = 100;

/// Of these so many are opened at once, and the others when its SETTINGS are here, most often a round trip later. Those that h2 holds
/// back then cannot be taken out of it: it opens and resets each as soon as there is room, and servers that see many such streams take
/// them for an attack (CVE-2023-44487); h2's own does so after twenty.
pub(super) const STREAMS_AT_ONCE: usize = 16;

/// After a connect failed, the next one begins this much later; twice that after the next, and so on.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(2);

/// One origin.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) limit: Limit,
    streaming: Option<Limit>,
    unary: Option<Limit>,
    /// How many lines it has; without any it is forgotten.
    pub(super) lines: usize,
    /// Sockets that nobody was offered yet.
    pub(super) connecting: usize,
    /// What it spoke last.
    pub(super) protocol: Option<Protocol>,
    /// Streams that its last HTTP/2 connection was told to take.
    pub(super) streams: Option<usize>,
    /// How many requests its last HTTP/2 connection answered before it said that it answers no more, where those were few.
    quota: Option<usize>,
    failures: Failures,
}

/// Connects that failed since the last one that did not.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// Before this no further connect begins.
    until: Option<Instant>,
    last: Option<Error>,
}

impl Site {
    pub(super) fn new(config: &Config) -> Self {
        let lanes = config.lanes.as_ref();
        Self {
            limit: Limit::new(config.max_connections_per_origin.get()),
            streaming: lanes.map(|lanes| Limit::new(lanes.streaming.get())),
            unary: lanes.map(|lanes| Limit::new(lanes.unary.get())),
            lines: 0,
            connecting: 0,
            protocol: None,
            streams: None,
            quota: None,
            failures: Failures::default(),
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> Option<&Limit> {
        match lane {
            Lane::Streaming => self.streaming.as_ref(),
            Lane::Unary => self.unary.as_ref(),
        }
    }

    pub(super) fn lane_mut(&mut self, lane: Lane) -> Option<&mut Limit> {
        match lane {
            Lane::Streaming => self.streaming.as_mut(),
            Lane::Unary => self.unary.as_mut(),
        }
    }

    pub(super) fn expected_protocol(&self, origin: &Origin, config: &Config) -> Option<Protocol> {
        match (config.http2, origin.secure) {
            (Http2::Never, _) | (Http2::Auto, false) => Some(Protocol::H1),
            (Http2::PriorKnowledge, _) => Some(Protocol::H2),
            (Http2::Auto, true) => self.protocol,
        }
    }

    /// The streams that a connection takes before its SETTINGS come: as many as the last one was told, since what is beyond the
    /// server's limit is refused, or waits unseen inside h2.
    pub(super) fn expected_streams(&self, config: &Config) -> usize {
        let streams = self.streams.unwrap_or(STREAMS_UNTIL_TOLD).min(config.max_streams_per_connection.get());
        self.quota.map_or(streams, |quota| streams.min(quota))
    }

    /// How many calls a connection carries at a time.
    pub(super) fn calls_each(&self, protocol: Protocol, config: &Config) -> usize {
        match protocol {
            Protocol::H1 => 1,
            Protocol::H2 => self.expected_streams(config).max(1),
        }
    }

    /// How many requests a connection is given before it has shown that it answers more. Servers that take a few requests on each would
    /// otherwise be sent all that wait, on every new connection, to answer those few.
    pub(super) fn quota(&self) -> Option<usize> {
        self.quota
    }

    /// A connection ended by GOAWAY after so many answers.
    pub(super) fn said_goaway_after(&mut self, answers: usize, config: &Config) {
        self.quota =
            Some(answers).filter(|answers| (1..config.max_streams_per_connection.get()).contains(answers));
    }

    /// A connection has answered its quota, and goes on.
    pub(super) fn outlived_quota(&mut self) {
        self.quota = None;
    }

    /// Whether it failed to connect, and one connect at a time finds out whether it does again.
    pub(super) fn is_probed(&self) -> bool {
        self.failures.count > 0
    }

    /// When the next connect may begin.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.failures.until
    }

    /// Why it takes no connections, as long as nobody may find out whether it does again, or somebody is at it.
    pub(super) fn is_put_off(&self, now: Instant) -> Option<&Error> {
        let is_asked = self.connecting > 0 || self.failures.until.is_some_and(|until| now < until);
        self.failures.last.as_ref().filter(|_| is_asked)
    }

    pub(super) fn takes_connections(&mut self) {
        self.failures = Failures::default();
    }

    /// Notes that a connect failed which `began` then, and returns how many did in a row. Those that ran side by side count as one.
    pub(super) fn connect_failed(&mut self, began: Instant, error: &Error) -> u32 {
        if self.failures.until.is_none_or(|until| began >= until) {
            let doublings = self.failures.count.min(16);
            let delay = FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF);
            // Up to a half less, so that processes which saw the same failure do not come back together.
            let delay = delay.mul_f64(1.0 - 0.5 * fastrand::f64());
            let (count, until) = (self.failures.count + 1, Some(Instant::now() + delay));
            self.failures = Failures { count, until, last: Some(error.clone()) };
        }
        self.failures.count
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connects_that_fail_are_ever_further_apart_up_to_two_seconds() {
        let mut site = Site::new(&Config::default());
        let (mut longest, error) = (Duration::ZERO, Error::new(Kind::Connect));
        for failure in 1..=20 {
            let now = Instant::now();
            assert_eq!(site.connect_failed(now, &error), failure);
            // Another, which began side by side with it.
            assert_eq!(site.connect_failed(now, &error), failure);
            assert!(site.is_put_off(now).is_some());
            let delay = site.not_before().unwrap() - now;
            assert!(delay >= longest / 4 && delay <= LONGEST_BACK_OFF);
            longest = longest.max(delay);
            tokio::time::advance(delay).await;
            // Somebody may find out now.
            assert!(site.is_put_off(Instant::now()).is_none());
        }
        assert!(longest >= LONGEST_BACK_OFF / 2);
        site.takes_connections();
        assert!(!site.is_probed() && site.not_before().is_none());
    }
}
