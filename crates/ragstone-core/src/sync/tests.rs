//! Syncing a source whose items are set by the test.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::*;
use crate::seam::fake::{House, MemorySources, WORKER};
use crate::seam::source::{
    HiddenItems, ItemAccess, ItemContent, ListEntry, ListGap, SourceItem, SyncCounts, SyncState,
};

/// What a source holds: a text by each key, and whether its list breaks off.
#[derive(Default)]
struct Shelf {
    texts: Mutex<BTreeMap<String, String>>,
    broken: Mutex<bool>,
    /// Whether bytes never come.
    hangs: Mutex<bool>,
    /// Keys whose bytes cannot be had.
    locked: Mutex<BTreeSet<String>>,
    fetched: AtomicUsize,
    /// Who may read what; whom the source admits where it says nothing.
    access: Mutex<BTreeMap<String, ItemAccess>>,
    /// What cannot be listed.
    gaps: Mutex<Vec<ListGap>>,
    /// Whether items say if they changed.
    marks: bool,
}

#[async_trait::async_trait]
impl DocumentSource for Shelf {
    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>> {
        let texts = self.texts.lock().unwrap().clone();
        let gaps = self.gaps.lock().unwrap().clone();
        let mut items: Vec<_> = texts
            .into_iter()
            .map(|(key, text)| Ok(self.item(&key, &text).into()))
            .chain(gaps.into_iter().map(|gap| Ok(ListEntry::Gap(gap))))
            .collect();
        if *self.broken.lock().unwrap() {
            items.truncate(1);
            items.push(Err(SourceError::Broken("the list broke off".into())));
        }
        futures::stream::iter(items).boxed()
    }

    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        if self.locked.lock().unwrap().contains(&item.key) {
            return Err(SourceError::Broken(format!("{} is locked", item.key)));
        }
        let text = self.texts.lock().unwrap()[&item.key].clone();
        Ok(ItemContent {
            media_type: None,
            bytes: futures::stream::iter([Ok(Bytes::from(text))]).boxed(),
        })
    }
}

impl Shelf {
    fn item(&self, key: &str, text: &str) -> SourceItem {
        SourceItem {
            key: key.into(),
            uri: format!("shelf:{key}"),
            name: key.into(),
            title: None,
            access: self.access.lock().unwrap().get(key).cloned().unwrap_or_default(),
            source_url: Some(format!("https://shelf/{key}")),
            marker: self.marks.then(|| text.len().to_string()),
        }
    }

    fn put(&self, key: &str, text: &str) {
        self.texts.lock().unwrap().insert(key.into(), text.into());
    }

    fn take(&self, key: &str) -> String {
        self.texts.lock().unwrap().remove(key).unwrap()
    }
}

struct World {
    house: House,
    shelf: Arc<Shelf>,
    syncer: Arc<SourceSyncer>,
    record: SourceRecord,
}

impl World {
    async fn new(marks: bool) -> Self {
        let house = House::new();
        let shelf = Arc::new(Shelf {
            marks,
            ..Shelf::default()
        });
        let (opened, ids) = (shelf.clone(), AtomicU64::new(1_000_000));
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let syncer = Arc::new(SourceSyncer {
            sources: Arc::new(MemorySources::default()),
            catalogue: house.catalogue.clone(),
            ingestor: Arc::new(house.another()),
            source_opener: Arc::new(move |_| Ok(opened.clone())),
            operator: Principal::local_operator_of,
            notify_workers: Arc::new(|| {}),
            clock: Arc::new(move || now),
            new_id: Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed)))),
            max_deleted_share: 0.2,
            running_syncs: Mutex::default(),
        });
        let record = SourceRecord {
            id: SourceId(Uuid::from_u128(7)),
            tenant: "a".parse().unwrap(),
            name: "shelf".parse().unwrap(),
            kind: "shelf".into(),
            settings: Default::default(),
            collection: Default::default(),
            readers: ["everyone".parse().unwrap()].into_iter().collect(),
            schedule: None,
            paused: false,
            created_by: "u".into(),
            created_at: now,
            last_sync: None,
        };
        assert!(syncer.sources.add_source(record.clone()).await.unwrap());
        Self {
            house,
            shelf,
            syncer,
            record,
        }
    }

    /// Syncs, has the jobs done, and checks new, changed, unchanged, deleted, failed.
    async fn sync(&self, expected: [u64; 5]) -> SyncReport {
        self.sync_with(DeletionPolicy::Guarded, expected).await
    }

    /// The same, where a person may have allowed all deletions.
    async fn sync_with(&self, deletions: DeletionPolicy, expected: [u64; 5]) -> SyncReport {
        let turn = self.syncer.acquire_permit(self.record.id).await.unwrap();
        let report = turn.run_sync_with(&self.record.tenant, deletions).await.unwrap();
        while self.house.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
        let [new, changed, unchanged, deleted, failed] = expected;
        let expected = SyncCounts {
            new,
            changed,
            unchanged,
            deleted,
            failed,
        };
        assert_eq!(report.counts, expected, "{report:?}");
        report
    }

    /// Ids, titles and places of the documents, in the order of their places.
    async fn documents(&self) -> Vec<(crate::id::DocumentId, String)> {
        let scope = Principal::local_operator_of(self.record.tenant.clone()).scope();
        let page = PageRequest {
            cursor: None,
            limit: 100,
        };
        let found = self
            .syncer
            .catalogue
            .list_documents(&scope, &DocumentFilter::default(), &page)
            .await
            .unwrap();
        let mut all: Vec<_> = found
            .items
            .into_iter()
            .map(|d| (d.id, d.source_url.map(String::from).unwrap_or_default()))
            .collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    }

    async fn places(&self) -> Vec<String> {
        self.documents().await.into_iter().map(|(_, place)| place).collect()
    }
}

