//! What is kept beside the original of a published version, so that its row can be made again.
//!
//! Invariant: a manifest is never more open than its document. Each has a stamp that grows with every change, and what
//! has the greatest one counts; so two processes that write at once never put an older state over a newer one.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use super::portable::ExportedVersion;
use crate::id::{DocumentId, Generation};

/// How new a state of a document is: the revision of its readers, then the time of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionStamp {
    /// The revision of its readers.
    pub revision: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub updated: i128,
}

impl RevisionStamp {
    /// The stamp of a document in this state.
    pub fn new(revision: u64, updated: OffsetDateTime) -> Self {
        Self {
            revision,
            updated: updated.unix_timestamp_nanos(),
        }
    }
}

impl fmt::Display for RevisionStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.updated)
    }
}

impl FromStr for RevisionStamp {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (revision, updated) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self {
            revision: revision.parse()?,
            updated: updated.parse()?,
        })
    }
}

/// A published version with what makes its row again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentManifest {
    /// The library whose document it is.
    #[serde(default)]
    pub library: String,
    /// The version, without what it adds to the statistics: they are counted again.
    pub document: ExportedVersion,
    /// Who brought it, and so may change it whoever reads it.
    #[serde(default)]
    pub brought_by: Option<String>,
    /// The document that it came in, for a file in a mail.
    #[serde(default)]
    pub attached_to: Option<DocumentId>,
}

impl DocumentManifest {
    /// How new it is.
    pub fn stamp(&self) -> RevisionStamp {
        RevisionStamp::new(self.document.acl_revision, self.document.updated_at)
    }
}

/// Says what belongs into manifests, and makes rows of them.
#[async_trait]
pub trait ManifestStore: Send + Sync {
    /// The manifest of a document's published version, without the library's name; whatever its tenant: for who writes it
    /// beside the original, and for nothing else. None where there is no such version, or the document is tombstoned.
    async fn get_manifest(&self, document: DocumentId) -> CatalogueResult<Option<DocumentManifest>>;

    /// Makes the row of a manifest: a published document without jobs, points and statistics. False if there is a row.
    async fn recover_document(&self, manifest: &DocumentManifest) -> CatalogueResult<bool>;

    /// From now on no generation up to `to` is drawn.
    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()>;
}
