//! The one table that judges every failure: whether the same target is asked again, and how.
//!
//! As far as one target goes; a column for the next target comes with routes.

use std::time::Duration;

use super::backoff::Backoff;
use super::breaker::Outcome;
use super::retry_budget::RetryBudgetPolicy;

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// DNS, connection refused, connect timeout, proxy.
    Connect,
    /// A certificate or protocol of TLS.
    Tls,
    /// The proxy wants credentials that it was not given.
    Denied,
    /// No turn, socket or stream within the queue timeout, or no room to wait.
    Queue,
    /// The circuit of the target is open.
    Circuit,
    /// HTTP/2 stream refused, GOAWAY from the peer above the last processed stream, or a request of which no byte was
    /// written.
    Unprocessed,
    /// HTTP/2 stream refused because the connection carries as many as the server takes.
    Refused,
    /// A reused socket closed after request bytes were written, before any response byte.
    NoResponseReused,
    /// The same, on a fresh connection.
    NoResponseFresh,
    /// Nothing came within the first-byte or idle timeout.
    Silence,
    /// An answer that is an error.
    Status {
        status: u16,
        retry_after: Option<Duration>,
        should_retry: Option<bool>,
        /// The credit is gone.
        quota: bool,
    },
    /// A body that is too large, no JSON, or of the wrong type.
    InvalidResponse,
    /// A stream was cut before content, or after content that nobody has seen.
    CutUnseen,
    /// A stream was cut or stalled after pieces were handed over.
    CutSeen,
    /// The total deadline, an abort, or a closed client.
    Final,
}

/// Whether and how the same target is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Never,
    /// At once, and not counted, up to [`FREE_REPLAYS`] times; then as `AfterDelay`.
    Free,
    /// At once, counted as a retry.
    AtOnce,
    /// Backing off with jitter.
    AfterDelay,
    /// After the time that the server named.
    After(Duration),
    /// Once, after asking for the key again.
    WithNewKey,
    /// Once, at once, on another connection.
    Elsewhere,
}

/// Replays of what was certainly not processed that cost no retry.
pub const FREE_REPLAYS: u32 = 3;

/// The settings of retries.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// After the first attempt, on one target. Default 2.
    pub max_retries: u32,
    pub backoff: Backoff,
    /// A longer Retry-After is not waited for. Default 60 s.
    pub max_retry_after: Duration,
    /// Statuses that are asked again. Default [`DEFAULT_STATUSES`].
    pub statuses: Vec<u16>,
    /// Of the client, whichever call retries.
    pub budget: RetryBudgetPolicy,
}

/// 408, 409, 429 and what says that the server or its gateway failed.
pub const DEFAULT_STATUSES: [u16; 15] =
    [408, 409, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 529];

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 2,
            backoff: Backoff {
                strategy: super::backoff::Strategy::Exponential,
                base: Duration::from_millis(500),
                max: Duration::from_secs(8),
            },
            max_retry_after: Duration::from_secs(60),
            statuses: DEFAULT_STATUSES.to_vec(),
            budget: RetryBudgetPolicy::default(),
        }
    }
}

/// The table.
pub fn row(failure: Failure, statuses: &[u16]) -> Again {
    match failure {
        Failure::Connect | Failure::NoResponseFresh => Again::AfterDelay,
        Failure::Tls | Failure::Denied | Failure::Queue | Failure::Circuit => Again::Never,
        Failure::Unprocessed | Failure::Refused => Again::Free,
        Failure::NoResponseReused => Again::AtOnce,
        // A silent provider stays silent.
        Failure::Silence => Again::Never,
        // The server's own word wins.
        Failure::Status { should_retry: Some(false), .. } => Again::Never,
        Failure::Status { quota: true, should_retry: None, .. } => Again::Never,
        Failure::Status { status: 401, .. } => Again::WithNewKey,
        Failure::Status { status: 421, .. } => Again::Elsewhere,
        Failure::Status { status, retry_after, should_retry, .. } => {
            match (should_retry == Some(true) || statuses.contains(&status), retry_after) {
                (false, _) => Again::Never,
                (true, Some(time)) => Again::After(time),
                (true, None) => Again::AfterDelay,
            }
        }
        Failure::CutUnseen => Again::AfterDelay,
        Failure::InvalidResponse | Failure::CutSeen | Failure::Final => Again::Never,
    }
}

/// What a failure says of the target, to its circuit: nothing, where it is the caller's mistake or a matter of limits and of waiting.
pub fn blame(failure: Failure) -> Outcome {
    match failure {
        Failure::Connect
        | Failure::Tls
        | Failure::NoResponseReused
        | Failure::NoResponseFresh
        | Failure::Silence
        | Failure::InvalidResponse
        | Failure::CutUnseen
        | Failure::CutSeen => Outcome::Failure,
        Failure::Status { status, .. } if status >= 500 => Outcome::Failure,
        Failure::Status { .. }
        | Failure::Denied
        | Failure::Queue
        | Failure::Circuit
        | Failure::Unprocessed
        | Failure::Refused
        | Failure::Final => Outcome::Neutral,
    }
}

