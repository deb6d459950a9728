//! `POST /api/v1/sources`: creates a source.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::access::{Reader, Role};
use ragstone_core::id::{CollectionName, SourceId, SourceName};
use ragstone_core::ingest::GrantRequest;
use ragstone_core::seam::source::{SourceError, SourceRecord};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{SourceBody, check_schedule};
use crate::http::RouterState;
use crate::http::auth::CallerIdentity;
use crate::http::extract;
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::GrantRefused,
    Code::SourceTaken,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::BadReader,
    Code::ReadersRequired,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// The kind that restricts readers per document itself.
const CONFLUENCE: &str = "confluence";
/// Kinds that access the server's files, or use credentials of its operator.
const OPERATOR_KINDS: [&str; 3] = ["folder", CONFLUENCE, "s3"];

/// Source names of documents that come from no source.
const RESERVED_NAMES: [&str; 2] = ["upload", "default"];

/// A source to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSource)]
pub(in crate::http) struct CreateSourceRequest {
    /// Name of the source, unique in the tenant.
    #[schema(value_type = String)]
    name: SourceName,
    /// `folder` (a folder of the server), `confluence` (spaces of a Confluence), `s3` (a prefix of a bucket) or `web`
    /// (web pages). All but `web` are for the operator and the key `RAGSTONE_ADMIN_KEY` only, because they use
    /// files and credentials of the server.
    kind: String,
    /// Settings of the kind. Credentials are references, `env:NAME` or `file:PATH`.
    ///
    /// `folder`: `{path, include?, exclude?}` with an absolute path, and patterns as in a .gitignore.
    ///
    /// `confluence`: `{url, spaces | cql, deployment?: cloud | datacenter, email?, token?, comments?, attachments?,
    /// readers_as?, space_readers?, at_once?}`; `readers_as` maps users and groups of Confluence to readers.
    ///
    /// `s3`: `{bucket, prefix?, endpoint?, region?, access_key_id?, secret_access_key?}`; without keys, the role of the
    /// machine is used.
    ///
    /// `web`: `{urls?, sitemaps?, depth?, hosts?, paths?, exclude?, max_pages?, max_minutes?, at_once?}`: the start
    /// addresses, how many links to follow from there, and which hosts and paths.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// Collection into which its documents are put. Default: `default`.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Readers of its documents, of which a caller needs to hold at least one: `everyone`, `dept:<id>`, `group:<id>`,
    /// `user:<id>`. A Confluence defaults to `everyone` and narrows them to those who may read the space and the page.
    #[serde(default)]
    readers: Vec<String>,
    /// Department of its documents; adds the reader `dept:<department_id>`.
    department_id: Option<String>,
    /// When to sync automatically: a cron expression such as `*/15 * * * *`, in UTC. Default: never.
    schedule: Option<String>,
}

/// Creates a source. Nothing is ingested until its first sync.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", request_body = CreateSourceRequest,
    responses((status = 201, description = "The source.", body = SourceBody)))]
pub(in crate::http) async fn create_source(
    State(app): State<Arc<RouterState>>,
    identity: CallerIdentity,
    extract::Json(wanted): extract::Json<CreateSourceRequest>,
) -> Result<(StatusCode, Json<SourceBody>), ApiProblem> {
    let principal = &identity.principal;
    if principal.role() < Role::Writer {
        return Err(ApiProblem::new(Code::Forbidden, "this needs the role writer"));
    }
    let mut grants = GrantRequest {
        readers: wanted.readers,
        department_id: wanted.department_id,
    };
    if wanted.kind == CONFLUENCE && grants.readers.is_empty() && grants.department_id.is_none() {
        grants.readers.push(Reader::everyone().to_string());
    }
    let acl = grants.build_acl(principal, &app.default_readers())?;
    if RESERVED_NAMES.contains(&wanted.name.as_str()) {
        let detail = format!("{} names documents that come from no source", wanted.name);
        return Err(ApiProblem::new(Code::BadField, detail).with_pointer("/name"));
    }
    let record = SourceRecord {
        id: SourceId((app.new_id)()),
        tenant: principal.tenant().clone(),
        name: wanted.name,
        kind: wanted.kind,
        settings: wanted.settings,
        collection: wanted.collection.unwrap_or_default(),
        readers: acl.sets.into_iter().next().unwrap_or_default(),
        schedule: check_schedule(wanted.schedule)?,
        paused: false,
        created_by: principal.subject().to_owned(),
        created_at: (app.clock)(),
        last_sync: None,
    };
    check_settings(&app, &identity, &record)?;
    match app.syncer.sources.add_source(record.clone()).await? {
        true => Ok((StatusCode::CREATED, Json(SourceBody::from_record(record, &app).await?))),
        false => {
            let detail = format!("the name {} is taken", record.name);
            Err(ApiProblem::new(Code::SourceTaken, detail))
        }
    }
}

/// Checks the settings, and whether the caller may create a source of this kind.
fn check_settings(app: &RouterState, identity: &CallerIdentity, record: &SourceRecord) -> Result<(), ApiProblem> {
    if OPERATOR_KINDS.contains(&record.kind.as_str()) && !identity.manages_all_tenants {
        let detail = format!(
            "sources of the kind {} are for the operator and the first key",
            record.kind
        );
        return Err(ApiProblem::new(Code::Forbidden, detail));
    }
    match (app.syncer.source_opener)(record) {
        Ok(_) => Ok(()),
        Err(SourceError::Refused(detail) | SourceError::Broken(detail) | SourceError::Gone(detail)) => {
            Err(ApiProblem::new(Code::BadField, detail).with_pointer("/settings"))
        }
    }
}
