//! A worker: takes lines of a job that another process feeds, and answers them by calls of its own.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::store::{Queue, Status, Taking};
use crate::client::Client;
use crate::config::{CallOptions, WorkOptions};
use crate::error::Error;
use crate::job::direct::Direct;
use crate::job::item::Item;
use crate::job::progress::{Control, Phase, Stage};
use crate::job::result::{JobId, Settled};
use crate::job::{End, MakeWitness, Runner, Sink, Source, Summary, Taken, trouble};

/// Between two looks for work where there was none: doubled from the first to the last.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(250);
/// Bytes of results that may wait to be stored.
const BEHIND: usize = 16 * 1024 * 1024;
/// What is stored in one piece, about.
const STORED: usize = 1024 * 1024;
const MANY: usize = 256;
/// Items that are spoken of in one piece.
const BEATEN: usize = 1000;

/// The part of a job that this process has.
pub struct WorkJob {
    pub client: Arc<Client>,
    pub options: WorkOptions,
    pub call: Arc<CallOptions>,
    pub witness: Option<MakeWitness>,
}

impl WorkJob {
    /// Works until the job is done, or something ends it. Where there is no such job yet, it is waited for.
    ///
    /// # Errors
    /// A Redis that cannot be used.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what it had in hand to others, once that is claimed.
    pub async fn run(self, control: Arc<Control>) -> Result<Summary, Error> {
        if let Some(provider) = &self.call.provider {
            self.client.check_provider(provider)?;
        }
        let queue = Arc::new(Queue::open(&self.client, &self.options.queue, self.options.patience).await?);
        let end = self.work(queue, &control).await?;
        control.enter(Phase::Ended);
        Ok(Summary::of_work(end, &control))
    }

    pub(super) async fn work(self, queue: Arc<Queue>, control: &Arc<Control>) -> Result<End, Error> {
        let Some((job, claim)) = joined(&queue, control).await? else { return Ok(End::Stopped) };
        let Self { client, options, call, witness } = self;
        let hands = Arc::<Hands>::default();
        // Not beside the calls in one task, where it would have its turn when they let it.
        let (told, having, whose) = (queue.clone(), hands.clone(), job.clone());
        let beat = async move { beat(&told, &whose, &having, claim).await };
        let _beating = Beating(client.tasks().spawn("beat", beat));
        let runner = Direct {
            at_once: options.concurrency.unwrap_or_else(|| client.most_connections()),
            client,
            options: call,
            witness,
            job: JobId(job.chars().take(16).collect()),
            tries: options.tries,
            patience: options.patience,
            grace: options.grace,
            waits_for_budget: options.waits_for_budget,
        };
        let mut source = QueueSource {
            queue: queue.clone(),
            job: job.as_str().into(),
            hands: hands.clone(),
            control: control.clone(),
            claim,
            rest: VecDeque::new(),
            pending: None,
        };
        let (results, stored) = mpsc::unbounded_channel();
        let (room, trouble) = (Arc::new(Semaphore::new(BEHIND)), Arc::<Mutex<Option<Error>>>::default());
        let sink = QueueSink { results, room: room.clone(), trouble: trouble.clone() };
        let storing = async {
            let stored = store(&queue, &job, stored, &hands, control).await;
            room.close();
            if let Err(error) = stored {
                *trouble.lock() = Some(error);
            }
        };
        let running = async move {
            let end = runner.run(&mut source, &sink, control).await;
            drop(sink);
            end
        };
        let (ended, ()) = tokio::join!(running, storing);
        queue.leave(&job).await;
        let trouble = trouble.lock().take();
        trouble.map_or(ended, Err)
    }
}

