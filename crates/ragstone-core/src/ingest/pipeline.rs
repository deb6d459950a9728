//! What decides which chunks and vectors a version gets.

use std::sync::Arc;

use crate::rank::analyzer::LEXICAL_NAME;
use crate::seam::index::IndexSpec;
use crate::seam::{Embedder, VectorIndex};
use crate::split::{SplitSettings, SplitStrategy, arrives_as_markdown};

/// Parser, splitter, embedder and lexical side, with one name for all of it.
#[derive(Clone)]
pub struct IngestPipeline {
    split: SplitSettings,
    structured: SplitStrategy,
    embedder: Option<Arc<dyn Embedder>>,
    index: Option<Arc<dyn VectorIndex>>,
    fingerprint: String,
}

impl IngestPipeline {
    /// A pipeline that splits Markdown and HTML by `structured` and everything else recursively.
    pub fn new(
        parser: &str,
        split: SplitSettings,
        structured: SplitStrategy,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Self {
        let embedded = embedder.as_ref().map(|embedder| embedder.fingerprint().digest());
        Self::with_embedder_digest(parser, split, structured, embedder, embedded.as_deref())
    }

    /// The same, named as if the embedder of the digest `known_as` were in it: a library whose vectors were made again by
    /// another model keeps its chunks, and what made them keeps its name.
    pub fn with_embedder_digest(
        parser: &str,
        split: SplitSettings,
        structured: SplitStrategy,
        embedder: Option<Arc<dyn Embedder>>,
        known_as: Option<&str>,
    ) -> Self {
        let parts = [
            parser,
            &split.fingerprint(),
            &format!("{structured:?}"),
            known_as.unwrap_or("none"),
            LEXICAL_NAME,
        ];
        let fingerprint = blake3::hash(parts.join("\n").as_bytes()).to_hex()[..16].to_owned();
        Self {
            split,
            structured,
            embedder,
            index: None,
            fingerprint,
        }
    }

    /// Stores its points in `index`: the one that holds its embedder's vectors, where there are several.
    pub fn with_index(self, index: Arc<dyn VectorIndex>) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    /// Where its points are stored, if that is not the library's one index.
    pub(super) fn index(&self) -> Option<&dyn VectorIndex> {
        self.index.as_deref()
    }

    /// Names the pipeline; part of every chunk id.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The embedder, if there is one.
    pub fn embedder(&self) -> Option<&Arc<dyn Embedder>> {
        self.embedder.as_ref()
    }

    /// What an index must hold to store this pipeline's points.
    pub fn index_spec(&self) -> IndexSpec {
        let fingerprint = self.embedder.as_ref().map(|embedder| embedder.fingerprint());
        IndexSpec {
            embedder: fingerprint.map(|fingerprint| fingerprint.digest()),
            dimensions: fingerprint.map(|fingerprint| fingerprint.dimensions),
            lexical: LEXICAL_NAME.into(),
        }
    }

    /// How a document of this type is split.
    pub(super) fn split_settings_for(&self, media_type: &str) -> SplitSettings {
        let strategy = match arrives_as_markdown(media_type) {
            true => self.structured,
            false => SplitStrategy::Recursive,
        };
        SplitSettings {
            strategy,
            ..self.split.clone()
        }
    }
}
