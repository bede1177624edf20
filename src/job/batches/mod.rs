//! Lines answered by a provider's own batches, at half the price and within a day.
//!
//! | file | idea |
//! |---|---|
//! | `log` | what is with providers, on the disk before anything else happens |
//! | `spool` | the requests of a part on their way there, and which line each is of |
//! | `desk` | what is said to providers' batch endpoints, and what they say |
//! | `gather` | results, and what becomes of them |
//!
//! Lines are split into *parts*, each of one provider, endpoint and model (OpenAI's files have one model each), and no larger than a batch may
//! be. A part is written down, uploaded, asked for, looked at until it is over, and gathered. Whatever ends the process, the next run
//! finds in the log how far each part had come: what has an id is asked about and not made again; what was about to be made is looked for
//! among what the provider has. What no batch has answered is left to calls of its own ([`Direct`](super::Direct)).

mod desk;
mod gather;
mod log;
mod spool;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(super) use self::gather::left_behind;
pub(super) use self::log::Log;

use self::desk::{Desk, Standing};
use self::log::Plan;
use self::spool::{Places, Request, Spool};
use super::marks::Marks;
use super::progress::{Control, FarBatch, Stage, Waiting};
use super::result::JobId;
use super::{End, Item, Sink, Source, Taken};
use crate::client::{BatchDesk, BatchHold, BatchTarget, Client, Endpoint};
use crate::config::{CallOptions, ProviderBatch};
use crate::error::{Error, Kind};
use crate::protocol::json::Members;
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
pub(super) enum Far {
    /// All are back; lines without a result are to be asked for by calls.
    Back,
    Ended(End),
}

/// What is to become of a part that could not be sent.
enum Trouble {
    Again(Error),
    End(End),
    Lost(String, String),
    NoDesk(Error),
}

/// Files that are open at a time: for each part that is being made, two.
const MOST_OPEN: usize = 32;
/// Lines that are taken at once.
const TAKEN: usize = 256;
/// So many times the interval is the longest pause between two looks at a batch.
const LONGEST: u32 = 12;

impl BatchDesk {
    /// The most requests, bytes and embedding inputs of a batch. OpenAI: "up to 50,000 requests, and can be up to 200 MB in size", and 50,000 inputs
    /// (API reference, "Create batch", `input_file_id` and `endpoint`). Anthropic: "100,000 Message requests or 256 MB in size, whichever is reached
    /// first" (Batch processing, "Batch limitations"). Whether a megabyte is 2^20 bytes nobody says: the smaller one is safe.
    fn most(self) -> (u64, u64, u64) {
        match self {
            Self::Files => (50_000, 200_000_000, 50_000),
            Self::Messages => (100_000, 256_000_000, u64::MAX),
        }
    }
}

