//! What decides which chunks and vectors a version gets.

use std::sync::Arc;

use crate::rank::analyzer::LEXICAL_NAME;
use crate::seam::Embedder;
use crate::seam::index::IndexSpec;
use crate::split::{SplitSettings, SplitStrategy, arrives_as_markdown};

/// Parser, splitter, embedder and lexical side, with one name for all of it.
#[derive(Clone)]
pub struct Pipeline {
    split: SplitSettings,
    structured: SplitStrategy,
    embedder: Option<Arc<dyn Embedder>>,
    fingerprint: String,
}

impl Pipeline {
    /// A pipeline that splits Markdown and HTML by `structured` and everything else recursively.
    pub fn new(
        parser: &str,
        split: SplitSettings,
        structured: SplitStrategy,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Self {
        let embedded = embedder.as_ref().map(|embedder| embedder.fingerprint().digest());
        let parts = [
            parser,
            &split.fingerprint(),
            &format!("{structured:?}"),
            embedded.as_deref().unwrap_or("none"),
            LEXICAL_NAME,
        ];
        let fingerprint = blake3::hash(parts.join("\n").as_bytes()).to_hex()[..16].to_owned();
        Self {
            split,
            structured,
            embedder,
            fingerprint,
        }
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
    pub(super) fn split_for(&self, media_type: &str) -> SplitSettings {
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
