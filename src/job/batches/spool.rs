//! The requests of a part on their way to a provider, and which line each is of: two files beside the output.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::log::Plan;
use crate::client::{BatchDesk, BatchTarget, Endpoint, Load};
use crate::error::Error;
use crate::job::files::{beside, sync_folder};
use crate::job::item::{CHAT, EMBEDDINGS, Item};
use crate::job::lines::Lines;
use crate::job::result::JobId;
use crate::job::trouble;
use crate::protocol::anthropic;
use crate::protocol::dialect::Reply;
use crate::protocol::json::quote;

/// Where a part's files are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) requests: PathBuf,
    pub(super) names: PathBuf,
}

/// A part that is being gathered.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) target: BatchTarget,
    pub(super) endpoint: Endpoint,
    model: String,
    places: Places,
    requests: BufWriter<File>,
    names: BufWriter<File>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) inputs: u64,
    /// One of its requests, by which the others are reckoned.
    pub(super) sample: Bytes,
    pub(super) lines: Vec<u64>,
}

/// What is to be known of a line when its answer comes.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) custom_id: String,
    trimmed: String,
}

impl Places {
    pub(super) fn of(output: &Path, part: u64) -> Self {
        Self {
            requests: beside(output, &format!(".job.batch-{part}.requests")),
            names: beside(output, &format!(".job.batch-{part}.names")),
        }
    }

    /// What was sent need not be sent again.
    pub(super) fn forget_requests(&self) {
        let _ = fs::remove_file(&self.requests);
    }

    pub(super) fn remove(&self) {
        self.forget_requests();
        let _ = fs::remove_file(&self.names);
    }