/// The job's id, and how long a worker may not be heard of. None where it was told to end before there was a job, or has ended.
async fn joined(queue: &Queue, control: &Control) -> Result<Option<(String, Duration)>, Error> {
    let mut look = FIRST_LOOK;
    loop {
        let taking = match queue.take(None, 0, None, control).await {
            Ok(taking) => taking,
            Err(_) if control.stage() > Stage::Running => return Ok(None),
            Err(error) => return Err(error),
        };
        match taking.status {
            Status::Open | Status::Done => {
                control.waits_no_more();
                return Ok(Some((taking.job, taking.claim)));
            }
            Status::None | Status::Over => {
                let name = &queue.name;
                let message =
                    format!("there is no job '{name}' in Redis yet: it begins with whoever feeds it");
                control.waits(&trouble::of("queue", message), None);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(look) => look = (look * 2).min(LAST_LOOK),
            () = control.stopped(Stage::Stopping) => return Ok(None),
        }
    }
}

/// What this worker has in hand: its items' ids by their lines.
#[derive(Debug, Default)]
struct Hands(Mutex<HashMap<u64, String>>);

/// Ends with whoever has it.
struct Beating(AbortHandle);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says again and again that this worker lives, so that a long call of it is nobody else's. Does not end.
async fn beat(queue: &Queue, job: &str, hands: &Hands, claim: Duration) {
    loop {
        tokio::time::sleep(claim / 4).await;
        let items: Vec<String> = hands.0.lock().values().cloned().collect();
        let mut parts = items.chunks(BEATEN);
        // Without one it lives all the same.
        let mut next = Some(parts.next().unwrap_or_default());
        while let Some(part) = next {
            if let Err(error) = queue.beat(job, part).await {
                tracing::debug!(target: "trunkline::job", %error, "Redis was not told that this worker lives");
                break;
            }
            next = parts.next();
        }
    }
}

type Fetched = Result<Taking, Error>;

/// Lines that are in Redis for whoever takes them.
struct QueueSource {
    queue: Arc<Queue>,
    job: Arc<str>,
    hands: Arc<Hands>,
    control: Arc<Control>,
    claim: Duration,
    rest: VecDeque<Item>,
    /// What was asked for and has not come. It is kept here, since whoever waits may be dropped, and what comes then is this worker's.
    pending: Option<Pin<Box<dyn Future<Output = Fetched> + Send>>>,
}

impl Source for QueueSource {
    async fn next(&mut self, most: usize) -> Result<Vec<Taken>, Error> {
        if self.rest.is_empty() {
            let fetching = self.pending.get_or_insert_with(|| {
                let (queue, job, control) = (self.queue.clone(), self.job.clone(), self.control.clone());
                Box::pin(fetch(queue, job, self.hands.clone(), control, self.claim, most))
            });
            let fetched = fetching.await;
            self.pending = None;
            let taking = match fetched {
                Ok(taking) => taking,
                // It ends anyway.
                Err(_) if self.control.stage() > Stage::Running => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            self.rest.extend(taking.items.into_iter().map(|(_, item)| item));
        }
        let most = most.min(self.rest.len());
        Ok(self.rest.drain(..most).map(Taken::Item).collect())
    }
}

/// Asks until there is work, or none any more.
async fn fetch(
    queue: Arc<Queue>,
    job: Arc<str>,
    hands: Arc<Hands>,
    control: Arc<Control>,
    claim: Duration,
    most: usize,
) -> Fetched {
    let (mut look, mut cursor, mut claims) = (FIRST_LOOK, "0-0".to_owned(), Instant::now());
    loop {
        let looks = claims <= Instant::now();
        let mut taking = queue.take(Some(&*job), most, looks.then_some(cursor.as_str()), &control).await?;
        if looks && !taking.cursor.is_empty() {
            cursor = std::mem::take(&mut taking.cursor);
            if cursor == "0-0" && taking.claimed == 0 {
                claims = Instant::now() + claim / 4;
            }
        }
        // What it has in hand it may have claimed from itself, after a while in which it could not be heard of.
        taking.items.retain(|(id, item)| hands.0.lock().insert(item.line, id.clone()).is_none());
        if !taking.items.is_empty() {
            control.goes_on();
            return Ok(taking);
        }
        // A job that is gone comes back with whoever feeds it.
        if matches!(taking.status, Status::Done | Status::Over) {
            return Ok(taking);
        }
        tokio::time::sleep(look).await;
        look = (look * 2).min(LAST_LOOK);
    }
}

/// Results on their way to Redis.
#[derive(Debug)]
struct QueueSink {
    results: mpsc::UnboundedSender<(Settled, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    trouble: Arc<Mutex<Option<Error>>>,
}

impl QueueSink {
    fn broken(&self) -> Error {
        self.trouble.lock().clone().unwrap_or_else(Error::closed)
    }
}

impl Sink for QueueSink {
    fn begin(&self, _: &[Item]) -> Result<(), Error> {
        // Redis knows who has them.
        Ok(())
    }

    async fn put(&self, settled: Settled) -> Result<(), Error> {
        let bytes = settled.text.len().clamp(1, BEHIND) as u32;
        let permit = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.broken())?;
        self.results.send((settled, permit)).map_err(|_| self.broken())
    }
}

/// Stores results as they come, and those that came meanwhile together. An item stays in hand until its result is there for good.
async fn store(
    queue: &Queue,
    job: &str,
    mut results: mpsc::UnboundedReceiver<(Settled, OwnedSemaphorePermit)>,
    hands: &Hands,
    control: &Control,
) -> Result<(), Error> {
    let mut turn = 0;
    while let Some((first, permit)) = results.recv().await {
        let (mut bytes, mut settled, mut permits) = (first.text.len(), vec![first], vec![permit]);
        while bytes < STORED && settled.len() < MANY {
            let Ok((next, permit)) = results.try_recv() else { break };
            bytes += next.text.len();
            settled.push(next);
            permits.push(permit);
        }
        turn += 1;
        // Its job is gone for now; whoever feeds it brings it back.
        let since = Instant::now();
        while queue.settle(job, turn, &settled, control).await?.is_none() {
            if since.elapsed() > queue.claim * 2 || control.stage() == Stage::Now {
                break;
            }
            tokio::time::sleep(LAST_LOOK).await;
        }
        let mut hands = hands.0.lock();
        for Settled { line, .. } in &settled {
            hands.remove(line);
        }
    }
    Ok(())
}

impl fmt::Debug for WorkJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkJob").field("options", &self.options).finish_non_exhaustive()
    }
}
