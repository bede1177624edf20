//! The file in which the state of budgets outlives the process: lines of JSON, each after a sum over it by which it is known to be whole.
//!
//! A line is written, in one piece and to the system, before the request goes that it speaks for, and when the attempt has ended. So whatever
//! ends the process (`kill -9`), nothing is lost: what was spoken for and never given back counts as spent. The system writes to the disk when it
//! sees fit; what a machine loses whose power fails is the last seconds.
//!
//! From time to time, and when it is opened, it is written anew: beside it first and to the disk, and then in its place. So of that part all is
//! there, whatever ended the process or the machine; its first line says how many lines it has. Only what was appended behind it may end in a line
//! that was never ended. A file that is otherwise, or empty, is damaged: it is set aside under another name, and what can be read of it counts. A lock
//! (`….lock` beside it) keeps other processes out.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::policy::money::{Amount, Limits, Numbers, Purse, Scope, Usd};

/// It is written anew once it has so many bytes more than after the last time.
const ROOM: u64 = 4 * 1024 * 1024;
/// Another store of this process may just be letting go of the lock.
const PATIENCE: Duration = Duration::from_millis(5);
const TRIES: u32 = 20;

#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// Held for as long as there is this.
    _lock: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    /// What the file says.
    purse: Purse,
    /// What is spoken for, by its number.
    open: HashMap<u64, Record>,
    next: u64,
    /// Bytes since it was written anew.
    grown: u64,
    /// That the file was damaged when it was opened.
    damaged: Option<String>,
    /// Why the last line could not be written. Until one can, the file says less than there is.
    unwritable: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// The first of a file. `lines`: how many came with it when the file was written anew.
    Begin {
        version: u32,
        #[serde(default)]
        lines: usize,
    },
    /// What was spent before the file was written anew: by hour, day and month, the number of the last one and how much.
    Before { of: String, hour: (u32, Record), day: (u32, Record), month: (u32, Record) },
    Held {
        id: u64,
        #[serde(flatten)]
        what: Record,
    },
    Paid {
        #[serde(flatten)]
        what: Record,
    },
    /// What was held is given back.
    Done { id: u64 },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "is_zero")]
    at: u64,
    /// In picodollars. A text: it may be more than JSON's numbers are read as.
    #[serde(default)]
    usd: String,
    #[serde(default)]
    tokens: u64,
    /// `all`, `model:…` and `tenant:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    of: Vec<String>,
}

