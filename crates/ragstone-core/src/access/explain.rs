//! Explains why a document is readable or not: the rule of [`Scope::admits`], set by set.
//!
//! Invariant: an explanation admits exactly what its scope admits; a [`Supposed`] caller can read nothing.

use super::{Acl, HeldReaders, ReaderSet, Role, Scope};
use crate::id::TenantId;

/// The result of each part of the rule for one caller and one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessExplanation {
    /// Whether the document belongs to the caller's tenant.
    pub same_tenant: bool,
    /// The reader sets in their order, each of which must admit; an empty list admits nobody.
    pub sets: Vec<SetExplanation>,
}

/// The result of the rule for one reader set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetExplanation {
    /// The readers of the set, of which one is enough.
    pub readers: ReaderSet,
    /// Why the set admits the caller, or that it does not.
    pub basis: AccessBasis,
}

/// Why a reader set admits a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessBasis {
    /// The caller's role holds every reader of the tenant.
    Role,
    /// The caller holds these readers of the set.
    Readers(ReaderSet),
    /// The caller holds none of its readers: it is not admitted.
    Nothing,
}

impl SetExplanation {
    /// Whether the set admits the caller.
    pub fn admits(&self) -> bool {
        self.basis != AccessBasis::Nothing
    }
}

impl AccessExplanation {
    /// Whether the caller may read the document.
    pub fn admits(&self) -> bool {
        self.same_tenant && !self.sets.is_empty() && self.sets.iter().all(SetExplanation::admits)
    }
}

impl Scope {
    /// Explains why `acl` lets this scope read, or why not.
    pub fn explain_access(&self, acl: &Acl) -> AccessExplanation {
        let explained = |set: &ReaderSet| SetExplanation {
            readers: set.clone(),
            basis: self.basis_for(set),
        };
        AccessExplanation {
            same_tenant: acl.tenant == self.tenant,
            sets: acl.sets.iter().map(explained).collect(),
        }
    }

    fn basis_for(&self, set: &ReaderSet) -> AccessBasis {
        let HeldReaders::Some(held) = &self.held else {
            return AccessBasis::Role;
        };
        let shared: ReaderSet = held.intersection(set).cloned().collect();
        match shared.is_empty() {
            true => AccessBasis::Nothing,
            false => AccessBasis::Readers(shared),
        }
    }
}

/// A hypothetical caller, to explain what it could read. Its scope is private, so nothing can be read with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supposed(Scope);

impl Supposed {
    /// A hypothetical caller with these rights.
    pub fn new(tenant: TenantId, readers: ReaderSet, role: Role) -> Self {
        Self(Scope::supposed(tenant, readers, role))
    }

    /// The readers it would hold, `everyone` included; `None` for all of its tenant.
    pub fn readers(&self) -> Option<&ReaderSet> {
        self.0.readers()
    }

    /// Explains why it could read a document with `acl`, or why not.
    pub fn explain_access(&self, acl: &Acl) -> AccessExplanation {
        self.0.explain_access(acl)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::{Principal, Reader};

    fn set(names: &[&str]) -> ReaderSet {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn each_set_is_told_with_what_passes_it() {
        let acl = |tenant: &str, sets: &[&[&str]]| Acl {
            tenant: tenant.parse().unwrap(),
            sets: sets.iter().map(|names| set(names)).collect(),
        };
        let check = |role, acl: Acl, same_tenant: bool, by: &[AccessBasis]| {
            let held = set(&["dept:x", "group:g"]);
            let told = Supposed::new("a".parse().unwrap(), held, role).explain_access(&acl);
            let found: Vec<AccessBasis> = told.sets.iter().map(|set| set.basis.clone()).collect();
            assert_eq!((told.same_tenant, &found[..]), (same_tenant, by), "{acl:?}");
        };
        let readers = |names: &[&str]| AccessBasis::Readers(set(names));
        check(
            Role::Reader,
            acl("a", &[&["dept:x", "group:g", "user:u"], &["dept:y"], &[]]),
            true,
            &[
                readers(&["dept:x", "group:g"]),
                AccessBasis::Nothing,
                AccessBasis::Nothing,
            ],
        );
        check(
            Role::Writer,
            acl("a", &[&["everyone"]]),
            true,
            &[readers(&["everyone"])],
        );
        check(
            Role::Writer,
            acl("b", &[&["everyone"]]),
            false,
            &[readers(&["everyone"])],
        );
        check(
            Role::Admin,
            acl("a", &[&["dept:y"], &[]]),
            true,
            &[AccessBasis::Role, AccessBasis::Role],
        );
        check(Role::Admin, acl("a", &[]), true, &[]);
    }

    fn readers() -> impl Strategy<Value = ReaderSet> {
        let names = ["everyone", "dept:x", "dept:y", "group:g", "user:u"];
        let one = prop::sample::select(names.to_vec()).prop_map(|name| name.parse::<Reader>().unwrap());
        let any = prop_oneof![8 => one, 1 => Just(Reader::nobody())];
        prop::collection::btree_set(any, 0..4)
    }

    proptest! {
        #[test]
        fn it_never_differs_from_the_rule(
            tenants in ("[ab]", "[ab]"),
            held in readers(),
            sets in prop::collection::vec(readers(), 0..4),
            role in prop::sample::select(vec![Role::Reader, Role::Writer, Role::Admin]),
        ) {
            let (own, other): (TenantId, TenantId) = (tenants.0.parse().unwrap(), tenants.1.parse().unwrap());
            let acl = Acl { tenant: other, sets };
            let scope = Principal::verified(own.clone(), "u".into(), held.clone(), role).scope();
            let told = scope.explain_access(&acl);
            prop_assert_eq!(told.admits(), scope.admits(&acl));
            prop_assert_eq!(Supposed::new(own, held, role).explain_access(&acl), told);
        }
    }
}
