//! Reading an archive: all of it is compared first, then documents are read where they lie.

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
use ragstone_core::seam::portable::{Packed, PackedChunk, Parcel};
use serde::de::DeserializeOwned;
use sha2::Digest;

use super::line::decode_line;
use super::walk::{Walk, Walked, changed, check_entries, document_of};
use super::write::hex;
use super::{
    ArchiveError, DocumentRecord, END, EndRecord, EntryRecord, FORMAT, HEADER, Header, INDEX, IndexRecord, ORIGINAL,
    QUESTIONS, SETTINGS, SOURCES, TEXT, Totals, VERSION,
};

/// Bytes of an entry read at once.
const PIECE: u64 = 1 << 20;

/// An archive that is what was written.
#[derive(Debug)]
pub struct Archive {
    file: Arc<File>,
    /// What it says of itself.
    pub header: Header,
    /// How much it holds.
    pub totals: Totals,
    index: Vec<IndexRecord>,
    sources: Vec<u8>,
    settings: Vec<u8>,
    questions: Vec<u8>,
}

/// What was read of an archive.
#[derive(Default)]
struct Contents {
    header: Option<Header>,
    records: Vec<(u64, EntryRecord)>,
    index: Vec<IndexRecord>,
    sources: Vec<u8>,
    settings: Vec<u8>,
    questions: Vec<u8>,
    end: Option<EndRecord>,
}

impl Archive {
    /// Reads the file `path` to its end; `see` is told how many bytes were compared.
    pub fn open(path: &Path, mut see: impl FnMut(u64)) -> Result<Self, ArchiveError> {
        let named = path.display().to_string();
        let failed = |error| ArchiveError::File {
            path: named.clone(),
            error,
        };
        let file = File::open(path).map_err(failed)?;
        let mut walk = Walk::new(BufReader::new(&file), named.clone());
        let (mut contents, mut seen) = (Contents::default(), Vec::new());
        while let Some(entry) = walk.next().map_err(|error| foreign(error, &named))? {
            contents.take(entry, &mut seen)?;
            see(walk.at);
        }
        let (bytes, sha256) = (walk.at, hex(&walk.hash.clone().finalize()));
        drop(walk);
        contents.finish(file, bytes, sha256)
    }

    /// How many documents it holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds no document.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The `n`-th document's id.
    pub fn id(&self, n: usize) -> DocumentId {
        self.index[n].id
    }

    /// The `n`-th document.
    pub fn document(&self, n: usize) -> io::Result<Archived> {
        let bytes = read(&self.file, &self.index[n].record)?;
        let record: DocumentRecord = serde_json::from_slice(&bytes)?;
        Ok(Archived {
            file: self.file.clone(),
            packed: record.document,
            entries: record.entries,
        })
    }

    /// The sources.
    pub fn sources<T: DeserializeOwned>(&self) -> Result<Vec<T>, ArchiveError> {
        lines(SOURCES, &self.sources)
    }

    /// The settings.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, ArchiveError> {
        parse(SETTINGS, &self.settings, 0)
    }

    /// The questions.
    pub fn questions<T: DeserializeOwned>(&self) -> Result<Vec<T>, ArchiveError> {
        lines(QUESTIONS, &self.questions)
    }
}

impl Contents {
    fn take(&mut self, entry: Walked, seen: &mut Vec<EntryRecord>) -> Result<(), ArchiveError> {
        let Walked { record, bytes, before } = entry;
        if self.header.is_none() {
            self.header = Some(header(&record, &bytes)?);
            return Ok(());
        }
        if let Some(number) = document_of(&record.name) {
            let stated: DocumentRecord = parse(&record.name, &bytes, record.offset)?;
            check_entries(&stated.entries, seen)?;
            seen.clear();
            self.records.push((number, record));
            return Ok(());
        }
        match record.name.as_str() {
            SOURCES => self.sources = bytes,
            SETTINGS => self.settings = bytes,
            QUESTIONS => self.questions = bytes,
            INDEX => self.index = lines(INDEX, &bytes)?,
            END => {
                let end: EndRecord = parse(END, &bytes, record.offset)?;
                let sha256 = hex(&before.finalize());
                let header_at = record.offset - super::tar::BLOCK as u64;
                if (end.bytes, &end.sha256) != (header_at, &sha256) {
                    return Err(changed("not all before its end is what its end says", record.offset));
                }
                self.end = Some(end);
            }
            _ => seen.push(record),
        }
        Ok(())
    }

