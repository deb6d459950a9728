//! The keys of the blob store: how they are made, and what a key that is found there refers to.
//!
//! ```text
//! <tenant>/<document>/<generation>/original
//! <tenant>/<document>/<generation>/text
//! <tenant>/<document>/<generation>/recover/<stamp>     the version's manifest
//! <tenant>/<document>/<generation>/recover/deleted     note: older generations are deleted
//! <tenant>/<document>/closing/recover/<id>             note: readers are being removed
//! incoming/<id>                                        accepted bytes
//! quarantine/<seconds>/<key>                           blobs that no row refers to
//! ragstone-library, ragstone-generation                marks
//! ```
//!
//! Invariant: programs that know only originals and texts do not touch anything else here. Their sweep acts on keys of
//! four parts with a document and a generation; marks have one part, quarantined blobs and records five or more.
//! Their purge removes everything below a generation, so a version's records are removed with it.

use object_store::path::Path;

use uuid::Uuid;

use super::text::OWNER_KEY;
use crate::id::{DocumentId, Generation, TenantId};
use crate::seam::manifest::RevisionStamp;

/// Prefix of the keys where accepted bytes wait for their job.
pub const INCOMING_PREFIX: &str = "incoming";
/// Key of the blob that contains the highest marked generation.
pub const GENERATION_KEY: &str = "ragstone-generation";
/// Prefix of the keys where blobs that no row refers to are kept for a while:
/// `quarantine/<seconds since 1970>/<the key it had>`.
pub const QUARANTINE_PREFIX: &str = "quarantine";
/// Fourth part of the keys of manifests and notes.
const RECOVER: &str = "recover";
/// Third part of the key of a note that readers are being removed.
const CLOSING: &str = "closing";
/// Last part of the key of a note that a document was deleted.
const DELETED: &str = "deleted";

/// What a key of the blob store refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobKey {
    /// Accepted bytes that wait for their job.
    Incoming,
    /// The original or the text of a generation.
    Generation(DocumentId, Generation),
    /// The manifest of a generation.
    Manifest(DocumentId, Generation, RevisionStamp),
    /// The note that everything of the document below this generation is deleted.
    Deleted(DocumentId, Generation),
    /// The note that readers of the document are being removed.
    Closing(DocumentId),
    /// A mark of the library.
    Mark,
    /// A blob that was put into quarantine at this time, in seconds since 1970.
    Quarantined(i64),
    /// A key that this program does not make.
    Foreign,
}

impl BlobKey {
    /// Parses a key that was found in the store.
    pub fn from_path(key: &Path) -> Self {
        let parts: Vec<_> = key.parts().collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        match parts[..] {
            [INCOMING_PREFIX, _] => Self::Incoming,
            [OWNER_KEY | GENERATION_KEY] => Self::Mark,
            // If a tenant has that name, its keys have a document's id in second place, which is not a number.
            [QUARANTINE_PREFIX, since, _, ..] if since.parse::<i64>().is_ok() => {
                since.parse().map_or(Self::Foreign, Self::Quarantined)
            }
            [_, document, generation, _] => match (document.parse(), generation.parse()) {
                (Ok(document), Ok(generation)) => Self::Generation(document, Generation(generation)),
                _ => Self::Foreign,
            },
            [_, document, third, RECOVER, name] => Self::parse_record(document, third, name).unwrap_or(Self::Foreign),
            _ => Self::Foreign,
        }
    }

    fn parse_record(document: &str, third: &str, name: &str) -> Option<Self> {
        let document = document.parse().ok()?;
        if third == CLOSING {
            return Some(Self::Closing(document));
        }
        let generation = Generation(third.parse().ok()?);
        match name {
            DELETED => Some(Self::Deleted(document, generation)),
            stamp => Some(Self::Manifest(document, generation, stamp.parse().ok()?)),
        }
    }
}

/// Key of the manifest of a generation.
pub fn manifest_key(tenant: &TenantId, document: DocumentId, generation: Generation, stamp: RevisionStamp) -> Path {
    record_key(tenant, document, &generation.to_string(), &stamp.to_string())
}

/// Key of the note that everything of a document below `generation` is deleted.
pub fn deleted_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    record_key(tenant, document, &generation.to_string(), DELETED)
}

/// Key of the note, with a random `id`, that readers of a document are being removed.
pub fn closing_key(tenant: &TenantId, document: DocumentId, id: Uuid) -> Path {
    record_key(tenant, document, CLOSING, &id.to_string())
}

fn record_key(tenant: &TenantId, document: DocumentId, third: &str, name: &str) -> Path {
    Path::from_iter([tenant.as_str(), &document.to_string(), third, RECOVER, name])
}

/// Key in quarantine of the blob at `key`, which was moved there at `since` (seconds since 1970).
pub fn quarantine_key(key: &Path, since: i64) -> Path {
    let since = since.to_string();
    let place = [QUARANTINE_PREFIX, since.as_str()].map(object_store::path::PathPart::from);
    Path::from_iter(place.into_iter().chain(key.parts()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use crate::library::text::{original_key, text_key};

    #[test]
    fn keys_are_read_as_they_are_given() {
        let document = DocumentId(uuid::Uuid::from_u128(7));
        let read = |key: &str| BlobKey::from_path(&Path::from(key));
        for tenant in ["default", "incoming", "quarantine", "Straße"] {
            let tenant: TenantId = tenant.parse().unwrap();
            let original = original_key(&tenant, document, Generation(3));
            let text = text_key(&tenant, document, Generation(3));
            for key in [&original, &text] {
                assert_eq!(BlobKey::from_path(key), BlobKey::Generation(document, Generation(3)));
                let kept = quarantine_key(key, 1_700_000_000);
                assert_eq!(BlobKey::from_path(&kept), BlobKey::Quarantined(1_700_000_000), "{kept}");
                assert!(kept.as_ref().ends_with(key.as_ref()), "{kept}");
            }
        }
        let stamp = RevisionStamp {
            revision: 2,
            updated: 1_700_000_000_000_000_000,
        };
        let tenant = TenantId::default();
        let records = [
            (
                manifest_key(&tenant, document, Generation(3), stamp),
                BlobKey::Manifest(document, Generation(3), stamp),
            ),
            (
                deleted_key(&tenant, document, Generation(4)),
                BlobKey::Deleted(document, Generation(4)),
            ),
            (
                closing_key(&tenant, document, Uuid::from_u128(1)),
                BlobKey::Closing(document),
            ),
        ];
        for (key, named) in records {
            assert_eq!(BlobKey::from_path(&key), named, "{key}");
            assert_eq!(
                key.parts().count(),
                5,
                "programs that know no records take {key} for none of theirs"
            );
        }
        let incoming = Path::from("incoming/1");
        assert_eq!(BlobKey::from_path(&incoming), BlobKey::Incoming);
        assert_eq!(
            BlobKey::from_path(&quarantine_key(&incoming, 5)),
            BlobKey::Quarantined(5)
        );
        assert_eq!((read(OWNER_KEY), read(GENERATION_KEY)), (BlobKey::Mark, BlobKey::Mark));
        for key in ["note.txt", "quarantine/x", "quarantine/5", "a/b/c/d", "a/b"] {
            assert_eq!(read(key), BlobKey::Foreign, "{key}");
        }
    }
}
