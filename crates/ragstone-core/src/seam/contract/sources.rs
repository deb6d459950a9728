//! Contract of every store of sources.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::catalogue::{at, moment};
use super::{readers, tenant};
use crate::document::JobError;
use crate::id::{JobId, SourceId};
use crate::seam::catalogue::PageRequest;
use crate::seam::source::{
    ItemFailure, ItemState, ItemStates, SourcePatch, SourceRecord, SourceStore, SyncCounts, SyncLease, SyncReport,
};

type Shared = Arc<dyn SourceStore>;

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn source_store_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    a_source_comes_back_as_it_was(make().await).await;
    a_name_is_taken_once_in_a_tenant(make().await).await;
    what_is_another_tenants_is_not_there(make().await).await;
    lists_fill_their_pages_in_order(make().await).await;
    changes_leave_alone_what_they_do_not_name(make().await).await;
    what_is_noted_of_a_source_goes_with_it(make().await).await;
    one_process_has_the_turn(make().await).await;
}

async fn one_process_has_the_turn(store: Shared) {
    let take = async |process: u128, n: u128, seconds: u64| {
        let holder = SyncLease {
            process: Uuid::from_u128(process),
            duration: Duration::from_secs(60),
        };
        let taken = store.acquire_sync_lease(id(n), holder, moment(seconds)).await;
        taken.expect("an answer")
    };
    let end = async |process: u128, n: u128| store.release_sync_lease(id(n), Uuid::from_u128(process)).await;
    assert!(take(1, 7, 100).await, "nobody has it");
    assert!(!take(2, 7, 100).await, "another one has it");
    assert!(take(2, 8, 100).await, "which is another source");
    assert!(take(1, 7, 150).await, "it is prolonged");
    assert!(!take(2, 7, 200).await && take(2, 7, 210).await, "it ends by itself");
    assert!(!take(1, 7, 220).await, "and is lost to who had it");
    end(1, 7).await.expect("no harm");
    assert!(!take(1, 7, 221).await, "who has none ends none");
    end(2, 7).await.expect("ended");
    assert!(take(1, 7, 222).await);
}

fn id(n: u128) -> SourceId {
    SourceId(Uuid::from_u128(n))
}

fn source(n: u128, of: &str, name: &str) -> SourceRecord {
    SourceRecord {
        id: id(n),
        tenant: tenant(of),
        name: name.parse().expect("a name"),
        kind: "folder".into(),
        settings: json!({"path": "/ü", "depth": 3})
            .as_object()
            .cloned()
            .expect("an object"),
        collection: "books".parse().expect("a name"),
        readers: readers(&["dept:x", "user:ü"]),
        schedule: Some("0 * * * *".into()),
        paused: false,
        created_by: "ü".into(),
        created_at: at(7),
        last_sync: None,
    }
}

fn report() -> SyncReport {
    let error = JobError {
        code: "gone".into(),
        detail: "it is gone".into(),
        hint: "look".into(),
    };
    SyncReport {
        started_at: at(8),
        ended_at: Some(at(9)),
        job: Some(JobId(Uuid::from_u128(77))),
        counts: SyncCounts {
            new: 1,
            failed: 1,
            ..SyncCounts::default()
        },
        failures: vec![ItemFailure {
            uri: "a".into(),
            error: error.clone(),
        }],
        error: Some(error),
        held: 12,
    }
}

fn memory() -> ItemStates {
    let known = ItemState {
        uri: "u".into(),
        marker: None,
        hash: "00".into(),
    };
    ItemStates::from([("päth".to_owned(), known)])
}

async fn add(store: &Shared, source: SourceRecord) {
    assert!(store.add_source(source).await.expect("kept"), "the name is free");
}

async fn found(store: &Shared, of: &str, n: u128) -> Option<SourceRecord> {
    store.get_source(&tenant(of), id(n)).await.expect("an answer")
}

async fn a_source_comes_back_as_it_was(store: Shared) {
    let mut kept = source(1, "a", "wiki");
    add(&store, kept.clone()).await;
    assert_eq!(found(&store, "a", 1).await, Some(kept.clone()));
    assert!(
        store
            .save_sync_report(&tenant("a"), id(1), report())
            .await
            .expect("noted")
    );
    kept.last_sync = Some(report());
    assert_eq!(found(&store, "a", 1).await, Some(kept));
    assert!(
        store
            .load_item_states(&tenant("a"), id(1))
            .await
            .expect("an answer")
            .is_empty()
    );
    assert!(
        store
            .save_item_states(&tenant("a"), id(1), memory())
            .await
            .expect("kept")
    );
    assert_eq!(
        store.load_item_states(&tenant("a"), id(1)).await.expect("an answer"),
        memory()
    );
}