    fn finish(self, file: File, bytes: u64, sha256: String) -> Result<Archive, ArchiveError> {
        let cut = || ArchiveError::CutOff {
            at: bytes,
            within: END.to_owned(),
        };
        let (header, end) = (self.header.ok_or_else(cut)?, self.end.ok_or_else(cut)?);
        for line in &self.index {
            let record = self.records.iter().position(|(number, _)| *number == line.number);
            match record.map(|at| &self.records[at].1) {
                Some(record) if *record == line.record => {}
                _ => return Err(changed(&line.record.name, line.record.offset)),
            }
        }
        let chunks: u64 = self.index.iter().map(|line| u64::from(line.chunks)).sum();
        let documents = self.index.len() as u64;
        if (documents, chunks) != (end.documents, end.chunks) {
            return Err(changed("its end counts other documents", bytes));
        }
        Ok(Archive {
            file: Arc::new(file),
            header,
            totals: Totals {
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

/// What does not even begin like an archive is told as what it is.
fn foreign(error: ArchiveError, path: &str) -> ArchiveError {
    match error {
        ArchiveError::Changed { at: 0, .. } => ArchiveError::Foreign(format!("{path} is no archive of a library")),
        error => error,
    }
}

fn header(record: &EntryRecord, bytes: &[u8]) -> Result<Header, ArchiveError> {
    let told = match record.name == HEADER {
        true => serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default(),
        false => serde_json::Value::Null,
    };
    if told["format"] != FORMAT {
        return Err(ArchiveError::Foreign("the file is no archive of a library".into()));
    }
    match told["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => parse(HEADER, bytes, record.offset),
        Some(version) => Err(ArchiveError::Foreign(format!(
            "the archive has layout {version}, this program reads {VERSION}; hint: use the program that wrote it, or a later one"
        ))),
        None => Err(changed(HEADER, record.offset)),
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8], at: u64) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|error| changed(&format!("{name}: {error}"), at))
}

fn lines<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<T>, ArchiveError> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse(name, line, 0)).collect()
}

fn read(file: &File, record: &EntryRecord) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; record.size as usize];
    file.read_exact_at(&mut bytes, record.offset)?;
    Ok(bytes)
}

/// A document of an archive.
#[derive(Debug, Clone)]
pub struct Archived {
    file: Arc<File>,
    /// What the catalogue of its library knew of it.
    pub packed: Packed,
    entries: Vec<EntryRecord>,
}

impl Archived {
    fn entry(&self, name: &str) -> Option<EntryRecord> {
        let is_it = |entry: &&EntryRecord| entry.name.ends_with(&format!("/{name}"));
        self.entries.iter().find(is_it).cloned()
    }

    fn pieces(&self, name: &'static str) -> BoxStream<'_, io::Result<Bytes>> {
        let entry = self.entry(name);
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
                let bytes = tokio::task::spawn_blocking(move || read(&file, &piece)).await??;
                yield Bytes::from(bytes);
            }
        };
        pieces.boxed()
    }
}

impl Parcel for Archived {
    fn original(&self) -> BoxStream<'_, io::Result<Bytes>> {
        self.pieces(ORIGINAL)
    }

    fn text(&self) -> BoxStream<'_, io::Result<Bytes>> {
        self.pieces(TEXT)
    }

    fn chunks(&self) -> BoxStream<'_, io::Result<Vec<PackedChunk>>> {
        let entries = self.entries.iter().filter(|entry| entry.name.contains("/chunks/"));
        let batches = futures::stream::iter(entries.cloned()).then(|entry| {
            let file = self.file.clone();
            async move {
                tokio::task::spawn_blocking(move || {
                    let bytes = read(&file, &entry)?;
                    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    lines.map(decode_line).collect()
                })
                .await?
            }
        });
        batches.boxed()
    }
}
