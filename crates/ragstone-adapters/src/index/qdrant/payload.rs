//! Conversion between points and Qdrant's form of them: two named vectors and a payload.
//!
//! Invariant: everything that changes with an ACL is written completely each time ([`access_payload`]), with empty
//! lists for missing sets, because Qdrant retains fields that a new payload does not name.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    DenseVector, ListValue, NamedVectors, PointId as QdrantId, PointStruct, SparseVector, Struct, Value, Vector,
    Vectors, point_id::PointIdOptions, vector, vectors::VectorsOptions,
};
use ragstone_core::access::{Acl, Reader, ReaderSet};
use ragstone_core::document::{Chunk, DocumentMetadata};
use ragstone_core::id::{ChunkId, DocumentId, Generation, PointId};
use ragstone_core::rank::bm25::{SparseVector as Weights, TermId};
use ragstone_core::seam::index::{IndexError, IndexPoint, StoredChunk};

use super::error::damaged_error;
use super::filter;

/// Name of the dense vector.
pub(super) const DENSE: &str = "dense";
/// Name of the sparse vector of words and pairs of words, which have separate term ids.
pub(super) const LEXICAL: &str = "lexical";

pub(super) const TENANT: &str = "tenant";
pub(super) const COLLECTION: &str = "collection";
pub(super) const DOCUMENT: &str = "document";
pub(super) const GENERATION: &str = "generation";
pub(super) const LIVE: &str = "live";
pub(super) const CHUNK: &str = "chunk";
pub(super) const ORDINAL: &str = "ordinal";
pub(super) const GATE: &str = "gate";
pub(super) const ACL_REVISION: &str = "acl_revision";
/// Fields of the first sets of the conjunction; each has a keyword per reader.
pub(super) const ACL_SETS: [&str; 4] = ["acl_0", "acl_1", "acl_2", "acl_3"];
/// The whole ACL as JSON, if it has more sets than there are fields in `ACL_SETS`.
pub(super) const ACL_LONG: &str = "acl_long";
/// Field of the whole ACL as JSON.
pub(super) const ACL: &str = "acl";
/// Field of the metadata as JSON.
pub(super) const FIELDS: &str = "fields";
pub(super) const TERMS: &str = "terms";
pub(super) const NUMBERS: &str = "numbers";
const TEXT: &str = "text";
const RANGE: &str = "range";
const PAGE: &str = "page";
const SECTION: &str = "section";
/// Which terms of the sparse vector are pairs: one bit each, in order of term id, in base64. Qdrant stores words and
/// pairs in one vector, and an export has to separate them.
pub(super) const PAIRS: &str = "pairs";
/// Field of the tokens, in base64, because a payload is JSON.
const TOKENS: &str = "tokens";

/// Fields that are read for a stored chunk.
pub(super) const STORED: [&str; 10] = [
    DOCUMENT, GENERATION, CHUNK, COLLECTION, LIVE, ACL, ORDINAL, TEXT, RANGE, PAGE,
];
/// Further fields of a stored chunk.
pub(super) const STORED_MORE: [&str; 2] = [SECTION, TOKENS];

/// Payload of a point, by field name.
pub(super) type PointPayload = HashMap<String, Value>;

/// Converts a point to Qdrant's form, not visible yet.
pub(super) fn to_point_struct(point: &IndexPoint) -> Result<PointStruct, IndexError> {
    let mut payload = access_payload(&point.acl, point.acl_revision, &point.fields)?;
    let chunk = &point.chunk;
    let mut put = |key: &str, value: Value| payload.insert(key.to_owned(), value);
    put(LIVE, false.into());
    put(COLLECTION, point.collection.as_str().into());
    put(DOCUMENT, chunk.document_id.to_string().into());
    put(GENERATION, point.generation.to_string().into());
    put(CHUNK, chunk.id.to_string().into());
    put(ORDINAL, i64::from(chunk.ordinal).into());
    put(GATE, f64::from(point.gate).into());
    put(TEXT, chunk.text.as_str().into());
    put(
        RANGE,
        list_value([chunk.range.start, chunk.range.end].map(|at| (at as i64).into())),
    );
    put(PAIRS, encode_pair_bits(&point.lexical).into());
    if let Some(page) = chunk.page {
        put(PAGE, i64::from(page).into());
    }
    if let Some(section) = &chunk.section {
        put(SECTION, section.as_str().into());
    }
    if let Some(tokens) = &point.tokens {
        put(TOKENS, STANDARD.encode(tokens).into());
    }
    Ok(PointStruct {
        id: Some(qdrant_id(point.id)),
        payload,
        vectors: Some(named_vectors(point)),
    })
}

