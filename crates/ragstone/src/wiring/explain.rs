//! Why a caller may read a document, or may not: for whoever has the data directory.
//!
//! Invariant: nothing of a document is told but its name, its readers and where it stands; nobody becomes a caller here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ragstone_core::access::{By, Explanation, Principal, Reader, ReaderError, ReaderSet, Role, Supposed};
use ragstone_core::document::{Document, DocumentStatus, JobKind};
use ragstone_core::id::{CollectionName, DocumentId, SourceName, TenantId};
use ragstone_core::ingest::Clock;
use ragstone_core::seam::catalogue::{
    CatalogueError, CatalogueResult, DocumentFilter, JobFilter, PageRequest,
};
use ragstone_core::seam::keys::{Key, KeyId};
use ragstone_core::seam::{Catalogue, KeyStore};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::problem;

/// Most documents that are explained at once: one URI may stand in several tenants, collections and sources.
const MAX_DOCUMENTS: usize = 100;

/// What is asked of.
pub struct Access {
    /// The documents.
    pub catalogue: Arc<dyn Catalogue>,
    /// The keys.
    pub keys: Arc<dyn KeyStore>,
    /// Names the local operator of a tenant.
    pub operator: fn(TenantId) -> Principal,
    /// Tells the time.
    pub clock: Clock,
}

/// A document by id or URI, and a caller by what it holds or by its key.
#[derive(Deserialize)]
pub struct Question {
    document: String,
    #[serde(default)]
    tenant: TenantId,
    user: Option<String>,
    #[serde(default)]
    departments: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    key: Option<KeyId>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("there is no such key")]
    NoKey,
    #[error("there is no such document, in no tenant")]
    NoDocument,
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
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

/// Explains.
pub async fn explain(State(access): State<Arc<Access>>, Json(question): Json<Question>) -> Response {
    let refuse = |status, code, error: Unanswered| problem(status, code, error.to_string());
    match access.answer(&question).await {
        Ok(documents) => Json(json!({ "documents": documents })).into_response(),
        Err(error @ Unanswered::Reader(_)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "bad_reader", error),
        Err(error @ (Unanswered::NoKey | Unanswered::NoDocument)) => {
            refuse(StatusCode::NOT_FOUND, "not_found", error)
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "explain_failed", error),
    }
}

impl Access {
    async fn answer(&self, question: &Question) -> Result<Vec<Value>, Unanswered> {
        let caller = self.caller(question).await?;
        let found = self.found(&question.document, &caller.tenant).await?;
        if found.is_empty() {
            return Err(Unanswered::NoDocument);
        }
        let live = caller.key.as_ref().is_none_or(|key| key.is_live((self.clock)()));
        let told = found.iter().map(|found| tell(found, &caller, live));
        Ok(told.collect())
    }

    async fn caller(&self, question: &Question) -> Result<Caller, Unanswered> {
        if let Some(id) = question.key {
            let key = self.keys.find(id).await?.ok_or(Unanswered::NoKey)?.key;
            return Ok(Caller {
                tenant: key.tenant.clone(),
                role: key.role,
                supposed: Supposed::new(key.tenant.clone(), key.readers.clone(), key.role),
                key: Some(key),
            });
        }
        let (tenant, role) = (question.tenant.clone(), Role::Reader);
        Ok(Caller {
            supposed: Supposed::new(tenant.clone(), readers(question)?, role),
            tenant,
            role,
            key: None,
        })
    }

    /// The documents of this id or URI in every tenant, `own` before the others.
    async fn found(&self, named: &str, own: &TenantId) -> CatalogueResult<Vec<Found>> {
        let mut tenants = self.catalogue.tenants().await?;
        tenants.retain(|tenant| tenant != own);
        tenants.insert(0, own.clone());
        let mut found = Vec::new();
        for tenant in &tenants {
            let ids = match named.parse::<DocumentId>() {
                Ok(id) => vec![id],
                Err(_) => self.called(tenant, named).await?,
            };
            for id in ids {
                found.extend(self.stands(tenant, id).await?);
            }
        }
        Ok(found)
    }

    /// The ids of what is called `uri` in a tenant. An upload is found whoever may read it, also if nobody may.
    async fn called(&self, tenant: &TenantId, uri: &str) -> CatalogueResult<Vec<DocumentId>> {
        let filter = DocumentFilter {
            uri: Some(uri.to_owned()),
            ..DocumentFilter::default()
        };
        let scope = (self.operator)(tenant.clone()).scope();
        let listed = self.catalogue.documents(&scope, &filter, &first_page()).await?;
        let mut ids: Vec<_> = listed.items.iter().map(|document| document.id).collect();
        let upload: Option<SourceName> = "upload".parse().ok();
        ids.extend(upload.map(|source| DocumentId::of(tenant, &CollectionName::default(), &source, uri)));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn stands(&self, tenant: &TenantId, id: DocumentId) -> CatalogueResult<Option<Found>> {
        let standing = self.catalogue.standing(&[id]).await?.pop();
        if let Some(document) = standing {
            return Ok((document.acl.tenant == *tenant).then(|| Found::Standing(Box::new(document))));
        }
        let filter = JobFilter {
            document: Some(id),
            kind: Some(JobKind::Purge),
            ..JobFilter::default()
        };
        let scope = (self.operator)(tenant.clone()).scope();
        let purges = self.catalogue.jobs(&scope, &filter, &first_page()).await?;
        Ok((!purges.items.is_empty()).then(|| Found::Deleted(id, tenant.clone())))
    }
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

/// `admitted`: whether the caller may know of the document; `readable`: whether it may read a text of it.
fn tell(found: &Found, caller: &Caller, live: bool) -> Value {
    let mut reasons = Vec::new();
    let mut reason = |code: &str, detail: String| reasons.push(json!({ "code": code, "detail": detail }));
    if !live {
        reason("key_ended", "the key was revoked or has expired".into());
    }
    let (document, sets, admitted, published) = match found {
        Found::Deleted(id, tenant) => {
            reason("deleted", "the document was deleted".into());
            let document = json!({ "id": id, "tenant": tenant, "uri": null, "status": "deleted" });
            (document, Vec::new(), false, false)
        }
        Found::Standing(document) => {
            let told = caller.supposed.explain(&document.acl);
            refusals(&told, document, &mut reason);
            let published = document.published.is_some();
            (named(document), sets(&told), told.admits(), published)
        }
    };
    json!({
        "document": document,
        "caller": {
            "tenant": caller.tenant,
            "role": caller.role,
            "readers": caller.supposed.readers(),
            "key": caller.key.as_ref().map(|key| key.id),
        },
        "admitted": admitted && live,
        "readable": admitted && live && published,
        "sets": sets,
        "reasons": reasons,
    })
}

fn named(document: &Document) -> Value {
    json!({
        "id": document.id, "tenant": document.acl.tenant, "uri": document.uri, "status": document.status,
    })
}

fn refusals(told: &Explanation, document: &Document, reason: &mut impl FnMut(&str, String)) {
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

fn sets(told: &Explanation) -> Vec<Value> {
    let set = |set: &ragstone_core::access::SetExplanation| {
        let by = match &set.by {
            By::Role => json!(["admin"]),
            By::Readers(readers) => json!(readers),
            By::Nothing => json!([]),
        };
        json!({ "readers": set.readers, "admits": set.admits(), "by": by })
    };
    told.sets.iter().map(set).collect()
}
