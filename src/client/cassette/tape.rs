//! What is in a file, shared by all who use it in this process: recordings in the order of asking, and when they are written.
//!
//! A recording is on the disk before its answer ends for whoever asked. Where many end at once they wait for one writing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::file::{self, Answer, Interaction, Request, Stamp};
use super::miss::miss;
use crate::config::CassetteMode as Mode;
use crate::error::Error;
use crate::pool::Tasks;

/// After a writing that took so long, for as many times as long none follows, but no longer than [`LONGEST_PAUSE`]: calls wait for it.
const PAUSE: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// By their files.
static TAPES: LazyLock<Mutex<HashMap<PathBuf, Weak<Tape>>>> = LazyLock::new(Mutex::default);

/// A file and what is in it.
pub(super) struct Tape {
    path: PathBuf,
    state: Mutex<State>,
    /// Told whenever a recording ends, and whenever the file was written.
    changed: Notify,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// The number of the next slot: they grow with time.
    next: u64,
    /// Recordings under way.
    pending: usize,
    /// Whether there is something that the file has not.
    is_dirty: bool,
    /// Whether a task will write it.
    is_scheduled: bool,
    /// Grows with each recording; and what it was when the file was last written, or was tried to be.
    version: u64,
    tried: u64,
    /// Whether what the file has is to be replaced, and has not been yet.
    is_anew: bool,
    /// Whether it was replaced in this process.
    was_replaced: bool,
    /// What was ever read or written: whatever else the file has, another process has written.
    known: HashSet<u64>,
    stamp: Option<Stamp>,
    /// When it was last written, and how long that took.
    written: Option<(Instant, Duration)>,
    /// Why it could not be written the last time.
    failure: Option<Error>,
}

/// A place for a recording. It is taken by who asks, so that the file is in the order of asking.
struct Slot {
    number: u64,
    /// Whose cassette it was recorded with; 0 for what was in the file.
    owner: u64,
    request: Arc<Request>,
    /// None while it is under way.
    recording: Option<Interaction>,
}

/// How far the requests of one cassette have come.
pub(super) struct Position {
    pub(super) owner: u64,
    /// What has a lower number was there when the cassette was opened.
    since: u64,
    /// How often each was asked.
    asked: Mutex<HashMap<Arc<Request>, usize>>,
}

/// What there is for a request.
pub(super) enum Found {
    Answer(Arc<Answer>),
    /// Nothing: it is to be recorded.
    Blank(Recording),
}

/// What is told when a recording is written.
pub(super) type Saving = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The right to record one answer. Dropped unused, there is none.
pub(super) struct Recording {
    tape: Arc<Tape>,
    tasks: Tasks,
    slot: u64,
    /// Whether it takes the place of another.
    replaces: bool,
    request: Arc<Request>,
    is_done: bool,
}

impl Tape {
    /// The tape of this file, read anew unless recordings are under way.
    pub(super) fn open(path: &Path, mode: Mode, owner: u64) -> Result<(Arc<Self>, Position), Error> {
        let mut tapes = TAPES.lock();
        let known = tapes.get(path).and_then(Weak::upgrade);
        let tape = known.unwrap_or_else(|| {
            Arc::new(Self { path: path.to_owned(), state: Mutex::default(), changed: Notify::new() })
        });
        let since = {
            let mut state = tape.state.lock();
            if state.pending == 0 && !state.is_dirty && !state.is_anew {
                state.load(path)?;
                if mode == Mode::Record && !state.was_replaced {
                    state.is_anew = !state.slots.is_empty();
                    state.slots.clear();
                }
            }
            state.next
        };
        tapes.retain(|_, tape| tape.strong_count() > 0);
        tapes.insert(path.to_owned(), Arc::downgrade(&tape));
        Ok((tape, Position { owner, since, asked: Mutex::default() }))
    }

