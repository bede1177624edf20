//! Jobs of many calls, from a file to a file: nothing lost, nothing twice, whatever ends the process.
//!
//! | file | idea |
//! |---|---|
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
mod files;
mod item;
mod journal;
mod lines;
mod marks;
mod progress;
mod queue;
mod result;
mod results;
mod survey;
mod trouble;
mod twice;

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use serde::Serialize;

pub use self::direct::Direct;
pub use self::item::{BadLine, CheckModel, Item};
pub use self::progress::{Control, FarBatch, Phase, Progress, Stage, Waiting};
pub use self::queue::WorkJob;
pub use self::result::{JobId, Settled};

use self::batches::{Batches, Log, Over};
use self::files::{FileSink, FileSource, beside};
use self::journal::Journal;
use self::marks::Marks;
use self::progress::Spent;
use self::queue::{Far, Queue};
use self::results::{ResultFile, Results};
use self::survey::Survey;
use crate::client::{Client, Witness};
use crate::config::{BadLines, CallOptions, JobOptions};
use crate::error::Error;
use crate::policy::money::Usd;

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

/// A job whose lines and results are in files.
pub struct FileJob {
    pub client: Arc<Client>,
    pub options: JobOptions,
    /// Of each call.
    pub call: Arc<CallOptions>,
    /// None where nobody is asked.
    pub witness: Option<MakeWitness>,
}

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

/// How its lines are answered.
enum How {
    Direct(Direct),
    Far(Box<Far>),
}

impl How {
    async fn run<K: Sink>(&self, source: &mut FileSource, sink: &K, control: &Control) -> Result<End, Error> {
        match self {
            Self::Direct(direct) => direct.run(source, sink, control).await,
            Self::Far(far) => far.run(source, sink, control).await,
        }
    }
}

/// What is ready before the first call.
struct Ready {
    survey: Survey,
    results: Results,
    journal: Journal,
    /// Of what is with providers' batches, where there are any.
    log: Option<Log>,
}

impl FileJob {
    /// Runs until every line is settled, or something ends it. What was settled before is not asked for again.
    ///
    /// # Errors
    /// Before anything is sent: files that cannot be read or written, or are another job's. After that: an output that cannot be written to any
    /// more. Whatever it is, what was settled is in the files, in whole lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends the job as [`Stage::Now`] does.
    pub async fn run(self, control: Arc<Control>) -> Result<Summary, Error> {
        let Self { client, options, call, witness } = self;
        if let Some(provider) = &call.provider {
            client.check_provider(provider)?;
        }
        let queue = match &options.queue {
            Some(queue) => Some(Arc::new(Queue::open(&client, queue, options.patience).await?)),
            None => None,
        };
        let check = checker(&client, &options, call.provider.is_some());
        let (paths, watch, checked) = (options.clone(), control.clone(), check.clone());
        let batched = Arc::new(Batched::of(&client, &options, &call));
        let ready = tokio::task::spawn_blocking(move || {
            let looking = batched.clone();
            let check = move |model: &str| checked(model).or_else(|| looking.look(model));
            prepare(&paths, &check, &|| batched.refusal(), &watch)
        });
        let ready = ready.await;
        let ready = ready.map_err(|_| trouble::of("internal", "a bug in trunkline: the job panicked"))??;
        let Some(Ready { survey, results, journal, log }) = ready else {
            return Ok(Summary::of(&options, End::Stopped, &control, Bad::default()));
        };
        let bad = Bad { lines: survey.bad, some: survey.some_bad.clone() };
        if let Some(queue) = &queue
            && let Err(error) = queue.begin(&survey.digest, &control).await
        {
            leave(&options, journal);
            return Err(error);
        }
        let journal = Arc::new(journal);
        let Results { files, settled, .. } = results;
        let batches = options.provider_batch.clone().zip(log).map(|(provider_batch, log)| Batches {
            client: client.clone(),
            call: call.clone(),
            options: provider_batch,
            job: survey.job.clone(),
            output: options.output.clone(),
            patience: options.patience,
            grace: options.grace,
            log,
            settled: settled.clone(),
            held: Marks::default(),
            running: Vec::new(),
        });
        let how = match queue {
            Some(queue) => {
                let work = options.work().filter(|work| work.queue.works);
                let work = work.map(|options| WorkJob { client, options, call, witness });
                How::Far(Box::new(Far {
                    queue,
                    job: survey.digest.clone(),
                    id: survey.job.clone(),
                    work: Mutex::new(work),
                    patience: options.patience,
                }))
            }
            None => How::Direct(Direct {
                at_once: options.concurrency.unwrap_or_else(|| client.most_connections()),
                client,
                options: call,
                witness,
                job: survey.job.clone(),
                tries: options.tries,
                patience: options.patience,
                grace: options.grace,
                waits_for_budget: options.waits_for_budget,
            }),
        };
        let sink = FileSink::open(files, journal.clone(), control.clone());
        control.enter(Phase::Running);
        let open = |settled| FileSource::open(&options.input, survey.clone(), settled, check.clone());
        let (batches, ended) = match batches {
            None => (None, Box::pin(how.run(&mut open(settled), &sink, &control)).await),
            Some(mut batches) => {
                let over = batches.run(&mut open(settled), &sink, &control).await;
                let ended = match over {
                    Ok(Over::Back) => {
                        let mut rest = open(batches.settled.clone());
                        Box::pin(how.run(&mut rest, &sink, &control)).await
                    }
                    Ok(Over::Ended(end)) => Ok(end),
                    Err(error) => Err(error),
                };
                (Some(batches), ended)
            }
        };
        // What was settled is written in any case.
        let files = sink.close().await?;
        // Before the journal goes, without which nobody would look for it.
        if let Some(batches) = batches {
            batches.close(matches!(ended, Ok(End::Done)))?;
        }
        let end = ended?;
        finish(&end, journal, &files, &control)?;
        control.enter(Phase::Ended);
        Ok(Summary::of(&options, end, &control, bad))
    }
}