#[tokio::test]
async fn what_is_there_is_taken_in_and_what_is_gone_goes() {
    for marks in [true, false] {
        let world = World::new(marks).await;
        world.shelf.put("a.txt", "alpha");
        world.shelf.put("b.txt", "beta");
        let report = world.sync([2, 0, 0, 0, 0]).await;
        assert!(report.job.is_some() && report.ended_at.is_some() && report.error.is_none());
        let again = world.sync([0, 0, 2, 0, 0]).await;
        assert_eq!(again.job, None);
        assert_eq!(world.shelf.fetched.load(Ordering::Relaxed), if marks { 2 } else { 4 });
        world.shelf.put("a.txt", "alpha, and more of it");
        world.shelf.take("b.txt");
        world.shelf.put("c.txt", "gamma");
        world.sync([1, 1, 0, 1, 0]).await;
        assert_eq!(world.places().await, ["https://shelf/a.txt", "https://shelf/c.txt"]);
        let kept = world
            .syncer
            .sources
            .get_source(&world.record.tenant, world.record.id)
            .await
            .unwrap();
        assert_eq!(kept.unwrap().last_sync.unwrap().counts.deleted, 1);
    }
}

#[tokio::test]
async fn files_in_a_mail_stay_with_it_and_go_with_it() {
    let world = World::new(true).await;
    world.shelf.put("m.eml", "A mail.\x1ea.txt\nalpha\x1eb.txt\nbeta");
    let report = world.sync([1, 0, 0, 0, 0]).await;
    assert_eq!(world.documents().await.len(), 3);
    let scope = Principal::local_operator_of(world.record.tenant.clone()).scope();
    let batch = world.syncer.catalogue.get_job(&scope, report.job.unwrap()).await;
    assert_eq!(batch.unwrap().unwrap().total, 3, "the batch counts them");
    world.sync([0, 0, 1, 0, 0]).await;
    assert_eq!(world.documents().await.len(), 3);
    world.shelf.put("m.eml", "A mail of one file.\x1ea.txt\nalpha");
    world.sync([0, 1, 0, 0, 0]).await;
    assert_eq!(world.documents().await.len(), 2);
    world.shelf.take("m.eml");
    let held = world.sync([0, 0, 0, 0, 0]).await;
    assert_eq!((held.held, world.documents().await.len()), (2, 2));
    world.sync_with(DeletionPolicy::Allowed, [0, 0, 0, 2, 0]).await;
    assert_eq!(world.documents().await.len(), 0);
}

#[tokio::test]
async fn an_odd_name_costs_its_item_and_an_odd_address_the_link() {
    let world = World::new(true).await;
    let long = format!("{}.txt", "a".repeat(4_086));
    for key in [&long, "b\n.txt", "m.eml#attachment/1/c.txt", "d.txt"] {
        world.shelf.put(key, key);
    }
    let report = world.sync([2, 0, 0, 0, 2]).await;
    let codes: Vec<_> = report.failures.iter().map(|failure| &failure.error.code).collect();
    assert_eq!(codes, ["bad_uri", "bad_uri"]);
    assert_eq!(world.places().await, ["", "https://shelf/d.txt"]);
    world.sync([0, 0, 2, 0, 2]).await;
}

