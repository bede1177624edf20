//! Jobs of many calls, from a file to a file: nothing lost, nothing twice, whatever ends the process.
//!
//! | file | idea |
//! |---|---|
//! | `file_job` | a job whose lines and results are in files |
//! | `prepare` | all that is done before its first call |
//! | `lines` | the lines of a file, with their numbers |
//! | `item` | a line as what it asks for |
//! | `survey` | the input read once before anything is sent |
//! | `twice` | names that stand in it twice |
//! | `marks` | a set of line numbers |
//! | `journal` | what of a job is in no result, and the lock |
//! | `results` | the files of results as an earlier run left them |
//! | `result` | what became of a line, as text |
//! | `files` | lines read ahead of the calls, results written behind them |
//! | `direct` | each line by a call of its own |
//! | `batches/` | lines by the provider's own batches |
//! | `queue/` | each line by whichever process takes it, on whatever machine |
//! | `progress` | how far a job is, and how it is told to end |
//! | `trouble` | what ends a job as a whole, in words |
//!
//! A job takes lines from a [`Source`], hands them to a [`Runner`], and what becomes of each goes to a [`Sink`]: once, and for good.
//! A run that is cut off leaves lines that no result is of, and the next run asks for those.

mod batches;
mod direct;
mod file_job;
mod files;
mod item;
mod journal;
mod lines;
mod marks;
mod prepare;
mod progress;
mod queue;
mod result;
mod results;
mod survey;
mod trouble;
mod twice;

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;

pub use self::direct::Direct;
pub use self::file_job::FileJob;
pub use self::item::{BadLine, CheckModel, Item};
pub use self::progress::{Control, FarBatch, Phase, Progress, Stage, Waiting};
pub use self::queue::WorkJob;
pub use self::result::{JobId, Settled};

use crate::client::Witness;
use crate::config::JobOptions;
use crate::error::Error;

/// A line that was taken.
#[derive(Debug)]
pub enum Taken {
    Item(Item),
    Bad(BadLine),
}

/// Where lines come from.
pub trait Source: Send {
    /// The next lines, `most` of them or fewer, as soon as there are some; none once there is no more.
    ///
    /// # Cancel safety
    /// Dropping the future loses no line.
    fn next(&mut self, most: usize) -> impl Future<Output = Result<Vec<Taken>, Error>> + Send;
}

/// Where results go.
pub trait Sink: Send + Sync {
    /// These are about to be sent. What is told here is known after the process was killed, so that it can be said what may be paid twice.
    fn begin(&self, items: &[Item]) -> Result<(), Error>;

    /// Takes a result, once for each line. When it is there for good, its sink decides; an error is for all that follow too.
    fn put(&self, settled: Settled) -> impl Future<Output = Result<(), Error>> + Send;

    /// Resolves once all that was put is there for good.
    fn flush(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// How lines are answered.
pub trait Runner: Send + Sync {
    /// Takes lines until there is no more, or it is told to stop (`control.stopped(…)`), and puts what became of each. Lines that it does not
    /// settle are asked for by the next run.
    ///
    /// # Errors
    /// What ends the job as a whole: its files, most of all.
    fn run<S: Source, K: Sink>(
        &self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> impl Future<Output = Result<End, Error>> + Send;
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// Every line is settled.
    Done,
    /// It was told to. Calls that were dropped are still counted as in flight.
    Stopped,
    /// The budget is used up until then (milliseconds since 1970).
    Paused { error: Error, until: u64 },
    /// No line would have fared better: a key that is refused, a provider that is not there.
    Ended { error: Error },
}

/// Gives each call somebody who is asked before its attempts.
pub type MakeWitness = Box<dyn Fn() -> Option<Arc<Witness>> + Send + Sync>;

/// What a run came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `done`, `stopped`, `paused` or `ended`.
    pub status: &'static str,
    /// Why, where it is not done and was not told to stop: an error as JSON.
    pub error: Option<String>,
    /// When the budget's window ends: milliseconds since 1970.
    pub resumes_at: Option<u64>,
    /// Empty of a worker.
    pub output: String,
    /// None where there is no error.
    pub errors: Option<String>,
    /// Lines that ask for nothing that could be sent, and the first of them.
    pub bad_lines: u64,
    pub some_bad: Vec<(u64, String)>,
    #[serde(flatten)]
    pub progress: Progress,
}

/// Lines that ask for nothing that could be sent.
#[derive(Debug, Default)]
struct Bad {
    lines: u64,
    some: Vec<BadLine>,
}

impl Summary {
    fn of(options: &JobOptions, end: End, control: &Control, bad: Bad) -> Self {
        let mut summary = Self::of_work(end, control);
        summary.output = options.output.display().to_string();
        summary.errors = (summary.progress.failed > 0).then(|| options.errors.display().to_string());
        summary.bad_lines = bad.lines;
        summary.some_bad = bad.some.into_iter().map(|bad| (bad.line, bad.message)).collect();
        summary
    }

    /// Of a worker, which has no files.
    fn of_work(end: End, control: &Control) -> Self {
        let (status, error, resumes_at) = match end {
            End::Done => ("done", None, None),
            End::Stopped => ("stopped", None, None),
            End::Paused { error, until } => ("paused", Some(error.to_json()), Some(until)),
            End::Ended { error } => ("ended", Some(error.to_json()), None),
        };
        let progress = control.progress();
        Self {
            status,
            error,
            resumes_at,
            output: String::new(),
            errors: None,
            bad_lines: 0,
            some_bad: Vec::new(),
            progress,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
