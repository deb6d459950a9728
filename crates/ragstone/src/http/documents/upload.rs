//! `POST /api/v1/documents`: files of a form, or a text as JSON.
//!
//! Invariant: files stream to the blob store as they arrive and nothing begins before the whole form was read, so
//! fields may stand on either side of a file and a request that is refused leaves no document.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use async_stream::stream;
use axum::Json;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use ragstone_core::access::Principal;
use ragstone_core::ingest::{AcceptError, Received, Upload};
use ragstone_core::seam::catalogue::Begun;
use serde::Serialize;
use utoipa::ToSchema;

use super::form::{Fields, NewDocument, UploadForm, last_component, text_name};
use crate::http::App;
use crate::http::auth::Writer;
use crate::http::body::Accepted;
use crate::http::extract::{self, broke_off, header as text, is_json};
use crate::http::problem::{Code, Problem, ProblemBody};

pub(in crate::http) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::BadMultipart,
    Code::Interrupted,
    Code::GrantRefused,
    Code::UriTaken,
    Code::BatchTaken,
    Code::TooLarge,
    Code::MediaType,
    Code::BadBody,
    Code::BadField,
    Code::BadReader,
    Code::ReadersRequired,
    Code::CatalogueUnavailable,
    Code::StorageFull,
];

/// Most files of one form.
const MAX_FILES: usize = 1_000;
/// Longest field of a form that is no file, in bytes.
const MAX_FIELD_BYTES: usize = 1024 * 1024;

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
/// files is answered with a list.
#[utoipa::path(post, path = "/api/v1/documents", tag = "documents",
    request_body(content((UploadForm = "multipart/form-data"), (NewDocument = "application/json"))),
    responses((status = 202, body = Accepted), (status = 200, body = Accepted)))]
pub(in crate::http) async fn upload(
    State(app): State<Arc<App>>,
    Writer(principal): Writer,
    request: Request,
) -> Result<Response, Problem> {
    if is_json(request.headers()) {
        let extract::Json(document) = extract::Json::from_request(request, &app).await?;
        return text_document(&app, &principal, document).await;
    }
    let mut multipart = multipart(&app, request).await?;
    let mut form = Form::default();
    let read = form.read(&app, &mut multipart).await.and_then(|()| form.check());
    if let Err(problem) = read {
        form.discard(&app).await;
        return Err(problem);
    }
    form.begin(&app, &principal).await
}

async fn text_document(app: &App, principal: &Principal, document: NewDocument) -> Result<Response, Problem> {
    let (name, (fields, text)) = (text_name(&document.uri), document.split());
    let upload = fields.upload(principal, &app.settings, name, Some("text/plain".into()))?;
    let bytes = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(text))]);
    let begun = app.ingestor.accept(principal, upload, bytes).await?;
    let accepted = accepted(app, begun);
    Ok((accepted.status(), Json(accepted)).into_response())
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
    Multipart::from_request(request, app)
        .await
        .map_err(|error| Problem::new(Code::BadMultipart, error.body_text()))
}

/// Rings the doorbell for a queued job.
fn accepted(app: &App, begun: Begun) -> Accepted {
    match begun {
        Begun::Unchanged(document) | Begun::Updated(document) => Accepted {
            document: document.into(),
            job: None,
        },
        Begun::Started(document, job) => {
            (app.doorbell)();
            Accepted {
                document: document.into(),
                job: Some(job.into()),
            }
        }
    }
}

/// A form as far as it was read.
#[derive(Default)]
struct Form {
    fields: Fields,
    files: Vec<File>,
}

/// A file whose bytes were received, or refused.
struct File {
    name: String,
    declared_media_type: Option<String>,
    received: Result<Received, AcceptError>,
}