#[tokio::test]
async fn a_renamed_item_keeps_its_document() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.sync([1, 0, 0, 0, 0]).await;
    let before = world.documents().await;
    let text = world.shelf.take("a.txt");
    world.shelf.put("sub/z.txt", &text);
    let report = world.sync([0, 1, 0, 0, 0]).await;
    assert_eq!(report.job, None, "nothing is embedded again");
    let after = world.documents().await;
    assert_eq!(after, [(before[0].0, "https://shelf/sub/z.txt".to_owned())]);
    world.sync([0, 0, 1, 0, 0]).await;
    // Another item may take the place that it left.
    world.shelf.put("a.txt", "something else");
    world.sync([1, 0, 1, 0, 0]).await;
    assert_eq!(world.places().await, ["https://shelf/a.txt", "https://shelf/sub/z.txt"]);
    world.shelf.take("sub/z.txt");
    world.sync([0, 0, 1, 1, 0]).await;
    assert_eq!(world.places().await, ["https://shelf/a.txt"]);
}

#[tokio::test]
async fn a_list_that_breaks_off_deletes_nothing() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.shelf.put("b.txt", "beta");
    world.sync([2, 0, 0, 0, 0]).await;
    *world.shelf.broken.lock().unwrap() = true;
    let report = world.sync([0, 0, 0, 0, 0]).await;
    assert_eq!(report.error.unwrap().code, "source_unavailable");
    assert_eq!(world.places().await.len(), 2);
    *world.shelf.broken.lock().unwrap() = false;
    world.sync([0, 0, 2, 0, 0]).await;
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_told_and_keeps_its_document() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.shelf.put("b.txt", "beta");
    world.sync([2, 0, 0, 0, 0]).await;
    world.shelf.put("a.txt", "alpha is longer");
    world.shelf.locked.lock().unwrap().insert("a.txt".into());
    let report = world.sync([0, 0, 1, 0, 1]).await;
    assert_eq!(report.failures[0].uri, "shelf:a.txt");
    assert_eq!(world.places().await.len(), 2);
    world.shelf.locked.lock().unwrap().clear();
    world.sync([0, 1, 1, 0, 0]).await;
}

#[tokio::test]
async fn other_readers_hold_from_the_next_sync_on() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.sync([1, 0, 0, 0, 0]).await;
    let patch = crate::seam::source::SourcePatch {
        readers: Some(["dept:x".parse().unwrap()].into_iter().collect()),
        ..Default::default()
    };
    world
        .syncer
        .sources
        .patch_source(&world.record.tenant, world.record.id, patch)
        .await
        .unwrap();
    let report = world.sync([0, 1, 0, 0, 0]).await;
    assert_eq!(report.job, None, "nothing is embedded again");
    let outsider = Principal::verified(
        world.record.tenant.clone(),
        "v".into(),
        Default::default(),
        crate::access::Role::Reader,
    );
    let id = world.documents().await[0].0;
    assert_eq!(
        world
            .syncer
            .catalogue
            .get_document(&outsider.scope(), id)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn who_may_read_an_item_is_told_without_its_bytes() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.shelf.put("b.txt", "beta");
    let say = |key: &str, access: ItemAccess| world.shelf.access.lock().unwrap().insert(key.into(), access);
    let sets = |sets: &[&str]| {
        let set = |reader: &&str| [reader.parse().unwrap()].into_iter().collect();
        ItemAccess::Sets(sets.iter().map(set).collect())
    };
    let seen = async |readers: &[&str]| {
        let scope = crate::seam::fake::writer("a", readers).scope();
        let mut seen = Vec::new();
        for (id, place) in world.documents().await {
            if world.syncer.catalogue.get_document(&scope, id).await.unwrap().is_some() {
                seen.push(place.trim_start_matches("https://shelf/").to_owned());
            }
        }
        seen.join(" ")
    };
    say("a.txt", sets(&["group:x", "group:y"]));
    world.sync([2, 0, 0, 0, 0]).await;
    assert_eq!(seen(&["group:x", "group:y"]).await, "a.txt b.txt");
    assert_eq!(seen(&["group:x"]).await, "b.txt");
    say("a.txt", sets(&["everyone", "group:x"]));
    let report = world.sync([0, 1, 1, 0, 0]).await;
    assert_eq!(seen(&["group:x"]).await, "a.txt b.txt");
    assert_eq!((report.job, world.shelf.fetched.load(Ordering::Relaxed)), (None, 2));
    say("a.txt", ItemAccess::Unknown(SourceError::Broken("no answer".into())));
    world.shelf.put("c.txt", "gamma");
    say("c.txt", ItemAccess::Unknown(SourceError::Broken("no answer".into())));
    let report = world.sync([0, 0, 1, 0, 2]).await;
    assert_eq!(report.failures[0].error.detail, "no answer");
    assert_eq!(seen(&["group:x", "group:y"]).await, "b.txt");
    assert_eq!(world.places().await.len(), 2, "what is unknown is closed, not deleted");
    say("a.txt", ItemAccess::Unspecified);
    say("c.txt", sets(&[]));
    world.sync([1, 1, 1, 0, 0]).await;
    assert_eq!(seen(&[]).await, "a.txt b.txt c.txt");
}

