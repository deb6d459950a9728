//! Reads the entries of an archive in order, from its beginning.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::write::encode_hex;
use super::{
    ArchiveError, DOCUMENT, END, EntryRecord, HEADER, INDEX, MAX_IN_MEMORY, QUESTIONS, SETTINGS, SOURCES, tar,
};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// An entry that was read.
pub struct ArchiveEntry {
    /// Name, offset, size and hash of the entry.
    pub record: EntryRecord,
    /// Its contents, if it is one of the small entries held in memory; else empty.
    pub bytes: Vec<u8>,
    /// Hash state of everything before its header.
    pub hash_before: Sha256,
}

/// Reads entries one after the other.
pub struct EntryReader<R> {
    reader: R,
    path: String,
    /// Bytes read so far.
    pub at: u64,
    /// Running hash of all bytes read.
    pub hash: Sha256,
    piece: Vec<u8>,
}

impl<R: Read> EntryReader<R> {
    /// Starts at the first byte; errors name the file by `path`.
    pub fn new(reader: R, path: String) -> Self {
        Self {
            reader,
            path,
            at: 0,
            hash: Sha256::new(),
            piece: vec![0; PIECE],
        }
    }

    /// Reads the next entry; `None` at the end of the archive, which is verified.
    pub fn next_entry(&mut self) -> Result<Option<ArchiveEntry>, ArchiveError> {
        let (before, start) = (self.hash.clone(), self.at);
        let mut block = [0; tar::BLOCK];
        self.fill_buffer(&mut block, "a header")?;
        if block.iter().all(|byte| *byte == 0) {
            self.fill_buffer(&mut block, "its end")?;
            return match block.iter().all(|byte| *byte == 0) && self.is_at_end()? {
                true => Ok(None),
                false => Err(changed_error("something follows its end", start)),
            };
        }
        let Some((name, size)) = tar::decode_header(&block) else {
            return Err(changed_error("no entry begins there", start));
        };
        let offset = self.at;
        let (bytes, sha256) = self.read_contents(&name, size)?;
        let mut padding = [0; tar::BLOCK];
        let padding = &mut padding[..tar::padding_bytes(size)];
        self.fill_buffer(padding, &name)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(changed_error(&format!("what follows {name}"), offset + size));
        }
        let record = EntryRecord {
            name,
            offset,
            size,
            sha256,
        };
        Ok(Some(ArchiveEntry {
            record,
            bytes,
            hash_before: before,
        }))
    }

    fn read_contents(&mut self, name: &str, size: u64) -> Result<(Vec<u8>, String), ArchiveError> {
        let is_kept = is_held_in_memory(name);
        if is_kept && size > MAX_IN_MEMORY {
            return Err(changed_error(&format!("{name} is too large"), self.at));
        }
        let (mut hash, mut bytes, mut left) = (Sha256::new(), Vec::new(), size);
        while left > 0 {
            let mut piece = std::mem::take(&mut self.piece);
            let length = left.min(piece.len() as u64) as usize;
            let filled = self.fill_buffer(&mut piece[..length], name);
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
        Ok((bytes, encode_hex(&hash.finalize())))
    }

    fn fill_buffer(&mut self, bytes: &mut [u8], within: &str) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => {
                    return Err(ArchiveError::Truncated {
                        at: self.at + filled as u64,
                        within: within.to_owned(),
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.file_error(error)),
            }
        }
        self.hash.update(&*bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ArchiveError> {
        let mut one = [0];
        let read = self.reader.read(&mut one);
        read.map(|read| read == 0).map_err(|error| self.file_error(error))
    }

    fn file_error(&self, error: io::Error) -> ArchiveError {
        ArchiveError::File {
            path: self.path.clone(),
            error,
        }
    }
}

/// Whether an entry is read into memory.
fn is_held_in_memory(name: &str) -> bool {
    [HEADER, SOURCES, SETTINGS, QUESTIONS, INDEX, END].contains(&name) || document_number(name).is_some()
}

/// Number of the document whose record the entry is.
pub fn document_number(name: &str) -> Option<u64> {
    let (number, file) = name.strip_prefix("documents/")?.split_once('/')?;
    number.parse().ok().filter(|_| file == DOCUMENT)
}

/// Error for contents that do not match, at byte `at`.
pub fn changed_error(what: &str, at: u64) -> ArchiveError {
    ArchiveError::Changed {
        what: what.to_owned(),
        at,
    }
}

/// Compares the entries that a document's record lists with those read since the previous record.
pub fn check_entries(stated: &[EntryRecord], seen: &[EntryRecord]) -> Result<(), ArchiveError> {
    for entry in stated {
        match seen.iter().find(|seen| seen.name == entry.name) {
            Some(seen) if seen == entry => {}
            Some(seen) => return Err(changed_error(&seen.name, seen.offset)),
            None => return Err(changed_error(&format!("{} is missing", entry.name), entry.offset)),
        }
    }
    Ok(())
}
