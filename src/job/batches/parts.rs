//! Lines as parts: which line goes into which, and a part that is whole on its way to its provider.

use std::collections::HashMap;
use std::sync::Arc;

use super::spool::{Places, Request, Spool};
use super::{Batches, MOST_OPEN, Running};
use crate::client::{BatchDesk, BatchTarget, Endpoint};
use crate::error::{Error, Kind};
use crate::job::progress::{Control, Stage};
use crate::job::{End, Item, Sink, Source, Taken};
use crate::protocol::json::Members;

/// Lines that are taken at once.
const TAKEN: usize = 256;

impl Batches {
    /// Makes parts of the lines that are with nobody, and sends them.
    pub(super) async fn plan<S: Source, K: Sink>(
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
                if said.text.len() as u64 > bytes || said.inputs > target.most_inputs() {
                    // No batch takes it; a call may, or several.
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
}

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
