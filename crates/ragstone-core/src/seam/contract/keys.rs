//! Contract of every store of API keys.

use std::future::Future;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::catalogue::at;
use super::{readers, tenant};
use crate::access::Role;
use crate::seam::catalogue::{CatalogueError, PageRequest};
use crate::seam::keys::{KeyHash, KeyId, KeyRecord, KeyStore, Pepper, RotationOutcome, StoredKey};

type Shared = Arc<dyn KeyStore>;

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn key_store_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    the_first_pepper_stays(make().await).await;
    a_key_comes_back_as_it_was(make().await).await;
    an_id_is_taken_once(make().await).await;
    lists_fill_their_pages_within_the_tenant(make().await).await;
    a_revoked_key_stays_revoked(make().await).await;
    a_rotated_key_ends_and_its_successor_has_its_rights(make().await).await;
    what_has_ended_is_not_rotated(make().await).await;
    the_latest_use_is_noted(make().await).await;
}

fn id(n: u64) -> KeyId {
    KeyId::new(n)
}

fn hash(n: u8) -> KeyHash {
    KeyHash::from_bytes([n; 32])
}

fn key(n: u64, tenant_name: &str) -> StoredKey {
    StoredKey {
        key: KeyRecord {
            id: id(n),
            name: format!("key {n}"),
            tenant: tenant(tenant_name),
            role: Role::Writer,
            readers: readers(&["dept:x", "user:ü"]),
            subject: "ü".into(),
            created_at: at(n as i64 / 2),
            expires_at: Some(at(1_000)),
            revoked_at: None,
            last_used_at: None,
            successor: None,
        },
        hash: hash(n as u8),
    }
}

async fn create(store: &Shared, key: StoredKey) {
    assert!(store.create_key(key).await.expect("kept"), "the id is free");
}

async fn found(store: &Shared, n: u64) -> StoredKey {
    store.find_key(id(n)).await.expect("an answer").expect("it is there")
}

async fn the_first_pepper_stays(store: Shared) {
    let pepper = |n: u8| Pepper::new(&(Arc::new(move || [n; 32]) as _));
    assert_eq!(
        store.get_or_create_pepper(pepper(1)).await.expect("an answer"),
        pepper(1)
    );
    assert_eq!(
        store.get_or_create_pepper(pepper(2)).await.expect("an answer"),
        pepper(1)
    );
}

async fn a_key_comes_back_as_it_was(store: Shared) {
    assert!(!store.has_keys().await.expect("an answer"));
    assert_eq!(store.find_key(id(1)).await.expect("an answer"), None);
    let mut endless = key(2, "b");
    endless.key.expires_at = None;
    endless.key.readers.clear();
    endless.key.role = Role::Admin;
    let mut largest = key(u64::MAX, "b");
    largest.key.created_at = at(9);
    for stored in [key(1, "a"), endless, largest] {
        create(&store, stored.clone()).await;
        let again = store.find_key(stored.key.id).await.expect("an answer");
        assert_eq!(again, Some(stored));
    }
    assert_eq!(store.find_key(id(3)).await.expect("an answer"), None);
    assert!(store.has_keys().await.expect("an answer"));
}

async fn an_id_is_taken_once(store: Shared) {
    create(&store, key(1, "a")).await;
    let mut twin = key(1, "b");
    twin.hash = hash(9);
    assert!(!store.create_key(twin).await.expect("an answer"));
    assert_eq!(found(&store, 1).await, key(1, "a"));
}

