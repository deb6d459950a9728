//! Which documents callers may change at all: not those that something else keeps as they are.
//!
//! Invariant: whoever may not read a document learns nothing of where it comes from.

use ragstone_core::access::Principal;
use ragstone_core::document::Document;
use ragstone_core::id::DocumentId;
use ragstone_core::seam::catalogue::check_writer;
use serde_json::json;

use super::form::UPLOADS;
use crate::http::RouterState;
use crate::http::problem::{ApiProblem, Code};

/// The document, if the caller may read and write it and it is an upload that came by itself: a file in a mail goes with its mail,
/// and the next sync would undo what is done to a source's document.
pub(super) async fn load_changeable_document(
    app: &RouterState,
    principal: &Principal,
    id: DocumentId,
) -> Result<Document, ApiProblem> {
    let document = app.library.get_document(&principal.scope(), id).await?;
    let document = document.ok_or_else(|| ApiProblem::not_found("document"))?;
    if document.source.as_str() != UPLOADS {
        let source = app
            .syncer
            .sources
            .find_source_by_name(principal.tenant(), &document.source)
            .await?;
        if let Some(source) = source {
            return Err(source_document_problem(source.name.as_str()));
        }
    }
    if let Some(mail) = app.ingestor.uploads().find_containing_mail(&document).await? {
        return Err(mail_document_problem(mail));
    }
    // The transaction that changes it asks again; here it comes before what else is wrong with the request.
    check_writer(&principal.scope(), &document)?;
    Ok(document)
}

fn source_document_problem(name: &str) -> ApiProblem {
    let detail = format!("the document comes from the source {name}, which alone changes it");
    let hint = format!("change it where it comes from, then `ragstone source sync {name}`");
    ApiProblem::new(Code::SourceDocument, detail)
        .with_hint(hint)
        .with_extension("source", json!(name))
}

fn mail_document_problem(mail: DocumentId) -> ApiProblem {
    let detail = "the document is a file in a mail and goes with it";
    ApiProblem::new(Code::MailDocument, detail)
        .with_hint(format!("change or delete the mail, document {mail}"))
        .with_extension("mail", json!(mail))
}
