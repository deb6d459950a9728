//! Which documents a caller may change or delete directly: not those that belong to a source or a mail.
//!
//! Invariant: a caller that may not read a document learns nothing about its origin.

use ragstone_core::access::Principal;
use ragstone_core::document::Document;
use ragstone_core::id::DocumentId;
use ragstone_core::seam::catalogue::check_writer;
use serde_json::json;

use super::form::UPLOADS;
use crate::http::RouterState;
use crate::http::problem::{ApiProblem, Code};

/// Loads the document if the caller may read and write it, and it neither belongs to a source nor is a file in a mail.
/// The next sync would undo a change to a source's document, and the next version of the mail one to its files.
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
    // The transaction that changes the document checks this again. It is checked here so that it is reported before
    // other mistakes in the request.
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
