//! `POST /api/v1/documents`: uploads files as a form, or a text as JSON.
//!
//! Invariant: files stream to the blob store as they arrive, and no document is created before the whole form was read.
//! So fields may come before or after the files, and a refused request leaves no document.

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
use ragstone_core::ingest::{AcceptError, ReceivedFile, UploadMetadata};
use ragstone_core::seam::catalogue::{BeginOutcome, JobFilter, PageRequest};
use serde::Serialize;
use utoipa::ToSchema;

use super::form::{NewDocument, UploadFields, UploadForm, text_file_name};
use super::idempotency::{FingerprintInput, IdempotentRequest};
use super::receive::{
    TransferRate, UploadedFile, body_too_large_problem, discard_received, field_text, receive_file, with_idle_timeout,
};
use crate::http::RouterState;
use crate::http::audit::AuditRecord;
use crate::http::auth::RequireWriter;
use crate::http::body::UploadResponse;
use crate::http::extract::{self, declares_more_than, header_text as text, is_json};
use crate::http::limits::linger;
use crate::http::problem::{ApiProblem, Code, ProblemBody};

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

/// Maximum number of files in one form.
const MAX_FILES: usize = 1_000;

/// Result of a form with several files, which succeed or fail independently.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct UploadResponseList {
    /// One result per file, in the order of the form.
    documents: Vec<FileOutcome>,
}

/// Result for one file: the document with its job, or an error.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum FileOutcome {
    /// The file was accepted.
    Accepted(Box<UploadResponse>),
    /// The file was refused; other files of the form are not affected.
    Refused { name: String, error: ProblemBody },
}

/// Uploads documents.
///
/// The status is 202 with the job that will publish the document, or 200 if nothing has to be embedded. A form with
/// several files is answered with a list. With an `Idempotency-Key`, the same request sent again within 24 hours gets
/// the same response and has no further effect.
///
/// Supported formats: PDF, DOCX, PPTX, XLSX, DOC, PPT, XLS, ODT, ODP, ODS, RTF, EPUB, EML, MSG, CSV, HTML, Markdown and
/// plain text. They are detected from the content, then from the file name.
#[utoipa::path(post, path = "/api/v1/documents", tag = "documents",
    params(("Idempotency-Key" = Option<String>, Header, description = "names the request, 1 to 255 characters")),
    request_body(content((UploadForm = "multipart/form-data"), (NewDocument = "application/json"))),
    responses((status = 202, description = "Stored; the job publishes it.", body = UploadResponse), (status = 200, description = "Nothing has to be embedded; the document is as it was, or changed its readers.", body = UploadResponse)))]
pub(in crate::http) async fn upload_documents(
    State(app): State<Arc<RouterState>>,
    RequireWriter(principal): RequireWriter,
    trail: AuditRecord,
    request: Request,
) -> Result<Response, ApiProblem> {
    let once = IdempotentRequest::begin_request(&app, &principal, request.headers())?;
    if is_json(request.headers()) {
        let extract::Json(document) = extract::Json::from_request(request, &app).await?;
        return upload_text(&app, &principal, document, once, &trail).await;
    }
    let mut multipart = extract_multipart(&app, request).await?;
    let mut form = ReceivedForm::default();
    let read = form
        .read_parts(&app, &mut multipart)
        .await
        .and_then(|()| form.check_files());
    let asked = form.form_fingerprint();
    let answered = match read {
        Ok(()) => once.stored_response(&asked).await,
        Err(problem) => Err(problem),
    };
    match answered {
        Ok(None) => form.begin_documents(&app, &principal, once, &asked, &trail).await,
        Ok(Some(answer)) => {
            form.discard_files(&app).await;
            Ok(answer)
        }
        Err(problem) => {
            form.discard_files(&app).await;
            if problem.code == Code::TooLarge {
                linger::drain_form(multipart);
            }
            Err(problem)
        }
    }
}

