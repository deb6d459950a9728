//! Finds the reusable part of an unfinished archive.
//!
//! Invariant: the reused documents are complete and still in the library; at the first one that is not, the file is
//! cut off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek};

use sha2::Sha256;

use super::walk::{ArchiveEntry, EntryReader, check_entries, document_number};
use super::{ArchiveHeader, DocumentRecord, EntryRecord, HEADER, IndexRecord, VersionStamp};

/// The beginning of an archive that can be continued.
#[derive(Default)]
pub struct ReusablePrefix {
    /// Length of the prefix in bytes.
    pub bytes: u64,
    /// Hash state of those bytes.
    pub hash: Sha256,
    /// Documents that count, with the state in which they were written.
    pub documents: Vec<(IndexRecord, VersionStamp)>,
}

/// A complete document, and where it ends.
struct CompleteDocument {
    record: IndexRecord,
    mark: VersionStamp,
    end: u64,
    hash: Sha256,
}

/// Finds what can be reused of `file`; nothing if it begins with another header.
pub fn find_reusable_prefix(
    file: &mut File,
    header: &ArchiveHeader,
    mut keep: impl FnMut(&VersionStamp) -> bool,
) -> io::Result<Option<ReusablePrefix>> {
    file.rewind()?;
    let mut walk = EntryReader::new(BufReader::new(&mut *file), String::new());
    let first = walk.next_entry().ok().flatten();
    let begins = |first: &ArchiveEntry| {
        first.record.name == HEADER
            && serde_json::from_slice::<ArchiveHeader>(&first.bytes).is_ok_and(|read| read == *header)
    };
    if !first.as_ref().is_some_and(begins) {
        return Ok(None);
    }
    let mut kept = ReusablePrefix {
        bytes: walk.at,
        hash: walk.hash.clone(),
        documents: Vec::new(),
    };
    let found = read_complete_documents(&mut walk);
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

/// Reads the complete documents up to the first incomplete one.
fn read_complete_documents(walk: &mut EntryReader<impl io::Read>) -> Vec<CompleteDocument> {
    let (mut found, mut seen) = (Vec::new(), Vec::<EntryRecord>::new());
    while let Ok(Some(entry)) = walk.next_entry() {
        let Some(number) = document_number(&entry.record.name) else {
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
        found.push(CompleteDocument {
            mark: VersionStamp::from_version(&record.document),
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
