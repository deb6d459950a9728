//! A library beside a web site.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ragstone_adapters::source::guard::{FetchGuard, GuardOptions, HostLookup};
use ragstone_adapters::source::web::WebSource;
use ragstone_core::access::Principal;
use ragstone_core::id::SourceId;
use ragstone_core::seam::Catalogue;
use ragstone_core::seam::catalogue::{DocumentFilter, PageRequest};
use ragstone_core::seam::fake::{House, MemorySources, WORKER};
use ragstone_core::seam::source::{DocumentSource, SourceRecord, SourceStore, SyncReport};
use ragstone_core::sync::{DeletionPolicy, SourceSyncer};
use serde_json::Value;
use uuid::Uuid;

use super::site::{Site, start};

/// Bytes of a page, and how long one may take, in these tests.
const MAX_BYTES: usize = 100_000;
const TOTAL: Duration = Duration::from_millis(400);

/// Names under `.test` are this machine; nothing else has an address.
struct TestNames;

#[async_trait::async_trait]
impl HostLookup for TestNames {
    async fn lookup_host(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        match host.ends_with(".test") {
            true => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            false => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

pub struct World {
    site: Arc<Mutex<Site>>,
    address: String,
    house: House,
    syncer: Arc<SourceSyncer>,
    record: SourceRecord,
}

impl World {
    /// Beside a site that the settings allow to be reached.
    pub async fn new(site: Site, settings: Value) -> Self {
        Self::beside(site, settings, true).await
    }

    /// The same where nothing was allowed.
    pub async fn refused(site: Site, settings: Value) -> Self {
        Self::beside(site, settings, false).await
    }

    async fn beside(site: Site, mut settings: Value, is_allowed: bool) -> Self {
        let (site, address) = start(site).await;
        for list in ["urls", "sitemaps"] {
            for path in settings[list].as_array_mut().into_iter().flatten() {
                let text = path.as_str().unwrap();
                let port = address.rsplit(':').next().unwrap();
                *path = match text.starts_with('/') {
                    true => format!("{address}{text}").into(),
                    false => text.replace("PORT", port).into(),
                };
            }
        }
        settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        let options = GuardOptions {
            allowed_ranges: is_allowed
                .then(|| "127.0.0.1/32".parse().unwrap())
                .into_iter()
                .collect(),
            ports: vec![80, port],
            max_bytes: MAX_BYTES,
            total: TOTAL,
            ..GuardOptions::default()
        };
        let record = SourceRecord {
            id: SourceId(Uuid::from_u128(7)),
            tenant: "a".parse().unwrap(),
            name: "site".parse().unwrap(),
            kind: "web".into(),
            settings: settings.as_object().unwrap().clone(),
            collection: Default::default(),
            readers: ["everyone".parse().unwrap()].into_iter().collect(),
            schedule: None,
            paused: false,
            created_by: "u".into(),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            last_sync: None,
        };
        let (house, sources, ids) = (
            House::new(),
            Arc::new(MemorySources::default()),
            AtomicU64::new(1 << 40),
        );
        assert!(sources.add_source(record.clone()).await.unwrap());
        let syncer = Arc::new(SourceSyncer {
            sources,
            catalogue: house.catalogue.clone(),
            ingestor: Arc::new(house.another()),
            source_opener: Arc::new(move |record| {
                let settings = serde_json::from_value(Value::Object(record.settings.clone())).unwrap();
                let web: Arc<dyn DocumentSource> = Arc::new(WebSource::new(
                    settings,
                    FetchGuard::with_lookup(options.clone(), Arc::new(TestNames)).unwrap(),
                )?);
                Ok(web)
            }),
            operator: Principal::local_operator_of,
            notify_workers: Arc::new(|| {}),
            clock: Arc::new(|| time::OffsetDateTime::UNIX_EPOCH),
            new_id: Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed)))),
            max_deleted_share: 0.2,
            running_syncs: Mutex::default(),
        });
        Self {
            site,
            address,
            house,
            syncer,
            record,
        }
    }

    pub fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    /// One sync, not looked at, with its jobs.
    pub async fn sync_once(&self) -> SyncReport {
        self.sync_with(DeletionPolicy::Guarded).await
    }

    /// The same, where a person may have allowed all deletions.
    pub async fn sync_with(&self, deletions: DeletionPolicy) -> SyncReport {
        let turn = self.syncer.acquire_permit(self.record.id).await.unwrap();
        let report = turn.run_sync_with(&self.record.tenant, deletions).await.unwrap();
        while self.house.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
        report
    }

    /// One sync: new, changed, unchanged, deleted, failed.
    pub async fn sync(&self, expected: [u64; 5]) -> SyncReport {
        let report = self.sync_once().await;
        let c = report.counts;
        let counts = [c.new, c.changed, c.unchanged, c.deleted, c.failed];
        assert_eq!(
            (counts, &report.error),
            (expected, &None),
            "{report:?} {:?}",
            self.site().asked
        );
        report
    }

    /// The text that search finds under a path.
    pub async fn text(&self, path: &str) -> String {
        let scope = Principal::local_operator_of(self.record.tenant.clone()).scope();
        let filter = DocumentFilter {
            uri: Some(format!("{}{path}", self.address)),
            ..DocumentFilter::default()
        };
        let page = PageRequest { cursor: None, limit: 1 };
        let found = self
            .house
            .catalogue
            .list_documents(&scope, &filter, &page)
            .await
            .unwrap();
        let id = found.items[0].id;
        let chunks = self.house.library.list_chunks(&scope, id, &page).await.unwrap();
        chunks.unwrap().items.iter().map(|chunk| chunk.text.as_str()).collect()
    }

    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// The paths of the documents.
    pub async fn paths(&self) -> Vec<String> {
        let scope = Principal::local_operator_of(self.record.tenant.clone()).scope();
        let page = PageRequest {
            cursor: None,
            limit: 1_000,
        };
        let found = self
            .house
            .catalogue
            .list_documents(&scope, &DocumentFilter::default(), &page)
            .await
            .unwrap();
        let mut paths: Vec<String> = found
            .items
            .iter()
            .map(|document| document.uri.replace(&self.address, ""))
            .collect();
        paths.sort();
        paths
    }
}
