//! `POST /api/v1/explain-access`: explains why a caller may or may not read a document.
//!
//! Invariant: of a document only its name, readers and state are returned; the hypothetical caller never becomes a
//! principal; an administrator gets answers about documents and keys of its own tenant only, unless it is the operator
//! or has the admin key of the settings.

use std::sync::Arc;

use axum::extract::State;
use ragstone_core::access::{
    AccessBasis, AccessExplanation, Principal, Reader, ReaderError, ReaderSet, Role, Supposed,
};
use ragstone_core::document::{Document, DocumentStatus, JobKind};
use ragstone_core::id::{CollectionName, DocumentId, SourceName, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, DocumentFilter, JobFilter, PageRequest};
use ragstone_core::seam::keys::{KeyId, KeyRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RouterState;
use super::audit::AuditRecord;
use super::auth::{CallerIdentity, RequireAdminIdentity};
use super::extract::Json;
use super::problem::{ApiProblem, Code};
use crate::operator;

pub(super) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::NotFound,
    Code::TooLarge,
    Code::MediaType,
    Code::BadBody,
    Code::BadReader,
    Code::CatalogueUnavailable,
];

/// Maximum number of documents explained at once: one URI may exist in several tenants, collections and sources.
const MAX_DOCUMENTS: usize = 100;

/// A document, by id or URI, and a caller, by its readers or by its API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccessQuestion)]
pub(super) struct AccessQuestion {
    /// Id or URI of the document.
    document: String,
    /// Tenant of the caller. Default: the administrator's own. Only the operator and the key `RAGSTONE_ADMIN_KEY`
    /// may name another one.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// User id of the caller; adds the reader `user:<id>`.
    user: Option<String>,
    /// Departments of the caller; each adds the reader `dept:<id>`.
    #[serde(default)]
    departments: Vec<String>,
    /// Groups of the caller; each adds the reader `group:<id>`.
    #[serde(default)]
    groups: Vec<String>,
    /// Id of an API key. If it is set, its tenant, role and readers are used and the fields above are ignored.
    #[schema(value_type = Option<String>)]
    key: Option<KeyId>,
}

/// One explanation for each document that matches.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessExplained)]
pub(super) struct ExplainAccessResponse {
    documents: Vec<DocumentAccessReport>,
}

/// Whether a caller may read a document, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessOfDocument)]
pub(super) struct DocumentAccessReport {
    /// The document that is explained.
    document: ExplainedDocument,
    /// The caller, as it was derived from the request.
    caller: SupposedCaller,
    /// Whether the caller may see that the document exists.
    admitted: bool,
    /// Whether the caller may read its text; false as long as no version is published.
    readable: bool,
    /// The reader sets of the document; the caller needs to be admitted by each of them.
    sets: Vec<ExplainedSet>,
    /// Why the caller may not read the text; empty if it may.
    reasons: Vec<RefusalReason>,
}

/// The document that is explained.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedDocument)]
pub(super) struct ExplainedDocument {
    /// Id of the document.
    id: String,
    /// Tenant of the document.
    tenant: String,
    /// URI of the document; null if it was deleted and only its purge job is left.
    uri: Option<String>,
    /// `pending`, `published`, `failed`, `deleting` or `deleted`.
    status: String,
}

/// The hypothetical caller.
#[derive(Serialize, ToSchema)]
#[schema(as = SupposedCaller)]
pub(super) struct SupposedCaller {
    /// Tenant of the caller.
    tenant: String,
    /// `reader`, `writer` or `admin`.
    role: String,
    /// Readers that it holds; null if its role holds all readers.
    readers: Option<Vec<String>>,
    /// Id of its API key; null if the request named none.
    key: Option<String>,
}

/// A set of readers of the document.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedSet)]
pub(super) struct ExplainedSet {
    /// The readers of the set.
    readers: Vec<String>,
    /// Whether the caller holds one of them.
    admits: bool,
    /// The readers of the set that the caller holds, or `admin` if its role admits it.
    by: Vec<String>,
}

/// A reason why the caller may not read the text.
#[derive(Serialize, ToSchema)]
#[schema(as = RefusalReason)]
pub(super) struct RefusalReason {
    /// `key_ended`, `deleted`, `other_tenant`, `no_sets`, `set_refuses` or `not_published`.
    code: &'static str,
    /// The reason in words.
    detail: String,
}

/// A caller that is only assumed; it has no principal.
struct HypotheticalCaller {
    tenant: TenantId,
    role: Role,
    supposed: Supposed,
    key: Option<KeyRecord>,
}