#[tokio::test]
async fn a_reader_who_lost_a_document_does_not_keep_it_for_a_failing_sync() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.sync([1, 0, 0, 0, 0]).await;
    world.shelf.put("a.txt", "alpha, and a secret");
    world.shelf.locked.lock().unwrap().insert("a.txt".into());
    let boss = [["user:boss".parse().unwrap()].into_iter().collect()];
    let access = ItemAccess::Sets(boss.into());
    world.shelf.access.lock().unwrap().insert("a.txt".into(), access);
    world.sync([0, 0, 0, 0, 1]).await;
    let id = world.documents().await[0].0;
    let found = async |reader: &str| {
        let scope = crate::seam::fake::writer("a", &[reader]).scope();
        world.syncer.catalogue.get_document(&scope, id).await.unwrap()
    };
    assert!(found("user:boss").await.is_some());
    assert_eq!(found("user:other").await, None);
}

#[tokio::test]
async fn a_removed_source_takes_its_documents_with_it_and_no_others() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.sync([1, 0, 0, 0, 0]).await;
    let keeper = crate::seam::fake::writer("a", &["everyone"]);
    world.house.ingest(&keeper, "kept.txt", &["everyone"], "kept").await;
    assert!(
        world
            .syncer
            .remove_source(&world.record.tenant, world.record.id)
            .await
            .unwrap()
    );
    assert!(
        !world
            .syncer
            .remove_source(&world.record.tenant, world.record.id)
            .await
            .unwrap()
    );
    assert_eq!(world.documents().await.len(), 1);
    let gone = world
        .syncer
        .acquire_permit(world.record.id)
        .await
        .unwrap()
        .run_sync(&world.record.tenant)
        .await;
    assert!(matches!(gone, Err(SyncError::Unknown)));
}

#[tokio::test]
async fn one_sync_at_a_time() {
    let world = World::new(true).await;
    let turn = world.syncer.acquire_permit(world.record.id).await.unwrap();
    assert!(matches!(
        world.syncer.acquire_permit(world.record.id).await,
        Err(SyncError::Running)
    ));
    drop(turn);
    world.sync([0, 0, 0, 0, 0]).await;
}

#[tokio::test]
async fn one_sync_at_a_time_in_all_processes() {
    let world = World::new(true).await;
    let other = Arc::new(SourceSyncer {
        sources: world.syncer.sources.clone(),
        catalogue: world.syncer.catalogue.clone(),
        ingestor: world.syncer.ingestor.clone(),
        source_opener: world.syncer.source_opener.clone(),
        operator: world.syncer.operator,
        notify_workers: Arc::new(|| {}),
        clock: world.syncer.clock.clone(),
        new_id: Arc::new(|| Uuid::from_u128(99)),
        max_deleted_share: 0.2,
        running_syncs: Mutex::default(),
    });
    let id = world.record.id;
    let turn = world.syncer.acquire_permit(id).await.unwrap();
    assert!(matches!(other.acquire_permit(id).await, Err(SyncError::Running)));
    turn.run_sync(&world.record.tenant).await.unwrap();
    // The other one dies while it holds the lease, which then expires.
    std::mem::forget(other.acquire_permit(id).await.unwrap());
    assert!(matches!(world.syncer.acquire_permit(id).await, Err(SyncError::Running)));
    world.house.wait(61);
    assert!(world.syncer.acquire_permit(id).await.is_ok());
}

#[tokio::test]
async fn a_sync_whose_turn_was_taken_stops() {
    let world = World::new(true).await;
    world.shelf.put("slow.txt", "never comes");
    *world.shelf.hangs.lock().unwrap() = true;
    let turn = world.syncer.acquire_permit(world.record.id).await.unwrap();
    let tenant = world.record.tenant.clone();
    let sync = tokio::spawn(async move { turn.run_sync(&tenant).await });
    let (hands, id) = (world.house.hands.clone(), world.record.id);
    while hands.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    // This process was held up for longer than its lease lasts, and another one took it.
    let holder = SyncLease {
        process: Uuid::from_u128(99),
        duration: LEASE_DURATION,
    };
    let later = crate::seam::catalogue::ClockReading {
        wall: time::OffsetDateTime::UNIX_EPOCH,
        steady: LEASE_DURATION,
    };
    assert!(
        world
            .syncer
            .sources
            .acquire_sync_lease(id, holder, later)
            .await
            .unwrap()
    );
    world.house.wait(61);
    assert!(matches!(sync.await.unwrap(), Err(SyncError::Running)));
    assert!(!world.syncer.is_running(id));
}
