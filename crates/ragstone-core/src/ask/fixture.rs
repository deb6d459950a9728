//! Passages and evidence for tests.

use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::{AskRequest, RetrievalError, RetrievedPassages, Retriever};
use crate::access::{Admitted, Scope};
use crate::document::Chunk;
use crate::id::{ChunkId, CollectionName, DocumentId, Generation, PointId};
use crate::library::{Passage, PassageRanks};

/// Where the fixture's passages begin in their documents.
pub const OFFSET: usize = 100;

/// An admitted passage of page 3 with this text; one document a text.
pub fn passage(text: &str) -> Admitted<Passage> {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
    Admitted::new(Passage {
        chunk: Chunk {
            id: ChunkId(id),
            document_id: DocumentId(id),
            ordinal: 0,
            text: text.to_owned(),
            range: OFFSET..OFFSET + text.len(),
            page: Some(3),
            section: Some("Setup".into()),
        },
        point: PointId(id),
        generation: Generation(1),
        collection: CollectionName::default(),
        title: "A title".into(),
        uri: format!("file:///{id}"),
        source_url: None,
        score: 1.0,
        ranks: PassageRanks::default(),
        sentences: Vec::new(),
    })
}

/// Evidence whose store can change while an answer is written.
#[derive(Default)]
pub struct FakeEvidence {
    /// What a search finds.
    pub found: RetrievedPassages,
    /// What went wrong with searching.
    pub error: Option<RetrievalError>,
    /// Text that is stored no more as it was.
    pub changed: Vec<String>,
    /// How often stored text was read again.
    pub readings: Mutex<usize>,
    /// How often admission is given before it is refused; none for always.
    pub admissions: Mutex<Option<usize>>,
}

#[async_trait]
impl Retriever for FakeEvidence {
    async fn retrieve_passages(&self, _: &Scope, _: &AskRequest, _: bool) -> Result<RetrievedPassages, RetrievalError> {
        self.error.clone().map_or_else(|| Ok(self.found.clone()), Err)
    }

    async fn stored_texts(&self, _: &Scope, passages: &[&Passage]) -> Result<Vec<Option<String>>, RetrievalError> {
        *self.readings.lock().expect("no test panics while it holds the lock") += 1;
        let stored = |passage: &&Passage| {
            let changed = |text: String, old: &String| text.replace(old, &"#".repeat(old.len()));
            let text = self.changed.iter().fold(passage.chunk.text.clone(), changed);
            Some(text)
        };
        Ok(passages.iter().map(stored).collect())
    }

    async fn still_admitted(&self, _: &Scope, _: &[DocumentId]) -> Result<bool, RetrievalError> {
        let mut left = self.admissions.lock().expect("no test panics while it holds the lock");
        let admitted = *left != Some(0);
        *left = left.map(|left| left.saturating_sub(1));
        Ok(admitted)
    }
}
