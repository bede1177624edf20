//! What batches have answered, as the job's results.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Batches;
use super::desk::{Desk, Verdict, verdict};
use super::follow::Failing;
use super::spool::{Name, Places, line_of, reply_of};
use crate::error::{Error, Kind};
use crate::job::progress::Control;
use crate::job::result::{JobId, Settled, Spending};
use crate::job::{Sink, trouble};
use crate::protocol::json::Text;
use crate::protocol::openai::Usage;
use crate::protocol::translate::Malformed;

/// A result is no longer than what a call may answer.
const LONGEST: usize = 64 * 1024 * 1024;

/// What an answer says of what it took.
#[derive(Default, Deserialize)]
struct Took<'a> {
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// What became of a line.
struct Fate {
    settled: Settled,
    took: Option<(Option<String>, Usage)>,
}

impl Batches {
    /// A batch is over. Whatever of it was gathered before is left as it is.
    pub(super) async fn gather<K: Sink>(
        &mut self,
        at: usize,
        desk: &Desk<'_>,
        results: &[String],
        sink: &K,
        control: &Control,
    ) -> Result<(), Failing> {
        let number = self.running[at].part;
        let places = Places::of(&self.output, number);
        let names = places.names().map_err(Failing::Job)?;
        let (mut ours, mut answered) = (0, 0);
        for path in results {
            let Some(mut reply) = desk.results(path).await.map_err(Failing::Provider)? else { continue };
            let mut text = Vec::new();
            loop {
                let piece = reply.next().await.map_err(Failing::Provider)?;
                let is_end = piece.is_none();
                text.extend_from_slice(&piece.unwrap_or_default());
                let end =
                    if is_end { text.len() } else { memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1) };
                for line in text[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let taken =
                        self.take(at, desk, line, &names, sink, control).await.map_err(Failing::Job)?;
                    ours += u64::from(taken.is_some());
                    answered += u64::from(taken == Some(true));
                }
                text.drain(..end);
                if is_end {
                    break;
                }
                if text.len() > LONGEST {
                    let message = format!("a result has more than {LONGEST} bytes");
                    return Err(Failing::Job(Error::new(Kind::InvalidResponse, message)));
                }
            }
        }
        let was_found = self.log.parts.iter().any(|part| part.plan.part == number && part.found);
        if ours == 0 && was_found && !self.running[at].is_cancelled && places.requests.exists() {
            // It was another's, and looked like ours.
            self.log.again(number).map_err(Failing::Job)?;
            return Ok(());
        }
        let running = &mut self.running[at];
        (running.completed, running.failed) = (answered, (names.len() as u64).saturating_sub(answered));
        self.give_up(
            at,
            ("batch_expired", "the batch has ended without an answer to this line"),
            sink,
            control,
        )
        .await
        .map_err(Failing::Job)
    }

    /// Whether the line is answered, if it is of ours.
    async fn take<K: Sink>(
        &mut self,
        at: usize,
        desk: &Desk<'_>,
        text: &[u8],
        names: &HashMap<u64, Name>,
        sink: &K,
        control: &Control,
    ) -> Result<Option<bool>, Error> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let Some((id, verdict)) = verdict(desk.target.desk, text) else { return Ok(None) };
        let Some(line) = line_of(&self.job, &id) else { return Ok(None) };
        let Some(name) = names.get(&line) else { return Ok(None) };
        let is_answered = matches!(verdict, Verdict::Answered { .. });
        if self.settled.contains(line) {
            return Ok(Some(is_answered));
        }
        let is_cancelled = self.running[at].is_cancelled;
        let Some(mut fate) =
            fate_of(&self.job, (line, name), verdict, desk, self.options.fallback || is_cancelled)
        else {
            return Ok(Some(is_answered));
        };
        if let Some((answered, usage)) = &fate.took {
            let plan = self.log.parts.iter().find(|part| part.plan.part == self.running[at].part);
            let asked = plan.map(|part| part.plan.model.clone()).unwrap_or_default();
            let usd = desk.target.charge(&self.client, &asked, answered.as_deref(), usage, &self.call);
            let spending = Spending { tokens: [usage.prompt_tokens, usage.completion_tokens], usd };
            fate.settled.spending = spending;
            control.spend(spending.tokens, spending.usd);
        }
        let is_good = fate.settled.is_good;
        self.settled.insert(line);
        sink.put(fate.settled).await?;
        control.settled(is_good);
        Ok(Some(is_answered))
    }

    /// No more comes of a part. What it has left unanswered is for calls of its own, or failed.
    pub(super) async fn give_up<K: Sink>(
        &mut self,
        at: usize,
        (code, message): (&str, &str),
        sink: &K,
        control: &Control,
    ) -> Result<(), Error> {
        let running = &mut self.running[at];
        running.is_over = true;
        running.hold = None;
        let (number, is_cancelled) = (running.part, running.is_cancelled);
        let places = Places::of(&self.output, number);
        places.forget_requests();
        if self.options.fallback || is_cancelled {
            return Ok(());
        }
        let mut left = Vec::new();
        places.each_name(|line, name| left.push((line, name.custom_id)))?;
        for (line, name) in left {
            if self.settled.insert(line) {
                sink.put(self.job.lost(line, &name, code, message)).await?;
                control.settled(false);
            }
        }
        Ok(())
    }
}

/// None where the line is to be asked for by a call.
fn fate_of(
    job: &JobId,
    (line, name): (u64, &Name),
    verdict: Verdict<'_>,
    desk: &Desk<'_>,
    fallback: bool,
) -> Option<Fate> {
    let id = &*name.custom_id;
    match verdict {
        Verdict::Unasked { .. } | Verdict::Failed { again: true, .. } if fallback => None,
        Verdict::Unasked { code, message } => {
            Some(Fate { settled: job.lost(line, id, &code, &message), took: None })
        }
        Verdict::Failed { status, request_id, body, .. } => {
            let settled = job.told(line, id, false, (status, request_id.as_deref()), body.as_bytes());
            Some(Fate { settled, took: None })
        }
        Verdict::Answered { status, request_id, body } => {
            let translated = match reply_of(desk.target.desk, name).answer(body, super::now) {
                Ok(translated) => translated,
                Err(Malformed(what)) => {
                    let error = Error::new(Kind::InvalidResponse, what);
                    return Some(Fate { settled: job.failed(line, id, &error), took: None });
                }
            };
            let body = translated.as_deref().unwrap_or(body);
            let took: Took<'_> = serde_json::from_str(body).unwrap_or_default();
            let usage = took.usage.and_then(Usage::of).unwrap_or_default();
            let settled = job.told(line, id, true, (status, request_id.as_deref()), body.as_bytes());
            Some(Fate { settled, took: Some((took.model.map(|model| model.0.into_owned()), usage)) })
        }
    }
}

impl JobId {
    /// A line that no batch has answered.
    fn lost(&self, line: u64, custom_id: &str, code: &str, message: &str) -> Settled {
        let text = self.error(line, Some(custom_id), code, message);
        Settled { line, is_good: false, text, spending: Spending::default() }
    }
}

/// A job that has batches with providers is gathered, or given up, by those who say so: calls of its lines would be paid twice.
pub(in crate::job) fn left_behind(path: &std::path::Path) -> Error {
    trouble::of(
        "batches",
        format!(
            "lines of this job are in batches at a provider, by {}; run it with providerBatch (--provider-batch) to gather them, or with its \
             cancel (--cancel-batches) to end them. To ask for those lines again all the same, remove that file",
            path.display()
        ),
    )
}
