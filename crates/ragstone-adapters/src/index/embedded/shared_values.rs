//! Values that many groups have, kept once: ACLs and the names of collections.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use ragstone_core::access::Acl;
use ragstone_core::id::CollectionName;

/// Values that groups share.
#[derive(Debug, Default)]
pub struct SharedValues {
    acls: Pool<Acl>,
    collections: Pool<CollectionName>,
}

impl SharedValues {
    /// The same ACL, as the one that others have.
    pub fn acl(&mut self, acl: Acl) -> Arc<Acl> {
        self.acls.shared(acl)
    }

    /// The same name, as the one that others have.
    pub fn collection(&mut self, name: CollectionName) -> Arc<CollectionName> {
        self.collections.shared(name)
    }
}

/// Invariant: equal values are one; what nobody else has is dropped before the pool doubles.
#[derive(Debug)]
struct Pool<T> {
    values: HashSet<Arc<T>>,
    /// How many stayed when the unused ones were dropped last.
    live: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            live: 0,
        }
    }
}

impl<T: Eq + Hash> Pool<T> {
    fn shared(&mut self, value: T) -> Arc<T> {
        if let Some(held) = self.values.get(&value) {
            return held.clone();
        }
        if self.values.len() > 2 * self.live {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.live = self.values.len().max(1);
        }
        let value = Arc::new(value);
        self.values.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut pool = Pool::default();
        let kept: Vec<_> = (0..10).map(|n| pool.shared(n)).collect();
        assert!(Arc::ptr_eq(&kept[3], &pool.shared(3)));
        for n in 10..1_000 {
            drop(pool.shared(n));
        }
        assert!(pool.values.len() <= 2 * (kept.len() + 1), "{}", pool.values.len());
        assert!(Arc::ptr_eq(&kept[9], &pool.shared(9)));
    }
}
