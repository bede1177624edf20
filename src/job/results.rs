//! The files of results as an earlier run left them: what is settled, and what of them is no whole line.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};

use super::lines::Lines;
use super::marks::Marks;
use super::result::{JobId, Known};
use super::trouble;
use crate::error::Error;

/// The output and the errors, in this order.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) files: [ResultFile; 2],
    pub(super) settled: Marks,
    /// Failed lines that are to be asked for again, and are not settled for that.
    pub(super) again: Marks,
    /// Of the lines and names in them: what [`trace`] gives, added up.
    pub(super) traces: u64,
    /// None where there is no result yet.
    pub(super) job: Option<JobId>,
}

#[derive(Debug)]
pub(super) struct ResultFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// All of it is whole lines.
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

impl Results {
    /// `retry_failed`: what is in the errors is no end of its line. `on_disk`: how many bytes of each were known to be there; None where nothing says so.
    ///
    /// # Errors
    /// Where a file cannot be written to, or has what no job has put there: nothing of it is changed then.
    pub(super) fn open(
        paths: [&Path; 2],
        on_disk: Option<[u64; 2]>,
        retry_failed: bool,
    ) -> Result<Self, Error> {
        let [output, errors] = paths;
        let [output, errors] = [ResultFile::open(output)?, ResultFile::open(errors)?];
        let mut results = Self {
            files: [output, errors],
            settled: Marks::default(),
            again: Marks::default(),
            traces: 0,
            job: None,
        };
        let mut ends = [0, 0];
        for (at, end) in ends.iter_mut().enumerate() {
            *end = results.read(at, on_disk.map(|on_disk| on_disk[at]), retry_failed && at == 1)?;
        }
        for (file, end) in results.files.iter_mut().zip(ends) {
            let cut = |error| trouble::output(&file.path, &error);
            if file.file.metadata().map_err(cut)?.len() > end {
                file.file.set_len(end).map_err(cut)?;
            }
            file.bytes = end;
        }
        Ok(results)
    }

    /// Gives where its last whole line ends.
    fn read(&mut self, at: usize, on_disk: Option<u64>, retries: bool) -> Result<u64, Error> {
        let ResultFile { path, file, .. } = &self.files[at];
        let refused = |what: String| {
            trouble::of("otherInput", format!("{} {what}; name another file, or remove it", path.display()))
        };
        let mut lines = Lines::of_any_length(file);
        let (mut end, mut count) = (0, 0);
        while let Some(line) = lines.next().map_err(|error| trouble::output(path, &error))? {
            // What was not on the disk when the machine went may be there in part, in any order.
            let is_doubtful = on_disk.is_some_and(|on_disk| line.offset >= on_disk);
            let known = Known::of(line.text, is_doubtful || !line.is_ended).filter(|_| line.is_ended);
            let Some(Known { job, line: number, custom_id }) = known else {
                if is_doubtful || (!line.is_ended && Known::may_begin(line.text)) {
                    break;
                }
                return Err(refused(format!("is no result of a batch: see its line {}", line.number)));
            };
            if self.job.as_ref().is_some_and(|known| *known != job) {
                return Err(refused(format!("has results of two inputs: see its line {}", line.number)));
            }
            self.job = Some(job);
            if retries {
                self.again.insert(number);
            } else if self.settled.insert(number) {
                self.traces = self.traces.wrapping_add(trace(number, custom_id.as_deref()));
            } else {
                return Err(refused(format!("answers line {number} of the input a second time")));
            }
            end = line.offset + line.text.len() as u64 + 1;
            count += 1;
        }
        self.files[at].lines = count;
        Ok(end)
    }
}

impl Results {
    /// Takes the errors of lines that are asked for again out of their file.
    pub(super) fn forget_failed(&mut self) -> Result<(), Error> {
        if self.again.len() == 0 {
            return Ok(());
        }
        let [_, errors] = &mut self.files;
        errors.file.set_len(0).map_err(|error| trouble::output(&errors.path, &error))?;
        (errors.bytes, errors.lines) = (0, 0);
        Ok(())
    }
}

impl ResultFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let refused = |error| trouble::output(path, &error);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(refused)?;
        if !file.metadata().map_err(refused)?.is_file() {
            return Err(trouble::of("output", format!("{} is no ordinary file", path.display())));
        }
        Ok(Self { path: path.to_owned(), file, bytes: 0, lines: 0 })
    }
}

/// Of a line and its name: added up, they are the same for equal sets in whatever order.
pub(super) fn trace(line: u64, custom_id: Option<&str>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((line, custom_id.unwrap_or_default()))
}
