//! A job's files: its lines are read ahead of the calls by one thread, its results are written behind them by another.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use memchr::memrchr;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::item::{BadLine, CheckModel, Item};
use super::journal::Journal;
use super::lines::Lines;
use super::marks::Marks;
use super::progress::Control;
use super::result::Settled;
use super::results::ResultFile;
use super::survey::{Seen, Survey, read};
use super::{Sink, Source, Taken, trouble};
use crate::error::Error;

/// Lines that are handed over together: as many, or as many bytes of them. Enough that calls go on while a busy machine keeps the thread waiting
/// that reads.
const AHEAD: usize = 1024;
const AHEAD_BYTES: usize = 1024 * 1024;
const BATCHES: usize = 2;
/// Bytes of results that may wait to be written.
const BEHIND: usize = 16 * 1024 * 1024;
/// What goes to the system in one piece, about.
const WRITE: usize = 1024 * 1024;
/// Results are gathered for so long before they go to the system: to wake a thread for each would cost as much as the rest.
const GATHER: Duration = Duration::from_millis(4);
/// Results are brought to the disk so often: what a machine loses whose power fails.
const SYNC: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3600);

/// The lines of an input that are not settled.
#[derive(Debug)]
pub(super) struct FileSource {
    batches: mpsc::Receiver<Result<Vec<Taken>, Error>>,
    rest: VecDeque<Taken>,
}

impl FileSource {
    pub(super) fn open(path: &Path, survey: Survey, settled: Marks, check: Arc<CheckModel>) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES);
        let path = path.to_owned();
        // It ends when nobody takes its batches any more.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read_ahead(&path, &survey, &settled, &check, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self { batches, rest: VecDeque::new() }
    }
}

impl Source for FileSource {
    async fn next(&mut self, most: usize) -> Result<Vec<Taken>, Error> {
        if self.rest.is_empty() {
            match self.batches.recv().await {
                Some(batch) => self.rest = batch?.into(),
                None => return Ok(Vec::new()),
            }
        }
        let most = most.min(self.rest.len());
        Ok(self.rest.drain(..most).collect())
    }
}

fn read_ahead(
    path: &Path,
    survey: &Survey,
    settled: &Marks,
    check: &Arc<CheckModel>,
    sender: &mpsc::Sender<Result<Vec<Taken>, Error>>,
) -> Result<(), Error> {
    let refused = |error| trouble::input(path, &error);
    let file = File::open(path).map_err(refused)?;
    let unchanged = |file: &File| {
        let same = Seen::of(&file.metadata().map_err(refused)?) == survey.seen;
        let changed = || {
            let message = format!("the input {} was changed while the job ran", path.display());
            trouble::of("input", message)
        };
        if same { Ok(()) } else { Err(changed()) }
    };
    unchanged(&file)?;
    let mut lines = Lines::new(&file);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(line) = lines.next().map_err(refused)? {
        if line.is_blank() || settled.contains(line.number) {
            continue;
        }
        bytes += line.text.len();
        batch.push(match read(&line, &**check) {
            Ok(asked) if survey.twice.contains(line.number) => {
                let (name, first) = (asked.custom_id.into(), survey.twice.first(line.number));
                Taken::Bad(BadLine::twice(line.number, Some(name), first))
            }
            Ok(asked) => Taken::Item(asked.into_item(line.number)),
            Err(bad) => Taken::Bad(bad),
        });
        if batch.len() >= AHEAD || bytes >= AHEAD_BYTES {
            bytes = 0;
            if sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
        }
    }
    unchanged(&file)?;
    if !batch.is_empty() {
        let _ = sender.blocking_send(Ok(batch));
    }
    Ok(())
}

/// The output and the errors. Results are written as they come, and those that came meanwhile together; they are brought to the disk in
/// groups.
#[derive(Debug)]
pub(super) struct FileSink {
    queue: Sender<Put>,
    room: Arc<Semaphore>,
    journal: Arc<Journal>,
    trouble: Arc<Mutex<Option<Error>>>,
    writer: JoinHandle<[ResultFile; 2]>,
}

impl FileSink {
    pub(super) fn open(files: [ResultFile; 2], journal: Arc<Journal>, control: Arc<Control>) -> Self {
        let (queue, results) = channel();
        let (room, trouble) = (Arc::new(Semaphore::new(BEHIND)), Arc::<Mutex<Option<Error>>>::default());
        let writer = Writer { files, journal: journal.clone(), control };
        let (doors, told) = (room.clone(), trouble.clone());
        let writer = tokio::task::spawn_blocking(move || {
            let mut writer = writer;
            if let Err(error) = writer.write(&results) {
                *told.lock() = Some(error);
            }
            doors.close();
            writer.files
        });
        Self { queue, room, journal, trouble, writer }
    }

