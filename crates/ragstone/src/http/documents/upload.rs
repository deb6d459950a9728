//! `POST /api/v1/documents`: files of a form, or a text as JSON.
//!
//! Invariant: files stream to the blob store as they arrive and nothing begins before the whole form was read, so
//! fields may stand on either side of a file and a request that is refused leaves no document.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use ragstone_core::access::Principal;
use ragstone_core::document::Job;
use ragstone_core::failure_log::TARGET;
use ragstone_core::id::{ContentHash, DocumentId};
use ragstone_core::ingest::{AcceptError, Received, Upload};
use ragstone_core::seam::catalogue::{Begun, JobFilter, PageRequest};
use serde::Serialize;
use utoipa::ToSchema;

use super::form::{Fields, NewDocument, UploadForm, text_name};
use super::idempotency::{Asked, Once};
use super::receive::{File, Pace, body_too_large, discard, field_text, in_time, receive};
use crate::http::App;
use crate::http::audit::Trail;
use crate::http::auth::Writer;
use crate::http::body::Accepted;
use crate::http::extract::{self, declares_more, header as text, is_json};
use crate::http::limits::linger;
use crate::http::problem::{Code, Problem, ProblemBody};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::BadMultipart,
    Code::Interrupted,
    Code::GrantRefused,
    Code::UriTaken,
    Code::NameTaken,
    Code::BatchTaken,
    Code::IdempotencyInFlight,
    Code::TooLarge,
    Code::MediaType,
    Code::BadBody,
    Code::BadField,
    Code::UriReserved,
    Code::BadReader,
    Code::ReadersRequired,
    Code::IdempotencyKeyReused,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Most files of one form.
const MAX_FILES: usize = 1_000;

/// What a form with several files did: each has a document and its job, or an error.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AcceptedList {
    documents: Vec<FileOutcome>,
}

/// What became of one file.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum FileOutcome {
    Accepted(Box<Accepted>),
    Refused { name: String, error: ProblemBody },
}

/// Takes in documents: 202 with the job that will publish it, 200 if nothing has to be embedded. A form with several
/// files is answered with a list. With an `Idempotency-Key`, the same request sent again within 24 hours is given the
/// same answer, and nothing is done.
///
/// Read are PDF, DOCX, PPTX, XLSX, DOC, PPT, XLS, ODT, ODP, ODS, RTF, EPUB, EML, MSG, CSV, HTML, Markdown and plain text,
/// told apart by their bytes, then by their names.
#[utoipa::path(post, path = "/api/v1/documents", tag = "documents",
    params(("Idempotency-Key" = Option<String>, Header, description = "names the request, 1 to 255 characters")),
    request_body(content((UploadForm = "multipart/form-data"), (NewDocument = "application/json"))),
    responses((status = 202, body = Accepted), (status = 200, body = Accepted)))]
pub(in crate::http) async fn upload(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    let once = Once::begin(&app, &principal, request.headers())?;
    if is_json(request.headers()) {
        let extract::Json(document) = extract::Json::from_request(request, &app).await?;
        return text_document(&app, &principal, document, once, &trail).await;
    }
    let mut multipart = multipart(&app, request).await?;
    let mut form = Form::default();
    let read = form.read(&app, &mut multipart).await.and_then(|()| form.check());
    let asked = form.asked();
    let answered = match read {
        Ok(()) => once.answered(&asked).await,
        Err(problem) => Err(problem),
    };
    match answered {
        Ok(None) => form.begin(&app, &principal, once, &asked, &trail).await,
        Ok(Some(answer)) => {
            form.discard(&app).await;
            Ok(answer)
        }
        Err(problem) => {
            form.discard(&app).await;
            if problem.code == Code::TooLarge {
                linger::drain_form(multipart);
            }
            Err(problem)
        }
    }
}

async fn text_document(
    app: &App,
    principal: &Principal,
    document: NewDocument,
    once: Once<'_>,
    trail: &Trail,
) -> Result<Response, Problem> {
    let (name, (fields, text)) = (text_name(&document.uri), document.split());
    let asked = Asked {
        fields: &fields,
        files: vec![(&name, None, Some(ContentHash::of(text.as_bytes())))],
    };
    let asked = asked.fingerprint();
    if let Some(answer) = once.answered(&asked).await? {
        return Ok(answer);
    }
    let upload = fields.upload(principal, &app.default_readers(), name, Some("text/plain".into()))?;
    let bytes = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(text))]);
    let (ingestor, sender) = (app.ingestor.clone(), principal.clone());
    let begun = to_its_end(app, async move { ingestor.accept(&sender, upload, bytes).await }).await?;
    let accepted = accepted(app, principal, begun, trail).await?;
    Ok(once.answer(&asked, accepted.status(), &accepted).await)
}

async fn multipart(app: &Arc<App>, request: Request) -> Result<Multipart, Problem> {
    extract::not_packed(request.headers())?;
    let declared = text(request.headers(), &header::CONTENT_TYPE)
        .unwrap_or("missing")
        .to_owned();
    if !declared.to_ascii_lowercase().starts_with("multipart/form-data") {
        let detail = format!("Content-Type is {declared}, not multipart/form-data or application/json");
        return Err(Problem::new(Code::MediaType, detail));
    }
    if declares_more(request.headers(), app.settings.body_bytes) {
        let (parts, body) = request.into_parts();
        linger::drain(&parts.headers, body);
        return Err(body_too_large(app));
    }
    Multipart::from_request(request, app)
        .await
        .map_err(|error| Problem::new(Code::BadMultipart, error.body_text()))
}

