//! Writes an archive entry by entry, and resumes one that was interrupted.
//!
//! Invariant: all of a document's data is in the file before its record, so an incomplete document is one without a
//! record.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ragstone_core::id::DocumentId;
use ragstone_core::seam::portable::ExportedVersion;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::part::{ReusablePrefix, find_reusable_prefix};
use super::{
    ArchiveError, ArchiveHeader, ArchiveTotals, DOCUMENT, DocumentRecord, END, EndRecord, EntryRecord, HEADER, INDEX,
    IndexRecord, ORIGINAL, QUESTIONS, SETTINGS, SOURCES, TEXT, VersionStamp, tar,
};

/// An archive being written. The file has a temporary name beside its final one until it is complete.
pub struct ArchiveWriter {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    at: u64,
    documents: BTreeMap<DocumentId, IndexRecord>,
    next: u64,
}

/// An entry whose bytes are being written.
struct OpenEntry {
    record: EntryRecord,
    hash: Sha256,
    left: u64,
}

impl ArchiveWriter {
    /// Creates the archive `path`, or resumes an unfinished one with the same header. Of that one, documents are
    /// reused as long as `keep` says that they are unchanged.
    ///
    /// # Errors
    /// [`ArchiveError::Unusable`] if a file of that name exists already.
    pub fn open(
        path: &Path,
        header: &ArchiveHeader,
        keep: impl FnMut(&VersionStamp) -> bool,
    ) -> Result<(Self, Vec<VersionStamp>), ArchiveError> {
        if path.exists() {
            let detail = format!("{} is there already; hint: name another file", path.display());
            return Err(ArchiveError::Unusable(detail));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let failed = |error| ArchiveError::File {
            path: part.display().to_string(),
            error,
        };
        let mut file = options.open(&part).map_err(failed)?;
        let kept = find_reusable_prefix(&mut file, header, keep).map_err(failed)?;
        let ReusablePrefix { bytes, hash, documents } = kept.unwrap_or_default();
        file.set_len(bytes).map_err(failed)?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        let next = documents.iter().map(|(record, _)| record.number + 1).max();
        let mut writer = Self {
            path: path.to_owned(),
            part,
            file: BufWriter::with_capacity(1 << 20, file),
            hash,
            at: bytes,
            documents: BTreeMap::new(),
            next: next.unwrap_or(1),
        };
        let mut marks = Vec::with_capacity(documents.len());
        for (record, mark) in documents {
            writer.documents.insert(record.id, record);
            marks.push(mark);
        }
        if bytes == 0 {
            writer.write_json(HEADER, header)?;
        }
        Ok((writer, marks))
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.at
    }

    /// Documents and chunks written so far.
    pub fn written_counts(&self) -> (u64, u64) {
        let chunks = self.documents.values().map(|record| u64::from(record.chunks));
        (self.documents.len() as u64, chunks.sum())
    }

    /// Begins the next document.
    pub fn begin_document(&mut self) -> DocumentWriter<'_> {
        let number = self.next;
        self.next += 1;
        DocumentWriter {
            archive: self,
            number,
            entries: Vec::new(),
            open: None,
            chunks: 0,
        }
    }

    /// Withdraws a document that changed or was deleted after it was written: its entries no longer count.
    pub fn withdraw_document(&mut self, document: DocumentId) {
        self.documents.remove(&document);
    }

