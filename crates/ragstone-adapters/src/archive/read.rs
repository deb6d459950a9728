//! Reads an archive: verifies all of it first, then reads documents by their offsets.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_stream::try_stream;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::id::DocumentId;
use ragstone_core::seam::portable::{ExportedChunk, ExportedContent, ExportedVersion};
use serde::de::DeserializeOwned;
use sha2::Digest;

use super::line::decode_line;
use super::walk::{ArchiveEntry, EntryReader, changed_error, check_entries, document_number};
use super::write::encode_hex;
use super::{
    ArchiveError, ArchiveHeader, ArchiveTotals, DocumentRecord, END, EndRecord, EntryRecord, FORMAT, HEADER, INDEX,
    IndexRecord, ORIGINAL, QUESTIONS, SETTINGS, SOURCES, TEXT, VERSION,
};

/// Bytes of an entry per read.
const PIECE: u64 = 1 << 20;

/// An archive whose contents were verified.
#[derive(Debug)]
pub struct ArchiveReader {
    file: Arc<File>,
    /// First entry of the archive.
    pub header: ArchiveHeader,
    /// Totals of the archive.
    pub totals: ArchiveTotals,
    index: Vec<IndexRecord>,
    sources: Vec<u8>,
    settings: Vec<u8>,
    questions: Vec<u8>,
}

/// Contents collected while an archive is verified.
#[derive(Default)]
struct ArchiveContents {
    header: Option<ArchiveHeader>,
    records: Vec<(u64, EntryRecord)>,
    index: Vec<IndexRecord>,
    sources: Vec<u8>,
    settings: Vec<u8>,
    questions: Vec<u8>,
    end: Option<EndRecord>,
}

impl ArchiveReader {
    /// Reads and verifies the file `path`; `see` is called with the number of bytes verified so far.
    pub fn open(path: &Path, mut see: impl FnMut(u64)) -> Result<Self, ArchiveError> {
        let named = path.display().to_string();
        let failed = |error| ArchiveError::File {
            path: named.clone(),
            error,
        };
        let file = File::open(path).map_err(failed)?;
        let mut walk = EntryReader::new(BufReader::new(&file), named.clone());
        let (mut contents, mut seen) = (ArchiveContents::default(), Vec::new());
        while let Some(entry) = walk.next_entry().map_err(|error| not_an_archive_error(error, &named))? {
            contents.add_entry(entry, &mut seen)?;
            see(walk.at);
        }
        let (bytes, sha256) = (walk.at, encode_hex(&walk.hash.clone().finalize()));
        drop(walk);
        contents.into_reader(file, bytes, sha256)
    }

    /// Number of documents in the archive.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the archive has no document.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Id of the `n`-th document, from 0.
    pub fn document_id(&self, n: usize) -> DocumentId {
        self.index[n].id
    }

    /// Opens the `n`-th document, from 0.
    pub fn read_document(&self, n: usize) -> io::Result<ArchivedDocument> {
        let bytes = read_entry(&self.file, &self.index[n].record)?;
        let record: DocumentRecord = serde_json::from_slice(&bytes)?;
        Ok(ArchivedDocument {
            file: self.file.clone(),
            packed: record.document,
            entries: record.entries,
        })
    }

    /// Parses the exported sources.
    pub fn parse_sources<T: DeserializeOwned>(&self) -> Result<Vec<T>, ArchiveError> {
        parse_json_lines(SOURCES, &self.sources)
    }

    /// Parses the exported settings.
    pub fn parse_settings<T: DeserializeOwned>(&self) -> Result<T, ArchiveError> {
        parse_json(SETTINGS, &self.settings, 0)
    }

    /// Parses the exported evaluation questions.
    pub fn parse_questions<T: DeserializeOwned>(&self) -> Result<Vec<T>, ArchiveError> {
        parse_json_lines(QUESTIONS, &self.questions)
    }
}

impl ArchiveContents {
    fn add_entry(&mut self, entry: ArchiveEntry, seen: &mut Vec<EntryRecord>) -> Result<(), ArchiveError> {
        let ArchiveEntry {
            record,
            bytes,
            hash_before: before,
        } = entry;
        if self.header.is_none() {
            self.header = Some(parse_header(&record, &bytes)?);
            return Ok(());
        }
        if let Some(number) = document_number(&record.name) {
            let stated: DocumentRecord = parse_json(&record.name, &bytes, record.offset)?;
            check_entries(&stated.entries, seen)?;
            seen.clear();
            self.records.push((number, record));
            return Ok(());
        }
        match record.name.as_str() {
            SOURCES => self.sources = bytes,
            SETTINGS => self.settings = bytes,
            QUESTIONS => self.questions = bytes,
            INDEX => self.index = parse_json_lines(INDEX, &bytes)?,
            END => {
                let end: EndRecord = parse_json(END, &bytes, record.offset)?;
                let sha256 = encode_hex(&before.finalize());
                let header_at = record.offset - super::tar::BLOCK as u64;
                if (end.bytes, &end.sha256) != (header_at, &sha256) {
                    return Err(changed_error(
                        "not all before its end is what its end says",
                        record.offset,
                    ));
                }
                self.end = Some(end);
            }
            _ => seen.push(record),
        }
        Ok(())
    }