/// A document that exists, or a deleted one whose purge job is still known.
enum ExplainTarget {
    Existing(Box<Document>),
    Deleted(DocumentId, TenantId),
}

/// Explains which reader lets a caller read a document, or which reader set refuses it.
///
/// For administrators. No document is read with the rights of that caller.
#[utoipa::path(post, path = "/api/v1/explain-access", tag = "keys", request_body = AccessQuestion,
    responses((status = 200, description = "Each set of readers, and whether the caller holds one of it.", body = ExplainAccessResponse)))]
pub(super) async fn explain_access(
    State(app): State<Arc<RouterState>>,
    RequireAdminIdentity(identity): RequireAdminIdentity,
    trail: AuditRecord,
    Json(question): Json<AccessQuestion>,
) -> Result<axum::Json<ExplainAccessResponse>, ApiProblem> {
    let caller = resolve_caller(&app, &identity, &question).await?;
    let found = find_documents(&app, &identity, &question.document, &caller.tenant).await?;
    if found.is_empty() {
        return Err(ApiProblem::not_found("document"));
    }
    let live = caller.key.as_ref().is_none_or(|key| key.is_live((app.clock)()));
    let documents: Vec<_> = found
        .iter()
        .map(|found| explain_document(found, &caller, live))
        .collect();
    documents.iter().for_each(|told| trail.add_target(&told.document.id));
    Ok(axum::Json(ExplainAccessResponse { documents }))
}

async fn resolve_caller(
    app: &RouterState,
    admin: &CallerIdentity,
    question: &AccessQuestion,
) -> Result<HypotheticalCaller, ApiProblem> {
    let own = admin.principal.tenant();
    let is_reached = |tenant: &TenantId| admin.manages_all_tenants || tenant == own;
    if let Some(id) = question.key {
        let key = app.keys.find_key(id).await?.filter(|key| is_reached(&key.tenant));
        let key = key.ok_or_else(|| ApiProblem::not_found("key"))?;
        return Ok(HypotheticalCaller {
            tenant: key.tenant.clone(),
            role: key.role,
            supposed: Supposed::new(key.tenant.clone(), key.readers.clone(), key.role),
            key: Some(key),
        });
    }
    let tenant = question.tenant.clone().unwrap_or_else(|| own.clone());
    if !is_reached(&tenant) {
        return Err(ApiProblem::not_found("tenant"));
    }
    let readers = parse_readers(question).map_err(|error| ApiProblem::new(Code::BadReader, error.to_string()))?;
    Ok(HypotheticalCaller {
        supposed: Supposed::new(tenant.clone(), readers, Role::Reader),
        tenant,
        role: Role::Reader,
        key: None,
    })
}

/// The documents with this id or URI in each tenant that the administrator manages; those of tenant `first` come first.
async fn find_documents(
    app: &RouterState,
    admin: &CallerIdentity,
    named: &str,
    first: &TenantId,
) -> CatalogueResult<Vec<ExplainTarget>> {
    let mut found = Vec::new();
    for principal in reachable_principals(app, admin, first).await? {
        let ids = match named.parse::<DocumentId>() {
            Ok(id) => vec![id],
            Err(_) => find_by_uri(app, &principal, named).await?,
        };
        for id in ids {
            found.extend(find_by_id(app, &principal, id).await?);
        }
    }
    Ok(found)
}

/// One principal for each tenant that the administrator manages.
async fn reachable_principals(
    app: &RouterState,
    admin: &CallerIdentity,
    first: &TenantId,
) -> CatalogueResult<Vec<Principal>> {
    if !admin.manages_all_tenants {
        return Ok(vec![admin.principal.clone()]);
    }
    let mut tenants = app.catalogue.list_tenants().await?;
    tenants.retain(|tenant| tenant != first);
    tenants.insert(0, first.clone());
    Ok(tenants.into_iter().map(operator::operator_principal_of).collect())
}