    /// Writes the last entries and renames the file to its final name.
    pub fn finish(
        mut self,
        sources: &[impl Serialize],
        settings: &impl Serialize,
        questions: &[impl Serialize],
    ) -> Result<ArchiveTotals, ArchiveError> {
        let lines = |values: &mut dyn Iterator<Item = serde_json::Result<String>>| {
            let lines: Result<Vec<String>, _> = values.collect();
            lines.map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>())
        };
        let texts = [
            (SOURCES, lines(&mut sources.iter().map(serde_json::to_string))),
            (SETTINGS, serde_json::to_string(settings)),
            (QUESTIONS, lines(&mut questions.iter().map(serde_json::to_string))),
            (INDEX, lines(&mut self.documents.values().map(serde_json::to_string))),
        ];
        for (name, text) in texts {
            let text = text.map_err(|error| self.file_error(error.into()))?;
            self.write_entry(name.to_owned(), text.as_bytes())?;
        }
        let (documents, chunks) = self.written_counts();
        let end = EndRecord {
            documents,
            chunks,
            bytes: self.at,
            sha256: encode_hex(&self.hash.clone().finalize()),
        };
        self.write_json(END, &end)?;
        self.write_bytes(&[0; tar::ENDING])?;
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.and_then(|()| std::fs::rename(&self.part, &self.path))
            .map_err(|error| self.file_error(error))?;
        Ok(ArchiveTotals {
            documents,
            chunks,
            bytes: self.at,
            sha256: encode_hex(&self.hash.finalize()),
        })
    }

    fn write_json(&mut self, name: &str, value: &impl Serialize) -> Result<EntryRecord, ArchiveError> {
        let text = serde_json::to_vec(value).map_err(|error| self.file_error(error.into()))?;
        self.write_entry(name.to_owned(), &text)
    }

    fn write_entry(&mut self, name: String, bytes: &[u8]) -> Result<EntryRecord, ArchiveError> {
        let mut open = self.begin_entry(name, bytes.len() as u64)?;
        self.append_bytes(&mut open, bytes)?;
        self.end_entry(open)
    }

    fn begin_entry(&mut self, name: String, size: u64) -> Result<OpenEntry, ArchiveError> {
        if size > tar::MAX_SIZE {
            let error = std::io::Error::other(format!("{name} has {size} bytes, too many for an entry"));
            return Err(self.file_error(error));
        }
        self.write_bytes(&tar::encode_header(&name, size))?;
        let record = EntryRecord {
            name,
            offset: self.at,
            size,
            sha256: String::new(),
        };
        Ok(OpenEntry {
            record,
            hash: Sha256::new(),
            left: size,
        })
    }

    fn append_bytes(&mut self, open: &mut OpenEntry, bytes: &[u8]) -> Result<(), ArchiveError> {
        let Some(left) = open.left.checked_sub(bytes.len() as u64) else {
            let error = std::io::Error::other(format!("{} grew while it was read", open.record.name));
            return Err(self.file_error(error));
        };
        open.left = left;
        open.hash.update(bytes);
        self.write_bytes(bytes)
    }

    fn end_entry(&mut self, open: OpenEntry) -> Result<EntryRecord, ArchiveError> {
        if open.left > 0 {
            let error = std::io::Error::other(format!("{} was cut off while it was read", open.record.name));
            return Err(self.file_error(error));
        }
        self.write_bytes(&[0; tar::BLOCK][..tar::padding_bytes(open.record.size)])?;
        Ok(EntryRecord {
            sha256: encode_hex(&open.hash.finalize()),
            ..open.record
        })
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.file.write_all(bytes).map_err(|error| self.file_error(error))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn file_error(&self, error: std::io::Error) -> ArchiveError {
        ArchiveError::File {
            path: self.part.display().to_string(),
            error,
        }
    }
}

/// A document being written; it counts once it is finished.
pub struct DocumentWriter<'a> {
    archive: &'a mut ArchiveWriter,
    number: u64,
    entries: Vec<EntryRecord>,
    open: Option<OpenEntry>,
    chunks: u64,
}

impl DocumentWriter<'_> {
    /// Begins the original, which has `size` bytes.
    pub fn begin_original(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.begin_entry(ORIGINAL.to_owned(), size)
    }

    /// Begins the stored text, which has `size` bytes.
    pub fn begin_text(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.begin_entry(TEXT.to_owned(), size)
    }

    /// Appends bytes to the entry begun last.
    pub fn append_bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        match &mut self.open {
            Some(open) => self.archive.append_bytes(open, bytes),
            None => Ok(()),
        }
    }

    /// Writes an entry of chunk lines.
    pub fn write_chunks(&mut self, lines: &[u8]) -> Result<(), ArchiveError> {
        self.chunks += 1;
        self.begin_entry(format!("chunks/{:05}.jsonl", self.chunks), lines.len() as u64)?;
        self.append_bytes(lines)
    }

    /// Writes the document's record, which completes the document.
    pub fn finish(mut self, document: &ExportedVersion) -> Result<(), ArchiveError> {
        self.close_entry()?;
        let record = DocumentRecord {
            document: document.clone(),
            entries: self.entries,
        };
        let record = self
            .archive
            .write_json(&format!("documents/{:08}/{DOCUMENT}", self.number), &record)?;
        let line = IndexRecord {
            number: self.number,
            id: document.id,
            chunks: document.chunks,
            record,
        };
        self.archive.documents.insert(document.id, line);
        Ok(())
    }

    /// Abandons the document: entries written for it belong to no document.
    pub fn abandon_document(mut self) -> Result<(), ArchiveError> {
        while let Some(left) = self.open.as_ref().map(|open| open.left).filter(|left| *left > 0) {
            self.append_bytes(&[0; tar::BLOCK][..left.min(tar::BLOCK as u64) as usize])?;
        }
        self.close_entry()
    }

    fn begin_entry(&mut self, name: String, size: u64) -> Result<(), ArchiveError> {
        self.close_entry()?;
        let name = format!("documents/{:08}/{name}", self.number);
        self.open = Some(self.archive.begin_entry(name, size)?);
        Ok(())
    }

    fn close_entry(&mut self) -> Result<(), ArchiveError> {
        if let Some(open) = self.open.take() {
            self.entries.push(self.archive.end_entry(open)?);
        }
        Ok(())
    }
}

/// Encodes bytes as lower-case hexadecimal digits.
pub fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