/// Rings the doorbell for a queued job; where none was queued, names the document's newest.
async fn accepted(app: &App, principal: &Principal, begun: Begun, trail: &Trail) -> Result<Accepted, Problem> {
    let (Begun::Unchanged(document) | Begun::Updated(document) | Begun::Started(document, _)) = &begun;
    trail.target(document.id);
    let (document, job, queued) = match begun {
        Begun::Unchanged(document) | Begun::Updated(document) => {
            let job = newest_job(app, principal, document.id).await?;
            (document, job, false)
        }
        Begun::Started(document, job) => {
            (app.doorbell)();
            (document, Some(job), true)
        }
    };
    Ok(Accepted {
        document: document.into(),
        job: job.map(Into::into),
        queued,
    })
}

async fn newest_job(app: &App, principal: &Principal, document: DocumentId) -> Result<Option<Job>, Problem> {
    let filter = JobFilter {
        document: Some(document),
        ..JobFilter::default()
    };
    let first = PageRequest { cursor: None, limit: 1 };
    let mut found = app.catalogue.jobs(&principal.scope(), &filter, &first).await?;
    Ok(found.items.pop())
}

/// A form as far as it was read.
#[derive(Default)]
struct Form {
    fields: Fields,
    files: Vec<File>,
}

impl Form {
    async fn read(&mut self, app: &App, multipart: &mut Multipart) -> Result<(), Problem> {
        let mut pace = Pace::begin();
        while let Some(field) = in_time(app, multipart.next_field()).await? {
            match (field.name().map(str::to_owned), field.file_name().map(str::to_owned)) {
                (Some(part), Some(name)) if part == "file" => {
                    if self.files.len() == MAX_FILES {
                        return Err(Problem::new(Code::TooLarge, format!("more than {MAX_FILES} files")));
                    }
                    self.files.push(receive(app, &mut pace, field, &name).await?);
                }
                (Some(part), None) if part != "file" => {
                    let value = field_text(app, &mut pace, field, &part).await?;
                    self.fields.set(&part, value)?;
                }
                (part, _) => {
                    let part = part.unwrap_or_default();
                    let detail = format!("part {part:?}: files are named `file` and have a file name");
                    return Err(Problem::new(Code::BadField, detail));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Problem> {
        if self.files.is_empty() {
            return Err(Problem::new(Code::BadField, "the form has no part `file`").at("/file"));
        }
        if self.files.len() > 1 {
            self.fields.fit_several()?;
        }
        let mut seen = HashSet::new();
        match self.files.iter().find(|file| !seen.insert(&file.name)) {
            Some(twin) => Err(Problem::new(
                Code::BadField,
                format!("two files are named {:?}: each would replace the other", twin.name),
            )
            .at("/file")),
            None => Ok(()),
        }
    }

    async fn discard(self, app: &App) {
        for received in self.files.into_iter().filter_map(|file| file.received.ok()) {
            discard(app, received).await;
        }
    }

    /// Names all that the form asks for.
    fn asked(&self) -> [u8; 32] {
        let files = self.files.iter().map(|file| {
            let hash = file.received.as_ref().ok().map(Received::content_hash);
            (file.name.as_str(), file.declared_media_type.as_deref(), hash)
        });
        let asked = Asked {
            fields: &self.fields,
            files: files.collect(),
        };
        asked.fingerprint()
    }

    async fn begin(
        self,
        app: &App,
        principal: &Principal,
        once: Once<'_>,
        asked: &[u8; 32],
        trail: &Trail,
    ) -> Result<Response, Problem> {
        let several = self.files.len() > 1;
        let mut documents = Vec::with_capacity(self.files.len());
        for file in self.files {
            let name = file.name.clone();
            documents.push(match begin(app, principal, &self.fields, file, trail).await {
                Ok(accepted) if !several => {
                    return Ok(once.answer(asked, accepted.status(), &accepted).await);
                }
                Err(problem) if !several => return Err(problem),
                Ok(accepted) => FileOutcome::Accepted(Box::new(accepted)),
                Err(problem) => refused(name, &problem),
            });
        }
        let list = AcceptedList { documents };
        Ok(once.answer(asked, StatusCode::ACCEPTED, &list).await)
    }
}

/// One of several files that was not taken in: the request as a whole did not fail.
fn refused(name: String, problem: &Problem) -> FileOutcome {
    let note = problem.note();
    tracing::warn!(target: TARGET, code = note.code, cause = note.cause, "a file of an upload was refused");
    FileOutcome::Refused {
        name,
        error: problem.body(),
    }
}

async fn begin(
    app: &App,
    principal: &Principal,
    fields: &Fields,
    file: File,
    trail: &Trail,
) -> Result<Accepted, Problem> {
    let received = file.received?;
    let upload: Upload = match fields.upload(principal, &app.default_readers(), file.name, file.declared_media_type) {
        Ok(upload) => upload,
        Err(problem) => {
            discard(app, received).await;
            return Err(problem);
        }
    };
    let (ingestor, sender) = (app.ingestor.clone(), principal.clone());
    let begun = to_its_end(app, async move { ingestor.begin(&sender, upload, received).await }).await?;
    accepted(app, principal, begun, trail).await
}

/// A sender who leaves does not stop what gives bytes a row, or removes them.
async fn to_its_end(
    app: &App,
    begin: impl Future<Output = Result<Begun, AcceptError>> + Send + 'static,
) -> Result<Begun, Problem> {
    match app.arrivals.spawn(begin).await {
        Ok(begun) => Ok(begun?),
        Err(error) => {
            let detail = "the document may or may not have been taken in";
            Err(Problem::new(Code::Internal, detail).caused_by(&error))
        }
    }
}