impl Form {
    async fn read(&mut self, app: &App, multipart: &mut Multipart) -> Result<(), Problem> {
        while let Some(field) = in_time(app, multipart.next_field()).await? {
            match (
                field.name().map(str::to_owned),
                field.file_name().map(str::to_owned),
            ) {
                (Some(part), Some(name)) if part == "file" => {
                    if self.files.len() == MAX_FILES {
                        return Err(Problem::new(
                            Code::TooLarge,
                            format!("more than {MAX_FILES} files"),
                        ));
                    }
                    self.files.push(receive(app, field, &name).await?);
                }
                (Some(part), None) if part != "file" => {
                    let value = field_text(app, field, &part).await?;
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
                format!(
                    "two files are named {:?}: each would replace the other",
                    twin.name
                ),
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

    async fn begin(self, app: &App, principal: &Principal) -> Result<Response, Problem> {
        let several = self.files.len() > 1;
        let mut documents = Vec::with_capacity(self.files.len());
        for file in self.files {
            let name = file.name.clone();
            documents.push(match begin(app, principal, &self.fields, file).await {
                Ok(accepted) if !several => return Ok((accepted.status(), Json(accepted)).into_response()),
                Err(problem) if !several => return Err(problem),
                Ok(accepted) => FileOutcome::Accepted(Box::new(accepted)),
                Err(problem) => FileOutcome::Refused {
                    name,
                    error: problem.body(),
                },
            });
        }
        Ok((StatusCode::ACCEPTED, Json(AcceptedList { documents })).into_response())
    }
}

async fn begin(app: &App, principal: &Principal, fields: &Fields, file: File) -> Result<Accepted, Problem> {
    let received = file.received?;
    let upload: Upload = match fields.upload(principal, &app.settings, file.name, file.declared_media_type) {
        Ok(upload) => upload,
        Err(problem) => {
            discard(app, received).await;
            return Err(problem);
        }
    };
    let begun = app.ingestor.begin(principal, upload, received).await?;
    Ok(accepted(app, begun))
}

async fn discard(app: &App, received: Received) {
    if let Err(error) = app.ingestor.discard_received(received).await {
        tracing::warn!(%error, "refused bytes wait for the sweep");
    }
}

/// Streams a file's bytes to the blob store. A file that is too large, or for which there is no room, is refused by
/// itself; a body that breaks off is the end of the request.
async fn receive(app: &App, field: Field<'_>, name: &str) -> Result<File, Problem> {
    let Some(name) = last_component(name) else {
        return Err(Problem::new(Code::BadField, format!("{name:?} is not a file name")).at("/file"));
    };
    let declared_media_type = field.content_type().map(str::to_owned);
    let mut broke = None;
    let bytes = file_bytes(app, field, &mut broke);
    let received = app.ingestor.receive(&name, bytes).await;
    match (broke, received) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) if !matches!(error, AcceptError::TooLarge { .. } | AcceptError::Full(_)) => {
            Err(error.into())
        }
        (None, received) => Ok(File {
            name,
            declared_media_type,
            received,
        }),
    }
}

fn file_bytes<'a>(
    app: &'a App,
    mut field: Field<'a>,
    broke: &'a mut Option<Problem>,
) -> impl Stream<Item = Result<Bytes, String>> + Send + 'a {
    stream! {
        loop {
            match in_time(app, field.chunk()).await {
                Ok(Some(bytes)) => yield Ok(bytes),
                Ok(None) => break,
                Err(problem) => {
                    let detail = problem.detail.clone();
                    *broke = Some(problem);
                    yield Err(detail);
                    break;
                }
            }
        }
    }
}

async fn field_text(app: &App, mut field: Field<'_>, name: &str) -> Result<String, Problem> {
    let mut value = Vec::new();
    while let Some(bytes) = in_time(app, field.chunk()).await? {
        if value.len() + bytes.len() > MAX_FIELD_BYTES {
            let detail = format!("field {name}: more than {MAX_FIELD_BYTES} bytes");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        value.extend_from_slice(&bytes);
    }
    String::from_utf8(value).map_err(|_| {
        Problem::new(Code::BadField, format!("field {name}: is not UTF-8")).at(format!("/{name}"))
    })
}

/// The next part of a body whose sender does not pause too long.
async fn in_time<T>(app: &App, next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Problem> {
    match tokio::time::timeout(app.settings.idle_timeout, next).await {
        Ok(next) => next.map_err(|error| multipart_problem(app, &error)),
        Err(_) => Err(Problem::new(Code::Interrupted, "the sender paused for too long")),
    }
}

fn multipart_problem(app: &App, error: &MultipartError) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let limit = app.settings.body_bytes;
            Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
        }
        _ if broke_off(error) => Problem::new(Code::Interrupted, "the body broke off"),
        _ => Problem::new(Code::BadMultipart, error.body_text()),
    }
}