/// Says what is wrong with a model.
fn checker(client: &Arc<Client>, options: &JobOptions, has_provider: bool) -> Arc<CheckModel> {
    let (client, only_routes) = (client.clone(), options.only_routes && !has_provider);
    let selected = if has_provider { Vec::new() } else { options.selected.clone() };
    Arc::new(move |model| {
        if selected.iter().any(|name| name == model) {
            return Some("body.model is a route that a function selects, which no job calls".to_owned());
        }
        (only_routes && !client.has_route(model)).then(|| "body.model has no route".to_owned())
    })
}

/// Whether models go to providers that take batches, where lines are to be answered by them.
struct Batched {
    client: Arc<Client>,
    provider: Option<String>,
    is_wanted: bool,
    known: Mutex<HashSet<String>>,
    refusal: Mutex<Option<Error>>,
}

impl Batched {
    fn of(client: &Arc<Client>, options: &JobOptions, call: &CallOptions) -> Self {
        Self {
            client: client.clone(),
            provider: call.provider.clone(),
            is_wanted: options.provider_batch.as_ref().is_some_and(|batch| !batch.cancel),
            known: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    /// A model of a line. Nothing is said of the line: it is the job that is refused.
    fn look(&self, model: &str) -> Option<String> {
        if self.is_wanted && !self.known.lock().contains(model) {
            self.known.lock().insert(model.to_owned());
            if let Err(error) = self.client.batch_target(model, self.provider.as_deref()) {
                self.refusal.lock().get_or_insert(error);
            }
        }
        None
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.lock().take()
    }
}

/// All that can be refused before anything is sent. None where the job was stopped meanwhile.
fn prepare(
    options: &JobOptions,
    check: &CheckModel,
    refusal: &dyn Fn() -> Option<Error>,
    control: &Control,
) -> Result<Option<Ready>, Error> {
    let JobOptions { input, output, errors, .. } = options;
    // Before anything is made. A pipe cannot be read twice, and to open it would wait.
    let refused = |error| trouble::input(input, &error);
    if !fs::metadata(input).map_err(refused)?.is_file() {
        return Err(trouble::of("input", format!("the input {} is no ordinary file", input.display())));
    }
    File::open(input).map_err(refused)?;
    let journal = Journal::open(&beside(output, ".job"))?;
    let state = journal.state();
    let on_disk = journal.is_old.then_some([state.output, state.errors]);
    let mut results = match Results::open([output, errors], on_disk, options.retry_failed) {
        Ok(results) => results,
        Err(error) => {
            leave(options, journal);
            return Err(error);
        }
    };
    let spill = beside(output, ".job.names");
    let survey = Survey::of(input, check, spill, state.begun, &results, control).and_then(|survey| {
        let refuses = |survey: &Survey| survey.bad > 0 && options.bad_lines == BadLines::Refuse;
        match survey {
            Some(survey) if refuses(&survey) => Err(survey.refusal()),
            survey => refusal().map_or(Ok(survey), Err),
        }
    });
    let survey = match survey {
        Ok(Some(survey)) => survey,
        nothing => {
            leave(options, journal);
            return nothing.map(|_| None);
        }
    };
    let left_behind = Log::path(output);
    let log = match &options.provider_batch {
        Some(_) => Log::open(output, &survey.digest).map(Some),
        None if left_behind.exists() => Err(batches::left_behind(&left_behind)),
        None => Ok(None),
    };
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            leave(options, journal);
            return Err(error);
        }
    };
    results.forget_failed()?;
    // Those were under way when the run before this was cut off.
    let cut_off = if state.input == survey.digest { survey.open } else { 0 };
    let counts = &control.counts;
    let [succeeded, failed] = results.files.each_ref().map(|file| file.lines);
    counts.succeeded.store(succeeded, Ordering::Relaxed);
    counts.failed.store(failed, Ordering::Relaxed);
    counts.resumed.store(succeeded + failed, Ordering::Relaxed);
    counts.repeated.store(state.cut_off + cut_off, Ordering::Relaxed);
    let usd = Usd::from_picos(state.picos.parse().unwrap_or_default());
    control.restore(Spent { tokens: state.tokens, usd });
    // As they are now: lines that were cut off, or are asked for again, are no longer there.
    for file in &results.files {
        file.file.sync_data().map_err(|error| trouble::output(&file.path, &error))?;
    }
    let on_disk = results.files.each_ref().map(|file| file.bytes);
    let begun = journal.change(|state| {
        state.input.clone_from(&survey.digest);
        [state.output, state.errors] = on_disk;
        state.begun = 0;
        state.cut_off += cut_off;
    });
    let kept = begun.and_then(|()| journal.sync());
    kept.map_err(|error| trouble::output(journal.path(), &error))?;
    sync_folder(output);
    Ok(Some(Ready { survey, results, journal, log }))
}

/// Nothing was begun: what was made for it, and has nothing in it, goes again.
fn leave(options: &JobOptions, journal: Journal) {
    if journal.is_old {
        return;
    }
    let _ = journal.remove();
    for path in [&options.output, &options.errors] {
        if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The run has ended, and its results are on the disk.
fn finish(end: &End, journal: Arc<Journal>, files: &[ResultFile; 2], control: &Control) -> Result<(), Error> {
    let [_, errors] = files;
    if errors.bytes == 0 {
        let _ = fs::remove_file(&errors.path);
    }
    let path = journal.path().to_owned();
    let is_done = matches!(end, End::Done);
    let left = match Arc::try_unwrap(journal) {
        Ok(journal) if is_done => journal.remove(),
        Ok(journal) if control.counts.in_flight.load(Ordering::Relaxed) == 0 => {
            journal.change(|state| state.begun = 0).and_then(|()| journal.sync())
        }
        _ => Ok(()),
    };
    left.map_err(|error| trouble::output(&path, &error))
}

/// The names of new files, which are the folder's.
fn sync_folder(file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not every system has that, and those that have not do it with the file.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
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

impl fmt::Debug for FileJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJob").field("options", &self.options).finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
