//! The process that has the files: it feeds lines to whoever works, and gathers what comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::store::{Gain, Gained, Queue};
use super::work::WorkJob;
use crate::error::Error;
use crate::job::item::Item;
use crate::job::progress::{Control, Phase, Stage};
use crate::job::result::{JobId, Settled, Spending};
use crate::job::{End, Runner, Sink, Source, Taken, trouble};
use crate::policy::money::Usd;

/// Lines in Redis together, and bytes of them.
const AHEAD: usize = 10_000;
const AHEAD_BYTES: usize = 32 * 1024 * 1024;
/// Lines that are fed in one piece.
const FED: usize = 256;
/// Results that are gathered in one piece.
const GATHERED: usize = 128;
/// Between two looks for results where there was none: doubled from the first to the last.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Has lines answered by workers.
#[derive(Debug)]
pub(in crate::job) struct Far {
    pub(in crate::job) queue: Arc<Queue>,
    /// The input's SHA-256, in hexadecimal.
    pub(in crate::job) job: String,
    pub(in crate::job) id: JobId,
    /// The worker in this process, where there is one. It is taken by the run.
    pub(in crate::job) work: Mutex<Option<WorkJob>>,
    /// How long there may be nobody who works.
    pub(in crate::job) patience: Duration,
}

/// Lines that were fed and are not in their file.
#[derive(Debug, Default)]
struct Fed {
    lines: Mutex<Lines>,
    /// There are fewer.
    room: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    open: BTreeMap<u64, Arc<Item>>,
    bytes: usize,
    /// The last that was fed.
    last: u64,
    /// No more will be fed.
    is_all: bool,
}

/// How the worker of this process is.
enum Own {
    None,
    Works,
    Ended(End),
}

impl Runner for Far {
    async fn run<S: Source, K: Sink>(
        &self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> Result<End, Error> {
        control.enter(Phase::Running);
        let fed = Fed::default();
        let mut is_fed = false;
        let work = self.work.lock().take();
        let own = Mutex::new(if work.is_some() { Own::Works } else { Own::None });
        let own_control = Arc::<Control>::default();
        let ended = {
            let feeding = self.feed(source, sink, control, &fed);
            let gathering = self.gather(sink, control, &fed, &own, &own_control);
            let working = async {
                match work {
                    Some(work) => work.work(self.queue.clone(), &own_control).await,
                    None => std::future::pending().await,
                }
            };
            let (mut feeding, mut gathering, mut working) =
                (std::pin::pin!(feeding), std::pin::pin!(gathering), std::pin::pin!(working));
            let mut works = true;
            let ended = loop {
                tokio::select! {
                    ended = &mut gathering => break ended,
                    end = &mut working, if works => {
                        works = false;
                        *own.lock() = Own::Ended(end.unwrap_or_else(|error| End::Ended { error }));
                    }
                    ended = &mut feeding, if !is_fed => {
                        is_fed = true;
                        match ended {
                            Ok(is_all) => fed.lines.lock().is_all = is_all,
                            Err(error) => break Err(error),
                        }
                    }
                }
            };
            let is_done = matches!(ended, Ok(End::Done));
            self.queue.close(&self.job, is_done).await;
            if works && matches!(*own.lock(), Own::Works) {
                own_control.stop(Stage::Now);
                let _ = working.await;
            }
            ended
        };
        control.counts.in_flight.store(fed.lines.lock().open.len() as u64, Ordering::Relaxed);
        ended
    }
}

impl Far {
    /// Gives whether all of it was fed; else the job was told to end.
    async fn feed<S: Source, K: Sink>(
        &self,
        source: &mut S,
        sink: &K,
        control: &Control,
        fed: &Fed,
    ) -> Result<bool, Error> {
        loop {
            let taken = tokio::select! {
                () = control.stopped(Stage::Stopping) => return Ok(false),
                taken = async {
                    fed.has_room().await;
                    source.next(FED).await
                } => taken?,
            };
            if taken.is_empty() {
                return Ok(true);
            }
            let mut items = Vec::with_capacity(taken.len());
            for taken in taken {
                match taken {
                    Taken::Item(item) => items.push(Arc::new(item)),
                    Taken::Bad(bad) => {
                        sink.put(self.id.bad(&bad)).await?;
                        control.settled(false);
                    }
                }
            }
            fed.add(&items, control);
            // A job that has gone from Redis is brought back by whoever gathers, with all its lines.
            if !items.is_empty() {
                match self.queue.feed(&self.job, &items, control).await {
                    Err(_) if control.stage() > Stage::Running => return Ok(false),
                    fed => fed?,
                };
            }
        }
    }

