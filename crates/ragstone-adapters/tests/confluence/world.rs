//! A library beside a Confluence: what a sync makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ragstone_adapters::openai::ApiSecret;
use ragstone_adapters::source::confluence::{ConfluenceRetrySettings, ConfluenceSource};
use ragstone_adapters::source::guard::{FetchGuard, GuardOptions};
use ragstone_core::access::{Acl, Principal, Scope};
use ragstone_core::library::SearchRequest;
use ragstone_core::seam::Catalogue;
use ragstone_core::seam::catalogue::{DocumentFilter, PageRequest};
use ragstone_core::seam::fake::{House, MemorySources, WORKER, writer};
use ragstone_core::seam::source::{DocumentSource, SourceError, SourceRecord, SourceStore, SyncReport};
use ragstone_core::sync::{DeletionPolicy, SourceSyncer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::server::{EMAIL, Server};
use super::site::{Site, Who};

/// A document as a test compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub title: String,
    pub url: String,
    pub acl: Acl,
    pub text_hash: String,
    pub published: bool,
}

pub struct World {
    pub server: Arc<Server>,
    pub house: House,
    pub syncer: Arc<SourceSyncer>,
    pub record: SourceRecord,
}

/// Settings that name `spaces`.
pub fn spaces(spaces: &[&str]) -> Value {
    json!({ "spaces": spaces })
}

fn patience() -> ConfluenceRetrySettings {
    ConfluenceRetrySettings {
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_secs(1),
        ..ConfluenceRetrySettings::default()
    }
}

/// The source that a record and the token of this moment make.
fn open(record: &SourceRecord, server: &Server, token: &str) -> Result<Arc<dyn DocumentSource>, SourceError> {
    let settings = serde_json::from_value(Value::Object(record.settings.clone()));
    let settings = settings.map_err(|error| SourceError::Refused(error.to_string()))?;
    let port = server.media.rsplit(':').next().unwrap().parse().unwrap();
    let options = GuardOptions {
        allowed_ranges: vec!["127.0.0.0/8".parse().unwrap()],
        ports: vec![port],
        ..GuardOptions::default()
    };
    let guard = FetchGuard::new(options).unwrap();
    let token = Some(ApiSecret::new(token));
    Ok(Arc::new(ConfluenceSource::new(settings, token, patience(), guard)?))
}

impl World {
    pub async fn new(cloud: bool, site: Site, settings: Value) -> Self {
        Self::beside(Server::start(cloud, site).await, settings).await
    }

    /// An empty library beside a server.
    pub async fn beside(server: Arc<Server>, mut settings: Value) -> Self {
        settings["url"] = json!(format!(
            "{}{}",
            server.address,
            if server.cloud { "" } else { "/confluence" }
        ));
        settings["deployment"] = json!(if server.cloud { "cloud" } else { "datacenter" });
        if server.cloud {
            settings["email"] = json!(EMAIL);
        }
        let record = SourceRecord {
            id: ragstone_core::id::SourceId(Uuid::from_u128(7)),
            tenant: "a".parse().unwrap(),
            name: "wiki".parse().unwrap(),
            kind: "confluence".into(),
            settings: settings.as_object().unwrap().clone(),
            collection: Default::default(),
            readers: ["everyone".parse().unwrap()].into_iter().collect(),
            schedule: None,
            paused: false,
            created_by: "u".into(),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            last_sync: None,
        };
        let (house, sources) = (House::new(), Arc::new(MemorySources::default()));
        assert!(sources.add_source(record.clone()).await.unwrap());
        let syncer = syncer(&house, sources, server.clone());
        Self {
            server,
            house,
            syncer,
            record,
        }
    }

    /// One sync, not looked at, with its jobs.
    pub async fn sync_once(&self) -> SyncReport {
        self.sync_with(DeletionPolicy::Guarded).await
    }

    /// The same, where a person may have allowed all deletions.
    pub async fn sync_with(&self, deletions: DeletionPolicy) -> SyncReport {
        let turn = self.syncer.acquire_permit(self.record.id).await.unwrap();
        let report = turn.run_sync_with(&self.record.tenant, deletions).await.unwrap();
        self.work().await;
        report
    }

    pub async fn work(&self) {
        while self.house.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
    }