/// The part of the payload that changes with the document's ACL and metadata.
pub(super) fn access_payload(acl: &Acl, revision: u64, fields: &DocumentMetadata) -> Result<PointPayload, IndexError> {
    let json = |value: serde_json::Result<String>| value.map_err(|error| damaged_error(error.to_string()));
    let whole = json(serde_json::to_string(acl))?;
    let long = if acl.sets.len() > ACL_SETS.len() {
        whole.as_str()
    } else {
        ""
    };
    let mut payload = PointPayload::from([
        (TENANT.to_owned(), acl.tenant.as_str().into()),
        (ACL_REVISION.to_owned(), (revision as i64).into()),
        (ACL_LONG.to_owned(), long.into()),
        (ACL.to_owned(), whole.clone().into()),
        (FIELDS.to_owned(), json(serde_json::to_string(fields))?.into()),
        (
            TERMS.to_owned(),
            list_value(filter::field_terms(fields).into_iter().map(Value::from)),
        ),
        (NUMBERS.to_owned(), number_object(filter::field_numbers(fields))),
    ]);
    for (n, key) in ACL_SETS.into_iter().enumerate() {
        payload.insert(
            key.to_owned(),
            acl.sets.get(n).map_or_else(|| list_value([]), reader_list),
        );
    }
    Ok(payload)
}

/// The readers of a set. An empty list would look like a missing set, which restricts nobody.
fn reader_list(set: &ReaderSet) -> Value {
    match set.is_empty() {
        true => list_value([Reader::nobody().as_str().into()]),
        false => list_value(set.iter().map(|reader| reader.as_str().into())),
    }
}

fn named_vectors(point: &IndexPoint) -> Vectors {
    let mut named = HashMap::from([(LEXICAL.to_owned(), sparse_vector(merge_weights(&point.lexical)))]);
    if let Some(dense) = &point.dense {
        let dense = DenseVector { data: dense.clone() };
        named.insert(DENSE.to_owned(), wrap_vector(vector::Vector::Dense(dense)));
    }
    named.retain(|name, vector| name != LEXICAL || !is_empty_sparse(vector));
    Vectors {
        vectors_options: Some(VectorsOptions::Vectors(NamedVectors { vectors: named })),
    }
}

fn is_empty_sparse(vector: &Vector) -> bool {
    matches!(&vector.vector, Some(vector::Vector::Sparse(sparse)) if sparse.indices.is_empty())
}

fn sparse_vector(weights: SparseVector) -> Vector {
    wrap_vector(vector::Vector::Sparse(weights))
}

fn wrap_vector(vector: vector::Vector) -> Vector {
    Vector {
        vector: Some(vector),
        ..Vector::default()
    }
}

fn merge_weights(lexical: &Weights) -> SparseVector {
    let widen = |(term, weight): &(TermId, f32)| (*term, f64::from(*weight));
    sum_terms(lexical.unigrams.iter().chain(&lexical.bigrams).map(widen))
}

/// Encodes [`PAIRS`] of a vector. An id that is both a word's and a pair's counts as a word's, because their weights
/// are summed.
fn encode_pair_bits(lexical: &Weights) -> String {
    let words: HashSet<TermId> = lexical.unigrams.iter().map(|(term, _)| *term).collect();
    let terms = merge_weights(lexical).indices;
    let mut bits = vec![0_u8; terms.len().div_ceil(8)];
    for (at, term) in terms.into_iter().enumerate() {
        bits[at / 8] |= u8::from(!words.contains(&TermId(term))) << (at % 8);
    }
    STANDARD.encode(bits)
}

/// Sums weights by term id, because Qdrant accepts each index only once.
pub(super) fn sum_terms(terms: impl IntoIterator<Item = (TermId, f64)>) -> SparseVector {
    let mut terms: Vec<(TermId, f64)> = terms.into_iter().filter(|(_, weight)| *weight != 0.0).collect();
    terms.sort_by_key(|(term, _)| *term);
    terms.dedup_by(|later, kept| {
        later.0 == kept.0 && {
            kept.1 += later.1;
            true
        }
    });
    SparseVector {
        indices: terms.iter().map(|(term, _)| term.0).collect(),
        values: terms.iter().map(|(_, weight)| *weight as f32).collect(),
    }
}

/// Qdrant's id of a point.
pub(super) fn qdrant_id(point: PointId) -> QdrantId {
    point.to_string().into()
}

/// Parses Qdrant's id of a point.
pub(super) fn parse_point_id(id: Option<&QdrantId>) -> Result<PointId, IndexError> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Uuid(uuid)) => uuid
            .parse()
            .map_err(|_| damaged_error(format!("point {uuid} is no id of ours"))),
        _ => Err(damaged_error("a point has no id of ours")),
    }
}

fn list_value(values: impl IntoIterator<Item = Value>) -> Value {
    let values = values.into_iter().collect();
    Kind::ListValue(ListValue { values }).into()
}

fn number_object<'a>(numbers: impl Iterator<Item = (&'a String, f64)>) -> Value {
    let fields = numbers.map(|(key, number)| (key.clone(), number.into())).collect();
    Kind::StructValue(Struct { fields }).into()
}

/// Reads a payload; an error names the missing field.
pub(super) struct PayloadReader<'a> {
    point: PointId,
    payload: &'a PointPayload,
}

