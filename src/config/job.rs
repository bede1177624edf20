//! The options of a job of many calls, from a file to a file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use redis::ConnectionInfo;

use super::secret::Hidden;
use super::section::Section;
use super::shared::redis_of;
use crate::error::Error;

/// What a job is, beside the options of its calls.
#[derive(Debug, Clone)]
pub struct JobOptions {
    pub input: PathBuf,
    pub output: PathBuf,
    pub errors: PathBuf,
    /// Calls under way together. None for as many as the pool may have connections to one origin.
    pub concurrency: Option<NonZeroUsize>,
    /// How often a line is asked for that fails in a way which may pass. Default 3.
    pub tries: NonZeroUsize,
    pub bad_lines: BadLines,
    /// Whether a model that has no route is a mistake. Default no: the default provider is asked for it.
    pub only_routes: bool,
    /// Whether lines that have failed are asked for again. Default no.
    pub retry_failed: bool,
    /// Whether a budget that is used up is waited for. Default no: the job ends as paused.
    pub waits_for_budget: bool,
    /// How long nothing may be settled while calls fail, before the job ends. Default 10 min.
    pub patience: Duration,
    /// How long calls have that are under way when the job is to end. Default 30 s.
    pub grace: Duration,
    /// None where each line is a call of its own.
    pub provider_batch: Option<ProviderBatch>,
    /// Names of models that JavaScript would select a model for.
    pub selected: Vec<String>,
    /// None where the job is this process's own.
    pub queue: Option<QueueOptions>,
}

/// Where a job is that several processes work on.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// None for the one of the client's option `shared`.
    pub redis: Option<Hidden<ConnectionInfo>>,
    /// By which they know it.
    pub job: String,
    /// Whether the process that feeds it works too. Default yes.
    pub works: bool,
    /// A worker that was not heard of for so long has lost what it had. Default 30 s.
    pub claim: Duration,
}

/// What a worker is that has no files, beside the options of its calls; as of [`JobOptions`].
#[derive(Debug, Clone)]
pub struct WorkOptions {
    pub queue: QueueOptions,
    pub concurrency: Option<NonZeroUsize>,
    pub tries: NonZeroUsize,
    pub waits_for_budget: bool,
    pub patience: Duration,
    pub grace: Duration,
}

/// How lines are answered by batches of the provider's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBatch {
    /// Between the first looks at a batch; then it grows. Default 10 s.
    pub interval: Duration,
    /// Of a batch; no more than the provider takes, which is the default.
    pub max_requests: Option<u64>,
    pub max_bytes: Option<u64>,
    /// Whether lines that a batch leaves without an answer are asked for by calls, at their full price. Default yes.
    pub fallback: bool,
    /// Ends what earlier runs have left with providers, gathers what was answered by then, and sends nothing.
    pub cancel: bool,
}

/// What becomes of lines that ask for nothing that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLines {
    /// They go to the errors, and the rest goes on.
    Report,
    /// Nothing is sent.
    Refuse,
}

const TRIES: NonZeroUsize = NonZeroUsize::new(3).unwrap();
const PATIENCE: Duration = Duration::from_secs(600);
/// Batches take minutes at least, and a day at most.
const INTERVAL: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(30);
const CLAIM: Duration = Duration::from_secs(30);
const SHORTEST_CLAIM: Duration = Duration::from_millis(500);
const LONGEST_CLAIM: Duration = Duration::from_secs(24 * 3600);

const BUDGET: [(&str, bool); 2] = [("pause", false), ("wait", true)];

