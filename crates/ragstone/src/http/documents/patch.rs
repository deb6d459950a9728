//! `PATCH /api/v1/documents/{id}`: changes a document's attributes, not its content.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ragstone_core::access::{Acl, Principal, ReaderSet};
use ragstone_core::document::{BoundedMetadata, Document, DocumentMetadata};
use ragstone_core::ingest::{GrantRequest, MAX_TITLE_BYTES};
use ragstone_core::seam::catalogue::DocumentPatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::changeable::load_changeable_document;
use crate::http::RouterState;
use crate::http::auth::RequireWriter;
use crate::http::body::DocumentBody;
use crate::http::extract::{self, Path, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::NotFound,
    Code::GrantRefused,
    Code::WriteRefused,
    Code::SourceDocument,
    Code::MailDocument,
    Code::MediaType,
    Code::TooLarge,
    Code::BadBody,
    Code::BadField,
    Code::BadReader,
    Code::ReadersRequired,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Changes to a document. A field that is absent stays as it is; null removes `department_id` or `source_url`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DocumentChanges {
    /// New title: at most 1 KiB, without control characters.
    title: Option<String>,
    /// Replaces all key-value pairs: at most 64 KiB and 256 keys.
    #[schema(value_type = Option<Object>)]
    metadata: Option<DocumentMetadata>,
    /// Replaces the readers: `everyone`, `dept:<id>`, `group:<id>`, `user:<id>`.
    readers: Option<Vec<String>>,
    /// Department of the document; its reader `dept:<id>` replaces that of the previous department.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    department_id: Option<Option<String>>,
    /// URL that begins with `http://` or `https://`, where a person can open the document.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    source_url: Option<Option<String>>,
}

/// Changes title, metadata, readers, department or source URL of a document.
///
/// Nothing is embedded again, and new readers apply at once. Allowed for a caller who may grant every reader of the
/// document, or who uploaded it; nobody can add or remove a reader that they do not hold. A document of a source or a
/// file in a mail cannot be changed here.
#[utoipa::path(patch, path = "/api/v1/documents/{id}", tag = "documents", params(("id" = Uuid, Path)),
    request_body = DocumentChanges, responses((status = 200, description = "The document.", body = DocumentBody)))]
pub(in crate::http) async fn update_document(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    Path(document): Path<String>,
    extract::Json(changes): extract::Json<DocumentChanges>,
) -> Result<Json<DocumentBody>, ApiProblem> {
    let document = parse_id("document", &document)?;
    let standing = load_changeable_document(&app, &principal, document).await?;
    let patch = DocumentPatch {
        acl: changed_acl(&principal, &standing, &changes)?,
        title: check_title(changes.title)?,
        metadata: changes.metadata.map(BoundedMetadata::try_from).transpose()?,
        department_id: changes.department_id,
        source_url: match changes.source_url {
            Some(Some(url)) => Some(Some(url.parse()?)),
            Some(None) => Some(None),
            None => None,
        },
    };
    let patched = app
        .ingestor
        .uploads()
        .patch_document(&principal, document, patch)
        .await?;
    patched
        .map(|document| Json(document.into()))
        .ok_or_else(|| ApiProblem::not_found("document"))
}

fn check_title(title: Option<String>) -> Result<Option<String>, ApiProblem> {
    let bad = |title: &String| title.len() > MAX_TITLE_BYTES || title.chars().any(char::is_control);
    match title {
        Some(title) if bad(&title) => {
            let detail = format!("a title has at most {MAX_TITLE_BYTES} bytes and no control characters");
            Err(ApiProblem::new(Code::BadField, detail).with_pointer("/title"))
        }
        title => Ok(title),
    }
}

/// The ACL after the change; `None` if it does not touch readers. A new department replaces the reader of the previous
/// one; inherited restrictions stay.
fn changed_acl(
    principal: &Principal,
    standing: &Document,
    changes: &DocumentChanges,
) -> Result<Option<Acl>, ApiProblem> {
    if changes.readers.is_none() && changes.department_id.is_none() {
        return Ok(None);
    }
    let department = match &changes.department_id {
        Some(department) => department.clone(),
        None => standing.department_id.clone(),
    };
    let held = standing.acl.sets.first().cloned().unwrap_or_default();
    let mut acl = match &changes.readers {
        Some(readers) => GrantRequest {
            readers: readers.clone(),
            department_id: department,
        }
        .build_acl_with_existing(principal, &ReaderSet::new(), &held)?,
        None => replace_department(principal, standing, department)?,
    };
    acl.sets.extend(standing.acl.sets.iter().skip(1).cloned());
    Ok(Some(acl))
}

/// The first reader set, with the reader of the new department in place of the old one's.
fn replace_department(principal: &Principal, standing: &Document, to: Option<String>) -> Result<Acl, ApiProblem> {
    let mut kept = standing.acl.sets.first().cloned().unwrap_or_default();
    if let Some(from) = &standing.department_id {
        kept.retain(|reader| reader.as_str() != format!("dept:{from}"));
    }
    let grants = GrantRequest {
        readers: Vec::new(),
        department_id: to,
    };
    match grants.department_id {
        Some(_) => {
            let mut acl = grants.build_acl(principal, &ReaderSet::new())?;
            acl.sets[0].append(&mut kept);
            Ok(acl)
        }
        None if kept.is_empty() => Err(ApiProblem::new(
            Code::ReadersRequired,
            "nobody would be left to read it",
        )),
        None => Ok(Acl {
            tenant: standing.acl.tenant.clone(),
            sets: vec![kept],
        }),
    }
}
