//! Manifests: stored beside the original of a published version, so that its catalogue row can be recovered.
//!
//! Invariant: a manifest never admits more readers than its document. Each has a stamp that grows with every change,
//! and the greatest stamp wins, so concurrent writers never replace a newer state by an older one.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::catalogue::CatalogueResult;
use super::portable::ExportedVersion;
use crate::id::{DocumentId, Generation};

/// Orders the states of a document: by revision of its readers, then by time of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionStamp {
    /// Revision of the document's readers.
    pub revision: u64,
    /// Time of the last change, in nanoseconds since 1970-01-01 UTC.
    pub updated: i128,
}

impl RevisionStamp {
    /// The stamp of a document with this revision and time of change.
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

/// A published version with everything needed to recover its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentManifest {
    /// Name of the library that the document belongs to.
    #[serde(default)]
    pub library: String,
    /// The version, without its contribution to the term statistics: they are counted again.
    pub document: ExportedVersion,
    /// Subject that created the document and may therefore change it, whoever may read it.
    #[serde(default)]
    pub brought_by: Option<String>,
    /// The document that this one is attached to, for a file in a mail.
    #[serde(default)]
    pub attached_to: Option<DocumentId>,
}

impl DocumentManifest {
    /// The stamp of the document's state.
    pub fn stamp(&self) -> RevisionStamp {
        RevisionStamp::new(self.document.acl_revision, self.document.updated_at)
    }
}

/// Reads manifests from the catalogue and recovers rows from them.
#[async_trait]
pub trait ManifestStore: Send + Sync {
    /// The manifest of a document's published version, of any tenant, without the library's name. Only for writing it
    /// beside the original. `None` if nothing is published or the document is tombstoned.
    async fn get_manifest(&self, document: DocumentId) -> CatalogueResult<Option<DocumentManifest>>;

    /// Recovers a row: a published document without jobs, points and statistics. False if the row exists.
    async fn recover_document(&self, manifest: &DocumentManifest) -> CatalogueResult<bool>;

    /// Ensures that generations drawn from now on are greater than `to`.
    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()>;
}
