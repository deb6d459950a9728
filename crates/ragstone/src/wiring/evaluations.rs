//! The operator's routes for evaluations: fingerprint of a run, stored runs, and calibration of the evidence threshold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use ragstone_core::access::Principal;
use ragstone_core::document::{Document, DocumentStatus};
use ragstone_core::evaluate::{RunFingerprint, remove_matching_names};
use ragstone_core::id::TenantId;
use ragstone_core::ingest::WallClockFn;
use ragstone_core::library::Library;
use ragstone_core::seam::catalogue::{DocumentFilter, PageRequest};
use ragstone_core::seam::evaluations::{MAX_RUN_NAME, RecordedOutcome};
use ragstone_core::seam::{Catalogue, EvaluationStore};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{json_reply, problem_reply};
use super::vectors::EmbedderManager;
use crate::config::Settings;
use crate::operator;

/// Largest request, in bytes: a set's questions, or one outcome with its passages.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Documents that are read at once.
const PAGE: usize = 1000;
/// Problem code of a failure.
const FAILED: &str = "evaluation_failed";

/// What the evaluation routes work with.
pub struct EvaluationService {
    /// Store of the runs.
    pub store: Arc<dyn EvaluationStore>,
    /// Catalogue that lists the corpus.
    pub catalogue: Arc<dyn Catalogue>,
    /// Library whose threshold is calibrated.
    pub library: Arc<Library>,
    /// Manager of the embedder, for its state.
    pub vectors: Arc<EmbedderManager>,
    /// The settings that affect retrieval and answers, as text.
    pub settings: String,
    /// Name of the chat model.
    pub model: String,
    /// Digest of the prompt template.
    pub prompt: String,
    /// Wall clock, for the time of a run.
    pub clock: WallClockFn,
}

type EvaluationState = State<Arc<EvaluationService>>;

/// The settings that affect retrieval and answers, as text.
pub fn describe_retrieval_settings(settings: &Settings) -> String {
    let (split, ask) = (&settings.split, &settings.ask);
    format!(
        "{:?} {:?} {} {}",
        split.splitter_settings(),
        split.structured,
        ask.limit,
        ask.prompt_tokens
    )
}

