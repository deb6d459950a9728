//! Which documents callers may change at all: not those that something else keeps as they are.
//!
//! Invariant: whoever may not read a document learns nothing of where it comes from.

use ragstone_core::access::Principal;
use ragstone_core::document::Document;
use ragstone_core::id::DocumentId;
use ragstone_core::seam::catalogue::check_writer;
use serde_json::json;

use super::form::UPLOADS;
use crate::http::App;
use crate::http::problem::{Code, Problem};

/// The document, if the caller may read and write it and it is an upload that came by itself: a file in a mail goes with its mail,
/// and the next sync would undo what is done to a source's document.
pub(super) async fn changeable(app: &App, principal: &Principal, id: DocumentId) -> Result<Document, Problem> {
    let document = app.library.document(&principal.scope(), id).await?;
    let document = document.ok_or_else(|| Problem::not_found("document"))?;
    if document.source.as_str() != UPLOADS {
        let source = app
            .syncer
            .sources
            .source_named(principal.tenant(), &document.source)
            .await?;
        if let Some(source) = source {
            return Err(of_source(source.name.as_str()));
        }
    }
    if let Some(mail) = app.ingestor.mail_of(&document).await? {
        return Err(of_mail(mail));
    }
    // The transaction that changes it asks again; here it comes before what else is wrong with the request.
    check_writer(&principal.scope(), &document)?;
    Ok(document)
}

fn of_source(name: &str) -> Problem {
    let detail = format!("the document comes from the source {name}, which alone changes it");
    let hint = format!("change it where it comes from, then `ragstone source sync {name}`");
    Problem::new(Code::SourceDocument, detail)
        .hinting(hint)
        .with("source", json!(name))
}

fn of_mail(mail: DocumentId) -> Problem {
    let detail = "the document is a file in a mail and goes with it";
    Problem::new(Code::MailDocument, detail)
        .hinting(format!("change or delete the mail, document {mail}"))
        .with("mail", json!(mail))
}