impl JobOptions {
    /// Parses what is no option of its calls.
    pub fn parse(options: Value) -> Result<Self, Error> {
        let mut top = Section::top("options", options)?;
        top.taken_before(&["signal", "onProgress"]);
        let input = path(&mut top, "input")?;
        let input = input.ok_or_else(|| top.error("input", "must be the path of a file"))?;
        let output = path(&mut top, "output")?;
        let output = output.ok_or_else(|| top.error("output", "must be the path of a file"))?;
        let errors = path(&mut top, "errors")?.unwrap_or_else(|| errors_of(&output));
        for (name, one, other, what) in [
            ("output", &output, &input, "the input"),
            ("errors", &errors, &input, "the input"),
            ("errors", &errors, &output, "the output"),
        ] {
            if is_same(one, other) {
                return Err(top.error(name, format!("must be another file than {what}")));
            }
        }
        let bad_lines = [("report", BadLines::Report), ("refuse", BadLines::Refuse)];
        let job = Self {
            input,
            output,
            errors,
            concurrency: top.positive("concurrency")?,
            tries: top.positive("tries")?.unwrap_or(TRIES),
            bad_lines: top.one_of("badLines", &bad_lines)?.unwrap_or(BadLines::Report),
            only_routes: top.boolean("onlyRoutes")?.unwrap_or_default(),
            retry_failed: top.boolean("retryFailed")?.unwrap_or_default(),
            waits_for_budget: top.one_of("onBudget", &BUDGET)?.unwrap_or_default(),
            patience: top.duration("patience")?.unwrap_or(PATIENCE),
            grace: top.duration_or_zero("grace")?.unwrap_or(GRACE),
            provider_batch: provider_batch(&mut top)?,
            selected: top.strings("selected")?.unwrap_or_default(),
            queue: queue(&mut top)?,
        };
        if job.queue.is_some() && job.provider_batch.is_some() {
            return Err(top.error(
                "providerBatch",
                "must not be beside queue: batches run at the provider, and not on many machines",
            ));
        }
        top.finish()?;
        Ok(job)
    }
}

impl JobOptions {
    /// Of the worker in the process that feeds it.
    pub fn work(&self) -> Option<WorkOptions> {
        Some(WorkOptions {
            queue: self.queue.clone()?,
            concurrency: self.concurrency,
            tries: self.tries,
            waits_for_budget: self.waits_for_budget,
            patience: self.patience,
            grace: self.grace,
        })
    }
}

impl WorkOptions {
    /// Parses what is no option of its calls.
    pub fn parse(options: Value) -> Result<Self, Error> {
        let mut top = Section::top("options", options)?;
        let queue =
            queue(&mut top)?.ok_or_else(|| top.error("queue", "must be an object, and is missing"))?;
        let work = Self {
            queue,
            concurrency: top.positive("concurrency")?,
            tries: top.positive("tries")?.unwrap_or(TRIES),
            waits_for_budget: top.one_of("onBudget", &BUDGET)?.unwrap_or_default(),
            patience: top.duration("patience")?.unwrap_or(PATIENCE),
            grace: top.duration_or_zero("grace")?.unwrap_or(GRACE),
        };
        top.finish()?;
        Ok(work)
    }
}

fn queue(top: &mut Section) -> Result<Option<QueueOptions>, Error> {
    let Some(mut given) = top.section("queue")? else { return Ok(None) };
    let redis = if given.holds("redis") { Some(redis_of(&mut given, "redis")?) } else { None };
    let job = given.string("job")?.unwrap_or_default();
    if job.is_empty() || job.len() > 200 || job.contains(['{', '}']) {
        return Err(given.error("job", "must be the job's name: 1 to 200 bytes without braces"));
    }
    let works = given.boolean("work")?.unwrap_or(true);
    let claim = given.duration("claim")?.unwrap_or(CLAIM);
    if !(SHORTEST_CLAIM..=LONGEST_CLAIM).contains(&claim) {
        return Err(given.error("claim", "must be 500 ms to 24 h, in milliseconds"));
    }
    given.finish()?;
    Ok(Some(QueueOptions { redis, job, works, claim }))
}

