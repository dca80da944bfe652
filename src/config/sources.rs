//! The files that something was read from, and what they held: so that it can be seen when they hold something else.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hasher as _},
    io::Read as _,
    path::{Path, PathBuf},
};

/// The largest file that is looked at again, in bytes; a larger one counts as changed.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Files, with checksums of what they held. What they held cannot be had from them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<PathBuf, u64>);

impl fmt::Debug for Sources {
    /// The checksum of a short key would give it away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Sources {
    /// A file was read, and held that.
    pub fn add(&mut self, path: &Path, contents: &[u8]) {
        self.0.insert(path.to_owned(), checksum(contents));
    }

    /// Whether any of the files holds something else now, is gone, or cannot be read. Reads them all.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, then)| read(path).is_none_or(|now| checksum(&now) != *then))
    }
}

/// The content of a regular file; anything else might never end.
fn read(path: &Path) -> Option<Vec<u8>> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut contents = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut contents).ok()?;
    Some(contents)
}

/// Fit to see an accident or a change, not a forgery: whoever can write the files needs none.
fn checksum(contents: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(contents);
    hasher.finish()
}