async fn a_name_is_taken_once_in_a_tenant(store: Shared) {
    add(&store, source(1, "a", "wiki")).await;
    assert!(!store.add_source(source(2, "a", "wiki")).await.expect("an answer"));
    assert_eq!(found(&store, "a", 2).await, None);
    add(&store, source(2, "b", "wiki")).await;
    add(&store, source(3, "a", "Wiki")).await;
}

async fn what_is_another_tenants_is_not_there(store: Shared) {
    let (a, b) = (tenant("a"), tenant("b"));
    add(&store, source(1, "a", "wiki")).await;
    assert_eq!(found(&store, "b", 1).await, None);
    let patch = SourcePatch {
        paused: Some(true),
        ..SourcePatch::default()
    };
    assert_eq!(store.patch_source(&b, id(1), patch).await.expect("an answer"), None);
    assert!(!store.save_sync_report(&b, id(1), report()).await.expect("an answer"));
    assert!(!store.save_item_states(&b, id(1), memory()).await.expect("an answer"));
    assert!(!store.remove_source(&b, id(1)).await.expect("an answer"));
    assert_eq!(found(&store, "a", 1).await, Some(source(1, "a", "wiki")));
    assert!(store.load_item_states(&a, id(1)).await.expect("an answer").is_empty());
}

async fn lists_fill_their_pages_in_order(store: Shared) {
    for (n, of, name) in [(1, "b", "x"), (2, "a", "z"), (3, "a", "m"), (4, "a", "a")] {
        add(&store, source(n, of, name)).await;
    }
    let names = async |of: Option<&str>, limit| {
        let (of, mut found) = (of.map(tenant), Vec::new());
        let mut page = PageRequest { cursor: None, limit };
        loop {
            let next = store.list_sources(of.as_ref(), &page).await.expect("a page");
            assert!(next.items.len() <= limit);
            found.extend(
                next.items
                    .iter()
                    .map(|source| format!("{}/{}", source.tenant, source.name)),
            );
            match next.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return found,
            }
        }
    };
    for limit in [1, 2, 3, 10] {
        assert_eq!(names(Some("a"), limit).await, ["a/a", "a/m", "a/z"]);
        assert_eq!(names(None, limit).await, ["a/a", "a/m", "a/z", "b/x"]);
    }
    let bad = PageRequest {
        cursor: Some("?".into()),
        limit: 1,
    };
    assert!(store.list_sources(None, &bad).await.is_err());
}

async fn changes_leave_alone_what_they_do_not_name(store: Shared) {
    let mut expected = source(1, "a", "wiki");
    add(&store, expected.clone()).await;
    store
        .save_sync_report(&tenant("a"), id(1), report())
        .await
        .expect("noted");
    expected.last_sync = Some(report());
    expected.schedule = None;
    let patch = SourcePatch {
        schedule: Some(None),
        ..SourcePatch::default()
    };
    let changed = store.patch_source(&tenant("a"), id(1), patch).await.expect("an answer");
    assert_eq!(changed, Some(expected.clone()));
    expected.paused = true;
    expected.readers = readers(&["everyone"]);
    let patch = SourcePatch {
        paused: Some(true),
        readers: Some(readers(&["everyone"])),
        ..SourcePatch::default()
    };
    store.patch_source(&tenant("a"), id(1), patch).await.expect("an answer");
    assert_eq!(found(&store, "a", 1).await, Some(expected));
}

async fn what_is_noted_of_a_source_goes_with_it(store: Shared) {
    let a = tenant("a");
    add(&store, source(1, "a", "wiki")).await;
    store.save_item_states(&a, id(1), memory()).await.expect("kept");
    assert!(store.remove_source(&a, id(1)).await.expect("an answer"));
    assert!(!store.remove_source(&a, id(1)).await.expect("an answer"));
    assert!(!store.save_sync_report(&a, id(1), report()).await.expect("an answer"));
    add(&store, source(1, "a", "wiki")).await;
    assert!(store.load_item_states(&a, id(1)).await.expect("an answer").is_empty());
}
