//! What of a job is in no result: which input it is of, how far it had begun, and how much of its results is known to be on the disk. A
//! small file beside the output, and the lock on it.
//!
//! It has two slots that are written in turn, each with a sum over it: whatever ends the process or the machine while one is written, the
//! other is whole. A slot is handed to the system before the requests go that it speaks for, so that nothing that ends the process loses
//! it, and brought to the disk with the results.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::trouble;
use crate::error::Error;

const SLOT: usize = 512;
const SUM: usize = 16;
const VERSION: u32 = 1;
/// Whoever had the lock before may be just about to end.
const PATIENCE: Duration = Duration::from_millis(10);
const TRIES: u32 = 50;

/// What is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    version: u32,
    turn: u64,
    /// The input's SHA-256, in hexadecimal; empty before it is known.
    pub(super) input: String,
    /// The last line whose call this run has begun; 0 where none of this run can be under way.
    pub(super) begun: u64,
    /// Calls that were under way when runs before this one were cut off, together.
    pub(super) cut_off: u64,
    /// Bytes of the output, and of the errors, that are on the disk.
    pub(super) output: u64,
    pub(super) errors: u64,
    /// Tokens in and out, and picodollars, of all runs.
    pub(super) tokens: [u64; 2],
    pub(super) picos: String,
    /// Whether nothing is left to be done.
    pub(super) is_done: bool,
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    /// Whether there was one before.
    pub(super) is_old: bool,
}

impl Journal {
    /// Opens a journal, or makes it, and keeps others from it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let refused = |error: io::Error| trouble::output(path, &error);
        let mut was_done = false;
        for _ in 0..TRIES {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(refused)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(PATIENCE);
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(refused)?;
            let mut state = newest(&text);
            if state.as_ref().is_some_and(|state| state.is_done) {
                // It has gone from where it was opened, unless its owner was cut off just there.
                if !was_done {
                    was_done = true;
                    continue;
                }
                state = None;
            }
            let is_old = state.is_some();
            let state = state.unwrap_or_else(|| State { version: VERSION, ..State::default() });
            if state.version != VERSION {
                let message = format!("{} is of another version of this package", path.display());
                return Err(trouble::of("version", message));
            }
            return Ok(Self { path: path.to_owned(), file, state: Mutex::new(state), is_old });
        }
        let message = format!("another process works on this output: it has the lock on {}", path.display());
        Err(trouble::of("locked", message))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Writes a change down: to the system, and not yet to the disk.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.lock();
        change(&mut state);
        state.turn += 1;
        let at = (state.turn % 2) * SLOT as u64;
        write_at(&self.file, &slot_of(&state), at)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Nothing is left to be done: the results speak for themselves.
    pub(super) fn remove(self) -> io::Result<()> {
        self.change(|state| state.is_done = true)?;
        fs::remove_file(&self.path)
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// The journal's own lock is held, so nobody else moves the place.
#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

fn newest(text: &[u8]) -> Option<State> {
    let slots = text.chunks_exact(SLOT).filter_map(|slot| {
        let (sum, json) = std::str::from_utf8(slot).ok()?.split_at_checked(SUM)?;
        let json = json.trim();
        (sum == sum_of(json.as_bytes())).then(|| serde_json::from_str::<State>(json).ok())?
    });
    slots.max_by_key(|state| state.turn)
}

fn slot_of(state: &State) -> [u8; SLOT] {
    let mut slot = [b' '; SLOT];
    slot[SLOT - 1] = b'\n';
    let (sum, json) = slot.split_at_mut(SUM);
    let mut rest = &mut json[..SLOT - SUM - 1];
    let room = rest.len();
    // A type of strings and numbers always has a text, and this one's has room.
    let _ = serde_json::to_writer(&mut rest, state);
    let length = room - rest.len();
    sum.copy_from_slice(sum_of(&json[..length]).as_bytes());
    slot
}

/// FNV-1a, 64 bits: a slot is written before each call, and only accidents are to be seen by it.
fn sum_of(json: &[u8]) -> String {
    let sum = json
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> State {
        State {
            version: VERSION,
            turn: u64::MAX,
            input: "f".repeat(64),
            begun: u64::MAX,
            cut_off: u64::MAX,
            output: u64::MAX,
            errors: u64::MAX,
            tokens: [u64::MAX; 2],
            picos: u128::MAX.to_string(),
            is_done: false,
        }
    }

    #[test]
    fn a_slot_has_room_for_the_longest_state() {
        assert_eq!(newest(&slot_of(&longest())), Some(longest()));
    }

    #[test]
    fn a_slot_that_was_cut_off_while_it_was_written_leaves_the_other() {
        let mut older = longest();
        older.turn -= 1;
        for cut in 0..SLOT {
            let mut text = slot_of(&older).to_vec();
            text.extend_from_slice(&slot_of(&longest()));
            text[SLOT + cut..].fill(0);
            let read = newest(&text).unwrap();
            assert!(read == older || read == longest(), "{cut}");
        }
    }

    #[test]
    fn two_do_not_have_one_output_and_the_next_goes_on_where_the_last_one_was() {
        let path = std::env::temp_dir().join(format!("trunkline-journal-{}", std::process::id()));
        let journal = Journal::open(&path).unwrap();
        assert!(!journal.is_old);
        journal.change(|state| state.begun = 7).unwrap();
        let refused = Journal::open(&path).unwrap_err();
        assert!(refused.message.contains("another process"), "{refused}");
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!((journal.is_old, journal.state().begun), (true, 7));
        journal.remove().unwrap();
        assert!(!path.exists());
    }
}