    /// The lines of a part, one after the other.
    pub(super) fn each_name(&self, mut take: impl FnMut(u64, Name)) -> Result<(), Error> {
        let refused = |error: io::Error| trouble::output(&self.names, &error);
        let file = File::open(&self.names).map_err(refused)?;
        let mut lines = Lines::of_any_length(file);
        while let Some(line) = lines.next().map_err(refused)? {
            let Ok((line, custom_id, trimmed)) = serde_json::from_slice::<(u64, String, String)>(line.text)
            else {
                return Err(trouble::of("output", format!("{} was changed", self.names.display())));
            };
            take(line, Name { custom_id, trimmed });
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Result<HashMap<u64, Name>, Error> {
        let mut names = HashMap::new();
        self.each_name(|line, name| drop(names.insert(line, name)))?;
        Ok(names)
    }

    /// The file of requests as its provider takes it. OpenAI's is one of lines in a form; Anthropic's is the JSON that asks for a batch.
    pub(super) fn load(&self, desk: BatchDesk, plan: &Plan) -> Load {
        let (content_type, head, tail) = match desk {
            BatchDesk::Files => {
                let boundary = format!("{}-{:016x}", plan.name.replace('.', "-"), fastrand::u64(..));
                let head = format!(
                    "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\n\
                     content-disposition: form-data; name=\"file\"; filename=\"{}\"\r\ncontent-type: application/jsonl\r\n\r\n",
                    plan.name
                );
                let tail = format!("\r\n--{boundary}--\r\n");
                (format!("multipart/form-data; boundary={boundary}"), head, tail)
            }
            BatchDesk::Messages => {
                ("application/json".to_owned(), "{\"requests\":[\n".to_owned(), "]}".to_owned())
            }
        };
        Load::File { content_type, head, path: self.requests.clone(), bytes: plan.bytes, tail }
    }
}

impl Spool {
    pub(super) fn begin(
        output: &Path,
        part: u64,
        target: BatchTarget,
        endpoint: Endpoint,
        model: String,
    ) -> Result<Self, Error> {
        let places = Places::of(output, part);
        let open = |path: &Path| {
            File::create(path).map(BufWriter::new).map_err(|error| trouble::output(path, &error))
        };
        let (requests, names) = (open(&places.requests)?, open(&places.names)?);
        Ok(Self {
            target,
            endpoint,
            model,
            places,
            requests,
            names,
            count: 0,
            bytes: 0,
            inputs: 0,
            sample: Bytes::new(),
            lines: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, item: &Item, said: Request) -> Result<(), Error> {
        let Request { text, trimmed, inputs, .. } = said;
        let lead: &[u8] = match self.target.desk {
            BatchDesk::Messages if self.count > 0 => b",",
            _ => b"",
        };
        let name = format!("[{},{},{}]\n", item.line, quote(&item.custom_id), quote(&trimmed));
        let requests = self.requests.write_all(lead).and_then(|()| self.requests.write_all(&text));
        requests.map_err(|error| trouble::output(&self.places.requests, &error))?;
        let names = self.names.write_all(name.as_bytes());
        names.map_err(|error| trouble::output(&self.places.names, &error))?;
        if self.count == 0 {
            self.sample = Bytes::copy_from_slice(item.body.as_bytes());
        }
        (self.count, self.inputs) = (self.count + 1, self.inputs + inputs);
        self.bytes += (lead.len() + text.len()) as u64;
        self.lines.push(item.line);
        Ok(())
    }

    /// Brings it to the disk.
    pub(super) fn finish(self, job: &JobId, part: u64) -> Result<(Plan, Vec<u64>), Error> {
        let Self { target, endpoint, model, places, requests, names, count, bytes, lines, .. } = self;
        for (file, path) in [(requests, &places.requests), (names, &places.names)] {
            let synced =
                file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_data());
            synced.map_err(|error| trouble::output(path, &error))?;
        }
        sync_folder(&places.names);
        let url = if endpoint == Endpoint::Embeddings { EMBEDDINGS } else { CHAT };
        let plan = Plan {
            part,
            provider: target.provider().to_string(),
            url: url.to_owned(),
            model,
            requests: count,
            bytes,
            name: format!("trunkline-{}-{part}-{:08x}.jsonl", job.0, fastrand::u32(..)),
        };
        Ok((plan, lines))
    }

    /// It was not sent.
    pub(super) fn drop_files(self) {
        self.places.remove();
    }
}

/// A line as a provider's batch has it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) text: Vec<u8>,
    /// What the answer's translation has to know of it.
    trimmed: String,
    /// Texts to be made vectors of.
    pub(super) inputs: u64,
}

impl Request {
    /// # Errors
    /// Where it cannot be said in the provider's protocol: the line's own.
    pub(super) fn of(job: &JobId, item: &Item, model: &str, target: &BatchTarget) -> Result<Self, Error> {
        let body = Bytes::copy_from_slice(item.body.as_bytes());
        let said = target.say(&item.endpoint, model, &body)?;
        let trimmed = match said.reply {
            Reply::Anthropic(anthropic::Context { trimmed }) => trimmed,
            _ => String::new(),
        };
        let id = id_of(job, item.line);
        let before = match (target.desk, &item.endpoint) {
            (BatchDesk::Messages, _) => format!(r#"{{"custom_id":"{id}","params":"#),
            (BatchDesk::Files, endpoint) => {
                let url = if *endpoint == Endpoint::Embeddings { EMBEDDINGS } else { CHAT };
                format!(r#"{{"custom_id":"{id}","method":"POST","url":"{url}","body":"#)
            }
        };
        let inputs = if item.endpoint == Endpoint::Embeddings { inputs_of(&item.body) } else { 0 };
        let text = [before.as_bytes(), &said.body, b"}\n"].concat();
        Ok(Self { text, trimmed, inputs })
    }
}

/// By which a request is known at the provider: its owner's own name for it may be longer, or have other letters, than a provider takes
/// (Anthropic: 1 to 64 of `[a-zA-Z0-9_-]`).
fn id_of(job: &JobId, line: u64) -> String {
    format!("trunkline_{}_{line}", job.0)
}

/// The line that an id is of, if it is of this job.
pub(super) fn line_of(job: &JobId, id: &str) -> Option<u64> {
    id.strip_prefix("trunkline_")?.strip_prefix(&*job.0)?.strip_prefix('_')?.parse().ok()
}

/// How an answer is to be understood.
pub(super) fn reply_of(desk: BatchDesk, name: &Name) -> Reply {
    match desk {
        BatchDesk::Files => Reply::Same,
        BatchDesk::Messages => Reply::Anthropic(anthropic::Context { trimmed: name.trimmed.clone() }),
    }
}

fn inputs_of(body: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Body {
        input: serde_json::Value,
    }
    match serde_json::from_str::<Body>(body) {
        // A list of numbers is one text, by its tokens.
        Ok(Body { input: serde_json::Value::Array(list) })
            if !list.first().is_some_and(serde_json::Value::is_number) =>
        {
            list.len() as u64
        }
        _ => 1,
    }
}