    /// What a request finds. The n-th of equal ones finds the n-th recording, and those behind the last one find that.
    pub(super) fn ask(
        self: &Arc<Self>,
        mode: Mode,
        position: &Position,
        request: Request,
        tasks: &Tasks,
    ) -> Result<Found, Error> {
        let request = Arc::new(request);
        let before = {
            let mut asked = position.asked.lock();
            let count = asked.entry(request.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let mut state = self.state.lock();
        // What its reader left counts only where there is nothing whole.
        let recorded: Vec<(u64, u64, &Interaction)> = state
            .slots
            .iter()
            .filter(|slot| slot.request == request)
            .filter_map(|slot| Some((slot.number, slot.owner, slot.recording.as_ref()?)))
            .collect();
        let whole: Vec<_> =
            recorded.iter().filter(|(_, _, recording)| !recording.answer.cut).copied().collect();
        let recorded = if whole.is_empty() { recorded } else { whole };
        let replayed = match mode {
            Mode::Replay => recorded,
            Mode::Auto => recorded.into_iter().filter(|(number, ..)| *number < position.since).collect(),
            Mode::Record => {
                // Those of another cassette of this process, which has recorded the same: the newest stays.
                let others: Vec<_> =
                    recorded.iter().filter(|(_, owner, _)| *owner != position.owner).collect();
                let replaced = others.get(before).map(|(number, ..)| *number);
                return Ok(Found::Blank(self.begin(&mut state, position.owner, request, replaced, tasks)));
            }
        };
        match replayed.get(before).or(replayed.last()) {
            Some((_, _, recording)) => Ok(Found::Answer(recording.answer.clone())),
            None if mode == Mode::Replay => {
                let recorded = state.slots.iter().filter_map(|slot| slot.recording.as_ref());
                Err(miss(&self.path, &request, recorded.map(|recording| &recording.request)))
            }
            None => Ok(Found::Blank(self.begin(&mut state, position.owner, request, None, tasks))),
        }
    }

    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        owner: u64,
        request: Arc<Request>,
        replaced: Option<u64>,
        tasks: &Tasks,
    ) -> Recording {
        state.pending += 1;
        let slot = replaced.unwrap_or_else(|| {
            let number = state.number();
            state.slots.push(Slot { number, owner, request: request.clone(), recording: None });
            number
        });
        let replaces = replaced.is_some();
        Recording { tape: self.clone(), tasks: tasks.clone(), slot, replaces, request, is_done: false }
    }

    /// Waits for recordings under way, but no longer than this, and writes what is not written.
    pub(super) async fn settle(&self, limit: Duration) -> Result<(), Error> {
        let none_pending = self.until(|state| state.pending == 0);
        // Whoever is later is written later.
        let _ = tokio::time::timeout(limit, none_pending).await;
        self.write()
    }

    /// Waits until this version is written.
    async fn written(&self, version: u64) -> Result<(), Error> {
        self.until(|state| state.tried >= version).await;
        self.state.lock().told()
    }

    async fn until(&self, condition: impl Fn(&State) -> bool + Send) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Writes what is not written, and tells of what could not be.
    fn write(&self) -> Result<(), Error> {
        let told = {
            let mut state = self.state.lock();
            if !state.is_dirty {
                return Ok(());
            }
            state.write(&self.path);
            state.told()
        };
        self.changed.notify_waiters();
        told
    }

    /// A recording has come to its end. Some where it is not written yet, and will be.
    fn finish(self: &Arc<Self>, recording: &Recording, answer: Answer) -> Result<Option<Saving>, Error> {
        let interaction = Interaction::new(recording.request.clone(), Arc::new(answer));
        let mut state = self.state.lock();
        let State { slots, is_dirty, .. } = &mut *state;
        let is_same = |slot: &Slot| slot.request == recording.request && slot.recording.is_some();
        if interaction.answer.cut && slots.iter().any(is_same) {
            // There is something better, or as good.
            slots.retain(|slot| slot.number != recording.slot || slot.recording.is_some());
            return Ok(None);
        }
        if !interaction.answer.cut {
            let is_cut = |slot: &Slot| slot.recording.as_ref().is_some_and(|recording| recording.answer.cut);
            slots.retain(|slot| slot.number == recording.slot || !(is_cut(slot) && is_same(slot)));
        }
        match slots.iter_mut().find(|slot| slot.number == recording.slot) {
            Some(slot) => slot.recording = Some(interaction),
            None => return Ok(None),
        }
        *is_dirty = true;
        state.version += 1;
        let Some(due) = state.due() else {
            drop(state);
            return self.write().map(|()| None);
        };
        let (version, tape) = (state.version, self.clone());
        if !std::mem::replace(&mut state.is_scheduled, true) {
            let tape = self.clone();
            recording.tasks.spawn("cassette", async move {
                tokio::time::sleep_until(due).await;
                tape.state.lock().is_scheduled = false;
                // Who waits for it is told.
                let _ = tape.write();
            });
        }
        Ok(Some(Box::pin(async move { tape.written(version).await })))
    }
}

impl Recording {
    /// Puts the answer into the file.
    pub(super) fn finish(mut self, answer: Answer) -> Result<Option<Saving>, Error> {
        self.is_done = true;
        let tape = self.tape.clone();
        tape.finish(&self, answer)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut state = self.tape.state.lock();
        state.pending = state.pending.saturating_sub(1);
        if !self.is_done && !self.replaces {
            state.slots.retain(|slot| slot.number != self.slot);
        }
        drop(state);
        self.tape.changed.notify_waiters();
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes whatever of this process is not written: it ends.
pub(super) fn write_all() {
    let tapes: Vec<_> = TAPES.lock().values().filter_map(Weak::upgrade).collect();
    for tape in tapes {
        // Nobody is there to be told.
        let _ = tape.write();
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn load(&mut self, path: &Path) -> Result<(), Error> {
        if self.stamp.is_some() && self.stamp == file::stamp(path) {
            return Ok(());
        }
        let (interactions, stamp) = file::read(path)?;
        self.stamp = stamp;
        self.slots.clear();
        for interaction in interactions {
            self.add(interaction);
        }
        Ok(())
    }

    /// Takes in what was read from the file.
    fn add(&mut self, interaction: Interaction) {
        self.known.insert(interaction.hash);
        let number = self.number();
        let request = interaction.request.clone();
        self.slots.push(Slot { number, owner: 0, request, recording: Some(interaction) });
    }

    /// When it may be written again; None for now.
    fn due(&self) -> Option<Instant> {
        let (when, took) = self.written?;
        let due = when + (took * PAUSE).min(LONGEST_PAUSE);
        (due > Instant::now()).then_some(due)
    }

    fn write(&mut self, path: &Path) {
        let began = Instant::now();
        match self.try_write(path) {
            Ok(()) => (self.is_dirty, self.failure) = (false, None),
            Err(error) => self.failure = Some(error),
        }
        let now = Instant::now();
        self.written = Some((now, now - began));
        self.tried = self.version;
    }

    /// Whether the last writing went well.
    fn told(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn try_write(&mut self, path: &Path) -> Result<(), Error> {
        let now = file::stamp(path);
        if now.is_some() && now != self.stamp {
            // Another process was here. What it has recorded stays; a file that cannot be read is not overwritten.
            let (interactions, _) = file::read(path)?;
            for interaction in interactions {
                if !self.known.contains(&interaction.hash) {
                    self.add(interaction);
                }
            }
        }
        let recordings = || self.slots.iter().filter_map(|slot| slot.recording.as_ref());
        let stamp = file::save(path, recordings()).map_err(|error| {
            Error::config(format!("cassette: {} cannot be written: {error}", path.display()))
        })?;
        let hashes: Vec<u64> = recordings().map(|recording| recording.hash).collect();
        self.known.extend(hashes);
        self.stamp = stamp;
        (self.is_anew, self.was_replaced) = (false, true);
        Ok(())
    }
}