const VERSION: u32 = 1;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl StateFile {
    /// Opens a file, or makes it, and says what was spent.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<(Self, Purse), String> {
        let lock = lock(path)?;
        let text = match fs::read(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let (mut purse, damage) = text.map(|text| read(&text)).unwrap_or_default();
        let problem = damage.map(|damage| set_aside(path, &damage, now)).transpose()?;
        if let Some(problem) = &problem {
            tracing::error!(target: "trunkline::budget", "{problem}");
        }
        let file =
            anew(path, &purse, &HashMap::new()).map_err(|error| format!("cannot be written: {error}"))?;
        let given = std::mem::take(&mut purse);
        let (mut purse, mut mine) = (Purse::default(), Purse::default());
        for (scope, windows) in given.rows() {
            purse.restore(scope.clone(), *windows);
            mine.restore(scope.clone(), *windows);
        }
        let written = Written {
            file,
            purse: mine,
            open: HashMap::new(),
            next: 1,
            grown: 0,
            damaged: problem,
            unwritable: None,
        };
        Ok((Self { path: path.to_owned(), _lock: lock, written: Mutex::new(written) }, purse))
    }

    /// Something is spoken for; gives its number.
    pub(super) fn held(&self, limits: &Limits, amount: Amount, now: SystemTime) -> u64 {
        let what = Record::of(limits, amount, now);
        let mut written = self.written.lock();
        let id = written.next;
        written.next += 1;
        written.open.insert(id, what.clone());
        self.write(&mut written, &Line::Held { id, what });
        id
    }

    pub(super) fn done(&self, id: u64) {
        let mut written = self.written.lock();
        written.open.remove(&id);
        self.write(&mut written, &Line::Done { id });
    }

    pub(super) fn paid(&self, limits: &Limits, amount: Amount, now: SystemTime) {
        let what = Record::of(limits, amount, now);
        let mut written = self.written.lock();
        for scope in limits.scopes() {
            written.purse.spend(scope, amount, Numbers::at(now));
        }
        self.write(&mut written, &Line::Paid { what });
    }

    /// Whether nothing is spoken for.
    pub(super) fn is_quiet(&self) -> bool {
        self.written.lock().open.is_empty()
    }

    pub(super) fn problem(&self) -> Option<String> {
        let written = self.written.lock();
        written.unwritable.clone().or_else(|| written.damaged.clone())
    }

    /// One line more. What goes wrong is told; the calls go on, and what they cost is known in memory.
    fn write(&self, written: &mut Written, line: &Line) {
        let text = text_of(line);
        written.grown += text.len() as u64;
        let ended = if written.unwritable.is_some() || written.grown > ROOM {
            self.renew(written)
        } else {
            written.file.write_all(text.as_bytes())
        };
        let unwritable = ended.err().map(|error| format!("{UNWRITABLE} {}: {error}", self.path.display()));
        if let Some(problem) = unwritable.as_ref().filter(|_| written.unwritable.is_none()) {
            tracing::error!(target: "trunkline::budget", "{problem}");
        }
        written.unwritable = unwritable;
    }

    fn renew(&self, written: &mut Written) -> io::Result<()> {
        written.file = anew(&self.path, &written.purse, &written.open)?;
        written.grown = 0;
        Ok(())
    }
}

const UNWRITABLE: &str = "the state of the budget cannot be written to";

/// Whoever ends well leaves nothing spoken for to be read, and what it wrote on the disk.
impl Drop for StateFile {
    fn drop(&mut self) {
        let mut written = self.written.lock();
        if let Err(error) = self.renew(&mut written) {
            tracing::error!(target: "trunkline::budget", "{UNWRITABLE} {}: {error}", self.path.display());
        }
    }
}

impl Record {
    fn of(limits: &Limits, amount: Amount, now: SystemTime) -> Self {
        let at = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { at, of: limits.scopes().map(Scope::to_string).collect(), ..Self::plain(amount) }
    }

    fn plain(amount: Amount) -> Self {
        Self { usd: amount.usd.picos().to_string(), tokens: amount.tokens, ..Self::default() }
    }

    fn amount(&self) -> Option<Amount> {
        Some(Amount { usd: Usd::from_picos(self.usd.parse().ok()?), tokens: self.tokens })
    }

    /// Enters it as spent.
    fn spend(&self, purse: &mut Purse) -> Option<()> {
        let amount = self.amount()?;
        for scope in &self.of {
            purse.spend(&scope_of(scope)?, amount, Numbers::at_second(self.at));
        }
        Some(())
    }
}

fn scope_of(name: &str) -> Option<Scope> {
    match name.split_once(':') {
        None => (name == "all").then_some(Scope::All),
        Some(("model", name)) => Some(Scope::Model(name.into())),
        Some(("tenant", name)) => Some(Scope::Tenant(name.into())),
        Some(_) => None,
    }
}

fn text_of(line: &Line) -> String {
    // A type of texts and numbers always has a text.
    let json = serde_json::to_string(line).unwrap_or_default();
    format!("{:08x} {json}\n", sum_of(json.as_bytes()))
}

/// FNV-1a, 32 bits (Fowler, Noll and Vo): against accidents, and not against anybody who means harm.
fn sum_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// How a file is not as it was written.
#[derive(Debug, PartialEq)]
enum Damage {
    /// What is written is never empty.
    Empty,
    /// So many of its lines cannot be read, or are no longer there.
    Lines(usize),
}

