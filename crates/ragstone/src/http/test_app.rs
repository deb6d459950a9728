//! The real router over an in-memory database, in-memory blobs and a parser that treats bytes as text. Callers are
//! typed requests, and a problem response is checked in one call.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::chat::ExtractiveChat;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::{Principal, Role, Scope};
use ragstone_core::ask::{self, AnswerEvent, AskOptions, AskRequest};
use ragstone_core::document::{JobError, WorkerId};
use ragstone_core::id::TraceId;
use ragstone_core::ingest::{IngestPipeline, IngestSettings, IngestStores, Ingestor, TimeProvider};
use ragstone_core::library::{ActiveEmbedder, Library};
use ragstone_core::prompt::PromptTemplate;
use ragstone_core::seam::parser::{PageReceiver, ParseOutput, ParseRequest, ParseRetry};
use ragstone_core::seam::{DocumentParser, Embedder, ParseFailure, VectorIndex};
use ragstone_core::split::{SplitSettings, SplitStrategy};
use ragstone_core::sync::SourceSyncer;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tower::ServiceExt;
use uuid::Uuid;

use crate::telemetry::audit::AuditLog;

use super::{AdminKey, ApiKeyring, ApiServices, HttpSettings, OperatorChannel, ReadinessReport, ShutdownSignal};

/// A key that is long enough.
pub const KEY: &str = "a-key-of-at-least-thirty-two-bytes";

type Events = BoxStream<'static, AnswerEvent>;

/// The worker that runs the jobs.
pub const WORKER: WorkerId = WorkerId { process: 1, number: 1 };

/// A verified caller.
pub fn caller(tenant: &str, readers: &[&str], role: Role) -> Principal {
    let readers = readers.iter().map(|reader| reader.parse().unwrap()).collect();
    Principal::verified(tenant.parse().unwrap(), "u".into(), readers, role)
}

/// A running API with its stores.
pub struct TestApp {
    pub router: Router,
    pub api: Arc<ApiServices>,
    pub blobs: Arc<InMemory>,
    pub readiness: Arc<Mutex<ReadinessReport>>,
    /// The answers to the next questions.
    pub answers: Arc<Mutex<VecDeque<Events>>>,
    /// How often the workers were notified.
    pub rings: Arc<AtomicUsize>,
    /// The scopes that questions were asked in.
    pub scopes: Arc<Mutex<Vec<Scope>>>,
}

/// Puts an index around another one.
pub type Wrap = fn(Arc<dyn VectorIndex>) -> Arc<dyn VectorIndex>;

/// What replaces the parts that an app usually has.
#[derive(Default)]
pub struct Fittings {
    /// The audit log; `None` writes none.
    pub audit: Option<AuditLog>,
    /// Embeds passages and questions; `None` searches by words only.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Wraps the index that the library and the ingestor use.
    pub index: Option<Wrap>,
    /// Reads documents in place of [`PlainParser`].
    pub parser: Option<Arc<dyn DocumentParser>>,
    /// Whether questions are answered by quoting the library; else by script.
    pub quotes: bool,
}

/// A text whose parsing never ends.
pub const ENDLESS: &str = "a text without end";

/// Sources as they are opened without settings.
fn source_tools() -> crate::wiring::sources::SourceFactory {
    crate::wiring::sources::SourceFactory {
        references: Default::default(),
        fetch: Default::default(),
    }
}

/// Bytes are text; a form feed begins a page.
struct PlainParser;

#[async_trait]
impl DocumentParser for PlainParser {
    fn fingerprint(&self) -> &str {
        "plain"
    }

    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure> {
        let failed = |code: &str| ParseFailure {
            error: JobError {
                code: code.into(),
                detail: request.name.clone(),
                hint: "none".into(),
            },
            retry: ParseRetry::Never,
        };
        let stored = blobs.get(&request.blob).await.map_err(|_| failed("missing"))?;
        let bytes = stored.bytes().await.map_err(|_| failed("missing"))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("not_text"))?;
        if text == ENDLESS {
            std::future::pending::<()>().await;
        }
        for (n, page) in (1..).zip(text.split_inclusive('\u{c}')) {
            let taken = pages.receive_page(Some(n), page).await;
            taken.map_err(|_| failed("not_taken"))?;
        }
        Ok(ParseOutput {
            media_type: "text/plain".into(),
            ..ParseOutput::default()
        })
    }
}

impl TestApp {
    /// Without keys.
    pub fn new() -> Self {
        Self::with(HttpSettings::default())
    }

    /// With the key [`KEY`].
    pub fn keyed() -> Self {
        Self::with(Self::keyed_settings())
    }

    /// Settings with the key [`KEY`].
    pub fn keyed_settings() -> HttpSettings {
        HttpSettings {
            admin_key: Some(AdminKey::new(KEY).unwrap()),
            ..HttpSettings::default()
        }
    }

    pub fn with(settings: HttpSettings) -> Self {
        Self::audited(settings, None)
    }

