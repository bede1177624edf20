//! How far a job is, and how it is told to end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;
use crate::policy::money::Usd;

/// What is shared by a job and whoever watches it.
#[derive(Debug)]
pub struct Control {
    stage: watch::Sender<Stage>,
    pub(super) counts: Counts,
    phase: Mutex<Phase>,
    spent: Mutex<Spent>,
    waiting: Mutex<Option<Waiting>>,
    batches: Mutex<Vec<FarBatch>>,
    began: Mutex<Option<Instant>>,
    /// When the last line was settled.
    settled: Mutex<Option<Instant>>,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Running,
    /// No line is taken any more; what is under way ends.
    Stopping,
    /// The same, and what is with a provider's batches is ended there.
    Cancelling,
    /// What is under way is dropped.
    Now,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    #[default]
    Checking,
    Running,
    Stopping,
    Ended,
}

/// Lines, and bytes of the input.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: AtomicU64,
    pub(super) checked: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) in_flight: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) twice: AtomicU64,
    pub(super) workers: AtomicU64,
}

/// Of all runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) tokens: [u64; 2],
    pub(super) usd: Usd,
}

/// Why nothing goes on for now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub code: &'static str,
    pub message: String,
    /// Milliseconds since 1970, where that is known.
    pub until: Option<u64>,
}

/// A batch of a provider's.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FarBatch {
    pub provider: String,
    pub model: String,
    /// None before the provider has given one.
    pub id: Option<String>,
    /// `new`, `sent`, or in the provider's own words.
    pub state: String,
    pub requests: u64,
    pub completed: u64,
    pub failed: u64,
    /// Whether its results are gathered.
    pub is_over: bool,
}

/// A look at a job.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub phase: Phase,
    /// Lines that ask for something. 0 before the input was read once.
    pub total: u64,
    /// Of all runs.
    pub succeeded: u64,
    pub failed: u64,
    /// Of these, those of earlier runs.
    pub resumed: u64,
    pub in_flight: u64,
    /// Calls that were under way when an earlier run was cut off, and are made again: they may have been paid twice.
    pub repeated: u64,
    /// Lines that two workers have answered: they were paid twice, and the second answer is dropped.
    pub twice: u64,
    /// Workers that live, of a job that has a queue.
    pub workers: u64,
    /// Calls that were made once more by the job, beyond the client's own retries.
    pub retried: u64,
    pub checked_bytes: u64,
    pub input_bytes: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Dollars.
    pub cost: Usd,
    /// Milliseconds since the first call of this run.
    pub elapsed: u64,
    pub waiting: Option<Waiting>,
    /// Those of providers, where lines are answered by them.
    pub batches: Vec<FarBatch>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Running),
            counts: Counts::default(),
            phase: Mutex::default(),
            spent: Mutex::default(),
            waiting: Mutex::default(),
            batches: Mutex::default(),
            began: Mutex::default(),
            settled: Mutex::default(),
        }
    }
}

impl Control {
    /// Ends the job: gently, or at once. What was said before and goes further holds.
    pub fn stop(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let changes = stage > *now;
            *now = stage.max(*now);
            changes
        });
        self.enter(Phase::Stopping);
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Resolves when the job is to end, at least as soon as this says.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn stopped(&self, least: Stage) {
        // There is a sender for as long as there is this.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= least).await;
    }

    pub fn progress(&self) -> Progress {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (counts, spent) = (&self.counts, *self.spent.lock());
        Progress {
            phase: *self.phase.lock(),
            total: read(&counts.total),
            succeeded: read(&counts.succeeded),
            failed: read(&counts.failed),
            resumed: read(&counts.resumed),
            in_flight: read(&counts.in_flight),
            repeated: read(&counts.repeated),
            twice: read(&counts.twice),
            workers: read(&counts.workers),
            retried: read(&counts.retried),
            checked_bytes: read(&counts.checked),
            input_bytes: read(&counts.bytes),
            input_tokens: spent.tokens[0],
            output_tokens: spent.tokens[1],
            cost: spent.usd,
            elapsed: self.began.lock().map_or(0, |began| crate::error::millis(began.elapsed())),
            waiting: self.waiting.lock().clone(),
            batches: self.batches.lock().clone(),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut now = self.phase.lock();
        // It does not go back from its end, nor from stopping.
        if *now < phase {
            *now = phase;
        }
        if phase == Phase::Running {
            let now = Instant::now();
            self.began.lock().get_or_insert(now);
            *self.settled.lock() = Some(now);
        }
    }

    /// What earlier runs have spent.
    pub(super) fn restore(&self, spent: Spent) {
        *self.spent.lock() = spent;
    }

    pub(super) fn spend(&self, tokens: [u64; 2], usd: Usd) {
        let mut spent = self.spent.lock();
        spent.tokens = [spent.tokens[0] + tokens[0], spent.tokens[1] + tokens[1]];
        spent.usd = spent.usd.plus(usd);
    }

    pub(super) fn spent(&self) -> Spent {
        *self.spent.lock()
    }

    /// A line is settled: it goes on.
    pub(super) fn settled(&self, is_good: bool) {
        let count = if is_good { &self.counts.succeeded } else { &self.counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        *self.settled.lock() = Some(Instant::now());
        if is_good {
            *self.waiting.lock() = None;
        }
    }

    /// What it waited for is there.
    pub(super) fn waits_no_more(&self) {
        *self.waiting.lock() = None;
    }

    /// There is work again: that there was none for a while is no standstill.
    pub(super) fn goes_on(&self) {
        *self.settled.lock() = Some(Instant::now());
    }

    /// Tells what a part of it waits for, and how often that has tried.
    pub(super) fn speaks_for(&self, part: &Self) {
        let waiting = part.waiting.lock().clone();
        *self.waiting.lock() = waiting;
        self.counts.retried.store(part.counts.retried.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// How long nothing has been settled.
    pub(super) fn standstill(&self) -> Duration {
        self.settled.lock().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// How a provider's batches stand, and that they are waited for.
    pub(super) fn note(&self, batches: Vec<FarBatch>, waiting: Option<Waiting>) {
        *self.batches.lock() = batches;
        *self.waiting.lock() = waiting;
    }

    /// A call waits, by no fault of its own.
    pub(super) fn waits(&self, error: &Error, until: Option<u64>) {
        let waiting = Waiting { code: error.name_and_code().1, message: error.message.clone(), until };
        *self.waiting.lock() = Some(waiting);
    }
}