/// What a file says was spent, and what is wrong with it. The last line may be torn, if it was appended: whoever wrote it did not live to end it.
fn read(text: &[u8]) -> (Purse, Option<Damage>) {
    let (mut purse, mut open, mut wrong) = (Purse::default(), HashMap::new(), 0);
    if text.is_empty() {
        return (purse, Some(Damage::Empty));
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<_> = text[..whole].split_inclusive(|byte| *byte == b'\n').collect();
    match lines.first().and_then(|line| parse(line)) {
        Some(Line::Begin { version: VERSION, lines: promised }) => {
            wrong += (promised + 1).saturating_sub(lines.len());
        }
        _ => wrong += 1,
    }
    for line in lines.iter().skip(1) {
        let entered = parse(line).and_then(|line| enter(line, &mut purse, &mut open));
        wrong += usize::from(entered.is_none());
    }
    for what in open.into_values() {
        wrong += usize::from(what.spend(&mut purse).is_none());
    }
    (purse, (wrong > 0).then_some(Damage::Lines(wrong)))
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == sum_of(json.as_bytes());
    serde_json::from_str(json).ok().filter(|_| is_whole)
}

fn enter(line: Line, purse: &mut Purse, open: &mut HashMap<u64, Record>) -> Option<()> {
    match line {
        Line::Begin { .. } => return None,
        Line::Before { of, hour, day, month } => {
            let [hour, day, month] = [hour, day, month].map(|(number, what)| Some((number, what.amount()?)));
            purse.restore(scope_of(&of)?, [hour?, day?, month?]);
        }
        Line::Held { id, what } => {
            open.insert(id, what);
        }
        Line::Paid { what } => what.spend(purse)?,
        Line::Done { id } => {
            open.remove(&id);
        }
    }
    Some(())
}

/// Writes the file anew: beside it first and to the disk, and then in its place. Gives it to be written on.
fn anew(path: &Path, purse: &Purse, open: &HashMap<u64, Record>) -> io::Result<File> {
    let mut text = String::new();
    for (scope, windows) in purse.rows() {
        let [hour, day, month] = windows.map(|(number, amount)| (number, Record::plain(amount)));
        text.push_str(&text_of(&Line::Before { of: scope.to_string(), hour, day, month }));
    }
    for (id, what) in open {
        text.push_str(&text_of(&Line::Held { id: *id, what: what.clone() }));
    }
    let begin = Line::Begin { version: VERSION, lines: text.lines().count() };
    let text = text_of(&begin) + &text;
    let beside = with(path, ".new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&beside)?;
    file.write_all(text.as_bytes())?;
    // On the disk before it has the name: or a power cut may leave the name with nothing behind it.
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(file)
}

/// Gives a damaged file a name that no other has, and says so.
fn set_aside(path: &Path, damage: &Damage, now: SystemTime) -> Result<String, String> {
    let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut names = (0..1000).map(|n| with(path, &format!(".corrupt-{}", millis + n)));
    let name = names.find(|name| !name.exists()).unwrap_or_else(|| with(path, ".corrupt"));
    fs::rename(path, &name).map_err(|error| format!("is damaged, and cannot be set aside: {error}"))?;
    let (path, name) = (path.display(), name.display());
    Ok(match damage {
        Damage::Empty => {
            format!(
                "the budget's state in {path} is empty; it was set aside as {name}, and what was spent before is not known"
            )
        }
        Damage::Lines(wrong) => format!(
            "{wrong} lines of the budget's state in {path} cannot be read; it was set aside as {name}, and what the others say was spent counts"
        ),
    })
}

/// Keeps other processes out.
fn lock(path: &Path) -> Result<File, String> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(with(path, ".lock"));
    let lock = lock.map_err(|error| format!("cannot be opened: {error}"))?;
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PATIENCE),
            Err(TryLockError::Error(error)) => return Err(format!("cannot be locked: {error}")),
        }
    }
    Err("is in use by another process; give each process a file of its own".to_owned())
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