/// The routes; they are mounted on the operator channel only.
pub fn evaluation_router(evaluations: EvaluationService) -> Router {
    Router::new()
        .route("/operator/v1/evaluations", get(list_runs))
        .route("/operator/v1/evaluations/fingerprint", get(get_fingerprint))
        .route("/operator/v1/evaluations/missing", post(list_missing_documents))
        .route("/operator/v1/evaluations/begin", post(begin_run))
        .route("/operator/v1/evaluations/record", post(record_outcome))
        .route("/operator/v1/evaluations/finish", post(finish_run))
        .route("/operator/v1/evaluations/read", post(get_run))
        .route("/operator/v1/evaluations/calibrate", post(calibrate_threshold))
        .with_state(Arc::new(evaluations))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn list_runs(State(app): EvaluationState) -> Response {
    let runs = app.store.list_runs(operator::operator_principal().tenant()).await;
    let shown = runs.map(|runs| {
        let shown = runs.into_iter().map(|head| {
            json!({ "run": head.name, "finished": head.finished, "started_at": head.started_at.unix_timestamp() })
        });
        json!({ "runs": shown.collect::<Vec<_>>() })
    });
    json_reply(FAILED, shown.map_err(Into::into))
}

async fn get_fingerprint(State(app): EvaluationState) -> Response {
    json_reply(FAILED, app.build_fingerprint().await)
}

impl EvaluationService {
    async fn build_fingerprint(&self) -> anyhow::Result<RunFingerprint> {
        let scope = operator::operator_principal().scope();
        let threshold = self.library.current_threshold(scope.tenant());
        let settings = format!("{} {threshold:?}", self.settings);
        Ok(RunFingerprint {
            corpus: self.corpus_digest().await?,
            settings: short_digest(settings.as_bytes()),
            embedder: self.vectors.state().describe(),
            model: self.model.clone(),
            prompt: self.prompt.clone(),
            ..RunFingerprint::default()
        })
    }

    /// Digest of the published documents, independent of their order.
    async fn corpus_digest(&self) -> anyhow::Result<String> {
        let mut documents = Vec::new();
        let principal = operator::operator_principal();
        let name = |document: &Document| {
            let (collection, uri) = (document.collection.as_str(), &document.uri);
            documents.push(format!(
                "{collection}\n{uri}\n{}\n{}\n",
                document.title, document.content_hash
            ));
        };
        self.for_each_published(&principal, name).await?;
        documents.sort_unstable();
        Ok(short_digest(documents.concat().as_bytes()))
    }

    /// Calls `see` for every published document of the operator's tenant.
    async fn for_each_published(&self, operator: &Principal, mut see: impl FnMut(&Document)) -> anyhow::Result<()> {
        let scope = operator.scope();
        let filter = DocumentFilter {
            status: Some(DocumentStatus::Published),
            ..DocumentFilter::default()
        };
        let mut cursor = None;
        loop {
            let request = PageRequest { cursor, limit: PAGE };
            let page = self.catalogue.list_documents(&scope, &filter, &request).await?;
            page.items.iter().for_each(&mut see);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The `wanted` names that no published document has.
    async fn find_missing(&self, wanted: MissingDocumentsRequest) -> anyhow::Result<BTreeSet<String>> {
        let (own, mut missing) = (wanted.names, BTreeSet::new());
        let tenants = wanted.names_of_tenants.into_iter();
        let tenants = tenants.map(|(tenant, names)| (operator::operator_principal_of(tenant), names));
        for (operator, mut names) in tenants.chain([(operator::operator_principal(), own)]) {
            if !names.is_empty() {
                self.for_each_published(&operator, |document| remove_matching_names(&document.uri, &mut names))
                    .await?;
            }
            missing.append(&mut names);
        }
        Ok(missing)
    }
}

/// Names of documents in a set of questions: of the operator's own tenant, and of others.
#[derive(Deserialize)]
struct MissingDocumentsRequest {
    names: BTreeSet<String>,
    #[serde(default)]
    names_of_tenants: BTreeMap<TenantId, BTreeSet<String>>,
}

async fn list_missing_documents(State(app): EvaluationState, Json(wanted): Json<MissingDocumentsRequest>) -> Response {
    let missing = app.find_missing(wanted).await;
    json_reply(FAILED, missing.map(|missing| json!({ "missing": missing })))
}

fn short_digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Request that names a run.
#[derive(Deserialize)]
struct RunNameRequest {
    name: String,
}

#[derive(Deserialize)]
struct BeginRunRequest {
    name: String,
    fingerprint: RunFingerprint,
}

async fn begin_run(State(app): EvaluationState, Json(begin): Json<BeginRunRequest>) -> Response {
    if begin.name.is_empty() || begin.name.len() > MAX_RUN_NAME {
        let detail = format!("a run's name has 1 to {MAX_RUN_NAME} bytes");
        return problem_reply(StatusCode::UNPROCESSABLE_ENTITY, "bad_name", detail);
    }
    let fingerprint = json!(begin.fingerprint).to_string();
    let (principal, now) = (operator::operator_principal(), (app.clock)());
    let known = app.store.begin_run(principal.tenant(), &begin.name, &fingerprint, now);
    json_reply(FAILED, known.await.map(group_outcomes).map_err(Into::into))
}

#[derive(Deserialize)]
struct RecordOutcomeRequest {
    name: String,
    question: String,
    outcome: Value,
}

async fn record_outcome(State(app): EvaluationState, Json(record): Json<RecordOutcomeRequest>) -> Response {
    let outcome = RecordedOutcome {
        question: record.question,
        outcome: record.outcome.to_string(),
    };
    let principal = operator::operator_principal();
    let recorded = app.store.record_outcome(principal.tenant(), &record.name, outcome);
    reply_if_changed(recorded.await.map_err(Into::into))
}

async fn finish_run(State(app): EvaluationState, Json(run): Json<RunNameRequest>) -> Response {
    let principal = operator::operator_principal();
    reply_if_changed(
        app.store
            .finish_run(principal.tenant(), &run.name)
            .await
            .map_err(Into::into),
    )
}

/// Answers `{}` if the run was changed; 409 if no unfinished run matches.
fn reply_if_changed(result: anyhow::Result<bool>) -> Response {
    match result {
        Ok(false) => problem_reply(
            StatusCode::CONFLICT,
            "run_replaced",
            "there is no such unfinished run; another one of its name was begun or has ended".into(),
        ),
        done => json_reply(FAILED, done.map(|_| json!({}))),
    }
}

async fn get_run(State(app): EvaluationState, Json(run): Json<RunNameRequest>) -> Response {
    let principal = operator::operator_principal();
    let read = match app.store.get_run(principal.tenant(), &run.name).await {
        Ok(None) => {
            return problem_reply(StatusCode::NOT_FOUND, "not_found", format!("no run {:?}", run.name));
        }
        Ok(Some(read)) => Ok(read),
        Err(error) => Err(error.into()),
    };
    let shown = read.map(|(head, recorded)| {
        let fingerprint: Value = serde_json::from_str(&head.fingerprint).unwrap_or_default();
        let recorded = group_outcomes(recorded);
        json!({ "run": head.name, "finished": head.finished, "fingerprint": fingerprint, "outcomes": recorded })
    });
    json_reply(FAILED, shown)
}

/// Groups outcomes by question; skips those that cannot be parsed any more.
fn group_outcomes(recorded: Vec<RecordedOutcome>) -> Value {
    let read = recorded.into_iter().filter_map(|recorded| {
        let outcome: Value = serde_json::from_str(&recorded.outcome).ok()?;
        Some((recorded.question, outcome))
    });
    Value::Object(read.collect())
}

#[derive(Deserialize)]
struct CalibrateRequest {
    answerable: Vec<String>,
    unanswerable: Vec<String>,
}

async fn calibrate_threshold(State(app): EvaluationState, Json(questions): Json<CalibrateRequest>) -> Response {
    let scope = operator::operator_principal().scope();
    let (answerable, unanswerable) = (&questions.answerable, &questions.unanswerable);
    let calibrated = app
        .library
        .calibrate_with_questions(&scope, answerable, unanswerable)
        .await;
    json_reply(FAILED, calibrated.map_err(Into::into))
}
