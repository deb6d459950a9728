//! Metadata from outside: key-value pairs within bounds, whatever interface they come through.
//!
//! Invariant: lists show a thousand documents with their metadata, so the metadata of one document is small.

use serde_json::Value;

use super::DocumentMetadata;

/// Most bytes of a document's metadata, as JSON without spaces.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;
/// Most keys, those of nested objects included.
pub const MAX_METADATA_KEYS: usize = 256;
/// Deepest nesting; the pairs themselves are the first level.
pub const MAX_METADATA_DEPTH: usize = 16;

/// A document's key-value pairs within bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BoundedMetadata(DocumentMetadata);

/// Which bound the metadata exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It has more than [`MAX_METADATA_BYTES`] bytes.
    #[error("metadata has {0} bytes, more than {MAX_METADATA_BYTES}")]
    Bytes(usize),
    /// It has more than [`MAX_METADATA_KEYS`] keys.
    #[error("metadata has {0} keys, more than {MAX_METADATA_KEYS}")]
    Keys(usize),
    /// It is nested deeper than [`MAX_METADATA_DEPTH`].
    #[error("metadata is nested deeper than {MAX_METADATA_DEPTH}")]
    Depth,
}

impl BoundedMetadata {
    /// Metadata that a catalogue has stored. It is not checked again: it was checked on arrival, or arrived before the
    /// bounds existed.
    pub fn from_stored(metadata: DocumentMetadata) -> Self {
        Self(metadata)
    }

    /// Returns the key-value pairs.
    pub fn into_inner(self) -> DocumentMetadata {
        self.0
    }
}

impl TryFrom<DocumentMetadata> for BoundedMetadata {
    type Error = MetadataError;
    fn try_from(metadata: DocumentMetadata) -> Result<Self, MetadataError> {
        let keys = count_keys(metadata.values(), metadata.len(), 1)?;
        if keys > MAX_METADATA_KEYS {
            return Err(MetadataError::Keys(keys));
        }
        let mut bytes = CountedBytes(0);
        serde_json::to_writer(&mut bytes, &metadata).expect("text and numbers serialise");
        match bytes.0 > MAX_METADATA_BYTES {
            true => Err(MetadataError::Bytes(bytes.0)),
            false => Ok(Self(metadata)),
        }
    }
}

/// `own` and the keys of all objects in `values`, which are at `depth`.
fn count_keys<'a>(values: impl Iterator<Item = &'a Value>, own: usize, depth: usize) -> Result<usize, MetadataError> {
    let mut keys = own;
    for value in values {
        let is_nested = value.is_object() || value.is_array();
        if is_nested && depth == MAX_METADATA_DEPTH {
            return Err(MetadataError::Depth);
        }
        keys += match value {
            Value::Object(pairs) => count_keys(pairs.values(), pairs.len(), depth + 1)?,
            Value::Array(items) => count_keys(items.iter(), 0, depth + 1)?,
            _ => 0,
        };
    }
    Ok(keys)
}

/// A writer that only counts bytes.
struct CountedBytes(usize);

impl std::io::Write for CountedBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(metadata: Value, expected: Result<(), MetadataError>) {
        let metadata = metadata.as_object().unwrap().clone();
        assert_eq!(BoundedMetadata::try_from(metadata).map(drop), expected);
    }

    #[test]
    fn bytes_are_counted_as_json() {
        let of_bytes = |bytes: usize| json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())});
        check(of_bytes(MAX_METADATA_BYTES), Ok(()));
        let more = MAX_METADATA_BYTES + 1;
        check(of_bytes(more), Err(MetadataError::Bytes(more)));
        // A quote takes two bytes.
        let quotes = json!({"a": "\"".repeat(MAX_METADATA_BYTES / 2)});
        check(quotes, Err(MetadataError::Bytes(MAX_METADATA_BYTES + 8)));
    }

    #[test]
    fn keys_are_counted_at_every_depth() {
        let pairs = |n: usize| (0..n).map(|n| (n.to_string(), json!(n))).collect::<DocumentMetadata>();
        check(json!({}), Ok(()));
        check(json!(pairs(MAX_METADATA_KEYS)), Ok(()));
        check(json!(pairs(257)), Err(MetadataError::Keys(257)));
        check(json!({"a": [pairs(200), pairs(55)]}), Ok(()));
        check(
            json!({"a": [pairs(200), {"b": pairs(55)}]}),
            Err(MetadataError::Keys(257)),
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| (1..depth).fold(json!({"a": 1}), |inner, _| json!({"a": inner}));
        check(nested(MAX_METADATA_DEPTH), Ok(()));
        check(nested(MAX_METADATA_DEPTH + 1), Err(MetadataError::Depth));
        let lists = (0..100).fold(json!(1), |inner, _| json!([inner]));
        check(json!({"a": lists}), Err(MetadataError::Depth));
    }
}
