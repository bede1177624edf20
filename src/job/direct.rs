//! Each line by a call of its own, through the client's ordinary path: its routes, limits, budgets, retries and fall-backs.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::progress::{Control, Phase, Stage};
use super::result::JobId;
use super::{End, Item, MakeWitness, Runner, Sink, Source, Taken};
use crate::client::{Answer, Call, Client};
use crate::config::CallOptions;
use crate::error::{Error, Kind, TimeoutPhase};
use crate::protocol::openai::ErrorClass;

/// Answers each item by a call.
pub struct Direct {
    pub client: Arc<Client>,
    pub options: Arc<CallOptions>,
    /// None where nobody is asked before attempts.
    pub witness: Option<MakeWitness>,
    pub job: JobId,
    /// Calls under way together.
    pub at_once: NonZeroUsize,
    /// How often a line is asked for that fails in a way which may pass, each time with the client's own retries.
    pub tries: NonZeroUsize,
    /// How long nothing may be settled while calls fail or wait, before the job ends.
    pub patience: Duration,
    /// What is under way when the job is to end has so long.
    pub grace: Duration,
    /// Whether a budget that is used up is waited for.
    pub waits_for_budget: bool,
}

/// What became of an item.
enum Fate {
    Answered(Answer),
    Failed(Error),
    /// It is not settled, and why; the next run asks for it again.
    Left(Option<End>),
}

/// What an error means for a job.
enum Verdict {
    /// It is the line's own.
    Fail,
    /// It may pass, and is tried so often.
    Again,
    /// It is no matter of this line, and passes: in so long, where that is known.
    Wait(Option<Duration>),
    /// The budget is used up until then (milliseconds since 1970).
    Budget(u64),
    /// No line would fare better.
    End,
}

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A clock that is set while a budget is waited for is noticed after this.
const LOOK: Duration = Duration::from_secs(30);

impl Runner for Direct {
    async fn run<S: Source, K: Sink>(
        &self,
        source: &mut S,
        sink: &K,
        control: &Control,
    ) -> Result<End, Error> {
        control.enter(Phase::Running);
        let mut calls = FuturesUnordered::new();
        let mut end = None;
        let mut has_more = true;
        let stopping = control.stopped(Stage::Stopping);
        let at_once = control.stopped(Stage::Now);
        let (mut stopping, mut at_once) = (std::pin::pin!(stopping), std::pin::pin!(at_once));
        let mut is_stopping = false;
        let mut grace = std::pin::pin!(tokio::time::sleep(self.grace));
        loop {
            let free = self.at_once.get() - calls.len().min(self.at_once.get());
            let goes_on = has_more && end.is_none() && !is_stopping;
            if calls.is_empty() && !goes_on {
                break;
            }
            let takes = goes_on && free > 0;
            tokio::select! {
                biased;
                () = &mut at_once => break,
                () = &mut stopping, if !is_stopping => {
                    is_stopping = true;
                    grace.as_mut().reset(tokio::time::Instant::now() + self.grace);
                }
                () = &mut grace, if is_stopping => break,
                Some((item, fate)) = calls.next(), if !calls.is_empty() => {
                    control.counts.in_flight.store(calls.len() as u64, Ordering::Relaxed);
                    if let Some(why) = self.settle(&item, fate, sink, control).await? {
                        end.get_or_insert(why);
                        control.enter(Phase::Stopping);
                    }
                }
                taken = source.next(free), if takes => {
                    let taken = taken?;
                    has_more = !taken.is_empty();
                    let mut items = Vec::with_capacity(taken.len());
                    for taken in taken {
                        match taken {
                            Taken::Item(item) => items.push(item),
                            Taken::Bad(bad) => {
                                sink.put(self.job.bad(&bad)).await?;
                                control.settled(false);
                            }
                        }
                    }
                    sink.begin(&items)?;
                    for item in items {
                        calls.push(self.answer(item, control));
                    }
                    control.counts.in_flight.store(calls.len() as u64, Ordering::Relaxed);
                }
            }
        }
        // Those that are dropped stay among them.
        control.counts.in_flight.store(calls.len() as u64, Ordering::Relaxed);
        drop(calls);
        let was_stopped = control.stage() > Stage::Running;
        Ok(end.unwrap_or(if was_stopped { End::Stopped } else { End::Done }))
    }
}

