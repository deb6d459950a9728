//! Files through the whole of ingestion with real parser processes and a real folder of blobs.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "pdf")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use ragstone_adapters::parse::{ParserOptions, ParserPool, PoolParser};
use ragstone_core::access::Principal;
use ragstone_core::document::{Chunk, ParsedDocument};
use ragstone_core::id::DocumentId;
use ragstone_core::ingest::{AcceptError, IngestPipeline, IngestSettings, IngestStores, Ingestor, JobOutcome};
use ragstone_core::library::Library;
use ragstone_core::seam::catalogue::{BeginOutcome, PageRequest};
use ragstone_core::seam::fake::{Hands, MemoryCatalogue, MemoryIndex, WORKER, upload, writer};
use ragstone_core::split::{SplitChunk, SplitSettings, SplitStrategy, split_document};
use uuid::Uuid;

/// Largest file of [`Files`], in bytes: more than one part of an upload.
const MAX_BYTES: u64 = 20 << 20;

/// A library of files in a folder.
struct Files {
    folder: tempfile::TempDir,
    ingestor: Ingestor,
    library: Library,
    caller: Principal,
}

fn options() -> ParserOptions {
    ParserOptions {
        cpu_seconds: 600,
        small_cpu_seconds: 600,
        wall_seconds: 600,
        ..ParserOptions::new(env!("CARGO_BIN_EXE_parse_worker"), [] as [&str; 0])
    }
}

fn split() -> SplitSettings {
    SplitSettings {
        chunk_size: 400,
        chunk_overlap: 60,
        ..SplitSettings::default()
    }
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let (catalogue, index) = (Arc::new(MemoryCatalogue::default()), Arc::new(MemoryIndex::default()));
        let parser = PoolParser::new(ParserPool::new(options()));
        let stores = IngestStores {
            catalogue: catalogue.clone(),
            index: index.clone(),
            blobs: blobs.clone(),
            parser: Arc::new(parser),
            embeddings: None,
        };
        let settings = IngestSettings {
            max_bytes: MAX_BYTES,
            ..IngestSettings::default()
        };
        let pipeline = IngestPipeline::new("p", split(), SplitStrategy::Markdown, None);
        let ids = AtomicU64::new(1);
        let new_id = move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed)));
        let time = Arc::<Hands>::default().time();
        Self {
            folder,
            ingestor: Ingestor::new(stores, settings, pipeline, time, Arc::new(new_id)),
            library: Library::new(catalogue, index, blobs, Arc::default()),
            caller: writer("a", &[]),
        }
    }

    async fn accept(
        &self,
        name: &str,
        bytes: BoxStream<'_, Result<Bytes, &'static str>>,
    ) -> Result<BeginOutcome, AcceptError> {
        let upload = upload(&self.caller, name, &["everyone"]);
        self.ingestor.uploads().accept_upload(&self.caller, upload, bytes).await
    }

    async fn ingest(&self, path: &Path) -> DocumentId {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        let begun = self.accept(name, stream::iter([Ok(bytes)]).boxed()).await;
        let Ok(BeginOutcome::Started(document, _)) = begun else {
            panic!("{name}: {begun:?}")
        };
        let (_, outcome) = self.ingestor.runner().run_next(WORKER).await.unwrap().unwrap();
        assert_eq!(outcome, JobOutcome::Succeeded, "{name}");
        document.id
    }

    async fn chunks(&self, id: DocumentId) -> Vec<Chunk> {
        let page = PageRequest {
            limit: 1_000_000,
            cursor: None,
        };
        let found = self.library.list_chunks(&self.caller.scope(), id, &page).await;
        let found = found.unwrap().unwrap().items;
        found.iter().map(|chunk| (**chunk).clone()).collect()
    }

    /// Everything in the folder of blobs.
    fn paths(&self) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.folder.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files
    }
}

