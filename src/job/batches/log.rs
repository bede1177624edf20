//! What of a job is with providers: a file beside the output, of a line for each thing that was done or is about to be. A line is on the disk
//! before what it announces is asked for, and what a provider has given an id is there before anything else happens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::job::files::{beside, sync_folder};
use crate::job::lines::Lines;
use crate::job::trouble;

/// Some lines of a job that are sent together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) part: u64,
    pub(super) provider: String,
    /// Of its requests: `/v1/chat/completions`.
    pub(super) url: String,
    /// As its requests name it.
    pub(super) model: String,
    pub(super) requests: u64,
    /// Of the file of its requests.
    pub(super) bytes: u64,
    /// What that is called at the provider, and nothing else is.
    pub(super) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Record {
    /// The first: of which input it is, by its SHA-256.
    Input {
        version: u32,
        sha256: String,
    },
    Part(Plan),
    /// It is uploaded.
    File {
        part: u64,
        id: String,
    },
    /// A batch is about to be asked for, at this time (seconds since 1970).
    Create {
        part: u64,
        at: u64,
    },
    /// `found`: it was found among the provider's, after nobody heard the answer.
    Batch {
        part: u64,
        id: String,
        found: bool,
    },
    /// Its batch was none of ours, or was refused for now: it is to be asked for again.
    Again {
        part: u64,
    },
    /// The provider would not have it.
    Lost {
        part: u64,
        code: String,
        message: String,
    },
    /// Its lines are anybody's again.
    Free {
        part: u64,
    },
}

/// How far a part has come.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) plan: Plan,
    pub(super) file: Option<String>,
    pub(super) created: Option<u64>,
    pub(super) batch: Option<String>,
    pub(super) found: bool,
    pub(super) lost: Option<(String, String)>,
}

#[derive(Debug)]
pub(in crate::job) struct Log {
    path: PathBuf,
    /// None before there is anything in it.
    file: Option<File>,
    sha256: String,
    pub(super) parts: Vec<Part>,
    next: u64,
}

const VERSION: u32 = 1;

impl Log {
    /// The file of a job's output.
    pub(in crate::job) fn path(output: &Path) -> PathBuf {
        beside(output, ".job.batches")
    }

    /// Reads what an earlier run has left.
    pub(in crate::job) fn open(output: &Path, sha256: &str) -> Result<Self, Error> {
        let path = Self::path(output);
        let mut log = Self { path, file: None, sha256: sha256.to_owned(), parts: Vec::new(), next: 1 };
        match OpenOptions::new().read(true).append(true).open(&log.path) {
            Ok(file) => log.read(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(trouble::output(&log.path, &error)),
        }
        Ok(log)
    }

    fn read(&mut self, file: File) -> Result<(), Error> {
        let path = self.path.clone();
        let refused = |error: io::Error| trouble::output(&path, &error);
        let mut lines = Lines::of_any_length(&file);
        let mut end = 0;
        while let Some(line) = lines.next().map_err(refused)? {
            // The last one may have been cut off while it was written: what it says had not been done.
            let record = serde_json::from_slice::<Record>(line.text).ok().filter(|_| line.is_ended);
            let Some(record) = record else { break };
            if let Record::Input { version, sha256 } = &record
                && (*version, sha256) != (VERSION, &self.sha256)
            {
                let what = "tells of batches of another input, or is of another version of this package; name another output, or \
                            gather them with that input first";
                return Err(trouble::of("otherInput", format!("{} {what}", path.display())));
            }
            self.apply(record);
            end = line.offset + line.text.len() as u64 + 1;
        }
        drop(lines);
        file.set_len(end).map_err(refused)?;
        // What has no first line has nothing.
        self.file = (end > 0).then_some(file);
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        let part = match &record {
            Record::Input { .. } => return,
            Record::Part(plan) => {
                self.next = plan.part + 1;
                let plan = plan.clone();
                let part = Part { plan, file: None, created: None, batch: None, found: false, lost: None };
                return self.parts.push(part);
            }
            Record::Free { part } => return self.parts.retain(|known| known.plan.part != *part),
            Record::File { part, .. }
            | Record::Create { part, .. }
            | Record::Batch { part, .. }
            | Record::Again { part }
            | Record::Lost { part, .. } => *part,
        };
        let Some(part) = self.parts.iter_mut().find(|known| known.plan.part == part) else { return };
        match record {
            Record::File { id, .. } => part.file = Some(id),
            Record::Create { at, .. } => part.created = Some(at),
            Record::Batch { id, found, .. } => (part.batch, part.found) = (Some(id), found),
            Record::Again { .. } => (part.batch, part.created, part.found) = (None, None, false),
            Record::Lost { code, message, .. } => part.lost = Some((code, message)),
            Record::Input { .. } | Record::Part(_) | Record::Free { .. } => {}
        }
    }

    /// The number that the next part has.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn part(&mut self, plan: Plan) -> Result<(), Error> {
        self.write(Record::Part(plan))
    }