impl Batches {
    /// # Errors
    /// As of a [`Runner`](super::Runner); and where a provider turns out to have no batches.
    pub(super) async fn run<S: Source, K: Sink>(
        &mut self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> Result<Far, Error> {
        self.resume()?;
        self.show(control);
        let cancels = self.options.cancel;
        if !cancels {
            for at in 0..self.running.len() {
                if let Some(end) = self.submit(at, true, control).await? {
                    return Ok(Far::Ended(end));
                }
            }
            if let Some(end) = self.plan(source, sink, control).await? {
                return Ok(Far::Ended(end));
            }
        }
        let end = self.follow(sink, control, cancels).await?;
        self.show(control);
        Ok(end.map_or(Far::Back, Far::Ended))
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

    /// Makes parts of the lines that are with nobody, and sends them.
    async fn plan<S: Source, K: Sink>(
        &mut self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> Result<Option<End>, Error> {
        let mut spools: HashMap<(Arc<str>, bool, String), (u64, Spool)> = HashMap::new();
        let mut next = self.log.next();
        let ended = self.fill(source, sink, control, &mut spools, &mut next).await;
        let ended = match ended {
            Ok(None) => {
                let mut ended = Ok(None);
                let mut rest: Vec<_> = spools.drain().map(|(_, spool)| spool).collect();
                rest.sort_by_key(|(part, _)| *part);
                for (part, spool) in rest {
                    match ended {
                        Ok(None) => ended = self.send(part, spool, control).await,
                        _ => spool.drop_files(),
                    }
                }
                ended
            }
            ended => ended,
        };
        spools.drain().for_each(|(_, (_, spool))| spool.drop_files());
        ended
    }

    async fn fill<S: Source, K: Sink>(
        &mut self,
        source: &mut S,
        sink: &K,
        control: &Control,
        spools: &mut HashMap<(Arc<str>, bool, String), (u64, Spool)>,
        next: &mut u64,
    ) -> Result<Option<End>, Error> {
        loop {
            let taken = tokio::select! {
                biased;
                () = control.stopped(Stage::Stopping) => return Ok(Some(End::Stopped)),
                taken = source.next(TAKEN) => taken?,
            };
            if taken.is_empty() {
                return Ok(None);
            }
            for taken in taken {
                let item = match taken {
                    Taken::Bad(bad) => {
                        self.settled.insert(bad.line);
                        sink.put(self.job.bad(&bad)).await?;
                        control.settled(false);
                        continue;
                    }
                    Taken::Item(item)
                        if self.held.contains(item.line) || self.settled.contains(item.line) =>
                    {
                        continue;
                    }
                    Taken::Item(item) => item,
                };
                let model = model_of(&item);
                let target = self.client.batch_target(&model, self.call.provider.as_deref())?;
                let said = match Request::of(&self.job, &item, &model, &target) {
                    Ok(said) => said,
                    Err(error) => {
                        self.settled.insert(item.line);
                        sink.put(self.job.failed(item.line, &item.custom_id, &error)).await?;
                        control.settled(false);
                        continue;
                    }
                };
                let (requests, bytes, inputs) = self.most(&target);
                if said.text.len() as u64 > bytes || said.inputs > inputs {
                    // No batch takes it; a call may.
                    continue;
                }
                let key = (target.provider().clone(), item.endpoint == Endpoint::Embeddings, model.clone());
                let is_full = spools.get(&key).is_some_and(|(_, spool)| {
                    spool.count >= requests
                        || spool.bytes + said.text.len() as u64 + 1 > bytes
                        || spool.inputs + said.inputs > inputs
                });
                let full = if is_full { Some(key.clone()) } else { largest(spools, &key) };
                if let Some((part, spool)) = full.and_then(|full| spools.remove(&full))
                    && let Some(end) = self.send(part, spool, control).await?
                {
                    return Ok(Some(end));
                }
                if !spools.contains_key(&key) {
                    let endpoint = item.endpoint.clone();
                    let spool = Spool::begin(&self.output, *next, target, endpoint, model)?;
                    spools.insert(key.clone(), (*next, spool));
                    *next += 1;
                }
                if let Some((_, spool)) = spools.get_mut(&key) {
                    spool.add(&item, said)?;
                }
            }
        }
    }

    /// The most requests, bytes and inputs of a part.
    fn most(&self, target: &BatchTarget) -> (u64, u64, u64) {
        let (requests, bytes, inputs) = target.desk.most();
        let own = |given: Option<u64>, most: u64| given.unwrap_or(most).min(most);
        // What is around the requests.
        const AROUND: u64 = 4096;
        let bytes = own(self.options.max_bytes, bytes).saturating_sub(AROUND).max(AROUND);
        (own(self.options.max_requests, requests), bytes, inputs)
    }

    /// A part is whole: it is written down, and sent.
    async fn send(&mut self, part: u64, spool: Spool, control: &Control) -> Result<Option<End>, Error> {
        let (target, endpoint, sample, count) =
            (spool.target.clone(), spool.endpoint.clone(), spool.sample.clone(), spool.count);
        let (client, call) = (self.client.clone(), self.call.clone());
        let (plan, lines) = spool.finish(&self.job, part)?;
        let asked = (&*plan.model, &endpoint);
        let hold = match target.afford(&client, asked, &sample, count, &call).await {
            Ok(hold) => hold,
            Err(error) => {
                Places::of(&self.output, part).remove();
                return match &error.kind {
                    Kind::BudgetExceeded { standing, .. } => {
                        let until = standing.resets_at;
                        Ok(Some(End::Paused { error, until }))
                    }
                    _ => Err(error),
                };
            }
        };
        self.log.part(plan)?;
        for line in lines {
            self.held.insert(line);
        }
        let mut running = Running::of(part, target);
        running.hold = Some(hold);
        self.running.push(running);
        self.show(control);
        self.submit(self.running.len() - 1, false, control).await
    }

    /// Has a part answered by its provider, if it has no batch yet. `looks`: some of that may have been done.
    async fn submit(&mut self, at: usize, mut looks: bool, control: &Control) -> Result<Option<End>, Error> {
        let mut failing: Option<Instant> = None;
        let mut pauses = 0;
        loop {
            let gone = async {
                control.stopped(Stage::Stopping).await;
                tokio::select! {
                    () = tokio::time::sleep(self.grace) => {}
                    () = control.stopped(Stage::Now) => {}
                }
            };
            if control.stage() > Stage::Running {
                return Ok(Some(End::Stopped));
            }
            // What is about to be given an id is waited for.
            let step = {
                let gone = std::pin::pin!(gone);
                let step = std::pin::pin!(Self::step(
                    (&self.client, &self.call, &self.output),
                    &mut self.log,
                    &self.running[at],
                    looks
                ));
                tokio::select! {
                    step = step => step,
                    () = gone => return Ok(Some(End::Stopped)),
                }
            };
            let Err(error) = step else {
                self.running[at].state = "sent".to_owned();
                self.show(control);
                return Ok(None);
            };
            looks = true;
            let (part, target) = (self.running[at].part, self.running[at].target.clone());
            match trouble_of(error, &target) {
                Trouble::NoDesk(error) => {
                    // Nothing of it is there.
                    self.log.free(part)?;
                    Places::of(&self.output, part).remove();
                    self.running.remove(at);
                    return Err(error);
                }
                Trouble::End(end) => return Ok(Some(end)),
                Trouble::Lost(code, message) => {
                    self.log.lost(part, &code, &message)?;
                    return Ok(None);
                }
                Trouble::Again(error) => {
                    control.waits(&error, None);
                    if failing.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                        return Ok(Some(End::Ended { error }));
                    }
                    pauses += 1;
                    if self.stops_within(super::direct::pause_after(pauses), control).await {
                        return Ok(Some(End::Stopped));
                    }
                }
            }
        }
    }

    /// Uploads and asks, each as far as that was not done.
    async fn step(
        (client, call, output): (&Arc<Client>, &CallOptions, &std::path::Path),
        log: &mut Log,
        running: &Running,
        looks: bool,
    ) -> Result<(), Error> {
        let Some(part) = log.parts.iter().find(|part| part.plan.part == running.part).cloned() else {
            return Ok(());
        };
        if part.batch.is_some() || part.lost.is_some() || running.is_over {
            return Ok(());
        }
        let (plan, number) = (&part.plan, part.plan.part);
        let desk = Desk { client, options: call, target: &running.target };
        let places = Places::of(output, number);
        let mut file = part.file.clone();
        if desk.target.desk == BatchDesk::Files && file.is_none() {
            let found = if looks { desk.find_file(plan).await? } else { None };
            let id = match found {
                Some(id) => id,
                None => desk.upload(&places.load(BatchDesk::Files, plan)).await?,
            };
            log.file(number, &id)?;
            file = Some(id);
        }
        let mut found = None;
        if let Some(since) = part.created.filter(|_| looks) {
            let known: Vec<_> = log.parts.iter().filter_map(|part| part.batch.clone()).collect();
            found = desk.find_batch(plan, file.as_deref(), since, &known).await?;
        }
        let was_found = found.is_some();
        let id = match found {
            Some(id) => id,
            None => {
                log.create(number, now())?;
                desk.create(plan, file.as_deref(), places.load(running.target.desk, plan)).await?
            }
        };
        log.batch(number, &id, was_found)?;
        // OpenAI has the file; what is taken for Anthropic's by its looks may be none of ours.
        if !(was_found && desk.target.desk == BatchDesk::Messages) {
            places.forget_requests();
        }
        Ok(())
    }

    /// Looks at batches until all are over.
    async fn follow<K: Sink>(
        &mut self,
        sink: &K,
        control: &Control,
        mut cancels: bool,
    ) -> Result<Option<End>, Error> {
        let longest = self.options.interval.saturating_mul(LONGEST);
        let mut pause = self.options.interval;
        let mut failing: Option<Instant> = None;
        loop {
            cancels |= control.stage() == Stage::Cancelling;
            let mut news = false;
            let mut is_open = false;
            for at in 0..self.running.len() {
                if self.running[at].is_over {
                    continue;
                }
                if control.stage() == Stage::Now || (control.stage() == Stage::Stopping && !cancels) {
                    return Ok(Some(End::Stopped));
                }
                match self.look(at, sink, control, cancels).await {
                    Ok(Some(Look::Ended(end))) => return Ok(Some(end)),
                    Ok(Some(Look::News)) => news = true,
                    Ok(Some(Look::Same)) => {}
                    // Whether the provider has room for it by now, the next look tells.
                    Ok(Some(Look::Sent)) => {
                        is_open = true;
                        continue;
                    }
                    Ok(None) => return Ok(Some(End::Stopped)),
                    Err(Failing::Job(error)) => return Err(error),
                    Err(Failing::Provider(error)) => {
                        if is_final(&error) {
                            return Ok(Some(End::Ended { error }));
                        }
                        control.waits(&error, None);
                        is_open = true;
                        // Room comes when others are over.
                        let waits = matches!(error.kind, Kind::QueueFull) && self.has_others(at);
                        if !waits && failing.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                            return Ok(Some(End::Ended { error }));
                        }
                        continue;
                    }
                }
                failing = None;
                is_open |= !self.running[at].is_over;
            }
            self.show(control);
            if !is_open && self.running.iter().all(|running| running.is_over) {
                return Ok(cancels.then_some(End::Stopped));
            }
            pause = if news { self.options.interval } else { pause.mul_f64(1.5).min(longest) };
            self.wait_for(pause, control, cancels).await;
        }
    }

    /// Whether other batches are under way.
    fn has_others(&self, at: usize) -> bool {
        let has_batch = |running: &Running| {
            let part = self.log.parts.iter().find(|part| part.plan.part == running.part);
            part.is_some_and(|part| part.batch.is_some())
        };
        let all = self.running.iter().enumerate();
        all.filter(|(other, _)| *other != at).any(|(_, running)| !running.is_over && has_batch(running))
    }

    /// The next look is due, or something was said.
    async fn wait_for(&self, pause: Duration, control: &Control, cancels: bool) {
        if cancels {
            // It may take its time; whoever will not wait says so.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = control.stopped(Stage::Now) => {}
            }
        } else {
            self.stops_within(pause, control).await;
        }
    }

