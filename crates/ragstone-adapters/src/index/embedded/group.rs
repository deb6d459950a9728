//! Points of one generation, as far as they are alike.

use std::sync::Arc;

use ragstone_core::access::Acl;
use ragstone_core::id::{CollectionName, DocumentId, Generation};

use crate::shared_values::SharedPool;

/// Points of one generation that share everything but their chunk. Their fields stand in the columns of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct PointGroup {
    /// Its row.
    pub row: i64,
    /// The document.
    pub document: DocumentId,
    /// The generation.
    pub generation: Generation,
    /// The document's collection.
    pub collection: Arc<CollectionName>,
    /// Who may read it.
    pub acl: Arc<Acl>,
    /// The ACL's revision.
    pub acl_revision: u64,
}

/// What groups have in common, kept once.
#[derive(Debug, Default)]
pub struct GroupValues {
    /// Who may read them.
    pub acls: SharedPool<Acl>,
    /// Their collections.
    pub collections: SharedPool<CollectionName>,
}
