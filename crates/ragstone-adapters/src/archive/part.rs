//! What is left of an archive that was not finished.
//!
//! Invariant: what is kept is whole, and is what the library still has: what was deleted meanwhile is cut off with all
//! that follows it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek};

use sha2::Sha256;

use super::walk::{Walk, Walked, check_entries, document_of};
use super::{DocumentRecord, EntryRecord, HEADER, Header, IndexRecord, Mark};

/// The beginning of an archive to go on from.
#[derive(Default)]
pub struct Kept {
    /// Its length.
    pub bytes: u64,
    /// Of those bytes.
    pub hash: Sha256,
    /// Documents that count.
    pub documents: Vec<(IndexRecord, Mark)>,
}

/// A whole document, and where it ends.
struct Found {
    record: IndexRecord,
    mark: Mark,
    end: u64,
    hash: Sha256,
}

/// What can be kept of `file`; nothing if it begins with another header.
pub fn part_of(file: &mut File, header: &Header, mut keep: impl FnMut(&Mark) -> bool) -> io::Result<Option<Kept>> {
    file.rewind()?;
    let mut walk = Walk::new(BufReader::new(&mut *file), String::new());
    let first = walk.next().ok().flatten();
    let begins = |first: &Walked| {
        first.record.name == HEADER && serde_json::from_slice::<Header>(&first.bytes).is_ok_and(|read| read == *header)
    };
    if !first.as_ref().is_some_and(begins) {
        return Ok(None);
    }
    let mut kept = Kept {
        bytes: walk.at,
        hash: walk.hash.clone(),
        documents: Vec::new(),
    };
    let found = documents(&mut walk);
    let last: HashMap<_, _> = found.iter().map(|found| (found.mark.id, found.record.number)).collect();
    for found in found {
        let counts = last[&found.mark.id] == found.record.number;
        if counts && !keep(&found.mark) {
            break;
        }
        (kept.bytes, kept.hash) = (found.end, found.hash);
        if counts {
            kept.documents.push((found.record, found.mark));
        }
    }
    Ok(Some(kept))
}

/// The whole documents, up to what is not whole.
fn documents(walk: &mut Walk<impl io::Read>) -> Vec<Found> {
    let (mut found, mut seen) = (Vec::new(), Vec::<EntryRecord>::new());
    while let Ok(Some(entry)) = walk.next() {
        let Some(number) = document_of(&entry.record.name) else {
            seen.push(entry.record);
            continue;
        };
        let Ok(record) = serde_json::from_slice::<DocumentRecord>(&entry.bytes) else {
            break;
        };
        if check_entries(&record.entries, &seen).is_err() {
            break;
        }
        seen.clear();
        found.push(Found {
            mark: Mark::of(&record.document),
            record: IndexRecord {
                number,
                id: record.document.id,
                chunks: record.document.chunks,
                record: entry.record,
            },
            end: walk.at,
            hash: walk.hash.clone(),
        });
    }
    found
}
