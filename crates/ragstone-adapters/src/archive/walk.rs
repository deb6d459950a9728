//! Reading an archive from its beginning, entry after entry.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::write::hex;
use super::{
    ArchiveError, DOCUMENT, END, EntryRecord, HEADER, INDEX, MAX_IN_MEMORY, QUESTIONS, SETTINGS, SOURCES, tar,
};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// An entry that was read.
pub struct Walked {
    /// What it is.
    pub record: EntryRecord,
    /// Its bytes, of those that are small and meant to be read whole.
    pub bytes: Vec<u8>,
    /// SHA-256 of everything before its header.
    pub before: Sha256,
}

/// Reads entries one after the other.
pub struct Walk<R> {
    reader: R,
    path: String,
    /// Bytes read.
    pub at: u64,
    /// Of all of them.
    pub hash: Sha256,
    piece: Vec<u8>,
}

impl<R: Read> Walk<R> {
    /// From the first byte on; `path` names it in errors.
    pub fn new(reader: R, path: String) -> Self {
        Self {
            reader,
            path,
            at: 0,
            hash: Sha256::new(),
            piece: vec![0; PIECE],
        }
    }

    /// The next entry; none at the end, which is checked.
    pub fn next(&mut self) -> Result<Option<Walked>, ArchiveError> {
        let (before, start) = (self.hash.clone(), self.at);
        let mut block = [0; tar::BLOCK];
        self.fill(&mut block, "a header")?;
        if block.iter().all(|byte| *byte == 0) {
            self.fill(&mut block, "its end")?;
            return match block.iter().all(|byte| *byte == 0) && self.is_at_end()? {
                true => Ok(None),
                false => Err(changed("something follows its end", start)),
            };
        }
        let Some((name, size)) = tar::read(&block) else {
            return Err(changed("no entry begins there", start));
        };
        let offset = self.at;
        let (bytes, sha256) = self.contents(&name, size)?;
        let mut padding = [0; tar::BLOCK];
        let padding = &mut padding[..tar::padding(size)];
        self.fill(padding, &name)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(changed(&format!("what follows {name}"), offset + size));
        }
        let record = EntryRecord {
            name,
            offset,
            size,
            sha256,
        };
        Ok(Some(Walked { record, bytes, before }))
    }

    fn contents(&mut self, name: &str, size: u64) -> Result<(Vec<u8>, String), ArchiveError> {
        let is_kept = is_small(name);
        if is_kept && size > MAX_IN_MEMORY {
            return Err(changed(&format!("{name} is too large"), self.at));
        }
        let (mut hash, mut bytes, mut left) = (Sha256::new(), Vec::new(), size);
        while left > 0 {
            let mut piece = std::mem::take(&mut self.piece);
            let length = left.min(piece.len() as u64) as usize;
            let filled = self.fill(&mut piece[..length], name);
            if filled.is_ok() {
                hash.update(&piece[..length]);
                if is_kept {
                    bytes.extend_from_slice(&piece[..length]);
                }
            }
            self.piece = piece;
            filled?;
            left -= length as u64;
        }
        Ok((bytes, hex(&hash.finalize())))
    }

    fn fill(&mut self, bytes: &mut [u8], within: &str) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => {
                    return Err(ArchiveError::CutOff {
                        at: self.at + filled as u64,
                        within: within.to_owned(),
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.hash.update(&*bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ArchiveError> {
        let mut one = [0];
        let read = self.reader.read(&mut one);
        read.map(|read| read == 0).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ArchiveError {
        ArchiveError::File {
            path: self.path.clone(),
            error,
        }
    }
}

/// Whether an entry is read whole.
fn is_small(name: &str) -> bool {
    [HEADER, SOURCES, SETTINGS, QUESTIONS, INDEX, END].contains(&name) || document_of(name).is_some()
}

/// The number of the document whose record an entry is.
pub fn document_of(name: &str) -> Option<u64> {
    let (number, file) = name.strip_prefix("documents/")?.split_once('/')?;
    number.parse().ok().filter(|_| file == DOCUMENT)
}

/// Something does not fit.
pub fn changed(what: &str, at: u64) -> ArchiveError {
    ArchiveError::Changed {
        what: what.to_owned(),
        at,
    }
}

/// Compares what a document's record says of its entries with what was read since the record before.
pub fn check_entries(stated: &[EntryRecord], seen: &[EntryRecord]) -> Result<(), ArchiveError> {
    for entry in stated {
        match seen.iter().find(|seen| seen.name == entry.name) {
            Some(seen) if seen == entry => {}
            Some(seen) => return Err(changed(&seen.name, seen.offset)),
            None => return Err(changed(&format!("{} is missing", entry.name), entry.offset)),
        }
    }
    Ok(())
}