    async fn gather<K: Sink>(
        &self,
        sink: &K,
        control: &Control,
        fed: &Fed,
        own: &Mutex<Own>,
        own_control: &Control,
    ) -> Result<End, Error> {
        let mut after: Option<String> = None;
        let mut kept: Vec<(String, u64)> = Vec::new();
        // An earlier run has fed these, and this one has not come to their lines.
        let mut early: Vec<Gain> = Vec::new();
        let mut look = FIRST_LOOK;
        loop {
            if control.stage() == Stage::Now {
                return Ok(End::Stopped);
            }
            if control.stage() == Stage::Stopping {
                own_control.stop(Stage::Stopping);
            }
            // Before the look: what ends meanwhile is looked at once more.
            let is_own_ended = !matches!(*own.lock(), Own::Works);
            let gathered = self.queue.gather(&self.job, after.as_deref(), GATHERED, &kept, control).await;
            let gathered = match gathered {
                Err(_) if control.stage() > Stage::Running => return Ok(End::Stopped),
                Err(error) if error.retryable => return Ok(End::Ended { error }),
                gathered => gathered?,
            };
            if gathered.is_gone {
                self.bring_back(control, fed).await?;
                (after, kept, early) = (None, Vec::new(), Vec::new());
                continue;
            }
            kept.clear();
            control.counts.repeated.store(gathered.claimed, Ordering::Relaxed);
            control.counts.twice.store(gathered.twice, Ordering::Relaxed);
            control.counts.workers.store(gathered.workers, Ordering::Relaxed);
            if gathered.workers > 0 {
                control.speaks_for(own_control);
            }
            if let Some(last) = gathered.results.last() {
                after = Some(last.id.clone());
            }
            let is_new = !gathered.results.is_empty();
            let last = fed.lines.lock().last;
            let mut waiting = std::mem::take(&mut early);
            waiting.extend(gathered.results);
            let mut puts = false;
            for gain in waiting {
                if gain.kind != Gained::Twice && gain.line > last && !fed.lines.lock().is_all {
                    early.push(gain);
                    continue;
                }
                kept.push((gain.id.clone(), gain.line));
                puts |= self.put(gain, sink, control, fed).await?;
            }
            if puts {
                sink.flush().await?;
            }
            if !kept.is_empty() {
                look = FIRST_LOOK;
                continue;
            }
            if fed.is_done() {
                return Ok(End::Done);
            }
            if !is_new && is_own_ended {
                if control.stage() > Stage::Running {
                    return Ok(End::Stopped);
                }
                if gathered.workers == 0
                    && let Some(end) = self.nobody(own, control)
                {
                    return Ok(end);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(look) => look = (look * 2).min(LAST_LOOK),
                () = control.stopped(Stage::Stopping), if control.stage() == Stage::Running => {}
            }
        }
    }

    /// Gives whether it was put into a file.
    async fn put<K: Sink>(&self, gain: Gain, sink: &K, control: &Control, fed: &Fed) -> Result<bool, Error> {
        let Gain { line, kind, tokens, picos, text, .. } = gain;
        let spending = Spending { tokens, usd: Usd::from_picos(picos) };
        if kind == Gained::Twice {
            control.spend(spending.tokens, spending.usd);
            return Ok(false);
        }
        // Else it is in its file: the run that put it there was cut off before it said so.
        if !fed.remove(line, control) {
            return Ok(false);
        }
        let is_good = kind == Gained::Good;
        control.spend(spending.tokens, spending.usd);
        sink.put(Settled { line, is_good, text, spending }).await?;
        control.settled(is_good);
        Ok(true)
    }

    /// Redis has lost all of it, or was emptied: every line goes there again that has no result here.
    async fn bring_back(&self, control: &Control, fed: &Fed) -> Result<(), Error> {
        tracing::warn!(target: "trunkline::job", job = self.queue.name, "the job had gone from Redis, and is fed anew");
        self.queue.begin(&self.job, control).await?;
        let items: Vec<_> = fed.lines.lock().open.values().cloned().collect();
        for items in items.chunks(FED) {
            if !self.queue.feed(&self.job, items, control).await? {
                break;
            }
        }
        Ok(())
    }

    /// Nobody works. Gives how the job ends, where it does.
    fn nobody(&self, own: &Mutex<Own>, control: &Control) -> Option<End> {
        let ended = std::mem::replace(&mut *own.lock(), Own::None);
        match ended {
            Own::Ended(end @ (End::Paused { .. } | End::Ended { .. })) => return Some(end),
            Own::Works => *own.lock() = Own::Works,
            Own::Ended(_) | Own::None => {}
        }
        let message = format!("nobody works on the job '{}'", self.queue.name);
        let error = trouble::of("noWorker", message);
        if control.standstill() >= self.patience {
            return Some(End::Ended { error });
        }
        control.waits(&error, None);
        None
    }
}

impl Fed {
    fn add(&self, items: &[Arc<Item>], control: &Control) {
        let mut lines = self.lines.lock();
        for item in items {
            lines.bytes += item.body.len();
            lines.last = lines.last.max(item.line);
            lines.open.insert(item.line, item.clone());
        }
        control.counts.in_flight.store(lines.open.len() as u64, Ordering::Relaxed);
    }

    fn remove(&self, line: u64, control: &Control) -> bool {
        let mut lines = self.lines.lock();
        let Some(item) = lines.open.remove(&line) else { return false };
        lines.bytes -= item.body.len();
        control.counts.in_flight.store(lines.open.len() as u64, Ordering::Relaxed);
        drop(lines);
        self.room.notify_one();
        true
    }

    async fn has_room(&self) {
        loop {
            {
                let lines = self.lines.lock();
                if lines.open.is_empty() || (lines.open.len() < AHEAD && lines.bytes < AHEAD_BYTES) {
                    return;
                }
            }
            self.room.notified().await;
        }
    }

    fn is_done(&self) -> bool {
        let lines = self.lines.lock();
        lines.is_all && lines.open.is_empty()
    }
}
