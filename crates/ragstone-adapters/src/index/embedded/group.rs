//! Groups of points of one generation that share their metadata.

use std::sync::Arc;

use ragstone_core::access::Acl;
use ragstone_core::id::{CollectionName, DocumentId, Generation};

use crate::shared_values::SharedPool;

/// Points of one generation that share everything except their chunk. Their fields are in the columns of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct PointGroup {
    /// Row id of the group.
    pub row: i64,
    /// Document of the points.
    pub document: DocumentId,
    /// Generation of the points.
    pub generation: Generation,
    /// Collection of the document.
    pub collection: Arc<CollectionName>,
    /// Readers of the document.
    pub acl: Arc<Acl>,
    /// Revision of the ACL.
    pub acl_revision: u64,
}

/// Values that groups share, each held once.
#[derive(Debug, Default)]
pub struct GroupValues {
    /// ACLs of the groups.
    pub acls: SharedPool<Acl>,
    /// Collections of the groups.
    pub collections: SharedPool<CollectionName>,
}
