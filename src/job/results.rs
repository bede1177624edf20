//! The files of results as an earlier run left them: what is settled, and what of them is no whole line.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{Seek, SeekFrom};
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
            let path = &file.path;
            let cut = |error| trouble::output(path, &error);
            if file.file.metadata().map_err(cut)?.len() > end {
                file.file.set_len(end).map_err(cut)?;
            }
            file.file.seek(SeekFrom::Start(end)).map_err(cut)?;
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
        let emptied = errors.file.set_len(0).and_then(|()| errors.file.rewind());
        emptied.map_err(|error| trouble::output(&errors.path, &error))?;
        (errors.bytes, errors.lines) = (0, 0);
        Ok(())
    }
}

impl ResultFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let refused = |error| trouble::output(path, &error);
        // Not to append: where that is asked for, not every system lets a file be cut.
        let mut how = OpenOptions::new();
        let file = how.read(true).write(true).create(true).truncate(false).open(path).map_err(refused)?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::result::JobId;
    use super::*;
    use crate::client::Answer;

    const JOB: &str = "0123456789abcdef";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trunkline-results-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn open(&self, on_disk: Option<[u64; 2]>) -> Result<Results, Error> {
            Results::open([&self.0.join("out"), &self.0.join("errors")], on_disk, false)
        }

        fn put(&self, text: &[u8]) {
            fs::write(self.0.join("out"), text).unwrap();
        }

        fn text(&self) -> Vec<u8> {
            fs::read(self.0.join("out")).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn result(line: u64) -> Vec<u8> {
        let body = bytes::Bytes::from_static(b"{\n\"a\": [1]}");
        let answer = Answer { body, meta: b"[\"p\",\"m\",200,[\"x-request-id\",\"r\"]]".to_vec() };
        JobId(JOB.into()).answered(line, &format!("na\u{a0}me-{line}\""), &answer).0.text
    }

    #[test]
    fn wherever_a_file_was_cut_off_its_whole_lines_are_known_and_the_rest_goes() {
        let folder = Folder::new("cut");
        let lines: Vec<_> = [3, 1, 70].map(result).into();
        let text = lines.concat();
        let ends: Vec<_> = lines
            .iter()
            .scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            })
            .collect();
        for cut in 0..=text.len() {
            folder.put(&text[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let results = folder.open(Some([0, 0])).unwrap();
            assert_eq!(results.settled.len() as usize, whole, "{cut}");
            assert_eq!(folder.text(), lines[..whole].concat(), "{cut}");
            assert_eq!(
                (results.files[0].bytes, results.files[0].lines),
                (folder.text().len() as u64, whole as u64)
            );
            // Without a journal that says so, what may have been written by us goes as well.
            folder.put(&text[..cut]);
            assert_eq!(folder.open(None).unwrap().settled.len() as usize, whole, "{cut}");
        }
    }

    #[test]
    fn what_a_machine_left_half_written_goes_from_where_it_was_known_to_be_on_the_disk() {
        let folder = Folder::new("power");
        let lines: Vec<_> = (1..=4).map(result).collect();
        let known = lines[0].len() as u64;
        // The second is a hole, and what came after it is there.
        let mut text = lines.concat();
        text[lines[0].len()..lines[0].len() + lines[1].len()].fill(0);
        folder.put(&text);
        let results = folder.open(Some([known, 0])).unwrap();
        assert_eq!((results.settled.len(), folder.text()), (1, lines[0].clone()));
        // A hole within a line, whose ends are whole.
        let mut text = lines.concat();
        let middle = lines[0].len() + lines[1].len() - 20;
        text[middle..middle + 4].fill(0);
        folder.put(&text);
        assert_eq!(folder.open(Some([known, 0])).unwrap().settled.len(), 1);
        // Where it was known to be there, something else has changed it.
        let mut text = lines.concat();
        text[..10].fill(0);
        folder.put(&text);
        assert!(folder.open(Some([known, 0])).unwrap_err().message.contains("see its line 1"));
        assert_eq!(folder.text(), text);
    }

    #[test]
    fn a_line_that_is_answered_twice_and_one_of_another_job_are_refused() {
        let folder = Folder::new("twice");
        folder.put(&[result(1), result(2), result(1)].concat());
        assert!(folder.open(None).unwrap_err().message.contains("answers line 1 of the input a second time"));
        let other = String::from_utf8(result(2)).unwrap().replace(JOB, "ffffffffffffffff");
        folder.put(&[result(1), other.into_bytes()].concat());
        assert!(folder.open(None).unwrap_err().message.contains("two inputs: see its line 2"));
    }

    #[test]
    fn names_and_numbers_come_back_from_what_was_written() {
        let text = result(70);
        let known = Known::of(text.strip_suffix(b"\n").unwrap(), true).unwrap();
        assert_eq!(
            (known.line, known.custom_id.as_deref(), known.job.0.as_str()),
            (70, Some("na\u{a0}me-70\""), JOB)
        );
        assert_eq!(
            text.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one line, whatever the provider wrote"
        );
    }
}
