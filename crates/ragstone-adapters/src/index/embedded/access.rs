//! Slots of a segment that a scope admits: a bitmap for each ACL, found by tenant and reader.
//!
//! Invariant: every ACL is checked with [`Scope::admits`] before its slots are added; the maps only select the ACLs
//! worth checking. So a conjunction of any number of reader sets is exact.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ragstone_core::access::{Acl, Reader, Scope};
use ragstone_core::id::TenantId;
use roaring::RoaringBitmap;

use super::slots::SlotSet;

/// Access data of a segment's points.
#[derive(Debug, Clone, Default)]
pub struct AccessIndex {
    tenants: HashMap<TenantId, TenantAccess>,
}

#[derive(Debug, Clone, Default)]
struct TenantAccess {
    /// All slots of the tenant.
    all: RoaringBitmap,
    acls: Vec<(Arc<Acl>, RoaringBitmap)>,
    positions: HashMap<Arc<Acl>, usize>,
    /// Positions of ACLs whose first set contains the reader.
    by_reader: HashMap<Reader, Vec<usize>>,
}

impl AccessIndex {
    /// Adds slots under `acl`.
    pub fn insert_slots(&mut self, acl: &Arc<Acl>, slots: &RoaringBitmap) {
        if !self.tenants.contains_key(&acl.tenant) {
            self.tenants.insert(acl.tenant.clone(), TenantAccess::default());
        }
        let Some(tenant) = self.tenants.get_mut(&acl.tenant) else {
            return;
        };
        tenant.all |= slots;
        if let Some(position) = tenant.positions.get(acl) {
            tenant.acls[*position].1 |= slots;
            return;
        }
        let position = tenant.acls.len();
        for reader in acl.sets.first().into_iter().flatten() {
            tenant.by_reader.entry(reader.clone()).or_default().push(position);
        }
        tenant.positions.insert(acl.clone(), position);
        tenant.acls.push((acl.clone(), slots.clone()));
    }

    /// Removes slots from under `acl`.
    pub fn remove_slots(&mut self, acl: &Acl, slots: &RoaringBitmap) {
        if let Some(tenant) = self.tenants.get_mut(&acl.tenant)
            && let Some(position) = tenant.positions.get(acl)
        {
            tenant.acls[*position].1 -= slots;
            tenant.all -= slots;
        }
    }

    /// Adds the slots that `scope` admits.
    pub fn add_admitted_slots(&self, scope: &Scope, slots: &mut SlotSet) {
        let Some(tenant) = self.tenants.get(scope.tenant()) else {
            return;
        };
        let asked = tenant.candidate_acls(scope);
        let admitted: Vec<&RoaringBitmap> = asked
            .filter(|(acl, _)| scope.admits(acl))
            .map(|(_, slots)| slots)
            .collect();
        match admitted.len() == tenant.acls.len() {
            true => slots.add_bitmap(&tenant.all),
            false => admitted.into_iter().for_each(|admitted| slots.add_bitmap(admitted)),
        }
    }
}

impl TenantAccess {
    fn candidate_acls(&self, scope: &Scope) -> Box<dyn Iterator<Item = &(Arc<Acl>, RoaringBitmap)> + '_> {
        match scope.readers() {
            Some(readers) if readers.len() < self.acls.len() => {
                let found = readers.iter().filter_map(|reader| self.by_reader.get(reader));
                let positions: BTreeSet<usize> = found.flatten().copied().collect();
                Box::new(positions.into_iter().map(|position| &self.acls[position]))
            }
            _ => Box::new(self.acls.iter()),
        }
    }
}
