//! Callers, ACLs and points for the suites; random ones come from fixed seeds.

use serde_json::json;

use crate::access::{Acl, Principal, ReaderSet, Role, Scope};
use crate::document::{Chunk, DocumentMetadata};
use crate::id::{ChunkId, CollectionName, ContentHash, DocumentId, Generation, PointId, SourceName, TenantId};
use crate::rank::{LexicalQuery, SparseVector, TermId};
use crate::seam::index::IndexPoint;

/// Words of the sample's language.
const WORDS: u64 = 60;

/// A tenant's name, known to be one.
pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("the suite uses names")
}

/// Readers by name; `nobody` may stand among them.
pub fn readers(names: &[&str]) -> ReaderSet {
    let reader = |name: &&str| (*name).to_owned().try_into().expect("the suite uses readers");
    names.iter().map(reader).collect()
}

/// An ACL of the given sets.
pub fn acl(tenant_name: &str, sets: &[&[&str]]) -> Acl {
    Acl {
        tenant: tenant(tenant_name),
        sets: sets.iter().map(|set| readers(set)).collect(),
    }
}

/// The scope of a caller of `tenant_name` with the given readers.
pub fn caller(tenant_name: &str, names: &[&str]) -> Scope {
    Principal::verified(tenant(tenant_name), "caller".into(), readers(names), Role::Writer).scope()
}

/// A source of points: the same seed gives the same points.
#[derive(Debug, Clone)]
pub struct Sample {
    state: u64,
    dimensions: usize,
}

impl Sample {
    /// Points with vectors of `dimensions` components.
    pub fn new(seed: u64, dimensions: usize) -> Self {
        Self {
            state: seed,
            dimensions,
        }
    }

    /// The next random number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A random number from 0 to 1.
    pub fn share(&mut self) -> f32 {
        (self.number() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A random unit vector.
    pub fn vector(&mut self) -> Vec<f32> {
        let loose: Vec<f32> = (0..self.dimensions).map(|_| self.share() - 0.5).collect();
        unit(loose)
    }

    /// A unit vector near `center`; the smaller `spread`, the nearer.
    pub fn vector_near(&mut self, center: &[f32], spread: f32) -> Vec<f32> {
        unit(center.iter().map(|x| x + spread * (self.share() - 0.5)).collect())
    }

    /// A random sparse vector; low terms are frequent.
    pub fn lexical(&mut self) -> SparseVector {
        let mut side = |count: u64, first: u64| {
            let mut terms = std::collections::BTreeMap::new();
            for _ in 0..count {
                let term = first + self.below(WORDS).min(self.below(WORDS));
                terms.insert(TermId(term as u32), 0.1 + 2.0 * self.share());
            }
            terms.into_iter().collect()
        };
        SparseVector {
            unigrams: side(8, 0),
            bigrams: side(6, 1_000),
        }
    }

    /// A random question's lexical side.
    pub fn lexical_query(&mut self) -> LexicalQuery {
        asking(&self.lexical())
    }

    /// A point of `uri`, which names a document of the ACL's tenant.
    pub fn point(&mut self, acl: &Acl, uri: &str, generation: u64, ordinal: u32) -> IndexPoint {
        let (collection, source) = (CollectionName::default(), SourceName::default());
        let document_id = DocumentId::from_uri(&acl.tenant, &collection, &source, uri);
        let id = ChunkId::from_ordinal(document_id, &ContentHash::of_bytes(uri.as_bytes()), "pipeline", ordinal);
        let text = format!("chunk {ordinal} of {uri}, é");
        let start = 100 * ordinal as usize;
        IndexPoint {
            id: PointId::from_chunk(id, Generation(generation)),
            chunk: Chunk {
                id,
                document_id,
                ordinal,
                range: start..start + text.len(),
                text,
                page: Some(ordinal + 1),
                section: ordinal.is_multiple_of(2).then(|| "Setup > Linux".into()),
            },
            collection,
            generation: Generation(generation),
            acl: acl.clone(),
            acl_revision: 1,
            fields: fields(uri, "en"),
            dense: Some(self.vector()),
            lexical: self.lexical(),
            gate: self.share(),
            tokens: (ordinal % 2 == 1).then(|| vec![ordinal as u8; 5]),
        }
    }
}

/// Filter fields of a document.
pub fn fields(uri: &str, language: &str) -> DocumentMetadata {
    match json!({"uri": uri, "lang": language}) {
        serde_json::Value::Object(fields) => fields,
        _ => DocumentMetadata::new(),
    }
}

fn unit(loose: Vec<f32>) -> Vec<f32> {
    let length = loose.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
    loose.into_iter().map(|x| x / length).collect()
}

/// A question that asks for all terms of a document side.
pub fn asking(lexical: &SparseVector) -> LexicalQuery {
    let weights = |terms: &[(TermId, f32)]| terms.iter().map(|(term, weight)| (*term, f64::from(*weight))).collect();
    LexicalQuery {
        unigrams: weights(&lexical.unigrams),
        bigrams: weights(&lexical.bigrams),
        upper_bound: 1.0,
    }
}