impl<'a> PayloadReader<'a> {
    pub fn new(point: PointId, payload: &'a PointPayload) -> Self {
        Self { point, payload }
    }

    fn value_kind(&self, key: &str) -> Option<&'a Kind> {
        self.payload.get(key)?.kind.as_ref()
    }

    fn missing_field(&self, key: &str) -> IndexError {
        damaged_error(format!("point {} has no {key}", self.point))
    }

    pub fn read_text(&self, key: &str) -> Result<&'a str, IndexError> {
        self.read_optional_text(key).ok_or_else(|| self.missing_field(key))
    }

    fn read_optional_text(&self, key: &str) -> Option<&'a str> {
        match self.value_kind(key) {
            Some(Kind::StringValue(text)) => Some(text),
            _ => None,
        }
    }

    /// Parses a text field as another type.
    pub fn parse_text<T: std::str::FromStr>(&self, key: &str) -> Result<T, IndexError> {
        self.read_text(key)?.parse().map_err(|_| self.missing_field(key))
    }

    pub fn read_number(&self, key: &str) -> Result<f64, IndexError> {
        match self.value_kind(key) {
            Some(Kind::DoubleValue(number)) => Ok(*number),
            // Qdrant returns a double without a fraction as an integer.
            Some(Kind::IntegerValue(number)) => Ok(*number as f64),
            _ => Err(self.missing_field(key)),
        }
    }

    pub fn read_integer<T: TryFrom<i64>>(&self, key: &str) -> Result<T, IndexError> {
        self.read_optional_integer(key)?.ok_or_else(|| self.missing_field(key))
    }

    fn read_optional_integer<T: TryFrom<i64>>(&self, key: &str) -> Result<Option<T>, IndexError> {
        match self.value_kind(key) {
            Some(Kind::IntegerValue(number)) => T::try_from(*number).map(Some).map_err(|_| self.missing_field(key)),
            _ => Ok(None),
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.value_kind(LIVE), Some(Kind::BoolValue(true)))
    }

    pub fn read_document_id(&self) -> Result<DocumentId, IndexError> {
        self.parse_text(DOCUMENT)
    }

    pub fn read_chunk_id(&self) -> Result<ChunkId, IndexError> {
        self.parse_text(CHUNK)
    }

    pub fn read_generation(&self) -> Result<Generation, IndexError> {
        self.parse_text(GENERATION).map(Generation)
    }

    /// The whole ACL in field `key`.
    pub fn read_acl(&self, key: &str) -> Result<Acl, IndexError> {
        serde_json::from_str(self.read_text(key)?).map_err(|_| self.missing_field(key))
    }

    pub fn read_fields(&self) -> Result<DocumentMetadata, IndexError> {
        serde_json::from_str(self.read_text(FIELDS)?).map_err(|_| self.missing_field(FIELDS))
    }

    fn read_range(&self) -> Result<std::ops::Range<usize>, IndexError> {
        let Some(Kind::ListValue(list)) = self.value_kind(RANGE) else {
            return Err(self.missing_field(RANGE));
        };
        match list.values.as_slice() {
            [
                Value {
                    kind: Some(Kind::IntegerValue(start)),
                },
                Value {
                    kind: Some(Kind::IntegerValue(end)),
                },
            ] => Ok(*start as usize..*end as usize),
            _ => Err(self.missing_field(RANGE)),
        }
    }

    /// Splits the terms of a sparse vector, sorted by id, into words and pairs.
    pub fn split_terms(&self, terms: Vec<(u32, f32)>) -> Result<Weights, IndexError> {
        let bits = STANDARD
            .decode(self.read_text(PAIRS)?)
            .map_err(|_| self.missing_field(PAIRS))?;
        let mut lexical = Weights::default();
        for (at, (term, weight)) in terms.into_iter().enumerate() {
            let byte = bits.get(at / 8).ok_or_else(|| self.missing_field(PAIRS))?;
            let side = match byte >> (at % 8) & 1 {
                0 => &mut lexical.unigrams,
                _ => &mut lexical.bigrams,
            };
            side.push((TermId(term), weight));
        }
        Ok(lexical)
    }

    /// The chunk as it was stored, optionally with its tokens.
    pub fn read_stored_chunk(&self, with_tokens: bool) -> Result<StoredChunk, IndexError> {
        let tokens = self.read_optional_text(TOKENS).filter(|_| with_tokens);
        let tokens = tokens.map(|tokens| STANDARD.decode(tokens)).transpose();
        Ok(StoredChunk {
            point: self.point,
            generation: self.read_generation()?,
            collection: self.parse_text(COLLECTION)?,
            tokens: tokens.map_err(|_| self.missing_field(TOKENS))?,
            chunk: Chunk {
                id: self.read_chunk_id()?,
                document_id: self.read_document_id()?,
                ordinal: self.read_integer(ORDINAL)?,
                text: self.read_text(TEXT)?.to_owned(),
                range: self.read_range()?,
                page: self.read_optional_integer(PAGE)?,
                section: self.read_optional_text(SECTION).map(str::to_owned),
            },
        })
    }
}
