//! Who may read what: `Principal -> Scope -> ScopedQuery -> Admitted<T>`, each with private fields and one constructor.
//!
//! Invariant: stored text leaves this crate only as [`Admitted`], and only `library` makes one. A principal is
//! created at two pinned places of the process: where a caller is verified, and where the local operator is named.

mod explain;
#[cfg(doctest)]
mod forged;
mod writing;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use explain::{AccessBasis, AccessExplanation, SetExplanation, Supposed};

use crate::id::{CollectionName, TenantId};

/// A token that can be granted: `everyone`, `dept:<id>`, `group:<id>`, `user:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reader(String);

/// Why a reader was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reader {0:?} is not one of everyone, dept:<id>, group:<id>, user:<id>")]
pub struct ReaderError(String);

/// Longest reader, in bytes.
pub const MAX_READER_BYTES: usize = 256;

impl Reader {
    /// The reader that every principal of the tenant holds.
    pub fn everyone() -> Self {
        Self("everyone".into())
    }

    /// The reader that no principal holds; in an index it represents an empty reader set. It cannot be parsed, so it
    /// cannot be granted.
    pub fn nobody() -> Self {
        Self("nobody".into())
    }

    /// The reader as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reader {
    type Err = ReaderError;
    fn from_str(value: &str) -> Result<Self, ReaderError> {
        let known = value == "everyone"
            || ["dept:", "group:", "user:"]
                .iter()
                .any(|kind| value.strip_prefix(kind).is_some_and(|id| !id.trim().is_empty()));
        match known && value.len() <= MAX_READER_BYTES && !value.chars().any(char::is_control) {
            true => Ok(Self(value.to_owned())),
            false => Err(ReaderError(value.chars().take(MAX_READER_BYTES).collect())),
        }
    }
}

impl TryFrom<String> for Reader {
    type Error = ReaderError;
    fn try_from(value: String) -> Result<Self, ReaderError> {
        match value.as_str() {
            "nobody" => Ok(Self::nobody()),
            _ => value.parse(),
        }
    }
}

impl From<Reader> for String {
    fn from(value: Reader) -> String {
        value.0
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of readers of which one is enough. An empty set admits nobody.
pub type ReaderSet = BTreeSet<Reader>;

/// Who may read a document: its tenant, and a conjunction of reader sets, each of which must contain one of the
/// caller's readers. An ACL without sets admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl {
    /// The tenant that owns the document.
    pub tenant: TenantId,
    /// The conjunction; the first set is the usual one, further ones are inherited restrictions.
    pub sets: Vec<ReaderSet>,
}

impl Acl {
    /// An ACL with a single reader set.
    pub fn any_of(tenant: TenantId, readers: impl IntoIterator<Item = Reader>) -> Self {
        Self {
            tenant,
            sets: vec![readers.into_iter().collect()],
        }
    }
}

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads, searches and asks what its readers admit.
    Reader,
    /// Also writes documents, for readers that it may grant.
    Writer,
    /// May do everything in its tenant.
    Admin,
}

/// The readers a caller may act as.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HeldReaders {
    All,
    /// Shared, because a caller with hundreds of groups is copied several times per request.
    Some(Arc<ReaderSet>),
}

impl HeldReaders {
    fn for_role(mut readers: ReaderSet, role: Role) -> Self {
        readers.remove(&Reader::nobody());
        readers.insert(Reader::everyone());
        match role {
            Role::Admin => Self::All,
            Role::Reader | Role::Writer => Self::Some(Arc::new(readers)),
        }
    }
}

/// A verified caller: its tenant, name, readers and role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    tenant: TenantId,
    subject: String,
    held: HeldReaders,
    role: Role,
}

impl Principal {
    /// A caller whose credential was checked. Called in one place, `http/auth`, which `tidy.rs` pins.
    pub fn verified(tenant: TenantId, subject: String, readers: ReaderSet, role: Role) -> Self {
        Self {
            tenant,
            subject,
            held: HeldReaders::for_role(readers, role),
            role,
        }
    }

    /// The local operator, who has access to the data directory itself, as administrator of the default tenant.
    pub fn local_operator() -> Self {
        Self::local_operator_of(TenantId::default())
    }

