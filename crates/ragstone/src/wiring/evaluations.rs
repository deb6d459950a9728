//! The operator's routes for evaluations: what a run is made of, where it is kept, and the threshold for answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use ragstone_core::access::Principal;
use ragstone_core::document::{Document, DocumentStatus};
use ragstone_core::evaluate::{Fingerprint, remove_names_of};
use ragstone_core::id::TenantId;
use ragstone_core::ingest::Clock;
use ragstone_core::library::Library;
use ragstone_core::seam::catalogue::{DocumentFilter, PageRequest};
use ragstone_core::seam::evaluations::{MAX_RUN_NAME, RecordedOutcome};
use ragstone_core::seam::{Catalogue, EvaluationStore};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{problem, reply};
use super::vectors::Vectors;
use crate::config::Settings;
use crate::operator;

/// Bytes of a request: a set's questions, or one outcome with its passages.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Documents that are looked at at once.
const PAGE: usize = 1000;
/// What a failure is called.
const FAILED: &str = "evaluation_failed";

/// What evaluations stand on.
pub struct Evaluations {
    /// Where runs are kept.
    pub store: Arc<dyn EvaluationStore>,
    /// Where the corpus is listed.
    pub catalogue: Arc<dyn Catalogue>,
    /// What is calibrated.
    pub library: Arc<Library>,
    /// Who embeds.
    pub vectors: Arc<Vectors>,
    /// The settings that decide what is found and answered.
    pub settings: String,
    /// Who answers.
    pub model: String,
    /// What is said to the model, as a digest.
    pub prompt: String,
    /// Tells the time.
    pub clock: Clock,
}

type App = State<Arc<Evaluations>>;

/// The settings that decide what is found and answered, in words.
pub fn settings_that_matter(settings: &Settings) -> String {
    let (split, ask) = (&settings.split, &settings.ask);
    format!(
        "{:?} {:?} {} {}",
        split.settings(),
        split.structured,
        ask.limit,
        ask.prompt_tokens
    )
}