    async fn stops_within(&self, pause: Duration, control: &Control) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = control.stopped(Stage::Stopping) => true,
        }
    }

    /// One look at a batch; what is over is gathered. None where the job is to end at once.
    async fn look<K: Sink>(
        &mut self,
        at: usize,
        sink: &K,
        control: &Control,
        cancels: bool,
    ) -> Result<Option<Look>, Failing> {
        let number = self.running[at].part;
        let Some(part) = self.log.parts.iter().find(|part| part.plan.part == number).cloned() else {
            self.running[at].is_over = true;
            return Ok(Some(Look::News));
        };
        if let Some((code, message)) = &part.lost {
            self.give_up(at, (code, message), sink, control).await.map_err(Failing::Job)?;
            return Ok(Some(Look::News));
        }
        let Some(batch) = part.batch.clone() else {
            if cancels {
                // It is nowhere, or nobody knows where.
                (self.running[at].is_over, self.running[at].is_cancelled) = (true, true);
                return Ok(Some(Look::News));
            }
            let end = self.submit(at, true, control).await.map_err(Failing::Job)?;
            return Ok(Some(end.map_or(Look::Sent, Look::Ended)));
        };
        let (client, call) = (self.client.clone(), self.call.clone());
        let target = self.running[at].target.clone();
        let desk = Desk { client: &client, options: &call, target: &target };
        let stopped = async {
            control.stopped(if cancels { Stage::Now } else { Stage::Stopping }).await;
        };
        let mut stopped = std::pin::pin!(stopped);
        if cancels && !self.running[at].is_cancelled {
            tokio::select! {
                cancelled = desk.cancel(&batch) => cancelled.map_err(Failing::Provider)?,
                () = &mut stopped => return Ok(None),
            }
            self.running[at].is_cancelled = true;
        }
        let standing = tokio::select! {
            standing = desk.look(&batch) => standing.map_err(Failing::Provider)?,
            () = &mut stopped => return Ok(Some(Look::Same)),
        };
        match standing {
            Standing::Running { state, completed, failed } => {
                let running = &mut self.running[at];
                let news =
                    running.completed != completed || running.failed != failed || running.state != state;
                (running.state, running.completed, running.failed) = (state, completed, failed);
                Ok(Some(if news { Look::News } else { Look::Same }))
            }
            Standing::Over { state, results } => {
                self.running[at].state = state;
                self.gather(at, &desk, &results, sink, control).await?;
                Ok(Some(Look::News))
            }
            Standing::Refused { passes: true, code, message } => {
                let mut error = Error::new(
                    Kind::QueueFull,
                    format!("{} has no room for another batch: {code}", target.provider()),
                );
                error.cause = Some(message);
                self.log.again(number).map_err(Failing::Job)?;
                "waiting".clone_into(&mut self.running[at].state);
                Err(Failing::Provider(error))
            }
            Standing::Refused { passes: false, code, message } => {
                self.log.lost(number, &code, &message).map_err(Failing::Job)?;
                self.give_up(at, (&code, &message), sink, control).await.map_err(Failing::Job)?;
                Ok(Some(Look::News))
            }
            Standing::Gone => {
                let gone = ("batch_gone", "the provider knows the batch no more");
                self.give_up(at, gone, sink, control).await.map_err(Failing::Job)?;
                Ok(Some(Look::News))
            }
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
        let names: std::collections::BTreeSet<_> =
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

/// What a look has shown.
enum Look {
    Same,
    News,
    /// It was not with the provider, and now is.
    Sent,
    Ended(End),
}

/// Whose trouble it is.
enum Failing {
    Job(Error),
    Provider(Error),
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

/// The key of the part that makes room for another one, where that is needed.
fn largest(
    spools: &HashMap<(Arc<str>, bool, String), (u64, Spool)>,
    key: &(Arc<str>, bool, String),
) -> Option<(Arc<str>, bool, String)> {
    if spools.len() < MOST_OPEN || spools.contains_key(key) {
        return None;
    }
    spools.iter().max_by_key(|(_, (_, spool))| spool.bytes).map(|(key, _)| key.clone())
}

/// What it asks for; the line was read before, so that it has one.
fn model_of(item: &Item) -> String {
    Members::of(&item.body).ok().and_then(|body| body.value::<String>("model")).unwrap_or_default()
}

fn trouble_of(error: Error, target: &BatchTarget) -> Trouble {
    let Kind::Api(api) = &error.kind else {
        return if error.retryable { Trouble::Again(error) } else { Trouble::End(End::Ended { error }) };
    };
    match (api.status, api.class) {
        (404 | 405 | 501, _) => {
            let path = match target.desk {
                BatchDesk::Files => "/files and /batches",
                BatchDesk::Messages => "/messages/batches",
            };
            let (status, provider) = (api.status, target.provider());
            let mut refusal = Error::config(format!(
                "providerBatch: the provider '{provider}' has no endpoint for batches (it answered {status}; {path} are asked for \
                 below its baseURL); leave providerBatch out, or route the model to a provider that has one"
            ));
            refusal.provider = Some(provider.clone());
            Trouble::NoDesk(refusal)
        }
        _ if is_final(&error) => Trouble::End(End::Ended { error }),
        _ if error.retryable => Trouble::Again(error),
        _ => {
            let code = api.fields.code.clone().or_else(|| api.fields.kind.clone());
            Trouble::Lost(code.unwrap_or_else(|| "batch_refused".to_owned()), error.message.clone())
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
