//! Attempts that race. One that is without the first byte of its answer for longer than it should be gets a rival; whichever is
//! answered first goes on, and the others are cancelled.
//!
//! "First byte" is the head of an answer that comes whole, and the first event of one that comes as a stream: proxies send heads early,
//! and comments to show that they are alive. Only calls whose repetition is safe have rivals, and no probe of a circuit has. A rival
//! waits for nobody: without a turn that is free at once there is none.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Client;
use super::body::BodyError;
use super::call::{Consume, Life};
use super::exchange::{self, Failed, FailedAttempt, Response, failed, silence};
use super::keys::UsedKey;
use super::pass::{self, Pass};
use super::record::Record;
use crate::error::{Error, TimeoutPhase};
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
    if let Some(hedger) = &life.provider.hedger
        && life.repeatable
        && !pass.is_probe()
    {
        // Boxed: the future of each call would be a quarter larger, of those who do not hedge as well.
        return Box::pin(race::<C>(hedger, life, key, fresh, record, pass)).await;
    }
    let ended = exchange::exchange::<C>(life, key, fresh, record, &mut pass).await;
    settled(life, record, pass, ended)
}

/// How a race ends.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum End<'a> {
    First(Result<Response, Failed>),
    Rival(Box<Decided<'a>>),
}

/// By a rival.
struct Decided<'a> {
    rival: Rival<'a>,
    ended: Result<(Pass, Response), Failed>,
    /// What the first has failed with, unless it is given up.
    first: Option<Failed>,
}

async fn race<C: Consume>(
    hedger: &Hedger,
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: &mut Record,
    mut pass: Pass,
) -> Result<(Pass, Response), Failed> {
    let kind = Kind { model: record.model_asked().clone(), is_stream: C::STREAMED };
    let began = Instant::now();
    let end = {
        let hedge = hedger.delay(&kind, began).map(|delay| {
            record.begin_race();
            (delay, record.fork(began))
        });
        let mut first = pin!(attempt::<C>(life, key, fresh, record, &mut pass));
        match hedge {
            None => End::First(first.await),
            Some((delay, seed)) => match timeout_at(began + delay, first.as_mut()).await {
                Ok(ended) => End::First(ended),
                // Boxed: those who are in time need not carry it.
                Err(_) => Box::pin(against::<C, _>(hedger, &kind, life, key, delay, seed, first)).await,
            },
        }
    };
    match end {
        End::First(ended) => {
            if ended.is_ok() {
                hedger.observe(&kind, began.elapsed());
            }
            settled(life, record, pass, ended)
        }
        End::Rival(decided) => {
            let Decided { mut rival, ended, first } = *decided;
            match first {
                Some(failed) => {
                    pass.settle(life, record, Some(&failed));
                    record.end_attempt(Some(&failed.error));
                }
                None => {
                    hedger.observe(&kind, began.elapsed());
                    record.give_up();
                }
            }
            record.adopt(rival.record.take());
            ended
        }
    }
}

/// One attempt until something of its answer is there.
async fn attempt<C: Consume>(
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: &mut Record,
    pass: &mut Pass,
) -> Result<Response, Failed> {
    let mut response = exchange::exchange::<C>(life, key, fresh, record, pass).await?;
    if C::STREAMED {
        first_event(life.client, &mut response).await?;
    }
    Ok(response)
}

/// The first is late: rivals are sent, each after another delay, until one is answered or all have failed.
async fn against<'h, C: Consume, F: Future<Output = Result<Response, Failed>>>(
    hedger: &'h Hedger,
    kind: &'h Kind,
    life: &Life<'_>,
    key: &UsedKey,
    delay: Duration,
    seed: Record,
    mut first: Pin<&mut F>,
) -> End<'h> {
    let mut left = hedger.max_hedges();
    let mut rivals = FuturesUnordered::new();
    let mut next = Some(Instant::now());
    let mut first_failed = None;
    loop {
        if next.is_some_and(|next| next <= Instant::now()) {
            next = None;
            left = left.saturating_sub(1);
            if let Some(pass) = pass::at_once(life, &seed)
                && hedger.try_hedge()
            {
                life.client.counters.hedged();
                if let Some(row) = seed.row() {
                    row.hedged.fetch_add(1, Ordering::Relaxed);
                }
                tracing::debug!(target: "trunkline::call", client = life.client.number, model = &*kind.model, delay = delay.as_secs_f64() * 1000.0, "hedged");
                rivals.push(run::<C>(hedger, kind, life, key, seed.fork(Instant::now()), pass));
                next = (left > 0).then(|| Instant::now() + delay);
            }
        }
        tokio::select! {
            biased;
            ended = &mut first, if first_failed.is_none() => match ended {
                // Another may still be answered.
                Err(failed) if !rivals.is_empty() => first_failed = Some(failed),
                ended => return End::First(ended),
            },
            Some((mut rival, ended)) = rivals.next(), if !rivals.is_empty() => match ended {
                Err(failed) if !rivals.is_empty() || first_failed.is_none() => rival.lose(&failed),
                ended => return End::Rival(Box::new(Decided { rival, ended, first: first_failed })),
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

fn settled(
    life: &Life<'_>,
    record: &mut Record,
    pass: Pass,
    ended: Result<Response, Failed>,
) -> Result<(Pass, Response), Failed> {
    match ended {
        Ok(response) => Ok((pass, response)),
        Err(failed) => {
            pass.settle(life, record, Some(&failed));
            Err(failed)
        }
    }
}

async fn run<'h, C: Consume>(
    hedger: &'h Hedger,
    kind: &'h Kind,
    life: &Life<'_>,
    key: &UsedKey,
    record: Record,
    mut pass: Pass,
) -> (Rival<'h>, Result<(Pass, Response), Failed>) {
    let mut rival = Rival { record: Some(record), hedger, kind, began: Instant::now() };
    let ended = match &mut rival.record {
        Some(record) => {
            record.tell_of_attempt(life.provider);
            let ended = attempt::<C>(life, key, false, record, &mut pass).await;
            settled(life, record, pass, ended)
        }
        // There until it is taken.
        None => Err(failed(Failure::Final, Error::closed())),
    };
    if ended.is_ok() {
        rival.observe();
    }
    (rival, ended)
}

/// One beside the first. Dropped, it is one of the attempts that were lost.
struct Rival<'a> {
    /// None once it was handed over.
    record: Option<Record>,
    hedger: &'a Hedger,
    kind: &'a Kind,
    began: Instant,
}

impl Rival<'_> {
    fn observe(&self) {
        self.hedger.observe(self.kind, self.began.elapsed());
    }

    fn lose(&mut self, failed: &FailedAttempt) {
        if let Some(mut record) = self.record.take() {
            record.end_attempt(Some(&failed.error));
            record.lose();
        }
    }
}

impl Drop for Rival<'_> {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            // The slow ones count as well, or the percentile would sink.
            self.observe();
            record.give_up();
            record.lose();
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
        let frame = frame.map_err(BodyError::failed)?;
        let Ok(data) = frame.into_data() else { continue };
        client.counters.received(data.len());
        let says_something = !matches!(data.first(), None | Some(b':' | b'\r' | b'\n'));
        response.begun.push_back(data);
        if says_something || response.begun.len() > MOST_COMMENTS {
            return Ok(());
        }
    }
}
