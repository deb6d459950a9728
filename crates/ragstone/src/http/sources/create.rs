//! `POST /api/v1/sources`: a place that documents come from.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ragstone_core::access::{Reader, Role};
use ragstone_core::id::{CollectionName, SourceId, SourceName};
use ragstone_core::ingest::Grants;
use ragstone_core::seam::source::{SourceError, SourceRecord};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{SourceBody, checked_schedule};
use crate::http::App;
use crate::http::auth::Identity;
use crate::http::extract;
use crate::http::problem::{Code, Problem};

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

/// A kind that says itself who may read what.
const CONFLUENCE: &str = "confluence";
/// Kinds that reach for what the server's operator has: its files, its credentials.
const OF_THE_OPERATOR: [&str; 3] = ["folder", CONFLUENCE, "s3"];

/// Names that documents have which come from no source.
const RESERVED: [&str; 2] = ["upload", "default"];

/// A source to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSource)]
pub(in crate::http) struct Wanted {
    /// What people call it, once in a tenant.
    #[schema(value_type = String)]
    name: SourceName,
    /// `folder`: a folder of the server; `confluence`: spaces of a Confluence; `s3`: a prefix of a bucket. These are for the
    /// operator and the first key only: they name files and credentials of the server. `web`: pages of the web.
    kind: String,
    /// For a folder `{path, include?, exclude?}`: an absolute path, and patterns as in a .gitignore. For a Confluence
    /// `{url, spaces | cql, deployment?: cloud | datacenter, email?, token?: "env:NAME" | "file:PATH", comments?,
    /// attachments?, readers_as?, space_readers?, at_once?}`: `readers_as` maps users and groups of Confluence to readers. For a
    /// bucket `{bucket, prefix?, endpoint?, region?, access_key_id?, secret_access_key?}`, the keys by reference as a token is;
    /// without them the role of the machine asks. For the web `{urls?, sitemaps?, depth?, hosts?, paths?, exclude?, max_pages?, max_minutes?, at_once?}`: addresses to begin with, how
    /// many links are followed from there, and where to.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// `default` unless said.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Readers any one of which may read its documents: `everyone`, `dept:<id>`, `group:<id>`, `user:<id>`. Those of a
    /// Confluence are `everyone` unless said, and it narrows them: to who may read the space and the page there.
    #[serde(default)]
    readers: Vec<String>,
    /// Counts as one more reader, `dept:<department_id>`.
    department_id: Option<String>,
    /// When it is synced by itself, in cron's form such as `*/15 * * * *`, UTC; never unless said.
    schedule: Option<String>,
}

/// Makes a source; nothing is taken in until it is synced.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", request_body = Wanted,
    responses((status = 201, body = SourceBody)))]
pub(in crate::http) async fn create(
    State(app): State<Arc<App>>,
    identity: Identity,
    extract::Json(wanted): extract::Json<Wanted>,
) -> Result<(StatusCode, Json<SourceBody>), Problem> {
    let principal = &identity.principal;
    if principal.role() < Role::Writer {
        return Err(Problem::new(Code::Forbidden, "this needs the role writer"));
    }
    let mut grants = Grants {
        readers: wanted.readers,
        department_id: wanted.department_id,
    };
    if wanted.kind == CONFLUENCE && grants.readers.is_empty() && grants.department_id.is_none() {
        grants.readers.push(Reader::everyone().to_string());
    }
    let acl = grants.acl(principal, &app.default_readers())?;
    if RESERVED.contains(&wanted.name.as_str()) {
        let detail = format!("{} names documents that come from no source", wanted.name);
        return Err(Problem::new(Code::BadField, detail).at("/name"));
    }
    let record = SourceRecord {
        id: SourceId((app.new_id)()),
        tenant: principal.tenant().clone(),
        name: wanted.name,
        kind: wanted.kind,
        settings: wanted.settings,
        collection: wanted.collection.unwrap_or_default(),
        readers: acl.sets.into_iter().next().unwrap_or_default(),
        schedule: checked_schedule(wanted.schedule)?,
        paused: false,
        created_by: principal.subject().to_owned(),
        created_at: (app.clock)(),
        last_sync: None,
    };
    may_open(&app, &identity, &record)?;
    match app.syncer.sources.add_source(record.clone()).await? {
        true => Ok((StatusCode::CREATED, Json(SourceBody::of(record, &app).await?))),
        false => {
            let detail = format!("the name {} is taken", record.name);
            Err(Problem::new(Code::SourceTaken, detail))
        }
    }
}

/// Whether the settings are right, and the caller may name such a place.
fn may_open(app: &App, identity: &Identity, record: &SourceRecord) -> Result<(), Problem> {
    if OF_THE_OPERATOR.contains(&record.kind.as_str()) && !identity.of_all_tenants {
        let detail = format!(
            "sources of the kind {} are for the operator and the first key",
            record.kind
        );
        return Err(Problem::new(Code::Forbidden, detail));
    }
    match (app.syncer.open)(record) {
        Ok(_) => Ok(()),
        Err(SourceError::Refused(detail) | SourceError::Broken(detail) | SourceError::Gone(detail)) => {
            Err(Problem::new(Code::BadField, detail).at("/settings"))
        }
    }
}