async fn lists_fill_their_pages_within_the_tenant(store: Shared) {
    for n in [5, 3, 4, 1, 2] {
        create(&store, key(n, if n == 3 { "b" } else { "a" })).await;
    }
    let check = async |tenant_name: Option<&str>, expected: &[u64]| {
        let of = tenant_name.map(tenant);
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.list_keys(of.as_ref(), &PageRequest { cursor, limit: 2 }).await;
            let page = page.expect("an answer");
            assert!(page.items.len() <= 2);
            ids.extend(page.items.iter().map(|key| key.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            assert_eq!(page.items.len(), 2, "a page is full before another begins");
        }
        let expected: Vec<KeyId> = expected.iter().map(|n| id(*n)).collect();
        assert_eq!(ids, expected, "oldest first, then by id");
    };
    check(None, &[1, 2, 3, 4, 5]).await;
    check(Some("a"), &[1, 2, 4, 5]).await;
    check(Some("b"), &[3]).await;
    check(Some("c"), &[]).await;
    let bad = PageRequest {
        cursor: Some("nonsense".into()),
        limit: 2,
    };
    let refused = store.list_keys(None, &bad).await;
    assert!(matches!(refused, Err(CatalogueError::BadCursor)), "{refused:?}");
}

async fn a_revoked_key_stays_revoked(store: Shared) {
    create(&store, key(1, "a")).await;
    create(&store, key(2, "a")).await;
    let (own, other) = (tenant("a"), tenant("b"));
    let revoke = async |of, n, now| store.revoke_key(of, id(n), at(now)).await.expect("an answer");
    assert_eq!(revoke(Some(&other), 1, 5).await, None);
    assert_eq!(revoke(None, 9, 5).await, None);
    assert!(found(&store, 1).await.key.is_live(at(5)), "another tenant's hand");
    let revoked = revoke(Some(&own), 1, 6).await.expect("it is ours");
    assert_eq!(revoked.revoked_at, Some(at(6)));
    assert!(!revoked.is_live(at(6)));
    let again = revoke(None, 1, 7).await.expect("whoever has all keys has it");
    assert_eq!(again, revoked, "the first time stays");
    assert_eq!(found(&store, 1).await.key, revoked);
    assert!(found(&store, 2).await.key.is_live(at(6)), "and no other one");
    assert!(store.has_keys().await.expect("an answer"));
}

async fn rotate(store: &Shared, of: &str, old: u64, new: u64, until: OffsetDateTime) -> RotationOutcome {
    let successor = (id(new), hash(new as u8));
    let of = tenant(of);
    let rotated = store.rotate_key(Some(&of), id(old), successor, until, at(10)).await;
    rotated.expect("an answer")
}

async fn a_rotated_key_ends_and_its_successor_has_its_rights(store: Shared) {
    create(&store, key(1, "a")).await;
    store.record_key_use(id(1), at(9)).await.expect("noted");
    assert_eq!(rotate(&store, "b", 1, 2, at(10)).await, RotationOutcome::Unknown);
    assert_eq!(rotate(&store, "a", 7, 2, at(10)).await, RotationOutcome::Unknown);
    assert_eq!(store.find_key(id(2)).await.expect("an answer"), None);
    let RotationOutcome::Done(successor) = rotate(&store, "a", 1, 2, at(20)).await else {
        panic!("a live key is rotated")
    };
    let expected = KeyRecord {
        id: id(2),
        created_at: at(10),
        ..key(1, "a").key
    };
    assert_eq!(successor, expected);
    let stored = found(&store, 2).await;
    assert_eq!((stored.key, stored.hash), (successor, hash(2)));
    let old = found(&store, 1).await;
    assert_eq!((old.key.successor, old.hash), (Some(id(2)), hash(1)));
    assert!(old.key.is_live(at(19)), "until its grace ends");
    assert!(!old.key.is_live(at(20)));
    let after_its_end = at(1_000) + Duration::days(1);
    assert!(matches!(
        rotate(&store, "a", 2, 3, after_its_end).await,
        RotationOutcome::Done(_)
    ));
    assert_eq!(
        found(&store, 2).await.key.expires_at,
        Some(at(1_000)),
        "no grace prolongs a key"
    );
}

async fn what_has_ended_is_not_rotated(store: Shared) {
    for n in 1..=3 {
        let mut stored = key(n, "a");
        if n == 2 {
            stored.key.expires_at = Some(at(10));
        }
        create(&store, stored).await;
    }
    store.revoke_key(None, id(1), at(5)).await.expect("revoked");
    assert!(matches!(
        rotate(&store, "a", 3, 4, at(20)).await,
        RotationOutcome::Done(_)
    ));
    for (old, why) in [(1, "revoked"), (2, "expired"), (3, "rotated")] {
        let before = found(&store, old).await;
        assert_eq!(
            rotate(&store, "a", old, 9, at(20)).await,
            RotationOutcome::Ended,
            "{why}"
        );
        assert_eq!(found(&store, old).await, before, "{why}");
    }
    assert_eq!(store.find_key(id(9)).await.expect("an answer"), None);
}

async fn the_latest_use_is_noted(store: Shared) {
    create(&store, key(1, "a")).await;
    for (used, expected) in [(5, 5), (8, 8), (6, 8)] {
        store.record_key_use(id(1), at(used)).await.expect("noted");
        assert_eq!(found(&store, 1).await.key.last_used_at, Some(at(expected)));
    }
    store.record_key_use(id(9), at(1)).await.expect("nothing to note");
    let key = found(&store, 1).await.key;
    assert!(!key.should_record_use(at(67)) && key.should_record_use(at(68)));
}