/// What the attempts of one call have used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    pub free: u32,
    pub counted: u32,
    pub new_keys: u32,
    pub elsewhere: u32,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fail,
    Again { delay: Duration, new_key: bool },
}

impl RetryPolicy {
    /// Judges a failure, and counts what the verdict uses up. `repeatable`: repeating the call is safe even where it may
    /// have been processed. `left`: until the total deadline; a wait beyond it is not begun. `afford`: whether the budget of
    /// retries has one left; asked only where all else speaks for one.
    pub fn judge(
        &self,
        failure: Failure,
        tries: &mut Tries,
        repeatable: bool,
        left: Duration,
        afford: impl FnOnce() -> bool,
    ) -> Verdict {
        let again = row(failure, &self.statuses);
        let unprocessed = matches!(failure, Failure::Unprocessed | Failure::Refused | Failure::Connect)
            || matches!(again, Again::WithNewKey | Again::Elsewhere);
        if !repeatable && !unprocessed {
            return Verdict::Fail;
        }
        let delay = match again {
            Again::Never => return Verdict::Fail,
            Again::WithNewKey => {
                if tries.new_keys > 0 {
                    return Verdict::Fail;
                }
                tries.new_keys += 1;
                return Verdict::Again { delay: Duration::ZERO, new_key: true };
            }
            Again::Elsewhere => {
                if tries.elsewhere > 0 {
                    return Verdict::Fail;
                }
                tries.elsewhere += 1;
                return Verdict::Again { delay: Duration::ZERO, new_key: false };
            }
            Again::Free if tries.free < FREE_REPLAYS => {
                tries.free += 1;
                return Verdict::Again { delay: Duration::ZERO, new_key: false };
            }
            Again::AtOnce => Duration::ZERO,
            Again::Free | Again::AfterDelay => self.backoff.delay(tries.counted),
            Again::After(time) if time > self.max_retry_after => return Verdict::Fail,
            Again::After(time) => time,
        };
        if tries.counted >= self.max_retries || delay >= left || !afford() {
            return Verdict::Fail;
        }
        tries.counted += 1;
        Verdict::Again { delay, new_key: false }
    }