    fn into_reader(self, file: File, bytes: u64, sha256: String) -> Result<ArchiveReader, ArchiveError> {
        let cut = || ArchiveError::Truncated {
            at: bytes,
            within: END.to_owned(),
        };
        let (header, end) = (self.header.ok_or_else(cut)?, self.end.ok_or_else(cut)?);
        for line in &self.index {
            let record = self.records.iter().position(|(number, _)| *number == line.number);
            match record.map(|at| &self.records[at].1) {
                Some(record) if *record == line.record => {}
                _ => return Err(changed_error(&line.record.name, line.record.offset)),
            }
        }
        let chunks: u64 = self.index.iter().map(|line| u64::from(line.chunks)).sum();
        let documents = self.index.len() as u64;
        if (documents, chunks) != (end.documents, end.chunks) {
            return Err(changed_error("its end counts other documents", bytes));
        }
        Ok(ArchiveReader {
            file: Arc::new(file),
            header,
            totals: ArchiveTotals {
                documents,
                chunks,
                bytes,
                sha256,
            },
            index: self.index,
            sources: self.sources,
            settings: self.settings,
            questions: self.questions,
        })
    }
}

/// Replaces the error for a file that does not even begin like an archive by one that says so.
fn not_an_archive_error(error: ArchiveError, path: &str) -> ArchiveError {
    match error {
        ArchiveError::Changed { at: 0, .. } => ArchiveError::Unusable(format!("{path} is no archive of a library")),
        error => error,
    }
}

fn parse_header(record: &EntryRecord, bytes: &[u8]) -> Result<ArchiveHeader, ArchiveError> {
    let told = match record.name == HEADER {
        true => serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default(),
        false => serde_json::Value::Null,
    };
    if told["format"] != FORMAT {
        return Err(ArchiveError::Unusable("the file is no archive of a library".into()));
    }
    match told["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => parse_json(HEADER, bytes, record.offset),
        Some(version) => Err(ArchiveError::Unusable(format!(
            "the archive has layout {version}, this program reads {VERSION}; hint: use the program that wrote it, or a later one"
        ))),
        None => Err(changed_error(HEADER, record.offset)),
    }
}

fn parse_json<T: DeserializeOwned>(name: &str, bytes: &[u8], at: u64) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|error| changed_error(&format!("{name}: {error}"), at))
}

fn parse_json_lines<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<T>, ArchiveError> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse_json(name, line, 0)).collect()
}

fn read_entry(file: &File, record: &EntryRecord) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; record.size as usize];
    file.read_exact_at(&mut bytes, record.offset)?;
    Ok(bytes)
}

/// A document of an archive.
#[derive(Debug, Clone)]
pub struct ArchivedDocument {
    file: Arc<File>,
    /// Its catalogue entry in the library that was exported.
    pub packed: ExportedVersion,
    entries: Vec<EntryRecord>,
}

impl ArchivedDocument {
    fn find_entry(&self, name: &str) -> Option<EntryRecord> {
        let is_it = |entry: &&EntryRecord| entry.name.ends_with(&format!("/{name}"));
        self.entries.iter().find(is_it).cloned()
    }

    fn stream_entry(&self, name: &'static str) -> BoxStream<'_, io::Result<Bytes>> {
        let entry = self.find_entry(name);
        let pieces = try_stream! {
            let entry = entry.ok_or_else(|| io::Error::other(format!("document {} has no {name}", self.packed.id)))?;
            let mut done = 0;
            while done < entry.size {
                let piece = EntryRecord {
                    offset: entry.offset + done,
                    size: PIECE.min(entry.size - done),
                    ..entry.clone()
                };
                done += piece.size;
                let file = self.file.clone();
                let bytes = tokio::task::spawn_blocking(move || read_entry(&file, &piece)).await??;
                yield Bytes::from(bytes);
            }
        };
        pieces.boxed()
    }
}

impl ExportedContent for ArchivedDocument {
    fn read_original(&self) -> BoxStream<'_, io::Result<Bytes>> {
        self.stream_entry(ORIGINAL)
    }

    fn read_text(&self) -> BoxStream<'_, io::Result<Bytes>> {
        self.stream_entry(TEXT)
    }

    fn read_chunks(&self) -> BoxStream<'_, io::Result<Vec<ExportedChunk>>> {
        let entries = self.entries.iter().filter(|entry| entry.name.contains("/chunks/"));
        let batches = futures::stream::iter(entries.cloned()).then(|entry| {
            let file = self.file.clone();
            async move {
                tokio::task::spawn_blocking(move || {
                    let bytes = read_entry(&file, &entry)?;
                    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    lines.map(decode_line).collect()
                })
                .await?
            }
        });
        batches.boxed()
    }
}
