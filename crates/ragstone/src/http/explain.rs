//! `POST /api/v1/explain-access`: why a caller may read a document, or may not.
//!
//! Invariant: nothing of a document is told but its name, its readers and where it stands; nobody becomes a caller here;
//! an administrator is told of its own tenant's documents and keys only, unless it is the operator or has the first key.

use std::sync::Arc;

use axum::extract::State;
use ragstone_core::access::{By, Explanation, Principal, Reader, ReaderError, ReaderSet, Role, Supposed};
use ragstone_core::document::{Document, DocumentStatus, JobKind};
use ragstone_core::id::{CollectionName, DocumentId, SourceName, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, DocumentFilter, JobFilter, PageRequest};
use ragstone_core::seam::keys::{Key, KeyId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::audit::Trail;
use super::auth::{AdminIdentity, Identity};
use super::extract::Json;
use super::problem::{Code, Problem};
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

/// Most documents that are explained at once: one URI may stand in several tenants, collections and sources.
const MAX_DOCUMENTS: usize = 100;

/// A document by id or URI, and a caller by what it holds or by its key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccessQuestion)]
pub(super) struct Question {
    /// Its id or its URI.
    document: String,
    /// The caller's tenant; the administrator's own if not said. Another one is for the operator and the first key.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// The person.
    user: Option<String>,
    /// The person's departments.
    #[serde(default)]
    departments: Vec<String>,
    /// The person's groups.
    #[serde(default)]
    groups: Vec<String>,
    /// In place of all these: whoever calls with the key of this id.
    #[schema(value_type = Option<String>)]
    key: Option<KeyId>,
}

/// What is to be told of each document that was meant.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessExplained)]
pub(super) struct ExplainedBody {
    documents: Vec<Explained>,
}

/// Why a caller may read a document, or may not.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessOfDocument)]
pub(super) struct Explained {
    document: Named,
    caller: Supposition,
    /// Whether the caller may know of the document.
    admitted: bool,
    /// Whether it may read a text of it.
    readable: bool,
    /// The document's sets of readers; each of them has to admit the caller.
    sets: Vec<SetBody>,
    /// What stands in the way.
    reasons: Vec<Reason>,
}

/// A document by name.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedDocument)]
pub(super) struct Named {
    id: String,
    tenant: String,
    /// None where only the work of deleting it is left.
    uri: Option<String>,
    /// As in the list of documents, or `deleted`.
    status: String,
}

/// The caller who is supposed.
#[derive(Serialize, ToSchema)]
#[schema(as = SupposedCaller)]
pub(super) struct Supposition {
    tenant: String,
    role: String,
    /// What it holds; null where its role holds every reader.
    readers: Option<Vec<String>>,
    key: Option<String>,
}

/// A set of readers.
#[derive(Serialize, ToSchema)]
#[schema(as = ExplainedSet)]
pub(super) struct SetBody {
    readers: Vec<String>,
    /// Whether the caller holds one of them.
    admits: bool,
    /// Those that it holds, or `admin`.
    by: Vec<String>,
}

/// Why not.
#[derive(Serialize, ToSchema)]
#[schema(as = RefusalReason)]
pub(super) struct Reason {
    /// `key_ended`, `deleted`, `other_tenant`, `no_sets`, `set_refuses` or `not_published`.
    code: &'static str,
    detail: String,
}

/// A caller who is only supposed.
struct Caller {
    tenant: TenantId,
    role: Role,
    supposed: Supposed,
    key: Option<Key>,
}

/// A document that is there, or one of which only work is left.
enum Found {
    Standing(Box<Document>),
    Deleted(DocumentId, TenantId),
}

/// Tells which grant lets a caller read a document, or which set of readers refuses it; for administrators. Nothing is
/// read with that caller's rights.
#[utoipa::path(post, path = "/api/v1/explain-access", tag = "keys", request_body = Question,
    responses((status = 200, body = ExplainedBody)))]
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    AdminIdentity(identity): AdminIdentity,
    trail: Trail,
    Json(question): Json<Question>,
) -> Result<axum::Json<ExplainedBody>, Problem> {
    let caller = caller(&app, &identity, &question).await?;
    let found = found(&app, &identity, &question.document, &caller.tenant).await?;
    if found.is_empty() {
        return Err(Problem::not_found("document"));
    }
    let live = caller.key.as_ref().is_none_or(|key| key.is_live((app.clock)()));
    let documents: Vec<_> = found.iter().map(|found| tell(found, &caller, live)).collect();
    documents.iter().for_each(|told| trail.target(&told.document.id));
    Ok(axum::Json(ExplainedBody { documents }))
}

async fn caller(app: &App, admin: &Identity, question: &Question) -> Result<Caller, Problem> {
    let own = admin.principal.tenant();
    let is_reached = |tenant: &TenantId| admin.of_all_tenants || tenant == own;
    if let Some(id) = question.key {
        let key = app.keys.find(id).await?.filter(|key| is_reached(&key.tenant));
        let key = key.ok_or_else(|| Problem::not_found("key"))?;
        return Ok(Caller {
            tenant: key.tenant.clone(),
            role: key.role,
            supposed: Supposed::new(key.tenant.clone(), key.readers.clone(), key.role),
            key: Some(key),
        });
    }
    let tenant = question.tenant.clone().unwrap_or_else(|| own.clone());
    if !is_reached(&tenant) {
        return Err(Problem::not_found("tenant"));
    }
    let readers = readers(question).map_err(|error| Problem::new(Code::BadReader, error.to_string()))?;
    Ok(Caller {
        supposed: Supposed::new(tenant.clone(), readers, Role::Reader),
        tenant,
        role: Role::Reader,
        key: None,
    })
}

