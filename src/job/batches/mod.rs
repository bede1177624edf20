//! Lines answered by a provider's own batches, at half the price and within a day.
//!
//! | file | idea |
//! |---|---|
//! | `log` | what is with providers, on the disk before anything else happens |
//! | `parts` | lines as parts, each of which is sent when it is whole |
//! | `spool` | the requests of a part in files, and which line each is of |
//! | `submit` | a part on its way, until it has a batch's id |
//! | `follow` | batches looked at, until all are over |
//! | `desk` | what is said to providers' batch endpoints, and what they say |
//! | `gather` | results, and what becomes of them |
//!
//! Lines are split into *parts*, each of one provider, endpoint and model (OpenAI's files have one model each), and no larger than a batch may
//! be. A part is written down, uploaded, asked for, looked at until it is over, and gathered. Whatever ends the process, the next run
//! finds in the log how far each part had come: what has an id is asked about and not made again; what was about to be made is looked for
//! among what the provider has. What no batch has answered is left to calls of its own ([`Direct`](super::Direct)).

mod desk;
mod follow;
mod gather;
mod log;
mod parts;
mod spool;
mod submit;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

pub(super) use self::gather::left_behind;
pub(super) use self::log::Log;

use self::log::Plan;
use self::spool::Places;
use super::marks::Marks;
use super::progress::{Control, FarBatch, Phase, Stage, Waiting};
use super::result::JobId;
use super::{End, Sink, Source};
use crate::client::{BatchHold, BatchTarget, Client};
use crate::config::{CallOptions, ProviderBatch};
use crate::error::{Error, Kind};
use crate::protocol::openai::ErrorClass;

/// What answers lines by batches.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) client: Arc<Client>,
    pub(super) call: Arc<CallOptions>,
    pub(super) options: ProviderBatch,
    pub(super) job: JobId,
    pub(super) output: PathBuf,
    pub(super) patience: Duration,
    pub(super) grace: Duration,
    pub(super) log: Log,
    /// Lines that have a result.
    pub(super) settled: Marks,
    /// Lines that are, or were, with a provider.
    pub(super) held: Marks,
    pub(super) running: Vec<Running>,
}

/// A part, as this run knows it.
#[derive(Debug)]
pub(super) struct Running {
    part: u64,
    target: BatchTarget,
    state: String,
    completed: u64,
    failed: u64,
    is_over: bool,
    is_cancelled: bool,
    /// What it may come to, until it has.
    hold: Option<BatchHold>,
}

/// How the batches of a job ended.
#[derive(Debug)]
pub(super) enum Over {
    /// All are back; lines without a result are to be asked for by calls.
    Back,
    Ended(End),
}

/// Files that are open at a time: for each part that is being made, two.
const MOST_OPEN: usize = 32;

impl Batches {
    /// # Errors
    /// As of a [`Runner`](super::Runner); and where a provider turns out to have no batches.
    pub(super) async fn run<S: Source, K: Sink>(
        &mut self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> Result<Over, Error> {
        control.enter(Phase::Running);
        self.resume()?;
        self.show(control);
        let cancels = self.options.cancel;
        if !cancels {
            for at in 0..self.running.len() {
                if let Some(end) = self.submit(at, true, control).await? {
                    return Ok(Over::Ended(end));
                }
            }
            if let Some(end) = self.plan(source, sink, control).await? {
                return Ok(Over::Ended(end));
            }
        }
        let end = self.follow(sink, control, cancels).await?;
        self.show(control);
        Ok(end.map_or(Over::Back, Over::Ended))
    }

    /// The run has ended, and what was settled is on the disk.
    ///
    /// # Errors
    /// Where the log cannot be written.
    pub(super) fn close(mut self, is_done: bool) -> Result<(), Error> {
        let mut over = Vec::new();
        for running in &self.running {
            let part = self.log.parts.iter().find(|part| part.plan.part == running.part);
            let is_unsent = part.is_some_and(|part| part.file.is_none() && part.created.is_none());
            if is_done || (running.is_over && running.is_cancelled) || (self.options.cancel && is_unsent) {
                over.push(running.part);
            }
        }
        if is_done {
            // What a run has begun to make that was cut off then has no line in the log.
            over.extend(1..self.log.next() + MOST_OPEN as u64);
        }
        for part in &over {
            if !is_done {
                self.log.free(*part)?;
            }
            Places::of(&self.output, *part).remove();
        }
        if is_done || self.log.parts.is_empty() {
            self.log.remove()?;
        }
        Ok(())
    }

    /// What earlier runs have left with providers.
    fn resume(&mut self) -> Result<(), Error> {
        for part in self.log.parts.clone() {
            let Plan { part: number, provider, model, .. } = &part.plan;
            let target = self.client.batch_target_at(model, provider).map_err(|error| {
                let message = format!(
                    "batches of this job are with the provider '{provider}': {}; keep that provider until they are gathered",
                    error.message
                );
                Error::config(message)
            })?;
            let mut open = 0;
            let (held, settled) = (&mut self.held, &self.settled);
            Places::of(&self.output, *number).each_name(|line, _| {
                held.insert(line);
                open += u64::from(!settled.contains(line));
            })?;
            let mut running = Running::of(*number, target);
            running.is_over = open == 0;
            self.running.push(running);
        }
        Ok(())
    }

    /// Whether the job was stopped in that time.
    async fn stops_within(&self, pause: Duration, control: &Control) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = control.stopped(Stage::Stopping) => true,
        }
    }

    /// Has everybody know how batches stand.
    fn show(&self, control: &Control) {
        let open = self.running.iter().filter(|running| !running.is_over);
        let part = |running: &Running| self.log.parts.iter().find(|part| part.plan.part == running.part);
        let all = self.running.iter().filter_map(|running| {
            let part = part(running)?;
            Some(FarBatch {
                provider: part.plan.provider.clone(),
                model: part.plan.model.clone(),
                id: part.batch.clone(),
                state: if running.state.is_empty() { "new".to_owned() } else { running.state.clone() },
                requests: part.plan.requests,
                completed: running.completed,
                failed: running.failed,
                is_over: running.is_over,
            })
        });
        let all: Vec<_> = all.collect();
        let count: u64 = open.filter_map(|running| Some(part(running)?.plan.requests)).sum();
        let names: BTreeSet<_> =
            all.iter().filter(|batch| !batch.is_over).map(|batch| &*batch.provider).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let running = all.iter().filter(|batch| !batch.is_over).count();
        control.counts.in_flight.store(count, Ordering::Relaxed);
        control.note(
            all,
            (running > 0).then(|| Waiting {
                code: "BATCHES",
                message: format!(
                    "{running} of the provider's batches ({names}) with {count} requests under way"
                ),
                until: None,
            }),
        );
    }
}

impl Running {
    fn of(part: u64, target: BatchTarget) -> Self {
        Self {
            part,
            target,
            state: String::new(),
            completed: 0,
            failed: 0,
            is_over: false,
            is_cancelled: false,
            hold: None,
        }
    }
}

/// Whether no other request would fare better.
fn is_final(error: &Error) -> bool {
    match &error.kind {
        Kind::Api(api) => matches!(
            api.class,
            ErrorClass::Authentication | ErrorClass::PermissionDenied | ErrorClass::RateLimit { quota: true }
        ),
        Kind::Closed | Kind::Config => true,
        _ => false,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
