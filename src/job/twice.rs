//! Names that stand in a file twice, found exactly and in bounded memory, however many there are.
//!
//! Each name leaves its hash and its place. What does not fit in memory goes to a file beside the output, in blocks, each of one part of all
//! hashes; in the end the parts are looked through one after the other. Equal hashes are no proof: the names are read again from the input
//! and compared.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::marks::Marks;

const PARTS: usize = 256;
/// What is held of all parts together: twelve megabytes.
const HELD: usize = 512 * 1024;
/// Numbers of first lines that are kept for messages.
const TOLD: usize = 10_000;
const BYTES: usize = 24;

#[derive(Debug)]
pub(super) struct Names {
    /// Its keys are nobody's to guess: no file makes all names fall into one part, but by one name in all lines, which is one entry of it.
    hasher: RandomState,
    parts: Vec<Part>,
    held: usize,
    most: usize,
    spill: Spill,
}

#[derive(Debug, Default)]
struct Part {
    held: Vec<Name>,
    /// Where its blocks begin in the file, and how many names each has.
    blocks: Vec<(u64, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    hash: u64,
    line: u64,
    offset: u64,
}

/// The lines whose name an earlier one has.
#[derive(Debug, Clone, Default)]
pub(super) struct Twice {
    lines: Marks,
    /// Of as many as are told: which one has it first.
    first: HashMap<u64, u64>,
}

impl Names {
    /// `spill`: the file for what does not fit. It is there no longer than this.
    pub(super) fn new(spill: PathBuf) -> Self {
        Self::holding(HELD, spill)
    }

    fn holding(most: usize, spill: PathBuf) -> Self {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        Self {
            hasher: RandomState::new(),
            parts,
            held: 0,
            most,
            spill: Spill { path: spill, file: None, end: 0 },
        }
    }

    /// A name, and where its line begins. Lines come in their order.
    pub(super) fn add(&mut self, name: &str, line: u64, offset: u64) -> io::Result<()> {
        let hash = self.hasher.hash_one(name);
        if let Some(part) = self.parts.get_mut((hash >> 56) as usize) {
            part.held.push(Name { hash, line, offset });
            self.held += 1;
        }
        if self.held >= self.most { self.make_room() } else { Ok(()) }
    }

    fn make_room(&mut self) -> io::Result<()> {
        for part in &mut self.parts {
            if !part.held.is_empty() {
                part.blocks.push((self.spill.put(&part.held)?, part.held.len()));
                part.held.clear();
            }
        }
        self.held = 0;
        Ok(())
    }

    /// `read` gives the name of the line that begins at an offset.
    pub(super) fn finish(
        mut self,
        mut read: impl FnMut(u64) -> io::Result<Option<Box<str>>>,
    ) -> io::Result<Twice> {
        let mut twice = Twice::default();
        for part in std::mem::take(&mut self.parts) {
            let mut seen = HashMap::new();
            // Different names of one hash: next to never is there one.
            let mut others: Vec<Name> = Vec::new();
            for (at, count) in part.blocks {
                for name in self.spill.get(at, count)? {
                    meet(name, &mut seen, &mut others, &mut twice, &mut read)?;
                }
            }
            for name in part.held {
                meet(name, &mut seen, &mut others, &mut twice, &mut read)?;
            }
        }
        Ok(twice)
    }
}

fn meet(
    name: Name,
    seen: &mut HashMap<u64, Name>,
    others: &mut Vec<Name>,
    twice: &mut Twice,
    read: &mut impl FnMut(u64) -> io::Result<Option<Box<str>>>,
) -> io::Result<()> {
    let first = match seen.entry(name.hash) {
        Slot::Vacant(slot) => {
            slot.insert(name);
            return Ok(());
        }
        Slot::Occupied(slot) => *slot.get(),
    };
    let text = read(name.offset)?;
    for known in std::iter::once(first).chain(others.iter().copied().filter(|known| known.hash == name.hash))
    {
        if read(known.offset)? == text {
            twice.lines.insert(name.line);
            if twice.first.len() < TOLD {
                twice.first.insert(name.line, known.line);
            }
            return Ok(());
        }
    }
    others.push(name);
    Ok(())
}

impl Twice {
    pub(super) fn contains(&self, line: u64) -> bool {
        self.lines.contains(line)
    }

    pub(super) fn len(&self) -> u64 {
        self.lines.len()
    }

    /// Which line has the name first, if that is still known.
    pub(super) fn first(&self, line: u64) -> Option<u64> {
        self.first.get(&line).copied()
    }

    /// The first lines that have a name twice.
    pub(super) fn some(&self, most: usize) -> Vec<u64> {
        let mut lines: Vec<_> = self.first.keys().copied().collect();
        lines.sort_unstable();
        lines.truncate(most);
        lines
    }
}

/// Made when it is needed, and gone with its owner.
#[derive(Debug)]
struct Spill {
    path: PathBuf,
    file: Option<File>,
    end: u64,
}

impl Spill {
    fn put(&mut self, names: &[Name]) -> io::Result<u64> {
        if self.file.is_none() {
            self.file = Some(open(&self.path)?);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        let mut bytes = Vec::with_capacity(names.len() * BYTES);
        for Name { hash, line, offset } in names {
            for number in [hash, line, offset] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let at = self.end;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes)?;
        self.end += bytes.len() as u64;
        Ok(at)
    }

    fn get(&mut self, at: u64, count: usize) -> io::Result<Vec<Name>> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        let mut bytes = vec![0; count * BYTES];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let name = |bytes: &[u8]| Name {
            hash: number(&bytes[..8]),
            line: number(&bytes[8..16]),
            offset: number(&bytes[16..]),
        };
        Ok(bytes.chunks_exact(BYTES).map(name).collect())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
}

impl Drop for Spill {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_stands_twice_is_found_in_whatever_room() {
        let path = std::env::temp_dir().join(format!("trunkline-twice-{}", std::process::id()));
        let names: Vec<String> = (0..5000).map(|n| format!("name-{}", n % 4000)).collect();
        for most in [1, 7, 600, HELD] {
            let mut all = Names::holding(most, path.clone());
            for (at, name) in names.iter().enumerate() {
                all.add(name, at as u64 + 1, at as u64).unwrap();
            }
            assert_eq!(path.exists(), most < HELD);
            let twice = all.finish(|offset| Ok(Some(names[offset as usize].as_str().into()))).unwrap();
            assert_eq!(twice.len(), 1000);
            assert!((1..=5000).all(|line| twice.contains(line) == (line > 4000)));
            assert_eq!(twice.first(4001), Some(1));
            assert_eq!(twice.some(2), [4001, 4002]);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_hash_that_two_names_share_is_looked_into_and_not_believed() {
        let (mut seen, mut others, mut twice) = (HashMap::new(), Vec::new(), Twice::default());
        let names = ["a", "b", "a", "b", "c"];
        for (at, _) in names.iter().enumerate() {
            let name = Name { hash: 1, line: at as u64 + 1, offset: at as u64 };
            let mut read = |offset: u64| Ok(Some(names[offset as usize].into()));
            meet(name, &mut seen, &mut others, &mut twice, &mut read).unwrap();
        }
        assert_eq!(twice.some(9), [3, 4]);
        assert_eq!((twice.first(3), twice.first(4)), (Some(1), Some(2)));
    }
}