/// The documents of this id or URI in every tenant that the administrator reaches, those of `first` before the others.
async fn found(app: &App, admin: &Identity, named: &str, first: &TenantId) -> CatalogueResult<Vec<Found>> {
    let mut found = Vec::new();
    for principal in reached(app, admin, first).await? {
        let ids = match named.parse::<DocumentId>() {
            Ok(id) => vec![id],
            Err(_) => called(app, &principal, named).await?,
        };
        for id in ids {
            found.extend(stands(app, &principal, id).await?);
        }
    }
    Ok(found)
}

/// Who may look at each tenant.
async fn reached(app: &App, admin: &Identity, first: &TenantId) -> CatalogueResult<Vec<Principal>> {
    if !admin.of_all_tenants {
        return Ok(vec![admin.principal.clone()]);
    }
    let mut tenants = app.catalogue.tenants().await?;
    tenants.retain(|tenant| tenant != first);
    tenants.insert(0, first.clone());
    Ok(tenants.into_iter().map(operator::of).collect())
}

/// The ids of what is called `uri` in a tenant. An upload is found whoever may read it, also if nobody may.
async fn called(app: &App, looks: &Principal, uri: &str) -> CatalogueResult<Vec<DocumentId>> {
    let filter = DocumentFilter {
        uri: Some(uri.to_owned()),
        ..DocumentFilter::default()
    };
    let listed = app.catalogue.documents(&looks.scope(), &filter, &first_page()).await?;
    let mut ids: Vec<_> = listed.items.iter().map(|document| document.id).collect();
    let upload: Option<SourceName> = "upload".parse().ok();
    ids.extend(upload.map(|source| DocumentId::of(looks.tenant(), &CollectionName::default(), &source, uri)));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

async fn stands(app: &App, looks: &Principal, id: DocumentId) -> CatalogueResult<Option<Found>> {
    let standing = app.catalogue.standing(&[id]).await?.pop();
    if let Some(document) = standing {
        let is_here = document.acl.tenant == *looks.tenant();
        return Ok(is_here.then(|| Found::Standing(Box::new(document))));
    }
    let filter = JobFilter {
        document: Some(id),
        kind: Some(JobKind::Purge),
        ..JobFilter::default()
    };
    let purges = app.catalogue.jobs(&looks.scope(), &filter, &first_page()).await?;
    Ok((!purges.items.is_empty()).then(|| Found::Deleted(id, looks.tenant().clone())))
}

fn first_page() -> PageRequest {
    PageRequest {
        cursor: None,
        limit: MAX_DOCUMENTS,
    }
}

fn readers(question: &Question) -> Result<ReaderSet, ReaderError> {
    let kinds = [("dept", &question.departments), ("group", &question.groups)];
    let named = kinds
        .iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{name}")));
    let user = question.user.iter().map(|user| format!("user:{user}"));
    named.chain(user).map(|reader| reader.parse::<Reader>()).collect()
}

fn tell(found: &Found, caller: &Caller, live: bool) -> Explained {
    let mut reasons = Vec::new();
    let mut reason = |code: &'static str, detail: String| reasons.push(Reason { code, detail });
    if !live {
        reason("key_ended", "the key was revoked or has expired".into());
    }
    let (document, sets, admitted, published) = match found {
        Found::Deleted(id, tenant) => {
            reason("deleted", "the document was deleted".into());
            (deleted(id, tenant), Vec::new(), false, false)
        }
        Found::Standing(document) => {
            let told = caller.supposed.explain(&document.acl);
            refusals(&told, document, &mut reason);
            let published = document.published.is_some();
            (named(document), sets(&told), told.admits(), published)
        }
    };
    let held = caller.supposed.readers();
    Explained {
        document,
        caller: Supposition {
            tenant: caller.tenant.to_string(),
            role: format!("{:?}", caller.role).to_lowercase(),
            readers: held.map(words),
            key: caller.key.as_ref().map(|key| key.id.to_string()),
        },
        admitted: admitted && live,
        readable: admitted && live && published,
        sets,
        reasons,
    }
}

fn named(document: &Document) -> Named {
    Named {
        id: document.id.to_string(),
        tenant: document.acl.tenant.to_string(),
        uri: Some(document.uri.clone()),
        status: format!("{:?}", document.status).to_lowercase(),
    }
}

fn deleted(id: &DocumentId, tenant: &TenantId) -> Named {
    Named {
        id: id.to_string(),
        tenant: tenant.to_string(),
        uri: None,
        status: "deleted".into(),
    }
}

fn refusals(told: &Explanation, document: &Document, reason: &mut impl FnMut(&'static str, String)) {
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

fn sets(told: &Explanation) -> Vec<SetBody> {
    let set = |set: &ragstone_core::access::SetExplanation| SetBody {
        readers: words(&set.readers),
        admits: set.admits(),
        by: match &set.by {
            By::Role => vec!["admin".into()],
            By::Readers(readers) => words(readers),
            By::Nothing => Vec::new(),
        },
    };
    told.sets.iter().map(set).collect()
}

fn words<'a>(readers: impl IntoIterator<Item = &'a Reader>) -> Vec<String> {
    readers.into_iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
