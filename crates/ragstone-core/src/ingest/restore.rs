//! Putting a packed version in: its bytes, text and points as they are, and publish. Nothing is parsed or embedded.
//!
//! Invariant: whoever dies over it leaves an accepted document with its job, which any worker can finish from its
//! original; who fails leaves nothing of it.

use std::io;

use futures::{StreamExt, TryStreamExt};

use super::keep::Left;
use super::{AcceptError, Ingestor, Retry, Trouble};
use crate::access::Principal;
use crate::document::{Stage, Worker};
use crate::id::{JobId, PointId};
use crate::library::blob::BlobWriter;
use crate::library::text::text_key;
use crate::seam::catalogue::{Claim, PublishedVersion};
use crate::seam::index::Point;
use crate::seam::portable::{Holder, Packed, PackedChunk, Parcel, Portable, Unpacked};
use crate::seam::{CatalogueError, IndexError};

/// What came of putting a version in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It answers.
    Published,
    /// The library had the same.
    Unchanged,
    /// The library has another one, which stays.
    Kept,
}

/// Why a version was not put in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RestoreError {
    /// The archive is not what it says.
    #[error("{0}")]
    Damaged(String),
    /// Its bytes could not be kept.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The catalogue refused or failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A step did not work.
    #[error("{0}")]
    Step(String),
}

impl Ingestor {
    /// Puts a version in, unless the library has the document. Its readers are the packed ones, to the letter.
    pub async fn restore(
        &self,
        portable: &dyn Portable,
        principal: &Principal,
        packed: &Packed,
        parcel: &dyn Parcel,
        worker: Worker,
    ) -> Result<Restored, RestoreError> {
        if !packed.is_named_right() || packed.acl.tenant != *principal.tenant() {
            let detail = format!("document {} is not the one that its URI names", packed.id);
            return Err(RestoreError::Damaged(detail));
        }
        if let Some(excess) = packed.excess() {
            return Err(RestoreError::Damaged(format!("document {}: {excess}", packed.id)));
        }
        if let Some(held) = portable.pack(packed.id).await? {
            return Ok(match held.is_same(packed) {
                true => Restored::Unchanged,
                false => Restored::Kept,
            });
        }
        let received = self.receive(&packed.name, parcel.original()).await?;
        if received.content_hash() != packed.content_hash {
            self.discard_received(received).await?;
            let detail = format!("the original of document {} is not the one it was made of", packed.id);
            return Err(RestoreError::Damaged(detail));
        }
        let holder = Holder {
            worker,
            lease: self.settings.lease,
            now: self.moment(),
        };
        let before = self.stores.catalogue.named(&[packed.id]).await.unwrap_or_default();
        let job = JobId((self.new_id)());
        let incoming = received.key().to_owned();
        let unpacked = portable
            .unpack(&principal.scope(), packed, &incoming, job, holder)
            .await;
        let claim = match unpacked {
            Ok(Unpacked::Begun(claim)) => claim,
            Ok(other) => {
                self.discard_received(received).await?;
                return Ok(match other {
                    Unpacked::Kept => Restored::Kept,
                    _ => Restored::Unchanged,
                });
            }
            Err(error) => {
                self.discard_unless_named(packed.id, received).await;
                return Err(error.into());
            }
        };
        // What an earlier try brought is nobody's any more.
        self.remove_waiting(&before).await;
        let work = self.put_in(&claim, packed, parcel);
        match self.kept(&claim.lease, work, std::future::pending()).await {
            Ok(()) => Ok(Restored::Published),
            Err(left) => Err(self.take_out(principal, &claim, left).await),
        }
    }

    async fn put_in(&self, claim: &Claim, packed: &Packed, parcel: &dyn Parcel) -> Result<(), Trouble> {
        let lease = &claim.lease;
        self.whole(lease, self.load(claim)).await?;
        self.whole(lease, self.put_text(claim, parcel)).await?;
        let total = u64::from(packed.chunks);
        self.note(lease, Stage::Embed, 0, total).await?;
        let (mut chunks, mut done) = (parcel.chunks(), 0_u64);
        while let Some(batch) = chunks.try_next().await.map_err(unreadable)? {
            let points: Result<Vec<Point>, Trouble> =
                (done..).zip(batch).map(|(n, chunk)| point(claim, n, chunk)).collect();
            let points = points?;
            done += points.len() as u64;
            self.whole(lease, self.stores.index.upsert(points)).await?;
            self.note(lease, Stage::Embed, done, total).await?;
        }
        if done != total {
            let detail = format!("document {} has {done} chunks, not {total}", packed.id);
            return Err(unreadable(io::Error::other(detail)));
        }
        self.note(lease, Stage::Publish, 0, 1).await?;
        let version = PublishedVersion {
            title: packed.title.clone(),
            media_type: packed.media_type.clone(),
            pages: packed.pages,
            chunks: packed.chunks,
            warnings: packed.warnings.clone(),
            pipeline: packed.pipeline.clone(),
            statistics: packed.statistics.clone(),
        };
        self.whole(lease, self.publish(claim, version, packed.updated_at)).await
    }

    async fn put_text(&self, claim: &Claim, parcel: &dyn Parcel) -> Result<(), Trouble> {
        let (lease, tenant) = (&claim.lease, &claim.document.acl.tenant);
        let key = text_key(tenant, lease.document, lease.generation);
        let mut blob = BlobWriter::new(self.stores.blobs.as_ref(), key);
        let mut pieces = parcel.text();
        while let Some(piece) = pieces.next().await {
            let written = match piece {
                Ok(piece) => blob.write(&piece).await.map_err(Trouble::from),
                Err(error) => Err(unreadable(error)),
            };
            if let Err(trouble) = written {
                blob.abort().await;
                return Err(trouble);
            }
        }
        Ok(blob.finish().await?)
    }

    /// Cancels what was begun, and leaves nothing of it.
    async fn take_out(&self, principal: &Principal, claim: &Claim, left: Left) -> RestoreError {
        let why = match left {
            Left::Trouble(trouble) => trouble.error.detail,
            Left::Told => "it was told to stop".into(),
        };
        let now = (self.clock)();
        let cancelled = self
            .stores
            .catalogue
            .cancel(&principal.scope(), claim.lease.job, now)
            .await;
        if let Err(error) = cancelled {
            tracing::warn!(document = %claim.lease.document, %error, "a job is left to the workers");
        }
        self.leave_nothing(claim).await;
        RestoreError::Step(why)
    }
}

fn unreadable(error: io::Error) -> Trouble {
    Trouble::new("archive_unreadable", error, "export it again", Retry::Never)
}

/// What follows from the document is the document's: who reads it above all.
fn point(claim: &Claim, ordinal: u64, packed: PackedChunk) -> Result<Point, Trouble> {
    let (document, lease, chunk) = (&claim.document, &claim.lease, packed.chunk);
    if chunk.document_id != lease.document || u64::from(chunk.ordinal) != ordinal {
        let detail = format!("chunk {ordinal} of document {} is another one", lease.document);
        return Err(unreadable(io::Error::other(detail)));
    }
    Ok(Point {
        id: PointId::of(chunk.id, lease.generation),
        chunk,
        collection: document.collection.clone(),
        generation: lease.generation,
        acl: document.acl.clone(),
        acl_revision: document.acl_revision,
        fields: document.filter_fields(),
        dense: packed.dense,
        lexical: packed.lexical,
        gate: packed.gate,
        tokens: packed.tokens,
    })
}
