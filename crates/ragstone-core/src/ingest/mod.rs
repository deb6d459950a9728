//! Ingestion: documents are taken in, then for each job load, parse, split, embed batch by batch, publish.
//!
//! [`Ingestor`] builds the parts over one set of stores and hands them out. Below stands what is used, above who uses it:
//! context; leases, incoming files, embedding cache, marker; manifests and the access of points; attachments; uploads and
//! purger; documents; runner, importer and consistency check.
//!
//! Invariant: nothing is visible before `publish`, which is one row in the catalogue; every step may be repeated, and
//! a worker whose lease went stale removes what it wrote and changes nothing else.

mod accept;
mod arrival;
mod attached;
mod attachment_tree;
mod batch;
mod context;
mod documents;
mod embedding;
pub mod fsck;
mod grant;
mod keep;
mod manifest;
mod marker;
mod names;
mod parse;
mod pipeline;
mod point_access;
mod purge;
mod read;
mod recover;
mod restore;
mod revector;
mod runner;
mod settings;
mod statistics;
mod trouble;
mod vector_report;

use std::sync::Arc;
use std::time::Duration;

pub use accept::{MAX_TITLE_BYTES, UploadMetadata, Uploads};
pub use arrival::{AcceptError, IncomingFiles, ReceivedFile};
pub use context::{IdGenerator, IngestStores, MonotonicClockFn, SleepFn, TimeProvider, WallClockFn};
pub use documents::DocumentPipeline;
pub use embedding::EmbeddingCacheStats;
pub use fsck::{ConsistencyCheck, UploadSharing};
pub use grant::{GrantError, GrantRequest};
pub use keep::HEARTBEAT_INTERVAL;
pub use manifest::ManifestError;
pub use marker::GenerationMarker;
pub use names::{percent_encode_text, upload_uri};
pub use pipeline::IngestPipeline;
pub use recover::{RecoveryCounts, RecoveryError};
pub use restore::{Importer, VersionImportError, VersionImportOutcome};
pub use runner::{JobOutcome, JobRunner};
pub use settings::IngestSettings;

use crate::seam::catalogue::ClockReading;
use context::IngestContext;

/// The parts of ingestion over one set of stores.
pub struct Ingestor {
    context: Arc<IngestContext>,
    incoming: Arc<IncomingFiles>,
    marker: Arc<GenerationMarker>,
    uploads: Arc<Uploads>,
    documents: Arc<DocumentPipeline>,
    runner: JobRunner,
    importer: Importer,
    consistency: ConsistencyCheck,
}

impl Ingestor {
    /// An ingestor whose new versions are made by `pipeline`.
    pub fn new(
        stores: IngestStores,
        settings: IngestSettings,
        pipeline: IngestPipeline,
        time: TimeProvider,
        new_id: IdGenerator,
    ) -> Self {
        Self::build_parts(Arc::new(IngestContext::new(stores, settings, pipeline, time, new_id)))
    }

    fn build_parts(context: Arc<IngestContext>) -> Self {
        let leases = Arc::new(keep::LeaseKeeper::new(&context));
        let incoming = Arc::new(IncomingFiles::new(&context));
        let marker = Arc::new(GenerationMarker::new(&context));
        let embeddings = Arc::new(embedding::CachedEmbedder::new(&context));
        let manifests = Arc::new(manifest::ManifestWriter {
            context: context.clone(),
        });
        let access = Arc::new(point_access::PointAccess {
            context: context.clone(),
        });
        let attachments = Arc::new(attached::MailAttachments {
            context: context.clone(),
            leases: leases.clone(),
            incoming: incoming.clone(),
            manifests: manifests.clone(),
            access: access.clone(),
        });
        let uploads = Arc::new(Uploads {
            context: context.clone(),
            incoming: incoming.clone(),
            manifests: manifests.clone(),
            access: access.clone(),
        });
        let purger = Arc::new(purge::Purger {
            context: context.clone(),
            leases: leases.clone(),
            incoming: incoming.clone(),
            attachments: attachments.clone(),
            embeddings: embeddings.clone(),
            manifests: manifests.clone(),
            marker: marker.clone(),
        });
        let documents = Arc::new(DocumentPipeline {
            context: context.clone(),
            leases: leases.clone(),
            incoming: incoming.clone(),
            attachments,
            embeddings,
            manifests: manifests.clone(),
            access,
            purger: purger.clone(),
            marker: marker.clone(),
        });
        Self {
            runner: JobRunner::new(&context, &leases, &documents, &purger),
            consistency: ConsistencyCheck::new(&context, &incoming, &manifests),
            importer: Importer {
                context: context.clone(),
                leases,
                incoming: incoming.clone(),
                uploads: uploads.clone(),
                documents: documents.clone(),
                purger,
                manifests,
                marker: marker.clone(),
            },
            context,
            incoming,
            marker,
            uploads,
            documents,
        }
    }

    /// Takes documents in, changes and deletes them.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Receives bytes that belong to no document yet.
    pub fn incoming(&self) -> &IncomingFiles {
        &self.incoming
    }

    /// Claims jobs and carries them out.
    pub fn runner(&self) -> &JobRunner {
        &self.runner
    }

    /// Makes versions of documents.
    pub fn documents(&self) -> &DocumentPipeline {
        &self.documents
    }

    /// Puts exported versions in, and recovers a catalogue.
    pub fn importer(&self) -> &Importer {
        &self.importer
    }

    /// Compares the stores with one another.
    pub fn consistency(&self) -> &ConsistencyCheck {
        &self.consistency
    }

    /// Marks in the blob store how far the library has come.
    pub fn marker(&self) -> &GenerationMarker {
        &self.marker
    }

    /// The pipeline that makes new versions.
    pub fn pipeline(&self) -> Arc<IngestPipeline> {
        self.context.pipeline()
    }

    /// Makes new versions by another pipeline from now on; running jobs end with theirs.
    pub fn set_pipeline(&self, pipeline: IngestPipeline) {
        self.context.set_pipeline(pipeline);
    }

    /// This moment.
    pub fn current_moment(&self) -> ClockReading {
        self.context.current_moment()
    }

    /// Waits.
    pub async fn sleep_for(&self, time: Duration) {
        self.context.sleep_for(time).await;
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod tests;