async fn upload_text(
    app: &RouterState,
    principal: &Principal,
    document: NewDocument,
    once: IdempotentRequest<'_>,
    trail: &AuditRecord,
) -> Result<Response, ApiProblem> {
    let (name, (fields, text)) = (text_file_name(&document.uri), document.into_parts());
    let asked = FingerprintInput {
        fields: &fields,
        files: vec![(&name, None, Some(ContentHash::of_bytes(text.as_bytes())))],
    };
    let asked = asked.compute_fingerprint();
    if let Some(answer) = once.stored_response(&asked).await? {
        return Ok(answer);
    }
    let upload = fields.build_upload(principal, &app.default_readers(), name, Some("text/plain".into()))?;
    let bytes = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(text))]);
    let (ingestor, sender) = (app.ingestor.clone(), principal.clone());
    let begun = run_to_completion(app, async move {
        ingestor.uploads().accept_upload(&sender, upload, bytes).await
    })
    .await?;
    let accepted = upload_response(app, principal, begun, trail).await?;
    Ok(once.respond_and_store(&asked, accepted.status(), &accepted).await)
}

async fn extract_multipart(app: &Arc<RouterState>, request: Request) -> Result<Multipart, ApiProblem> {
    extract::check_uncompressed(request.headers())?;
    let declared = text(request.headers(), &header::CONTENT_TYPE)
        .unwrap_or("missing")
        .to_owned();
    if !declared.to_ascii_lowercase().starts_with("multipart/form-data") {
        let detail = format!("Content-Type is {declared}, not multipart/form-data or application/json");
        return Err(ApiProblem::new(Code::MediaType, detail));
    }
    if declares_more_than(request.headers(), app.settings.body_bytes) {
        let (parts, body) = request.into_parts();
        linger::drain_body(&parts.headers, body);
        return Err(body_too_large_problem(app));
    }
    Multipart::from_request(request, app)
        .await
        .map_err(|error| ApiProblem::new(Code::BadMultipart, error.body_text()))
}

/// Notifies the workers of a queued job. If none was queued, returns the document's newest job.
async fn upload_response(
    app: &RouterState,
    principal: &Principal,
    begun: BeginOutcome,
    trail: &AuditRecord,
) -> Result<UploadResponse, ApiProblem> {
    let (BeginOutcome::Unchanged(document) | BeginOutcome::Updated(document) | BeginOutcome::Started(document, _)) =
        &begun;
    trail.add_target(document.id);
    let (document, job, queued) = match begun {
        BeginOutcome::Unchanged(document) | BeginOutcome::Updated(document) => {
            let job = newest_job(app, principal, document.id).await?;
            (document, job, false)
        }
        BeginOutcome::Started(document, job) => {
            (app.notify_workers)();
            (document, Some(job), true)
        }
    };
    Ok(UploadResponse {
        document: document.into(),
        job: job.map(Into::into),
        queued,
    })
}

async fn newest_job(app: &RouterState, principal: &Principal, document: DocumentId) -> Result<Option<Job>, ApiProblem> {
    let filter = JobFilter {
        document: Some(document),
        ..JobFilter::default()
    };
    let first = PageRequest { cursor: None, limit: 1 };
    let mut found = app.catalogue.list_jobs(&principal.scope(), &filter, &first).await?;
    Ok(found.items.pop())
}

/// The parts of a form that have been read.
#[derive(Default)]
struct ReceivedForm {
    fields: UploadFields,
    files: Vec<UploadedFile>,
}