    /// Writes what is left, and brings it to the disk.
    pub(super) async fn close(self) -> Result<[ResultFile; 2], Error> {
        drop(self.queue);
        let files = self.writer.await;
        if let Some(error) = self.trouble.lock().take() {
            return Err(error);
        }
        files.map_err(|_| trouble::of("output", "a bug in trunkline: what writes the results panicked"))
    }

    fn broken(&self) -> Error {
        self.trouble.lock().clone().unwrap_or_else(Error::closed)
    }
}

impl Sink for FileSink {
    fn begin(&self, items: &[Item]) -> Result<(), Error> {
        let Some(last) = items.iter().map(|item| item.line).max() else { return Ok(()) };
        let begun = self.journal.change(|state| state.begun = state.begun.max(last));
        begun.map_err(|error| trouble::output(self.journal.path(), &error))
    }

    async fn put(&self, settled: Settled) -> Result<(), Error> {
        let bytes = settled.text.len().clamp(1, BEHIND) as u32;
        let permit = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.broken())?;
        self.queue.send(Put::Result(settled, permit)).map_err(|_| self.broken())
    }

    async fn flush(&self) -> Result<(), Error> {
        let (told, flushed) = oneshot::channel();
        self.queue.send(Put::Flush(told)).map_err(|_| self.broken())?;
        flushed.await.map_err(|_| self.broken())
    }
}

#[derive(Debug)]
enum Put {
    Result(Settled, OwnedSemaphorePermit),
    /// Told once all before it is on the disk.
    Flush(oneshot::Sender<()>),
}

struct Writer {
    files: [ResultFile; 2],
    journal: Arc<Journal>,
    control: Arc<Control>,
}

impl Writer {
    fn write(&mut self, results: &Receiver<Put>) -> Result<(), Error> {
        let mut unsynced: Option<Instant> = None;
        loop {
            let wait = unsynced.map_or(LONG, |since| SYNC.saturating_sub(since.elapsed()));
            match results.recv_timeout(wait) {
                Ok(first) => {
                    // A whole write is there already, or will be.
                    std::thread::sleep(GATHER);
                    let asked = self.put(first, results)?;
                    unsynced.get_or_insert_with(Instant::now);
                    if !asked.is_empty() {
                        self.sync()?;
                        unsynced = None;
                        for told in asked {
                            let _ = told.send(());
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
            if unsynced.is_some_and(|since| since.elapsed() >= SYNC) {
                self.sync()?;
                unsynced = None;
            }
        }
    }

    /// Writes one, and those that are there. Gives who is to be told once they are on the disk.
    fn put(&mut self, first: Put, results: &Receiver<Put>) -> Result<Vec<oneshot::Sender<()>>, Error> {
        let mut texts = [Vec::new(), Vec::new()];
        let mut counts = [0, 0];
        let (mut permits, mut asked) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(put) = next {
            match put {
                Put::Result(Settled { is_good, text, .. }, permit) => {
                    let at = usize::from(!is_good);
                    counts[at] += 1;
                    texts[at].extend_from_slice(&text);
                    permits.push(permit);
                }
                Put::Flush(told) => asked.push(told),
            }
            let bytes = texts[0].len() + texts[1].len();
            next = if bytes < WRITE { results.try_recv().ok() } else { None };
        }
        for ((file, text), count) in self.files.iter_mut().zip(texts).zip(counts) {
            file.append(&text, count)?;
        }
        Ok(asked)
    }

    fn sync(&mut self) -> Result<(), Error> {
        for ResultFile { path, file, .. } in &self.files {
            file.sync_data().map_err(|error| trouble::output(path, &error))?;
        }
        let (spent, on_disk) = (self.control.spent(), self.files.each_ref().map(|file| file.bytes));
        let written = self.journal.change(|state| {
            [state.output, state.errors] = on_disk;
            state.tokens = spent.tokens;
            state.picos = spent.usd.picos().to_string();
        });
        let synced = written.and_then(|()| self.journal.sync());
        synced.map_err(|error| trouble::output(self.journal.path(), &error))
    }
}

impl ResultFile {
    /// All of these lines, or as many whole ones as there was room for.
    fn append(&mut self, text: &[u8], lines: u64) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(text) {
            // What is behind the last whole line goes. If it cannot be cut off now, the next run does it.
            let there = self.file.metadata().map_or(self.bytes, |file| file.len());
            let written = text.len().min(there.saturating_sub(self.bytes) as usize);
            self.bytes += memrchr(b'\n', &text[..written]).map_or(0, |end| end as u64 + 1);
            let _ = self.file.set_len(self.bytes);
            return Err(trouble::output(&self.path, &error));
        }
        self.bytes += text.len() as u64;
        self.lines += lines;
        Ok(())
    }
}

/// Beside another file: the same name, with more behind it.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(more);
    path.with_file_name(name)
}

/// The names of new files, which are the folder's.
pub(super) fn sync_folder(file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not every system has that, and those that have not do it with the file.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
