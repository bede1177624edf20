//! A job's keys in Redis, and what is done there, each in one piece.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ConnectionInfo, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use crate::client::{Client, Endpoint, Script, Store, told};
use crate::config::QueueOptions;
use crate::error::{Error, Kind};
use crate::job::item::{CHAT, EMBEDDINGS, Item};
use crate::job::progress::{Control, Stage};
use crate::job::result::Settled;
use crate::job::trouble;

/// Long enough for what is large.
const ANSWER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// All of a job that nobody gathers is kept so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// That a job is done is told to workers so long.
const TOLD: Duration = Duration::from_secs(24 * 3600);
/// The first that has all commands.
const LEAST: (u32, u32) = (6, 2);

/// A job's place in Redis. Where Redis cannot be asked it is asked again, for as long as the job's patience goes.
#[derive(Debug)]
pub(in crate::job) struct Queue {
    info: ConnectionInfo,
    pub(super) name: String,
    keys: Vec<String>,
    /// By which Redis knows this process.
    pub(super) me: String,
    pub(super) claim: Duration,
    patience: Duration,
    store: Mutex<Option<Store>>,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    open: Script,
    feed: Script,
    take: Script,
    beat: Script,
    settle: Script,
    gather: Script,
    close: Script,
    leave: Script,
}

/// What was taken for work.
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) status: Status,
    /// The job's id, where there is one.
    pub(super) job: String,
    pub(super) claim: Duration,
    /// Where to look for lost ones from, the next time; empty where it was not looked.
    pub(super) cursor: String,
    /// Those of lost workers first.
    pub(super) items: Vec<(String, Item)>,
    pub(super) claimed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// There is no such job, or not yet.
    None,
    Open,
    Done,
    /// There is another job of this name.
    Over,
}

/// What has come of workers.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// All of the job's keys have gone.
    pub(super) is_gone: bool,
    /// Items that were claimed from their workers, and results that came a second time, of all the job's time.
    pub(super) claimed: u64,
    pub(super) twice: u64,
    pub(super) workers: u64,
    pub(super) results: Vec<Gain>,
}

#[derive(Debug)]
pub(super) struct Gain {
    pub(super) id: String,
    pub(super) line: u64,
    pub(super) kind: Gained,
    pub(super) tokens: [u64; 2],
    pub(super) picos: u128,
    pub(super) text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gained {
    Good,
    Failed,
    /// The line was answered before.
    Twice,
}

type Wire = (String, String, String, String, String);
type WireGain = (String, u64, String, u64, u64, String, Vec<u8>);

impl Queue {
    /// Connects, and sees whether all is there that a job needs.
    pub(in crate::job) async fn open(
        client: &Client,
        options: &QueueOptions,
        patience: Duration,
    ) -> Result<Self, Error> {
        let info = options.redis.as_ref().map(|redis| &redis.0).or_else(|| client.shared_redis()).cloned();
        let info = info.ok_or_else(|| {
            Error::config("queue.redis: must be a URL such as redis://host:6379/0, and is missing")
        })?;
        let key = |what: &str| format!("{{trunkline:batch:{}}}:{what}", options.job);
        let queue = Self {
            info,
            name: options.job.clone(),
            keys: ["job", "items", "results", "open", "workers", "turns"].map(key).to_vec(),
            me: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            claim: options.claim,
            patience,
            store: Mutex::default(),
            scripts: Scripts {
                open: Script::new(include_str!("open.lua")),
                feed: Script::new(include_str!("feed.lua")),
                take: Script::new(include_str!("take.lua")),
                beat: Script::new(include_str!("beat.lua")),
                settle: Script::new(include_str!("settle.lua")),
                gather: Script::new(include_str!("gather.lua")),
                close: Script::new(include_str!("close.lua")),
                leave: Script::new(include_str!("leave.lua")),
            },
        };
        queue.probe(key(&format!("probe:{}", queue.me))).await?;
        Ok(queue)
    }

    async fn probe(&self, key: String) -> Result<(), Error> {
        let mut store = self.store().await.map_err(|error| refused(&told(&error)))?;
        if let Some(version) = store.version().filter(|version| is_too_old(version)) {
            let (major, minor) = LEAST;
            return Err(refused(&format!(
                "it is Redis {version}, and a queue needs streams as they are from {major}.{minor} on"
            )));
        }
        let probe = Script::new(include_str!("probe.lua"));
        let wrong: String =
            store.script(&probe, &[key], [""]).await.map_err(|error| refused(&told(&error)))?;
        if wrong.is_empty() {
            return Ok(());
        }
        Err(refused(&format!(
            "a queue needs the streams of Redis 6.2 or later, and a user who may use them; it refused {wrong}"
        )))
    }

