//! What two calls have in common that one answer serves: a SHA-256 of it all. No request is kept to be compared, since nobody has ever found
//! two texts of one hash; and whoever reads the memory of a cache reads no prompts in its keys.

use std::fmt;

use ring::digest::{Context, SHA256};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// A hash over parts that cannot run into each other: each has its length before it.
pub struct Digest(Context);

impl Digest {
    /// `what` tells hashes of different things apart.
    pub fn new(what: &str) -> Self {
        let mut digest = Self(Context::new(&SHA256));
        digest.part(b"trunkline 1");
        digest.part(what.as_bytes());
        digest
    }

    pub fn part(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    pub fn option(&mut self, part: Option<&[u8]>) {
        self.list(part);
    }

    pub fn list<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        for part in parts {
            self.part(b"+");
            self.part(part);
        }
        self.part(b".");
    }

    pub fn finish(self) -> Key {
        let mut key = [0; 32];
        // A SHA-256 has as many bytes.
        key.copy_from_slice(self.0.finish().as_ref());
        Key(key)
    }
}

impl Key {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As much as tells it from others in a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}