/// The routes; only the operator's door has them.
pub fn router(evaluations: Evaluations) -> Router {
    Router::new()
        .route("/operator/v1/evaluations", get(list))
        .route("/operator/v1/evaluations/fingerprint", get(fingerprint))
        .route("/operator/v1/evaluations/missing", post(missing))
        .route("/operator/v1/evaluations/begin", post(begin))
        .route("/operator/v1/evaluations/record", post(record))
        .route("/operator/v1/evaluations/finish", post(finish))
        .route("/operator/v1/evaluations/read", post(read))
        .route("/operator/v1/evaluations/calibrate", post(calibrate))
        .with_state(Arc::new(evaluations))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn list(State(app): App) -> Response {
    let runs = app.store.evaluations(operator::principal().tenant()).await;
    let shown = runs.map(|runs| {
        let shown = runs.into_iter().map(|head| {
            json!({ "run": head.name, "finished": head.finished, "started_at": head.started_at.unix_timestamp() })
        });
        json!({ "runs": shown.collect::<Vec<_>>() })
    });
    reply(FAILED, shown.map_err(Into::into))
}

async fn fingerprint(State(app): App) -> Response {
    reply(FAILED, app.fingerprint().await)
}

impl Evaluations {
    async fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let scope = operator::principal().scope();
        let threshold = self.library.threshold(scope.tenant());
        let settings = format!("{} {threshold:?}", self.settings);
        Ok(Fingerprint {
            corpus: self.corpus().await?,
            settings: digest(settings.as_bytes()),
            embedder: self.vectors.state().words(),
            model: self.model.clone(),
            prompt: self.prompt.clone(),
            ..Fingerprint::default()
        })
    }

    /// The published documents, in whatever order they came.
    async fn corpus(&self) -> anyhow::Result<String> {
        let mut documents = Vec::new();
        let principal = operator::principal();
        let name = |document: &Document| {
            let (collection, uri) = (document.collection.as_str(), &document.uri);
            documents.push(format!(
                "{collection}\n{uri}\n{}\n{}\n",
                document.title, document.content_hash
            ));
        };
        self.each_published(&principal, name).await?;
        documents.sort_unstable();
        Ok(digest(documents.concat().as_bytes()))
    }

    /// Shows every published document of the operator's tenant to `see`.
    async fn each_published(&self, operator: &Principal, mut see: impl FnMut(&Document)) -> anyhow::Result<()> {
        let scope = operator.scope();
        let filter = DocumentFilter {
            status: Some(DocumentStatus::Published),
            ..DocumentFilter::default()
        };
        let mut cursor = None;
        loop {
            let request = PageRequest { cursor, limit: PAGE };
            let page = self.catalogue.documents(&scope, &filter, &request).await?;
            page.items.iter().for_each(&mut see);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Those of `wanted` that no published document is called by.
    async fn missing(&self, wanted: Wanted) -> anyhow::Result<BTreeSet<String>> {
        let (own, mut missing) = (wanted.names, BTreeSet::new());
        let tenants = wanted.names_of_tenants.into_iter();
        let tenants = tenants.map(|(tenant, names)| (operator::of(tenant), names));
        for (operator, mut names) in tenants.chain([(operator::principal(), own)]) {
            if !names.is_empty() {
                self.each_published(&operator, |document| remove_names_of(&document.uri, &mut names))
                    .await?;
            }
            missing.append(&mut names);
        }
        Ok(missing)
    }
}

/// What documents are called by a set of questions: of the operator's own tenant, and of others.
#[derive(Deserialize)]
struct Wanted {
    names: BTreeSet<String>,
    #[serde(default)]
    names_of_tenants: BTreeMap<TenantId, BTreeSet<String>>,
}

async fn missing(State(app): App, Json(wanted): Json<Wanted>) -> Response {
    let missing = app.missing(wanted).await;
    reply(FAILED, missing.map(|missing| json!({ "missing": missing })))
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// A run by its name.
#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Begin {
    name: String,
    fingerprint: Fingerprint,
}

async fn begin(State(app): App, Json(begin): Json<Begin>) -> Response {
    if begin.name.is_empty() || begin.name.len() > MAX_RUN_NAME {
        let detail = format!("a run's name has 1 to {MAX_RUN_NAME} bytes");
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_name", detail);
    }
    let fingerprint = json!(begin.fingerprint).to_string();
    let (principal, now) = (operator::principal(), (app.clock)());
    let known = app.store.begin_run(principal.tenant(), &begin.name, &fingerprint, now);
    reply(FAILED, known.await.map(outcomes).map_err(Into::into))
}

#[derive(Deserialize)]
struct Record {
    name: String,
    question: String,
    outcome: Value,
}

async fn record(State(app): App, Json(record): Json<Record>) -> Response {
    let outcome = RecordedOutcome {
        question: record.question,
        outcome: record.outcome.to_string(),
    };
    let principal = operator::principal();
    let recorded = app.store.record_outcome(principal.tenant(), &record.name, outcome);
    changed(recorded.await.map_err(Into::into))
}

async fn finish(State(app): App, Json(run): Json<Named>) -> Response {
    let principal = operator::principal();
    changed(
        app.store
            .finish_run(principal.tenant(), &run.name)
            .await
            .map_err(Into::into),
    )
}

/// Whether the run was there to be changed.
fn changed(result: anyhow::Result<bool>) -> Response {
    match result {
        Ok(false) => problem(
            StatusCode::CONFLICT,
            "run_replaced",
            "there is no such unfinished run; another one of its name was begun or has ended".into(),
        ),
        done => reply(FAILED, done.map(|_| json!({}))),
    }
}

async fn read(State(app): App, Json(run): Json<Named>) -> Response {
    let principal = operator::principal();
    let read = match app.store.evaluation(principal.tenant(), &run.name).await {
        Ok(None) => {
            return problem(StatusCode::NOT_FOUND, "not_found", format!("no run {:?}", run.name));
        }
        Ok(Some(read)) => Ok(read),
        Err(error) => Err(error.into()),
    };
    let shown = read.map(|(head, recorded)| {
        let fingerprint: Value = serde_json::from_str(&head.fingerprint).unwrap_or_default();
        let recorded = outcomes(recorded);
        json!({ "run": head.name, "finished": head.finished, "fingerprint": fingerprint, "outcomes": recorded })
    });
    reply(FAILED, shown)
}

/// By question; what cannot be read any more is as if it had not been recorded.
fn outcomes(recorded: Vec<RecordedOutcome>) -> Value {
    let read = recorded.into_iter().filter_map(|recorded| {
        let outcome: Value = serde_json::from_str(&recorded.outcome).ok()?;
        Some((recorded.question, outcome))
    });
    Value::Object(read.collect())
}

#[derive(Deserialize)]
struct Calibrate {
    answerable: Vec<String>,
    unanswerable: Vec<String>,
}

async fn calibrate(State(app): App, Json(questions): Json<Calibrate>) -> Response {
    let scope = operator::principal().scope();
    let (answerable, unanswerable) = (&questions.answerable, &questions.unanswerable);
    let calibrated = app.library.calibrate_by(&scope, answerable, unanswerable).await;
    reply(FAILED, calibrated.map_err(Into::into))
}