    /// Takes the job for this process to feed and gather. Says how many items were claimed and answered twice before.
    pub(in crate::job) async fn begin(&self, job: &str, control: &Control) -> Result<(), Error> {
        let claim = millis(self.claim);
        let until = tokio::time::Instant::now() + self.claim * 2;
        loop {
            let arguments = [&self.me, job, &claim, &claim].map(str::to_owned);
            let reply: (String, String, u64, u64) =
                self.ask(&self.scripts.open, &arguments, control, Stage::Stopping).await?;
            let name = &self.name;
            let why = match reply.0.as_str() {
                "other" => format!(
                    "the job '{name}' is in Redis, of another input, and has not ended: give this one another \
                     name, or end that one first (its id is {})",
                    reply.1
                ),
                "owned" if tokio::time::Instant::now() < until => {
                    control.waits(
                        &trouble::of("owned", "another process feeds this job, or did until just now"),
                        None,
                    );
                    tokio::select! {
                        () = tokio::time::sleep(LAST_PAUSE.min(self.claim / 4)) => continue,
                        () = control.stopped(Stage::Stopping) => return Ok(()),
                    }
                }
                "owned" => format!("another process feeds the job '{name}', and gathers what comes of it"),
                _ => return Ok(control.waits_no_more()),
            };
            let reason = if reply.0 == "other" { "otherInput" } else { "locked" };
            return Err(trouble::of(reason, why));
        }
    }

    /// Gives whether the job is still in Redis.
    pub(super) async fn feed(
        &self,
        job: &str,
        items: &[Arc<Item>],
        control: &Control,
    ) -> Result<bool, Error> {
        let mut arguments = vec![self.me.clone(), job.to_owned()];
        for item in items {
            let Item { line, custom_id, endpoint, body } = &**item;
            arguments.extend([
                line.to_string(),
                custom_id.to_string(),
                url_of(endpoint).to_owned(),
                body.clone(),
            ]);
        }
        let status: String = self.ask(&self.scripts.feed, &arguments, control, Stage::Stopping).await?;
        if status == "lost" { Err(self.lost()) } else { Ok(status == "ok") }
    }

    /// The results after one, or from the first on; these are in their file for good.
    pub(super) async fn gather(
        &self,
        job: &str,
        after: Option<&str>,
        most: usize,
        kept: &[(String, u64)],
        control: &Control,
    ) -> Result<Gathered, Error> {
        let from = after.map_or("-".to_owned(), |after| format!("({after}"));
        let mut arguments = vec![self.me.clone(), job.to_owned(), from, most.to_string(), millis(KEPT)];
        for (id, line) in kept {
            arguments.extend([id.clone(), line.to_string()]);
        }
        let (status, claimed, twice, workers, results): (String, u64, u64, u64, Vec<WireGain>) =
            self.ask(&self.scripts.gather, &arguments, control, Stage::Stopping).await?;
        if status == "lost" {
            return Err(self.lost());
        }
        let gain = |(id, line, kind, input, output, picos, text): WireGain| Gain {
            id,
            line,
            kind: match kind.as_str() {
                "1" => Gained::Good,
                "0" => Gained::Failed,
                _ => Gained::Twice,
            },
            tokens: [input, output],
            picos: picos.parse().unwrap_or_default(),
            text,
        };
        let results = results.into_iter().map(gain).collect();
        Ok(Gathered { is_gone: status == "gone", claimed, twice, workers, results })
    }

    /// Ends what this process has of the job as who feeds it. Nothing is lost where that does not come through.
    pub(super) async fn close(&self, job: &str, is_done: bool) {
        let word = if is_done { "done" } else { "left" };
        let arguments = [&self.me, job, word, &millis(TOLD)].map(str::to_owned);
        let _ = self.once::<i64>(&self.scripts.close, &arguments).await;
    }

    /// Takes work. `job`: none before it is known.
    pub(super) async fn take(
        &self,
        job: Option<&str>,
        most: usize,
        cursor: Option<&str>,
        control: &Control,
    ) -> Result<Taking, Error> {
        let arguments = [&self.me, job.unwrap_or_default(), &most.to_string(), cursor.unwrap_or_default()];
        let (status, job, claim, cursor, claimed, new): (String, String, u64, String, Vec<Wire>, Vec<Wire>) =
            self.ask(&self.scripts.take, &arguments.map(str::to_owned), control, Stage::Stopping).await?;
        let count = claimed.len() as u64;
        let items = claimed.into_iter().chain(new).filter_map(|(id, line, custom_id, url, body)| {
            let item = Item {
                line: line.parse().ok()?,
                custom_id: custom_id.into(),
                endpoint: if url == EMBEDDINGS { Endpoint::Embeddings } else { Endpoint::Chat },
                body,
            };
            Some((id, item))
        });
        let status = match status.as_str() {
            "open" => Status::Open,
            "done" => Status::Done,
            "over" => Status::Over,
            _ => Status::None,
        };
        let claim = Duration::from_millis(claim);
        Ok(Taking { status, job, claim, cursor, items: items.collect(), claimed: count })
    }