impl Direct {
    async fn answer(&self, item: Item, control: &Control) -> (Item, Fate) {
        let fate = self.fate(&item, control).await;
        (item, fate)
    }

    async fn fate(&self, item: &Item, control: &Control) -> Fate {
        let (mut tries, mut waits) = (0, 0);
        loop {
            let Item { endpoint, body, .. } = item;
            let call = Call { endpoint: endpoint.clone(), body: body.clone(), options: self.options.clone() };
            let witness = self.witness.as_ref().and_then(|make| make());
            let arrival = self.client.arrival(witness);
            let error = match self.client.clone().call_arrived(call, arrival).await {
                Ok(answer) => return Fate::Answered(answer),
                Err(error) => error,
            };
            let pause = match judge(&error) {
                Verdict::Fail => return Fate::Failed(error),
                Verdict::End => return Fate::Left(Some(End::Ended { error })),
                Verdict::Budget(until) if !self.waits_for_budget => {
                    return Fate::Left(Some(End::Paused { error, until }));
                }
                Verdict::Budget(until) => {
                    control.waits(&error, Some(until));
                    until_then(until).min(LOOK)
                }
                Verdict::Again => {
                    tries += 1;
                    if tries >= self.tries.get() {
                        return Fate::Failed(error);
                    }
                    pause_after(u32::try_from(tries).unwrap_or(u32::MAX))
                }
                Verdict::Wait(least) => {
                    waits += 1;
                    control.waits(&error, None);
                    if control.standstill() >= self.patience {
                        return Fate::Left(Some(End::Ended { error }));
                    }
                    pause_after(waits).max(least.unwrap_or_default().min(LONGEST_PAUSE))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = control.stopped(Stage::Stopping) => return Fate::Left(None),
            }
            control.counts.retried.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why the job is to end, where it is.
    async fn settle<K: Sink>(
        &self,
        item: &Item,
        fate: Fate,
        sink: &K,
        control: &Control,
    ) -> Result<Option<End>, Error> {
        let (line, name) = (item.line, &*item.custom_id);
        match fate {
            Fate::Answered(answer) => {
                let (settled, spending) = self.job.answered(line, name, &answer);
                control.spend(spending.tokens, spending.usd);
                sink.put(settled).await?;
                control.settled(true);
            }
            Fate::Failed(error) => {
                sink.put(self.job.failed(line, name, &error)).await?;
                control.settled(false);
            }
            Fate::Left(end) => return Ok(end),
        }
        Ok(None)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("job", &self.job)
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}

fn judge(error: &Error) -> Verdict {
    match &error.kind {
        Kind::BudgetExceeded { standing, .. } => Verdict::Budget(standing.resets_at),
        Kind::Closed => Verdict::End,
        Kind::Api(api) => match api.class {
            ErrorClass::Authentication | ErrorClass::RateLimit { quota: true } => Verdict::End,
            ErrorClass::RateLimit { quota: false } => {
                Verdict::Wait(api.retry_after_ms.map(Duration::from_millis))
            }
            _ if error.retryable => Verdict::Again,
            _ => Verdict::Fail,
        },
        Kind::CircuitOpen { retry_after_ms } => Verdict::Wait(Some(Duration::from_millis(*retry_after_ms))),
        Kind::QueueFull | Kind::Shared | Kind::Timeout { phase: TimeoutPhase::Queue, .. } => {
            Verdict::Wait(None)
        }
        _ if error.retryable => Verdict::Again,
        _ => Verdict::Fail,
    }
}

/// Twice as long each time, and more or less, so that not all come back together.
pub(super) fn pause_after(times: u32) -> Duration {
    let pause = SHORTEST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn until_then(at_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(at_ms).saturating_sub(now).max(SHORTEST_PAUSE)
}