    /// With an audit log.
    pub fn audited(settings: HttpSettings, audit: Option<AuditLog>) -> Self {
        let fittings = Fittings {
            audit,
            ..Fittings::default()
        };
        Self::fitted(settings, fittings)
    }

    pub fn fitted(settings: HttpSettings, fittings: Fittings) -> Self {
        let database = SqliteDatabase::in_memory().unwrap();
        let catalogue = Arc::new(SqliteCatalogue::open(database.clone()).unwrap());
        let index: Arc<dyn VectorIndex> = Arc::new(EmbeddedIndex::open(database).unwrap());
        let index = match fittings.index {
            Some(around) => around(index),
            None => index,
        };
        let blobs = Arc::new(InMemory::new());
        let seconds = AtomicU64::new(1_700_000_000);
        let clock: ragstone_core::ingest::WallClockFn = Arc::new(move || {
            let now = seconds.fetch_add(1, Ordering::Relaxed);
            OffsetDateTime::from_unix_timestamp(now as i64).unwrap()
        });
        let ids = AtomicU64::new(1);
        let new_id: ragstone_core::ingest::IdGenerator =
            Arc::new(move || Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::Relaxed))));
        let stores = IngestStores {
            catalogue: catalogue.clone(),
            index: index.clone(),
            blobs: blobs.clone(),
            parser: fittings.parser.unwrap_or_else(|| Arc::new(PlainParser)),
            embeddings: None,
        };
        let ingest = IngestSettings {
            max_bytes: 100_000,
            ..IngestSettings::default()
        };
        let embedder = fittings.embedder;
        let pipeline = IngestPipeline::new(
            "plain",
            SplitSettings::default(),
            SplitStrategy::Recursive,
            embedder.clone(),
        );
        let ticks = AtomicU64::new(0);
        let time = TimeProvider {
            wall: clock.clone(),
            steady: Arc::new(move || Duration::from_millis(ticks.fetch_add(1, Ordering::Relaxed))),
            sleep: Arc::new(|time| tokio::time::sleep(time).boxed()),
        };
        let ingestor = Arc::new(Ingestor::new(stores, ingest, pipeline, time, new_id.clone()));
        let in_use = embedder.map(|embedder| ActiveEmbedder {
            embedder,
            index: index.clone(),
        });
        let slot = Arc::new(RwLock::new(in_use));
        let library = Arc::new(Library::new(catalogue.clone(), index, blobs.clone(), slot));
        let quoted = fittings.quotes.then(|| library.clone());
        let ready = ReadinessReport {
            ready: true,
            dependencies: BTreeMap::from([("embedder".to_owned(), "none".to_owned())]),
        };
        let (readiness, answers) = (Arc::new(Mutex::new(ready)), Arc::<Mutex<VecDeque<Events>>>::default());
        let (told, scripted, rings) = (readiness.clone(), answers.clone(), Arc::new(AtomicUsize::new(0)));
        let rung = rings.clone();
        let scopes = Arc::<Mutex<Vec<Scope>>>::default();
        let asked = scopes.clone();
        let drawn = AtomicU64::new(1);
        let entropy: ragstone_core::seam::keys::EntropySource = Arc::new(move || {
            let n = drawn.fetch_add(1, Ordering::Relaxed);
            *blake3::hash(&n.to_le_bytes()).as_bytes()
        });
        let syncer = SourceSyncer {
            sources: catalogue.clone(),
            catalogue: catalogue.clone(),
            ingestor: ingestor.clone(),
            source_opener: source_tools().into_opener(),
            operator: crate::operator::operator_principal_of,
            notify_workers: Arc::new(|| {}),
            clock: clock.clone(),
            new_id: new_id.clone(),
            max_deleted_share: 0.2,
            running_syncs: Mutex::default(),
        };
        let api = ApiServices {
            syncer: Arc::new(syncer),
            keys: ApiKeyring::new(catalogue.clone(), entropy, clock.clone()),
            library,
            ingestor,
            upload_tasks: Default::default(),
            usage: catalogue.clone(),
            idempotency: catalogue.clone(),
            feedback: catalogue.clone(),
            catalogue,
            audit: fittings.audit,
            answerer: Arc::new(move |scope, request, trace_id| {
                if let Some(library) = &quoted {
                    return quote(library.clone(), scope, request, trace_id);
                }
                asked.lock().unwrap().push(scope);
                let next = scripted.lock().unwrap().pop_front();
                next.expect("an answer is scripted")
            }),
            operator: Principal::local_operator,
            notify_workers: Arc::new(move || {
                rung.fetch_add(1, Ordering::Relaxed);
            }),
            job_events: broadcast::Sender::new(16),
            shutdown: ShutdownSignal::default(),
            readiness: Arc::new(move || told.lock().unwrap().clone()),
            clock,
            new_id,
            metrics: super::metrics::install_recorder(),
            settings,
        };
        let api = Arc::new(api);
        Self {
            router: super::build_router(api.clone()),
            api,
            blobs,
            readiness,
            answers,
            rings,
            scopes,
        }
    }

    /// The same stores, seen by another caller.
    pub fn seen_by(&self, caller: fn() -> Principal) -> Self {
        let api = &self.api;
        let api = Arc::new(ApiServices {
            syncer: api.syncer.clone(),
            library: api.library.clone(),
            ingestor: api.ingestor.clone(),
            upload_tasks: Default::default(),
            catalogue: api.catalogue.clone(),
            keys: api.keys.clone(),
            usage: api.usage.clone(),
            idempotency: api.idempotency.clone(),
            feedback: api.feedback.clone(),
            audit: api.audit.clone(),
            answerer: api.answerer.clone(),
            operator: caller,
            notify_workers: api.notify_workers.clone(),
            job_events: api.job_events.clone(),
            shutdown: api.shutdown.clone(),
            readiness: api.readiness.clone(),
            clock: api.clock.clone(),
            new_id: api.new_id.clone(),
            metrics: api.metrics.clone(),
            settings: api.settings.clone(),
        });
        Self {
            router: super::build_router(api.clone()),
            api,
            blobs: self.blobs.clone(),
            readiness: self.readiness.clone(),
            answers: self.answers.clone(),
            rings: self.rings.clone(),
            scopes: self.scopes.clone(),
        }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call<'_> {
        self.call("POST", path).json(body)
    }

    /// From this machine, by its name.
    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert("host", "127.0.0.1:8080".parse().unwrap());
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4_000))));
        Call { app: self, request }
    }

    /// Makes a key as the operator does; what the answer says.
    pub async fn issue(&self, new: &Value) -> Value {
        let answer = self.post("/api/v1/keys", new).through_operator_door().send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// Carries out every job that waits.
    pub async fn work(&self) {
        while self.api.ingestor.runner().run_next(WORKER).await.unwrap().is_some() {}
    }

    /// A published document; its id.
    pub async fn document(&self, uri: &str, text: &str) -> String {
        let body = serde_json::json!({"uri": uri, "text": text});
        let answer = self.post("/api/v1/documents", &body).send().await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        self.work().await;
        answer.json()["document"]["id"].as_str().unwrap().to_owned()
    }

    /// The next question is answered with these events.
    pub fn script(&self, events: impl futures::Stream<Item = AnswerEvent> + Send + 'static) {
        self.answers.lock().unwrap().push_back(events.boxed());
    }

    /// Keys of all blobs.
    pub async fn blob_keys(&self) -> HashSet<String> {
        self.blobs
            .list(None)
            .map(|blob| blob.unwrap().location.to_string())
            .collect()
            .await
    }
}