    /// No retries of ours: only what was certainly not processed is sent again.
    pub fn none() -> Self {
        Self { max_retries: 0, statuses: Vec::new(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: Duration = Duration::from_secs(600);

    fn status(status: u16) -> Failure {
        Failure::Status { status, retry_after: None, should_retry: None, quota: false }
    }

    fn default_row(failure: Failure) -> Again {
        row(failure, &RetryPolicy::default().statuses)
    }

    #[test]
    fn the_table_row_by_row() {
        use Failure::*;
        let seconds = Some(Duration::from_secs(3));
        let table = [
            (Connect, Again::AfterDelay),
            (Tls, Again::Never),
            (Denied, Again::Never),
            (Queue, Again::Never),
            (Circuit, Again::Never),
            (Unprocessed, Again::Free),
            (Refused, Again::Free),
            (NoResponseReused, Again::AtOnce),
            (NoResponseFresh, Again::AfterDelay),
            (Silence, Again::Never),
            (status(408), Again::AfterDelay),
            (status(409), Again::AfterDelay),
            (status(500), Again::AfterDelay),
            (status(503), Again::AfterDelay),
            (status(524), Again::AfterDelay),
            (status(529), Again::AfterDelay),
            (status(429), Again::AfterDelay),
            (
                Status { status: 429, retry_after: seconds, should_retry: None, quota: false },
                Again::After(Duration::from_secs(3)),
            ),
            (Status { status: 429, retry_after: seconds, should_retry: None, quota: true }, Again::Never),
            (status(401), Again::WithNewKey),
            (status(421), Again::Elsewhere),
            (status(400), Again::Never),
            (status(403), Again::Never),
            (status(404), Again::Never),
            (status(301), Again::Never),
            (status(501), Again::Never),
            (status(505), Again::Never),
            (
                Status { status: 400, retry_after: None, should_retry: Some(true), quota: false },
                Again::AfterDelay,
            ),
            (
                Status { status: 500, retry_after: None, should_retry: Some(false), quota: false },
                Again::Never,
            ),
            (
                Status { status: 429, retry_after: None, should_retry: Some(true), quota: true },
                Again::AfterDelay,
            ),
            (InvalidResponse, Again::Never),
            (CutUnseen, Again::AfterDelay),
            (CutSeen, Again::Never),
            (Final, Again::Never),
        ];
        for (failure, again) in table {
            assert_eq!(default_row(failure), again, "{failure:?}");
        }
    }

    #[test]
    fn whom_a_failure_is_blamed_on_row_by_row() {
        use Failure::*;
        let of_the_target = [
            Connect,
            Tls,
            NoResponseReused,
            NoResponseFresh,
            Silence,
            InvalidResponse,
            CutUnseen,
            CutSeen,
            status(500),
            status(501),
            status(503),
            status(529),
            Status { status: 500, retry_after: None, should_retry: Some(true), quota: false },
        ];
        // The caller's mistakes, limits, waits, aborts, and what was never processed.
        let of_nobody = [
            status(301),
            status(400),
            status(401),
            status(404),
            status(408),
            status(421),
            status(429),
            Status { status: 402, retry_after: None, should_retry: None, quota: true },
            Denied,
            Queue,
            Circuit,
            Unprocessed,
            Refused,
            Final,
        ];
        for failure in of_the_target {
            assert_eq!(blame(failure), Outcome::Failure, "{failure:?}");
        }
        for failure in of_nobody {
            assert_eq!(blame(failure), Outcome::Neutral, "{failure:?}");
        }
    }

    #[test]
    fn retries_end_after_their_number() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::default();
        let mut verdict = || policy.judge(status(500), &mut tries, true, LEFT, || true);
        assert!(matches!(verdict(), Verdict::Again { .. }));
        assert!(matches!(verdict(), Verdict::Again { .. }));
        assert_eq!(verdict(), Verdict::Fail);
    }

    #[test]
    fn what_was_not_processed_is_free_three_times_and_then_counts() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::default();
        for _ in 0..5 {
            let verdict = policy.judge(Failure::Unprocessed, &mut tries, false, LEFT, || true);
            assert!(matches!(verdict, Verdict::Again { .. }));
        }
        assert_eq!((tries.free, tries.counted), (3, 2));
        assert_eq!(policy.judge(Failure::Unprocessed, &mut tries, false, LEFT, || true), Verdict::Fail);
    }

    #[test]
    fn what_may_have_been_processed_is_only_repeated_where_that_is_safe() {
        let policy = RetryPolicy::default();
        for failure in [
            status(500),
            status(429),
            Failure::NoResponseReused,
            Failure::NoResponseFresh,
            Failure::CutUnseen,
        ] {
            assert_eq!(
                policy.judge(failure, &mut Tries::default(), false, LEFT, || true),
                Verdict::Fail,
                "{failure:?}"
            );
        }
        assert_ne!(
            policy.judge(Failure::Connect, &mut Tries::default(), false, LEFT, || true),
            Verdict::Fail
        );
    }

    #[test]
    fn a_wait_beyond_the_deadline_or_the_cap_is_not_begun() {
        let policy = RetryPolicy::default();
        let after = |seconds| Failure::Status {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
            should_retry: None,
            quota: false,
        };
        let judge = |failure, left| {
            policy.judge(failure, &mut Tries::default(), true, Duration::from_secs(left), || true)
        };
        assert_eq!(judge(after(5), 5), Verdict::Fail);
        assert_eq!(judge(after(5), 6), Verdict::Again { delay: Duration::from_secs(5), new_key: false });
        assert_eq!(judge(after(61), 600), Verdict::Fail);
    }

    #[test]
    fn a_refused_key_is_asked_for_again_once() {
        let policy = RetryPolicy::none();
        let mut tries = Tries::default();
        let verdict = Verdict::Again { delay: Duration::ZERO, new_key: true };
        assert_eq!(policy.judge(status(401), &mut tries, false, LEFT, || true), verdict);
        assert_eq!(policy.judge(status(401), &mut tries, false, LEFT, || true), Verdict::Fail);
    }

    #[test]
    fn a_misdirected_request_is_sent_once_more() {
        let mut tries = Tries::default();
        let verdict = Verdict::Again { delay: Duration::ZERO, new_key: false };
        assert_eq!(RetryPolicy::none().judge(status(421), &mut tries, false, LEFT, || true), verdict);
        assert_eq!(RetryPolicy::default().judge(status(421), &mut tries, true, LEFT, || true), Verdict::Fail);
    }

    #[test]
    fn without_retries_only_the_unprocessed_is_sent_again() {
        let policy = RetryPolicy::none();
        assert_eq!(policy.judge(status(500), &mut Tries::default(), true, LEFT, || true), Verdict::Fail);
        assert_ne!(
            policy.judge(Failure::Unprocessed, &mut Tries::default(), true, LEFT, || true),
            Verdict::Fail
        );
    }

    #[test]
    fn without_budget_nothing_is_repeated_but_what_was_not_processed() {
        let policy = RetryPolicy::default();
        let broke = || false;
        assert_eq!(policy.judge(status(500), &mut Tries::default(), true, LEFT, broke), Verdict::Fail);
        let mut tries = Tries::default();
        assert_ne!(policy.judge(Failure::Unprocessed, &mut tries, true, LEFT, broke), Verdict::Fail);
        let asked = std::cell::Cell::new(false);
        let verdict = policy.judge(Failure::Tls, &mut tries, true, LEFT, || asked.replace(true));
        assert_eq!((verdict, asked.get()), (Verdict::Fail, false));
    }
}