fn provider_batch(top: &mut Section) -> Result<Option<ProviderBatch>, Error> {
    if top.take_false("providerBatch") {
        return Ok(None);
    }
    let usual = ProviderBatch {
        interval: INTERVAL,
        max_requests: None,
        max_bytes: None,
        fallback: true,
        cancel: false,
    };
    if top.take_true("providerBatch") {
        return Ok(Some(usual));
    }
    let Some(mut given) = top.section_or("providerBatch", "true, false or an object")? else {
        return Ok(None);
    };
    let options = ProviderBatch {
        interval: given.duration("interval")?.unwrap_or(usual.interval),
        max_requests: given.positive("maxRequests")?.map(|most| most.get() as u64),
        max_bytes: given.positive("maxBytes")?.map(|most| most.get() as u64),
        fallback: given.boolean("fallback")?.unwrap_or(usual.fallback),
        cancel: given.boolean("cancel")?.unwrap_or(usual.cancel),
    };
    given.finish()?;
    Ok(Some(options))
}

fn path(top: &mut Section, name: &'static str) -> Result<Option<PathBuf>, Error> {
    let Some(text) = top.string(name)? else { return Ok(None) };
    if text.is_empty() || text.contains('\0') {
        return Err(top.error(name, "must be the path of a file"));
    }
    Ok(Some(PathBuf::from(text)))
}

/// `out.jsonl` has `out.errors.jsonl`.
fn errors_of(output: &Path) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(".errors");
    if let Some(extension) = output.extension() {
        name.push(".");
        name.push(extension);
    }
    output.with_file_name(name)
}

/// As far as names and links tell; a file that is not there yet is known by its name.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(options: Value) -> Result<JobOptions, String> {
        JobOptions::parse(options).map_err(|error| error.message.clone())
    }

    #[test]
    fn errors_have_a_file_of_their_own_beside_the_output() {
        let errors = |output: &str| parsed(json!({ "input": "i", "output": output })).unwrap().errors;
        assert_eq!(errors("a/out.jsonl"), Path::new("a/out.errors.jsonl"));
        assert_eq!(errors("out"), Path::new("out.errors"));
    }

    #[test]
    fn a_queue_has_a_name_and_what_is_wrong_with_it_is_told_by_its_path() {
        let with = |queue: Value| json!({ "input": "i", "output": "o", "queue": queue });
        let queue = parsed(with(json!({ "redis": "redis://h", "job": "a" }))).unwrap().queue.unwrap();
        assert_eq!((queue.job.as_str(), queue.works, queue.claim), ("a", true, CLAIM));
        for (queue, message) in [
            (json!({}), "queue.job: must be the job's name: 1 to 200 bytes without braces"),
            (json!({ "job": "{" }), "queue.job: must be the job's name: 1 to 200 bytes without braces"),
            (json!({ "job": "a", "claim": 1 }), "queue.claim: must be 500 ms to 24 h, in milliseconds"),
            (json!({ "job": "a", "works": true }), "queue.works: is not an option; did you mean queue.work?"),
        ] {
            assert_eq!(parsed(with(queue)).unwrap_err(), message);
        }
        let missing = WorkOptions::parse(json!({})).map_err(|error| error.message.clone()).unwrap_err();
        assert_eq!(missing, "queue: must be an object, and is missing");
    }

    #[test]
    fn files_that_would_write_over_each_other_are_refused() {
        let same = |options| parsed(options).unwrap_err();
        let input = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let round = concat!(env!("CARGO_MANIFEST_DIR"), "/src/../Cargo.toml");
        assert_eq!(
            same(json!({ "input": input, "output": round })),
            "output: must be another file than the input"
        );
        let error = same(json!({ "input": "a", "output": "b", "errors": "b" }));
        assert_eq!(error, "errors: must be another file than the output");
        assert_eq!(same(json!({ "input": "", "output": "b" })), "input: must be the path of a file");
        assert_eq!(same(json!({ "output": "b" })), "input: must be the path of a file");
    }
}
