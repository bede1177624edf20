//! The one table that judges every failure: whether the same target is asked again, and how ([`row`]); whether another key of it
//! comes before that ([`other_key`]); and whether the next target is asked when this one is done with ([`next_target`]).

use std::time::Duration;

use super::backoff::Backoff;
use super::breaker::Outcome;
use super::keys::Strike;
use super::retry_budget::RetryBudgetPolicy;

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// DNS, connection refused, connect timeout, proxy.
    Connect,
    /// Connects failed a moment ago, and no further one is waited for since another target is there.
    PutOff,
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
    Status { status: u16, retry_after: Option<Duration>, should_retry: Option<bool>, meaning: Meaning },
    /// A body that is too large, no JSON, or of the wrong type.
    InvalidResponse,
    /// A stream was cut before content, or after content that nobody has seen.
    CutUnseen,
    /// A stream was cut or stalled after pieces were handed over.
    CutSeen,
    /// The total deadline, an abort, or a closed client.
    Final,
}

/// What an error says beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// No more than the status does.
    Plain,
    /// The credit of the key is gone.
    Quota,
    /// The request is longer than the model can read.
    ContextLength,
    /// The provider will not have the request.
    ContentFilter,
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

/// Whether the next target is asked once the same one is not asked again: at once, where [`row`] has [`Again::Never`], after the
/// retries where it has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Never,
    Yes,
    /// One that takes more tokens than this one.
    LargerContext,
    /// What this one will not have, others are only asked if the route has them asked.
    IfRouteSaysSo,
    /// Pieces were handed over: as the caller's `recover` has it.
    IfRecovered,
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
        Failure::PutOff | Failure::Tls | Failure::Denied | Failure::Queue | Failure::Circuit => Again::Never,
        Failure::Unprocessed | Failure::Refused => Again::Free,
        Failure::NoResponseReused => Again::AtOnce,
        // A silent provider stays silent.
        Failure::Silence => Again::Never,
        // The server's own word wins.
        Failure::Status { should_retry: Some(false), .. } => Again::Never,
        Failure::Status { meaning: Meaning::Quota, should_retry: None, .. } => Again::Never,
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

/// The table's column of the next target.
///
/// A `false` of x-should-retry is about the server that says it. A `true` says that the failure will pass, whatever its status.
pub fn next_target(failure: Failure, statuses: &[u16]) -> Next {
    match failure {
        Failure::Connect
        | Failure::PutOff
        | Failure::Tls
        | Failure::Denied
        | Failure::Queue
        | Failure::Circuit
        | Failure::Unprocessed
        | Failure::Refused
        | Failure::NoResponseReused
        | Failure::NoResponseFresh
        | Failure::Silence
        | Failure::InvalidResponse
        | Failure::CutUnseen => Next::Yes,
        Failure::Status { meaning: Meaning::ContextLength, .. } => Next::LargerContext,
        Failure::Status { meaning: Meaning::ContentFilter, .. } => Next::IfRouteSaysSo,
        Failure::Status { meaning: Meaning::Quota, .. }
        | Failure::Status { should_retry: Some(true), .. } => Next::Yes,
        // What has a next target was asked for by its model: a 404 is the model's, which the next one may have.
        Failure::Status { status: 401 | 403 | 404 | 421, .. } => Next::Yes,
        Failure::Status { status, .. } => {
            // Without retries of ours there are still other targets, so the default statuses hold whatever the options say.
            let is_passing = DEFAULT_STATUSES.contains(&status) || statuses.contains(&status);
            let is_servers = status >= 500 && !matches!(status, 501 | 505);
            if is_passing || is_servers { Next::Yes } else { Next::Never }
        }
        Failure::CutSeen => Next::IfRecovered,
        Failure::Final => Next::Never,
    }
}

/// The table's column of the keys: whether another key of the same target comes before all else, at once, while this one rests.
pub fn other_key(failure: Failure) -> bool {
    match failure {
        Failure::Status { meaning: Meaning::Quota, .. } => true,
        Failure::Status { status, .. } => matches!(status, 401 | 403 | 429),
        _ => false,
    }
}

/// What a failure says of the key that it met.
pub fn strike(failure: Failure) -> Option<Strike> {
    match failure {
        Failure::Status { meaning: Meaning::Quota, .. } => Some(Strike::OutOfCredit),
        Failure::Status { status: 401 | 403, .. } => Some(Strike::Refused),
        Failure::Status { status: 429, retry_after, .. } => Some(Strike::Limited(retry_after)),
        _ => None,
    }
}

/// Whether the key that it met is to be asked for again, if a function gives it.
pub fn new_key(failure: Failure) -> bool {
    row(failure, &[]) == Again::WithNewKey
}

/// What a failure says of the target, to its circuit: nothing, where it is the caller's mistake or a matter of limits and of waiting.
pub fn blame(failure: Failure) -> Outcome {
    match failure {
        Failure::Connect
        | Failure::Tls
        | Failure::NoResponseFresh
        | Failure::Silence
        | Failure::InvalidResponse
        | Failure::CutUnseen
        | Failure::CutSeen => Outcome::Failure,
        Failure::Status { status, .. } if status >= 500 => Outcome::Failure,
        Failure::Status { .. }
        // Those who were refused have told it.
        | Failure::PutOff
        | Failure::Denied
        | Failure::Queue
        | Failure::Circuit
        | Failure::Unprocessed
        | Failure::Refused
        // A server may close what has rested. If it fails, it does so on a fresh connection too.
        | Failure::NoResponseReused
        | Failure::Final => Outcome::Neutral,
    }
}

/// Whether it is the target's wish for fewer calls. One that says that the credit is gone says nothing of their rate.
pub fn is_throttle(failure: Failure) -> bool {
    matches!(failure, Failure::Status { status: 429 | 529, meaning, .. } if meaning != Meaning::Quota)
}

/// Whether the request was certainly not processed, so that repeating it is safe whatever it was.
pub fn is_unprocessed(failure: Failure) -> bool {
    match failure {
        Failure::Connect
        | Failure::PutOff
        | Failure::Tls
        | Failure::Denied
        | Failure::Queue
        | Failure::Circuit
        | Failure::Unprocessed
        | Failure::Refused => true,
        Failure::Status { status, meaning, .. } => {
            matches!(status, 401 | 403 | 421) || meaning == Meaning::Quota
        }
        _ => false,
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
        if !repeatable && !is_unprocessed(failure) {
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

    /// Whether another target is asked, once [`RetryPolicy::judge`] has said that this one is not. What may have been processed goes to
    /// no other target either, unless that is safe.
    pub fn next_target(&self, failure: Failure, repeatable: bool) -> Next {
        if repeatable || is_unprocessed(failure) { next_target(failure, &self.statuses) } else { Next::Never }
    }

    /// No retries of ours: only what was certainly not processed is sent again.
    pub fn none() -> Self {
        Self { max_retries: 0, statuses: Vec::new(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