impl ReceivedForm {
    async fn read_parts(&mut self, app: &RouterState, multipart: &mut Multipart) -> Result<(), ApiProblem> {
        let mut pace = TransferRate::start_now();
        while let Some(field) = with_idle_timeout(app, multipart.next_field()).await? {
            match (field.name().map(str::to_owned), field.file_name().map(str::to_owned)) {
                (Some(part), Some(name)) if part == "file" => {
                    if self.files.len() == MAX_FILES {
                        return Err(ApiProblem::new(Code::TooLarge, format!("more than {MAX_FILES} files")));
                    }
                    self.files.push(receive_file(app, &mut pace, field, &name).await?);
                }
                (Some(part), None) if part != "file" => {
                    let value = field_text(app, &mut pace, field, &part).await?;
                    self.fields.set_field(&part, value)?;
                }
                (part, _) => {
                    let part = part.unwrap_or_default();
                    let detail = format!("part {part:?}: files are named `file` and have a file name");
                    return Err(ApiProblem::new(Code::BadField, detail));
                }
            }
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), ApiProblem> {
        if self.files.is_empty() {
            return Err(ApiProblem::new(Code::BadField, "the form has no part `file`").with_pointer("/file"));
        }
        if self.files.len() > 1 {
            self.fields.check_several_files()?;
        }
        let mut seen = HashSet::new();
        match self.files.iter().find(|file| !seen.insert(&file.name)) {
            Some(twin) => Err(ApiProblem::new(
                Code::BadField,
                format!("two files are named {:?}: each would replace the other", twin.name),
            )
            .with_pointer("/file")),
            None => Ok(()),
        }
    }

    async fn discard_files(self, app: &RouterState) {
        for received in self.files.into_iter().filter_map(|file| file.received.ok()) {
            discard_received(app, received).await;
        }
    }

    /// Fingerprint of everything in the form.
    fn form_fingerprint(&self) -> [u8; 32] {
        let files = self.files.iter().map(|file| {
            let hash = file.received.as_ref().ok().map(ReceivedFile::content_hash);
            (file.name.as_str(), file.declared_media_type.as_deref(), hash)
        });
        let asked = FingerprintInput {
            fields: &self.fields,
            files: files.collect(),
        };
        asked.compute_fingerprint()
    }

    async fn begin_documents(
        self,
        app: &RouterState,
        principal: &Principal,
        once: IdempotentRequest<'_>,
        asked: &[u8; 32],
        trail: &AuditRecord,
    ) -> Result<Response, ApiProblem> {
        let several = self.files.len() > 1;
        let mut documents = Vec::with_capacity(self.files.len());
        for file in self.files {
            let name = file.name.clone();
            documents.push(match begin_document(app, principal, &self.fields, file, trail).await {
                Ok(accepted) if !several => {
                    return Ok(once.respond_and_store(asked, accepted.status(), &accepted).await);
                }
                Err(problem) if !several => return Err(problem),
                Ok(accepted) => FileOutcome::Accepted(Box::new(accepted)),
                Err(problem) => refused_file(name, &problem),
            });
        }
        let list = UploadResponseList { documents };
        Ok(once.respond_and_store(asked, StatusCode::ACCEPTED, &list).await)
    }
}

/// The result of a refused file among several. It is logged here because the request as a whole succeeds.
fn refused_file(name: String, problem: &ApiProblem) -> FileOutcome {
    let note = problem.failure_note();
    tracing::warn!(target: TARGET, code = note.code, cause = note.cause, "a file of an upload was refused");
    FileOutcome::Refused {
        name,
        error: problem.to_body(),
    }
}

async fn begin_document(
    app: &RouterState,
    principal: &Principal,
    fields: &UploadFields,
    file: UploadedFile,
    trail: &AuditRecord,
) -> Result<UploadResponse, ApiProblem> {
    let received = file.received?;
    let upload: UploadMetadata =
        match fields.build_upload(principal, &app.default_readers(), file.name, file.declared_media_type) {
            Ok(upload) => upload,
            Err(problem) => {
                discard_received(app, received).await;
                return Err(problem);
            }
        };
    let (ingestor, sender) = (app.ingestor.clone(), principal.clone());
    let begun = run_to_completion(app, async move {
        ingestor.uploads().begin_version(&sender, upload, received).await
    })
    .await?;
    upload_response(app, principal, begun, trail).await
}

/// Runs in a task of its own: a client that disconnects must not stop the step that gives the bytes a catalogue row or
/// deletes them.
async fn run_to_completion(
    app: &RouterState,
    begin: impl Future<Output = Result<BeginOutcome, AcceptError>> + Send + 'static,
) -> Result<BeginOutcome, ApiProblem> {
    match app.upload_tasks.spawn(begin).await {
        Ok(begun) => Ok(begun?),
        Err(error) => {
            let detail = "the document may or may not have been taken in";
            Err(ApiProblem::new(Code::Internal, detail).with_cause(&error))
        }
    }
}