    /// This worker lives, and has these in hand.
    pub(super) async fn beat(&self, job: &str, items: &[String]) -> Result<(), RedisError> {
        let mut arguments = vec![self.me.clone(), job.to_owned()];
        arguments.extend_from_slice(items);
        self.once::<i64>(&self.scripts.beat, &arguments).await.map(drop)
    }

    /// Stores results, and is done with their items. Gives whether there still is such a job; none where it may come again.
    pub(super) async fn settle(
        &self,
        job: &str,
        turn: u64,
        results: &[Settled],
        control: &Control,
    ) -> Result<Option<bool>, Error> {
        let mut arguments: Vec<Vec<u8>> =
            vec![self.me.clone().into(), job.as_bytes().to_vec(), turn.to_string().into()];
        for Settled { line, is_good, text, spending } in results {
            arguments.extend([
                line.to_string().into_bytes(),
                if *is_good { b"1".to_vec() } else { b"0".to_vec() },
                spending.tokens[0].to_string().into(),
                spending.tokens[1].to_string().into(),
                spending.usd.picos().to_string().into(),
                text.clone(),
            ]);
        }
        let status: String = self.ask(&self.scripts.settle, &arguments, control, Stage::Now).await?;
        Ok(match status.as_str() {
            "ok" => Some(true),
            "over" => Some(false),
            _ => None,
        })
    }

    /// This worker ends; what it has not done is anybody's.
    pub(super) async fn leave(&self, job: &str) {
        let arguments = [self.me.clone(), job.to_owned()];
        let _ = self.once::<i64>(&self.scripts.leave, &arguments).await;
    }

    /// Asks until there is an answer, for as long as there is patience and the job is not told to end (from this stage on).
    async fn ask<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &[impl redis::ToRedisArgs],
        control: &Control,
        until: Stage,
    ) -> Result<T, Error> {
        let began = tokio::time::Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.once(script, arguments).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let problem = unavailable(&told(&error));
            if !passes(&error) || began.elapsed() >= self.patience {
                return Err(problem);
            }
            control.waits(&problem, None);
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                () = control.stopped(until) => return Err(problem),
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn once<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &[impl redis::ToRedisArgs],
    ) -> Result<T, RedisError> {
        let mut store = self.store().await?;
        let reply = store.script(script, &self.keys, arguments).await;
        if reply.as_ref().is_err_and(passes) {
            // A new connection, to whoever has that address now.
            *self.store.lock() = None;
        }
        reply
    }

    async fn store(&self) -> Result<Store, RedisError> {
        let known = self.store.lock().clone();
        if let Some(store) = known {
            return Ok(store);
        }
        let store = Store::connect(&self.info, ANSWER).await?;
        *self.store.lock() = Some(store.clone());
        Ok(store)
    }

    fn lost(&self) -> Error {
        let message = format!(
            "another process has taken over the job '{}', since this one was not heard of for {} s",
            self.name,
            self.claim.as_secs_f64()
        );
        trouble::of("locked", message)
    }
}

/// Whether it may go better the next time.
fn passes(error: &RedisError) -> bool {
    let is_for_now = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        ) | ErrorKind::ClusterConnectionNotFound
    );
    // It is full, or a script of somebody else's runs.
    let is_full = matches!(error.code(), Some("OOM" | "BUSY" | "MISCONF"));
    is_for_now || is_full || error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
}

fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) < LEAST
}

fn refused(problem: &str) -> Error {
    trouble::of("queue", format!("the queue cannot be used: {problem}"))
}

fn unavailable(problem: &str) -> Error {
    let message = format!("the job's queue is in Redis, which cannot be asked: {problem}");
    let mut error = Error::new(Kind::Job { reason: "queue" }, message);
    error.retryable = true;
    error
}

fn url_of(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Embeddings => EMBEDDINGS,
        _ => CHAT,
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_what_is_needed_is_too_old() {
        for (version, is_old) in
            [("5.0.14", true), ("6.0.16", true), ("6.2.0", false), ("7.0.15", false), ("10.0", false)]
        {
            assert_eq!(is_too_old(version), is_old, "{version}");
        }
    }
}