/// What ingestion stores is what the whole text says when it is parsed into memory and split at once.
async fn check(path: &Path) {
    let files = Files::new();
    let name = path.file_name().unwrap().to_str().unwrap();
    let whole: ParsedDocument = ParserPool::new(options()).parse_file(path, name, None).await.unwrap();
    let strategy = match whole.media_type.as_str() {
        "text/markdown" | "text/html" => SplitStrategy::Markdown,
        _ => SplitStrategy::Recursive,
    };
    let expected = split_document(&whole, &SplitSettings { strategy, ..split() });
    let id = files.ingest(path).await;
    let found = files.chunks(id).await;
    assert!(!found.is_empty(), "{name}");
    let numbers: Vec<u32> = found.iter().map(|chunk| chunk.ordinal).collect();
    assert!(numbers.into_iter().eq(0..expected.len() as u32), "{name}");
    let found: Vec<SplitChunk> = found.into_iter().map(segment).collect();
    assert!(found == expected, "{name}: the chunks differ");
    let scope = files.caller.scope();
    for span in whole.pages.iter().filter(|span| span.page.is_some()) {
        let page = files.library.read_page(&scope, id, span.page.unwrap()).await.unwrap();
        assert_eq!(page.as_deref().map(String::as_str), whole.text.get(span.range.clone()));
    }
    let document = files.library.get_document(&scope, id).await.unwrap().unwrap();
    assert_eq!(document.warnings, whole.warnings);
    assert_eq!(document.pages, whole.pages.last().unwrap().page);
}

fn segment(chunk: Chunk) -> SplitChunk {
    SplitChunk {
        text: chunk.text,
        range: chunk.range,
        page: chunk.page,
        section: chunk.section,
    }
}

#[tokio::test]
async fn chunks_of_the_samples_are_those_of_the_whole_text() {
    let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples"));
    for name in ["handbook.pdf", "release-notes.md", "support.html"] {
        check(&samples.join(name)).await;
    }
}

#[tokio::test]
async fn chunks_of_the_shared_pdfs_are_those_of_the_whole_text() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/pdf/files"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        ragstone_testkit::skip_test("the shared PDFs", &format!("put them at {}", folder.display()));
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pdf") {
            check(&path).await;
        }
    }
}

#[tokio::test]
async fn a_refused_or_broken_upload_leaves_no_file() {
    let files = Files::new();
    let piece = || Ok(Bytes::from(vec![b'x'; 1 << 20]));
    let broken = stream::iter((0..12).map(|_| piece()).chain([Err("gone")])).boxed();
    let error = files.accept("x.txt", broken).await.unwrap_err();
    assert!(matches!(error, AcceptError::Interrupted { .. }), "{error}");
    let endless = stream::repeat_with(piece).boxed();
    let error = files.accept("x.txt", endless).await.unwrap_err();
    assert!(
        matches!(error, AcceptError::TooLarge { limit: MAX_BYTES, .. }),
        "{error}"
    );
    assert_eq!(files.paths(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn an_upload_whose_sender_is_gone_leaves_no_file() {
    let files = Files::new();
    let pieces = stream::iter((0..12).map(|_| Ok(Bytes::from(vec![b'x'; 1 << 20]))));
    let bytes = pieces.chain(stream::pending()).boxed();
    let mut accepted = Box::pin(files.accept("x.txt", bytes));
    while files.paths().is_empty() {
        assert!((&mut accepted).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(accepted);
    // The store removes its file beside this thread.
    while !files.paths().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_text_is_one_blob_beside_its_original() {
    let files = Files::new();
    let path = files.folder.path().with_extension("txt");
    let words = "A line about the lamp and the table.\n".repeat(20_000);
    std::fs::write(&path, &words).unwrap();
    let id = files.ingest(&path).await;
    std::fs::remove_file(&path).unwrap();
    // The original, its text and its manifest.
    assert_eq!(files.paths().len(), 3);
    let chunks = files.chunks(id).await;
    assert!(
        chunks
            .iter()
            .all(|chunk| words.get(chunk.range.clone()) == Some(chunk.text.as_str()))
    );
    assert_eq!(chunks[0].page, None);
}
