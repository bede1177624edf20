//! The input read once before anything is sent: what it is told by, how much there is to do, and what is wrong with it.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::hex;
use super::item::{Asked, BadLine, CheckModel, name_of};
use super::lines::{Line, Lines};
use super::progress::{Control, Stage};
use super::result::JobId;
use super::results::{Results, trace};
use super::trouble;
use super::twice::{Names, Twice};
use crate::error::Error;

/// What the input is.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) job: JobId,
    /// Its SHA-256, in hexadecimal.
    pub(super) digest: String,
    pub(super) seen: Seen,
    /// Lines that were begun and are not settled.
    pub(super) open: u64,
    pub(super) bad: u64,
    /// The first of them.
    pub(super) some_bad: Vec<BadLine>,
    pub(super) twice: Twice,
}

/// By which a file is known to be as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// As many are told of by their messages.
const TOLD: usize = 20;
/// Lines between looks at whether to go on.
const LOOK: u64 = 1024;

impl Survey {
    /// `begun`: the last line that an earlier run has begun. None where the job was stopped meanwhile.
    pub(super) fn of(
        path: &Path,
        check_model: &CheckModel,
        spill: PathBuf,
        begun: u64,
        results: &Results,
        control: &Control,
    ) -> Result<Option<Self>, Error> {
        let refused = |error: io::Error| trouble::input(path, &error);
        let file = File::open(path).map_err(refused)?;
        let seen = Seen::of(&file.metadata().map_err(refused)?);
        let counts = &control.counts;
        counts.bytes.store(seen.bytes, Ordering::Relaxed);
        let mut lines = Lines::digested(file);
        let mut names = Names::new(spill.clone());
        let mut open = Vec::new();
        let (mut bad, mut some_bad, mut total, mut last, mut traces) = (0, Vec::new(), 0, 0, 0_u64);
        while let Some(line) = lines.next().map_err(refused)? {
            if line.number % LOOK == 0 {
                counts.checked.store(line.offset, Ordering::Relaxed);
                if control.stage() > Stage::Running {
                    return Ok(None);
                }
            }
            if line.is_blank() {
                continue;
            }
            (total, last) = (total + 1, line.number);
            let asked = read(&line, check_model);
            let name = match &asked {
                Ok(asked) => Some(&*asked.custom_id),
                Err(bad) => bad.custom_id.as_deref(),
            };
            if results.settled.contains(line.number) {
                traces = traces.wrapping_add(trace(line.number, name));
            } else if line.number <= begun && asked.is_ok() && !results.again.contains(line.number) {
                open.push(line.number);
            }
            match asked {
                Ok(asked) => {
                    let added = names.add(&asked.custom_id, line.number, line.offset);
                    added.map_err(|error| trouble::output(&spill, &error))?;
                }
                Err(line) => {
                    bad += 1;
                    if some_bad.len() < TOLD {
                        some_bad.push(line);
                    }
                }
            }
        }
        let (digest, bytes) = lines.finish();
        // They are digested, all of them.
        let digest = digest.ok_or_else(|| trouble::of("input", "the input cannot be told from others"))?;
        let job = JobId::of(&digest);
        counts.checked.store(bytes, Ordering::Relaxed);
        counts.total.store(total, Ordering::Relaxed);
        if results.job.as_ref().is_some_and(|theirs| *theirs != job) || results.traces != traces {
            let paths = results.files.each_ref().map(|file| file.path.display().to_string());
            let message = format!(
                "{} and {} are results of another input than {} (or of one that was changed since, after line {last}); name \
                 another output, or remove them",
                paths[0],
                paths[1],
                path.display()
            );
            return Err(trouble::of("otherInput", message));
        }
        let mut again = File::open(path).map_err(refused)?;
        let twice = names.finish(|offset| {
            again.seek(SeekFrom::Start(offset))?;
            let line = Lines::a_few(&again).next()?.and_then(|line| name_of(line.text).map(Into::into));
            Ok(line)
        });
        let twice = twice.map_err(refused)?;
        for line in twice.some(TOLD - some_bad.len()) {
            some_bad.push(BadLine::twice(line, None, twice.first(line)));
        }
        some_bad.sort_by_key(|bad| bad.line);
        let open = open.into_iter().filter(|line| !twice.contains(*line)).count() as u64;
        let (digest, bad) = (hex(digest.as_ref()), bad + twice.len());
        Ok(Some(Self { job, digest, seen, open, bad, some_bad, twice }))
    }

    /// Why nothing is sent where no line may be bad.
    pub(super) fn refusal(&self) -> Error {
        let told = self.some_bad.iter().map(|bad| bad.message.as_str()).collect::<Vec<_>>().join("; ");
        let more = if self.bad > self.some_bad.len() as u64 { "; …" } else { "" };
        let lines = if self.bad == 1 { "line asks" } else { "lines ask" };
        let message =
            format!("{} {lines} for nothing that could be sent, so nothing was sent: {told}{more}", self.bad);
        trouble::of("badLines", message)
    }
}

impl Seen {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { bytes: file.len(), modified: file.modified().ok() }
    }
}

/// What a line asks for, that is not blank.
pub(super) fn read<'a>(line: &Line<'a>, check_model: &CheckModel) -> Result<Asked<'a>, BadLine> {
    if line.is_too_long {
        return Err(BadLine::too_long(line.number));
    }
    Asked::of(line.number, line.text, check_model)
}