/// Ids of the documents with this URI in one tenant. An upload is found by its derived id, even if nobody may read it.
async fn find_by_uri(app: &RouterState, looks: &Principal, uri: &str) -> CatalogueResult<Vec<DocumentId>> {
    let filter = DocumentFilter {
        uri: Some(uri.to_owned()),
        ..DocumentFilter::default()
    };
    let listed = app
        .catalogue
        .list_documents(&looks.scope(), &filter, &first_page())
        .await?;
    let mut ids: Vec<_> = listed.items.iter().map(|document| document.id).collect();
    let upload: Option<SourceName> = "upload".parse().ok();
    ids.extend(upload.map(|source| DocumentId::from_uri(looks.tenant(), &CollectionName::default(), &source, uri)));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

async fn find_by_id(app: &RouterState, looks: &Principal, id: DocumentId) -> CatalogueResult<Option<ExplainTarget>> {
    let standing = app.catalogue.documents_unchecked(&[id]).await?.pop();
    if let Some(document) = standing {
        let is_here = document.acl.tenant == *looks.tenant();
        return Ok(is_here.then(|| ExplainTarget::Existing(Box::new(document))));
    }
    let filter = JobFilter {
        document: Some(id),
        kind: Some(JobKind::Purge),
        ..JobFilter::default()
    };
    let purges = app.catalogue.list_jobs(&looks.scope(), &filter, &first_page()).await?;
    Ok((!purges.items.is_empty()).then(|| ExplainTarget::Deleted(id, looks.tenant().clone())))
}

fn first_page() -> PageRequest {
    PageRequest {
        cursor: None,
        limit: MAX_DOCUMENTS,
    }
}

fn parse_readers(question: &AccessQuestion) -> Result<ReaderSet, ReaderError> {
    let kinds = [("dept", &question.departments), ("group", &question.groups)];
    let named = kinds
        .iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{name}")));
    let user = question.user.iter().map(|user| format!("user:{user}"));
    named.chain(user).map(|reader| reader.parse::<Reader>()).collect()
}

fn explain_document(found: &ExplainTarget, caller: &HypotheticalCaller, live: bool) -> DocumentAccessReport {
    let mut reasons = Vec::new();
    let mut reason = |code: &'static str, detail: String| reasons.push(RefusalReason { code, detail });
    if !live {
        reason("key_ended", "the key was revoked or has expired".into());
    }
    let (document, sets, admitted, published) = match found {
        ExplainTarget::Deleted(id, tenant) => {
            reason("deleted", "the document was deleted".into());
            (describe_deleted(id, tenant), Vec::new(), false, false)
        }
        ExplainTarget::Existing(document) => {
            let told = caller.supposed.explain_access(&document.acl);
            add_refusal_reasons(&told, document, &mut reason);
            let published = document.published.is_some();
            (
                describe_document(document),
                explain_sets(&told),
                told.admits(),
                published,
            )
        }
    };
    let held = caller.supposed.readers();
    DocumentAccessReport {
        document,
        caller: SupposedCaller {
            tenant: caller.tenant.to_string(),
            role: format!("{:?}", caller.role).to_lowercase(),
            readers: held.map(describe_readers),
            key: caller.key.as_ref().map(|key| key.id.to_string()),
        },
        admitted: admitted && live,
        readable: admitted && live && published,
        sets,
        reasons,
    }
}

fn describe_document(document: &Document) -> ExplainedDocument {
    ExplainedDocument {
        id: document.id.to_string(),
        tenant: document.acl.tenant.to_string(),
        uri: Some(document.uri.clone()),
        status: format!("{:?}", document.status).to_lowercase(),
    }
}

fn describe_deleted(id: &DocumentId, tenant: &TenantId) -> ExplainedDocument {
    ExplainedDocument {
        id: id.to_string(),
        tenant: tenant.to_string(),
        uri: None,
        status: "deleted".into(),
    }
}

fn add_refusal_reasons(told: &AccessExplanation, document: &Document, reason: &mut impl FnMut(&'static str, String)) {
    if !told.same_tenant {
        let owner = &document.acl.tenant;
        reason("other_tenant", format!("the document is of tenant {owner}"));
    }
    if told.sets.is_empty() {
        reason("no_sets", "no readers are known: nobody may read it".into());
    }
    for (n, _) in (1..).zip(&told.sets).filter(|(_, set)| !set.admits()) {
        reason("set_refuses", format!("the caller holds no reader of set {n}"));
    }
    if document.published.is_none() {
        let detail = match document.status {
            DocumentStatus::Failed => "no version could be published",
            _ => "no version is published yet",
        };
        reason("not_published", format!("{detail}: there is no text to read"));
    }
}

fn explain_sets(told: &AccessExplanation) -> Vec<ExplainedSet> {
    let set = |set: &ragstone_core::access::SetExplanation| ExplainedSet {
        readers: describe_readers(&set.readers),
        admits: set.admits(),
        by: match &set.basis {
            AccessBasis::Role => vec!["admin".into()],
            AccessBasis::Readers(readers) => describe_readers(readers),
            AccessBasis::Nothing => Vec::new(),
        },
    };
    told.sets.iter().map(set).collect()
}

fn describe_readers<'a>(readers: impl IntoIterator<Item = &'a Reader>) -> Vec<String> {
    readers.into_iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