    pub(super) fn file(&mut self, part: u64, id: &str) -> Result<(), Error> {
        self.write(Record::File { part, id: id.to_owned() })
    }

    pub(super) fn create(&mut self, part: u64, at: u64) -> Result<(), Error> {
        self.write(Record::Create { part, at })
    }

    pub(super) fn batch(&mut self, part: u64, id: &str, found: bool) -> Result<(), Error> {
        self.write(Record::Batch { part, id: id.to_owned(), found })
    }

    pub(super) fn again(&mut self, part: u64) -> Result<(), Error> {
        self.write(Record::Again { part })
    }

    pub(super) fn lost(&mut self, part: u64, code: &str, message: &str) -> Result<(), Error> {
        self.write(Record::Lost { part, code: code.to_owned(), message: message.to_owned() })
    }

    pub(super) fn free(&mut self, part: u64) -> Result<(), Error> {
        self.write(Record::Free { part })
    }

    /// Writes one down, to the disk.
    fn write(&mut self, record: Record) -> Result<(), Error> {
        let written = self.try_write(&record);
        written.map_err(|error| trouble::output(&self.path, &error))?;
        self.apply(record);
        Ok(())
    }

    fn try_write(&mut self, record: &Record) -> io::Result<()> {
        let mut text = Vec::new();
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let first = Record::Input { version: VERSION, sha256: self.sha256.clone() };
                serde_json::to_writer(&mut text, &first)?;
                text.push(b'\n');
                let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
                sync_folder(&self.path);
                self.file.insert(file)
            }
        };
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(&text) {
            // No half of a line.
            let _ = file.set_len(before);
            return Err(error);
        }
        file.sync_data()
    }

    /// Nothing is with a provider any more.
    pub(super) fn remove(self) -> Result<(), Error> {
        if self.file.is_none() {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(|error| trouble::output(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(part: u64) -> Plan {
        let [provider, url, model, name] = ["openai", "/v1/embeddings", "m", "n"].map(str::to_owned);
        Plan { part, provider, url, model, requests: 3, bytes: 9, name }
    }

    #[test]
    fn what_was_done_is_known_again_however_its_last_line_was_cut_off() {
        let output = std::env::temp_dir().join(format!("trunkline-batches-{}", std::process::id()));
        let mut log = Log::open(&output, "a").unwrap();
        assert!(!Log::path(&output).exists(), "nothing is made before there is something");
        log.part(plan(1)).unwrap();
        log.file(1, "file-1").unwrap();
        log.create(1, 7).unwrap();
        log.part(plan(2)).unwrap();
        log.free(2).unwrap();
        let whole = fs::read(Log::path(&output)).unwrap();
        let mut longer = whole.clone();
        longer.extend_from_slice(br#"{"batch":{"part":1,"id":"batch"#);
        fs::write(Log::path(&output), &longer).unwrap();
        let log = Log::open(&output, "a").unwrap();
        assert_eq!(fs::read(Log::path(&output)).unwrap(), whole);
        assert_eq!((log.parts.len(), log.next()), (1, 3));
        let part = &log.parts[0];
        assert_eq!((part.file.as_deref(), part.created, &part.batch), (Some("file-1"), Some(7), &None));
        let other = Log::open(&output, "b").unwrap_err();
        assert!(other.message.contains("another input"), "{other:?}");
        log.remove().unwrap();
    }
}