/// An answer in the words of the passages.
fn quote(library: Arc<Library>, scope: Scope, request: AskRequest, trace_id: TraceId) -> Events {
    let options = AskOptions {
        template: PromptTemplate::default(),
        prompt_tokens: 1_000_000,
        models: Vec::new(),
        trace_id,
        boundary: "boundary".into(),
    };
    ask::answer_question(library, Arc::new(ExtractiveChat), scope, request, options).boxed()
}

/// A request before it is sent.
pub struct Call<'a> {
    app: &'a TestApp,
    pub request: Request<Body>,
}

impl Call<'_> {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn from(mut self, peer: [u8; 4]) -> Self {
        self.request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((peer, 4_000))));
        self
    }

    pub fn through_operator_door(mut self) -> Self {
        self.request.extensions_mut().remove::<ConnectInfo<SocketAddr>>();
        self.request.extensions_mut().insert(OperatorChannel);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header("content-type", "application/json")
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// A form of parts: name, file name, content.
    pub fn form(self, parts: &[(&str, Option<&str>, &str)]) -> Self {
        let mut body = String::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            body += &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n");
        }
        body += "--B--\r\n";
        self.body(body)
            .header("content-type", "multipart/form-data; boundary=B")
    }

    /// The head of the answer; the body is still to be read.
    pub async fn open(self) -> axum::response::Response {
        self.app.router.clone().oneshot(self.request).await.unwrap()
    }

    pub async fn send(self) -> Answer {
        let response = self.open().await;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The frames of a stream: event, id, data.
    pub fn frames(&self) -> Vec<(String, String, Value)> {
        assert_eq!(self.header("content-type"), "text/event-stream");
        let frames = self
            .text()
            .split("\n\n")
            .filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
        frames.map(frame).collect()
    }

    /// Asserts a whole problem of this code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail", "hint"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member}: {problem}"
            );
        }
        problem
    }
}

fn frame(text: &str) -> (String, String, Value) {
    let lines: Vec<_> = text.lines().collect();
    let [event, id, data] = lines[..] else {
        panic!("not three lines: {text:?}")
    };
    let (event, id) = (event.strip_prefix("event: ").unwrap(), id.strip_prefix("id: ").unwrap());
    let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    (event.to_owned(), id.to_owned(), data)
}
