//! Names and ids: newtypes that are validated once, on input.
//!
//! Invariant: ids of stored things are derived (UUIDv5) from what they identify, so a step that is repeated gives
//! the same id and never creates a second thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of every derived id; a constant of the product, never changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2f0e_6a0b_5d0e_9a53_7261_6773_746f);

/// Longest tenant, collection and source name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not a name: use 1 to {MAX_NAME_BYTES} letters, digits, '-', '_', '.', '@'")]
pub struct NameError {
    kind: &'static str,
    value: String,
}

fn check_name(kind: &'static str, value: &str) -> Result<String, NameError> {
    let fits = !value.is_empty()
        && value.len() <= MAX_NAME_BYTES
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@'));
    match fits {
        true => Ok(value.to_owned()),
        false => Err(NameError {
            kind,
            value: value.chars().take(MAX_NAME_BYTES).collect(),
        }),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                check_name($kind, value).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl Default for $type {
            /// `default`, used if no name is given.
            fn default() -> Self {
                Self("default".into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A tenant, one customer or organisation, isolated from all others.
    TenantId, "tenant");
name!(
    /// A named part of a tenant's library.
    CollectionName, "collection");
name!(
    /// The name of a source of documents; `upload` for uploads.
    SourceName, "source");

macro_rules! uuid_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub Uuid);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = uuid::Error;
            fn from_str(value: &str) -> Result<Self, uuid::Error> {
                value.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A document: one item of a source, identified by its URI.
    DocumentId);
uuid_id!(
    /// A chunk of one version of a document, as one pipeline made it.
    ChunkId);
uuid_id!(
    /// A chunk as one generation stored it in an index.
    PointId);
uuid_id!(
    /// A unit of background work.
    JobId);
uuid_id!(
    /// A source that documents are synced from.
    SourceId);
uuid_id!(
    /// One question and everything done to answer it.
    TraceId);

impl DocumentId {
    /// The id of the document that `source` calls `uri` in `collection` of `tenant`.
    pub fn from_uri(tenant: &TenantId, collection: &CollectionName, source: &SourceName, uri: &str) -> Self {
        Self(derive_uuid(&[
            tenant.as_str(),
            collection.as_str(),
            source.as_str(),
            uri,
        ]))
    }
}

impl ChunkId {
    /// The id of the `ordinal`-th chunk (from 0) that `pipeline` made of the bytes named by `content`.
    pub fn from_ordinal(document: DocumentId, content: &ContentHash, pipeline: &str, ordinal: u32) -> Self {
        Self(derive_uuid(&[
            &document.to_string(),
            &content.to_string(),
            pipeline,
            &ordinal.to_string(),
        ]))
    }
}

impl PointId {
    /// The id under which `generation` stores `chunk`.
    pub fn from_chunk(chunk: ChunkId, generation: Generation) -> Self {
        Self(derive_uuid(&[&chunk.to_string(), &generation.0.to_string()]))
    }
}

/// Derives an id from parts. They are length-prefixed, so that two different lists never give the same bytes.
fn derive_uuid(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// Number of one attempt to store a version of a document; unique within a catalogue, and only ever growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// BLAKE3 of a document's original bytes; 64 lower-case hexadecimal digits as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).fmt(f)
    }
}

impl TryFrom<String> for ContentHash {
    type Error = blake3::HexError;
    fn try_from(value: String) -> Result<Self, blake3::HexError> {
        blake3::Hash::from_hex(value).map(|hash| Self(*hash.as_bytes()))
    }
}

impl From<ContentHash> for String {
    fn from(value: ContentHash) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_at_the_door() {
        for good in ["default", "a", "acme-2", "Straße", "x@y.z"] {
            assert_eq!(good.parse::<TenantId>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "a\0", "..\u{202e}", &"a".repeat(MAX_NAME_BYTES + 1)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        let of = |tenant: &str, uri: &str| {
            DocumentId::from_uri(
                &tenant.parse().unwrap(),
                &CollectionName::default(),
                &SourceName::default(),
                uri,
            )
        };
        assert_eq!(of("a", "file:///x"), of("a", "file:///x"));
        assert_ne!(of("a", "file:///x"), of("b", "file:///x"));
        assert_ne!(of("a", "file:///x"), of("a", "file:///y"));
        let chunk = ChunkId::from_ordinal(of("a", "x"), &ContentHash::of_bytes(b"1"), "p", 0);
        assert_ne!(
            chunk,
            ChunkId::from_ordinal(of("a", "x"), &ContentHash::of_bytes(b"2"), "p", 0)
        );
        assert_ne!(
            PointId::from_chunk(chunk, Generation(1)),
            PointId::from_chunk(chunk, Generation(2))
        );
    }

    #[test]
    fn a_content_hash_survives_json() {
        let hash = ContentHash::of_bytes(b"text");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<ContentHash>(&json).unwrap(), hash);
    }
}