    /// The local operator, who has access to the data directory itself, for maintenance of one of its tenants. Called
    /// in one place, `operator`, which `tidy.rs` pins.
    pub fn local_operator_of(tenant: TenantId) -> Self {
        Self {
            tenant,
            subject: "local".into(),
            held: HeldReaders::All,
            role: Role::Admin,
        }
    }

    /// Tenant that the caller belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The caller's name within the tenant.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Role that the caller has in its tenant.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the caller may grant `reader` on a document it writes: only what it holds itself.
    pub fn may_grant(&self, reader: &Reader) -> bool {
        match (&self.held, self.role) {
            (_, Role::Reader) => false,
            (HeldReaders::All, _) => true,
            (HeldReaders::Some(held), _) => held.contains(reader),
        }
    }

    /// The part of the library this caller may read.
    pub fn scope(&self) -> Scope {
        Scope {
            tenant: self.tenant.clone(),
            held: self.held.clone(),
            writer: (self.role > Role::Reader).then(|| self.subject.as_str().into()),
        }
    }
}

/// The part of the library that a principal may read, and what it may change of that. Made only from a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    tenant: TenantId,
    held: HeldReaders,
    /// Subject of the caller if it may write; `None` for a caller that may only read.
    writer: Option<Arc<str>>,
}

impl Scope {
    /// Scope of a caller that was not verified; it never leaves [`Supposed`], which reads nothing.
    fn supposed(tenant: TenantId, readers: ReaderSet, role: Role) -> Self {
        let held = HeldReaders::for_role(readers, role);
        Self {
            tenant,
            held,
            writer: None,
        }
    }

    /// The tenant; a scope never contains anything of another tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The readers of the scope, `None` for all of them: what an index filters by.
    pub fn readers(&self) -> Option<&ReaderSet> {
        match &self.held {
            HeldReaders::All => None,
            HeldReaders::Some(readers) => Some(readers),
        }
    }

    /// Whether `acl` lets this scope read: same tenant, at least one set, and every set contains one of its readers.
    pub fn admits(&self, acl: &Acl) -> bool {
        let shares = |set: &ReaderSet| match &self.held {
            HeldReaders::All => true,
            HeldReaders::Some(readers) => !readers.is_disjoint(set),
        };
        acl.tenant == self.tenant && !acl.sets.is_empty() && acl.sets.iter().all(shares)
    }
}

/// A query that can see only what a scope admits; made only by `library`.
#[derive(Debug, Clone)]
pub struct ScopedQuery<Q> {
    scope: Scope,
    collection: Option<CollectionName>,
    filter: Option<crate::filter::MetadataFilter>,
    query: Q,
}

impl<Q> ScopedQuery<Q> {
    pub(crate) fn new(
        scope: &Scope,
        collection: Option<CollectionName>,
        filter: Option<crate::filter::MetadataFilter>,
        query: Q,
    ) -> Self {
        Self {
            scope: scope.clone(),
            collection,
            filter,
            query,
        }
    }

    /// For the contract suites of the seams, which test an index below the library.
    #[cfg(any(test, feature = "contract"))]
    pub fn for_contract(
        scope: &Scope,
        collection: Option<CollectionName>,
        filter: Option<crate::filter::MetadataFilter>,
        query: Q,
    ) -> Self {
        Self::new(scope, collection, filter, query)
    }

    /// The scope that bounds the query.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The collection it is narrowed to, if any.
    pub fn collection(&self) -> Option<&CollectionName> {
        self.collection.as_ref()
    }

    /// The caller's own filter, which only narrows.
    pub fn filter(&self) -> Option<&crate::filter::MetadataFilter> {
        self.filter.as_ref()
    }

    /// The query itself, without its limits.
    pub fn query(&self) -> &Q {
        &self.query
    }
}

/// A value that the caller's scope was found to admit; made only by `library`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// For the tests of chat models and prompts, which take only admitted chunks.
    #[cfg(any(test, feature = "contract"))]
    pub fn for_contract(value: T) -> Self {
        Self(value)
    }

    /// Unwraps the admitted value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Admitted<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests;
