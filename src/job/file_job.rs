//! A job whose lines and results are in files.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::batches::{Batches, Over};
use super::direct::Direct;
use super::files::{FileSink, FileSource};
use super::journal::Journal;
use super::marks::Marks;
use super::prepare::{Batched, Ready, checker, leave, prepare};
use super::progress::{Control, Phase};
use super::queue::{Far, Queue, WorkJob};
use super::results::{ResultFile, Results};
use super::{Bad, End, MakeWitness, Runner, Sink, Summary, trouble};
use crate::client::Client;
use crate::config::{CallOptions, JobOptions};
use crate::error::Error;

/// A job whose lines and results are in files.
pub struct FileJob {
    pub client: Arc<Client>,
    pub options: JobOptions,
    /// Of each call.
    pub call: Arc<CallOptions>,
    /// None where nobody is asked.
    pub witness: Option<MakeWitness>,
}

impl FileJob {
    /// Runs until every line is settled, or something ends it. What was settled before is not asked for again.
    ///
    /// # Errors
    /// Before anything is sent: files that cannot be read or written, or are another job's. After that: an output that cannot be written to any
    /// more. Whatever it is, what was settled is in the files, in whole lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends the job as [`Stage::Now`](super::progress::Stage::Now) does.
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

impl fmt::Debug for FileJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJob").field("options", &self.options).finish_non_exhaustive()
    }
}
