//! Attempts that race. One that is without the first byte of its answer for longer than it should be gets a rival; whichever is
//! answered first goes on, and the others are cancelled.
//!
//! "First byte" is the head of an answer that comes whole, and the first event of one that comes as a stream: proxies send heads early,
//! and comments to show that they are alive. Only calls whose repetition is safe have rivals, and no probe of a circuit has. A rival
//! waits for nobody: without a turn that is free at once there is none.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::call::{Consume, Life};
use super::exchange::{self, Failed, Response, failed, pool_failed, silence};
use super::key::UsedKey;
use super::pass::{self, Pass};
use super::record::Record;
use crate::error::{Attempt, Error, TimeoutPhase};
use crate::policy::hedge::{Hedger, Kind};
use crate::policy::judge::Failure;

/// Comments before the first event that are waited through.
const MOST_COMMENTS: usize = 1000;

/// An attempt up to the head of its answer, or several. What `pass` let go is settled if none is answered well.
pub(super) async fn exchange<C: Consume>(
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: &mut Record,
    mut pass: Pass,
) -> Result<(Pass, Response), Failed> {
    if let Some(hedger) = &life.client.hedger
        && life.repeatable
        && !pass.is_probe()
    {
        // Boxed: those who do not hedge need not carry it.
        return Box::pin(race::<C>(hedger, life, key, fresh, record, pass)).await;
    }
    match exchange::exchange::<C>(life, key, fresh, record, &mut pass).await {
        Ok(response) => Ok((pass, response)),
        Err(failed) => {
            pass.settle(life.client, record, Some(&failed));
            Err(failed)
        }
    }
}

async fn race<C: Consume>(
    hedger: &Hedger,
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: &mut Record,
    pass: Pass,
) -> Result<(Pass, Response), Failed> {
    let kind = Kind { model: record.model_asked().clone(), is_stream: C::STREAMED };
    let track = Track { hedger, kind, given_up: Mutex::default() };
    let mut result = Finish { record, decided: None, failed: Vec::new(), track: &track };
    // Dropped before `result`, and so before it looks who was given up.
    let mut runners = FuturesUnordered::new();
    let first = result.record.fork(result.record.attempt_began());
    runners.push(run::<C>(&track, life, key, fresh, first, pass));

    let delay = hedger.delay(&track.kind, Instant::now());
    let mut rivals = hedger.max_hedges();
    let mut next_rival = delay.map(|delay| Instant::now() + delay);
    loop {
        match until(next_rival, runners.next()).await {
            None => {
                rivals = rivals.saturating_sub(1);
                next_rival = None;
                if let Some(pass) = pass::at_once(life, result.record)
                    && hedger.try_hedge()
                {
                    life.client.counters.hedged();
                    tracing::debug!(target: "trunkline::call", model = &*track.kind.model, ?delay, "hedged");
                    let rival = result.record.fork(Instant::now());
                    runners.push(run::<C>(&track, life, key, false, rival, pass));
                    next_rival = delay.filter(|_| rivals > 0).map(|delay| Instant::now() + delay);
                }
            }
            Some(Some((record, Ok(answered)))) => {
                result.decided = Some(record);
                return Ok(answered);
            }
            Some(Some((record, Err(failed)))) if runners.is_empty() => {
                result.decided = Some(record);
                return Err(failed);
            }
            // Another may still be answered.
            Some(Some((mut record, Err(failed)))) => {
                record.end_attempt(Some(&failed.error));
                result.failed.append(&mut record.attempts);
            }
            // Not reached: a race ends with its last runner.
            Some(None) => return Err(failed(Failure::Final, Error::closed())),
        }
    }
}

/// None where the time came first.
async fn until<T>(time: Option<Instant>, event: impl Future<Output = T>) -> Option<T> {
    match time {
        Some(time) => timeout_at(time, event).await.ok(),
        None => Some(event.await),
    }
}

/// What the runners of a race share.
struct Track<'a> {
    hedger: &'a Hedger,
    kind: Kind,
    given_up: Mutex<Vec<Record>>,
}

async fn run<C: Consume>(
    track: &Track<'_>,
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: Record,
    mut pass: Pass,
) -> (Record, Result<(Pass, Response), Failed>) {
    let mut runner = Runner { record, began: Instant::now(), track, has_ended: false };
    let answered = async {
        let mut response = exchange::exchange::<C>(life, key, fresh, &mut runner.record, &mut pass).await?;
        if C::STREAMED {
            first_event(life.client, &mut response).await?;
        }
        Ok::<_, Failed>(response)
    };
    let ended = match answered.await {
        Ok(response) => Ok((pass, response)),
        Err(failed) => {
            pass.settle(life.client, &mut runner.record, Some(&failed));
            Err(failed)
        }
    };
    (runner.end(ended.is_ok()), ended)
}

/// Hands the record of one that was given up over, with what it had cost until then.
struct Runner<'a> {
    record: Record,
    began: Instant,
    track: &'a Track<'a>,
    has_ended: bool,
}

impl Runner<'_> {
    fn end(mut self, is_answered: bool) -> Record {
        self.has_ended = true;
        if is_answered {
            self.track.hedger.observe(&self.track.kind, self.began.elapsed());
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> Record {
        let nothing = self.record.fork(self.began);
        std::mem::replace(&mut self.record, nothing)
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.track.hedger.observe(&self.track.kind, self.began.elapsed());
            let record = self.hand_over();
            self.track.given_up.lock().push(record);
        }
    }
}

/// Makes one record of all, however the race ends: the call may be dropped in the middle of it.
struct Finish<'a> {
    record: &'a mut Record,
    /// Of the one that decided the race.
    decided: Option<Record>,
    failed: Vec<Attempt>,
    track: &'a Track<'a>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let mut given_up = std::mem::take(&mut *self.track.given_up.lock()).into_iter();
        // Of a race without an end one attempt stays under way, for whoever ends the call.
        if let Some(decided) = self.decided.take().or_else(|| given_up.next()) {
            let others = given_up.flat_map(Record::give_up);
            let before = std::mem::take(&mut self.record.attempts);
            let attempts = before.into_iter().chain(self.failed.drain(..)).chain(others).collect();
            *self.record = decided.after(attempts);
        }
    }
}

/// Reads up to the first bytes that are no comment.
async fn first_event(client: &Client, response: &mut Response) -> Result<(), Failed> {
    let limit = response.first_byte_limit;
    loop {
        let frame = timeout_at(response.sent + limit, response.body.frame()).await;
        let Some(frame) = frame.map_err(|_| silence(TimeoutPhase::FirstByte, limit))? else {
            // What an end without a beginning means, whoever reads the body says.
            return Ok(());
        };
        let frame = frame.map_err(|error| pool_failed(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        client.counters.received(data.len());
        let says_something = !matches!(data.first(), None | Some(b':' | b'\r' | b'\n'));
        response.begun.push_back(data);
        if says_something || response.begun.len() > MOST_COMMENTS {
            return Ok(());
        }
    }
}