    /// One sync: new, changed, unchanged, deleted, failed.
    pub async fn sync(&self, expected: [u64; 5]) -> SyncReport {
        let report = self.sync_once().await;
        let c = report.counts;
        let counts = [c.new, c.changed, c.unchanged, c.deleted, c.failed];
        assert_eq!((counts, &report.error), (expected, &None), "{report:?}");
        report
    }

    /// A sync whose process dies after so many requests.
    pub async fn die_after(&self, requests: usize) {
        let turn = self.syncer.acquire_permit(self.record.id).await.unwrap();
        let sync = std::pin::pin!(turn.run_sync(&self.record.tenant));
        let reached = std::pin::pin!(self.server.reached(requests));
        futures::future::select(sync, reached).await;
    }

    /// Its process died in a sync: what is at work is forgotten, what is stored is not. Its turn has ended by itself.
    pub async fn restart(&mut self) {
        self.house.restart().await;
        self.house.wait(61);
        self.syncer = syncer(&self.house, self.syncer.sources.clone(), self.server.clone());
    }

    pub async fn documents(&self) -> BTreeMap<String, Seen> {
        self.documents_in(&Principal::local_operator_of(self.record.tenant.clone()).scope())
            .await
    }

    async fn documents_in(&self, scope: &Scope) -> BTreeMap<String, Seen> {
        let (mut all, mut cursor) = (BTreeMap::new(), None);
        loop {
            let page = PageRequest { cursor, limit: 1_000 };
            let found = self
                .house
                .catalogue
                .list_documents(scope, &DocumentFilter::default(), &page)
                .await
                .unwrap();
            all.extend(found.items.into_iter().map(|document| {
                let seen = Seen {
                    title: document.title,
                    url: document.source_url.map(String::from).unwrap_or_default(),
                    acl: document.acl,
                    text_hash: document.content_hash.to_string(),
                    published: document.published.is_some(),
                };
                (document.uri, seen)
            }));
            match found.next_cursor {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    }

    pub async fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> = self.documents().await.into_values().map(|seen| seen.title).collect();
        titles.sort();
        titles
    }

    /// The URIs that somebody finds by a search, and those that somebody is listed.
    pub async fn found_by(&self, names: &BTreeSet<Who>, words: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let readers: Vec<String> = names.iter().map(|who| reader(self.server.cloud, who)).collect();
        let readers: Vec<&str> = readers.iter().map(String::as_str).collect();
        let scope = writer("a", &readers).scope();
        let request = SearchRequest {
            collapse: false,
            ..SearchRequest::new(words, 100)
        };
        let found = self.house.library.search(&scope, &request).await.unwrap();
        let found = found.passages.iter().map(|passage| passage.uri.clone()).collect();
        (found, self.documents_in(&scope).await.into_keys().collect())
    }

    pub fn uri(&self, id: u64) -> String {
        let context = self.server.context();
        format!("{}{context}/pages/viewpage.action?pageId={id}", self.server.address)
    }
}

/// What somebody is called as a reader.
fn reader(cloud: bool, who: &Who) -> String {
    match who {
        Who::User(name) => format!("user:{name}"),
        Who::Group(name) if cloud => format!("group:id-of-{name}"),
        Who::Group(name) => format!("group:{name}"),
        Who::Anonymous => "everyone".into(),
    }
}

fn syncer(house: &House, sources: Arc<dyn SourceStore>, server: Arc<Server>) -> Arc<SourceSyncer> {
    let ids = AtomicU64::new(u64::from(u32::MAX) + sources_seed());
    Arc::new(SourceSyncer {
        sources,
        catalogue: house.catalogue.clone(),
        ingestor: Arc::new(house.another()),
        source_opener: Arc::new(move |record| {
            let token = server.sent_token();
            open(record, &server, &token)
        }),
        operator: Principal::local_operator_of,
        notify_workers: Arc::new(|| {}),
        clock: Arc::new(|| time::OffsetDateTime::UNIX_EPOCH),
        new_id: Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed)))),
        max_deleted_share: 0.2,
        running_syncs: Mutex::default(),
    })
}

/// Each syncer draws other ids.
fn sources_seed() -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(1);
    SEED.fetch_add(1_000_000, Ordering::Relaxed)
}
