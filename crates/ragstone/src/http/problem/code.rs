//! The table of all problem codes: status, code, title, hint.

use std::fmt::Write;

use axum::http::StatusCode;

macro_rules! codes {
    ($($variant:ident $status:ident $word:literal $title:literal $hint:literal;)+) => {
        /// The kind of a problem; its string is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$variant,)+];

            /// The HTTP status of the response.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The stable code as sent in `code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The title: the code in words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// A suggestion what to do next.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

codes! {
    BadRequest BAD_REQUEST "bad_request" "The request is malformed" "compare it with /docs";
    BadJson BAD_REQUEST "bad_json" "The body is not JSON" "correct the body at the line and column named";
    BadQuery BAD_REQUEST "bad_query" "A query parameter is wrong" "compare the parameters with /docs";
    BadCursor BAD_REQUEST "bad_cursor" "The cursor is not one that a list gave" "take next_cursor as it is, or begin without a cursor";
    BadMultipart BAD_REQUEST "bad_multipart" "The multipart body is malformed" "send it with a boundary, each part with a name";
    Interrupted BAD_REQUEST "upload_interrupted" "The upload broke off" "send it again; nothing was kept";
    Unauthorized UNAUTHORIZED "unauthorized" "A key or a token is needed" "send Authorization: Bearer <key or token>; for an EventSource get a ticket from /api/v1/stream-tickets";
    NotLocal FORBIDDEN "not_local" "Without keys only this machine may call" "call from this machine, or make a key with `ragstone key create`";
    ForeignHost FORBIDDEN "foreign_host" "The Host header names another machine" "call 127.0.0.1 or localhost, or make a key with `ragstone key create`";
    ForeignOrigin FORBIDDEN "foreign_origin" "A page of another origin may not call" "add its origin to RAGSTONE_CORS_ORIGINS";
    Forbidden FORBIDDEN "forbidden" "The caller's role does not allow this" "use a key with the role that is named";
    GrantRefused FORBIDDEN "grant_refused" "A reader may not be granted or taken away by this caller" "name readers that you hold yourself, and keep the others that the document has";
    WriteRefused FORBIDDEN "write_refused" "The caller may read the document but not change it" "ask an administrator, or somebody who holds all of its readers";
    NotFound NOT_FOUND "not_found" "There is nothing here for this caller" "check the id and the key";
    NoRoute NOT_FOUND "no_route" "There is no such path" "see /docs for all paths";
    StreamUnknown NOT_FOUND "stream_unknown" "This stream cannot be resumed" "ask again without Last-Event-ID";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "The path does not take this method" "see the Allow header";
    UriTaken CONFLICT "uri_taken" "The URI belongs to a document that this caller may not change" "choose another uri, or ask its owner";
    NameTaken CONFLICT "name_taken" "You have a document of this name with other bytes" "send replace=true to make this its next version, or a uri of its own to keep both";
    SourceDocument CONFLICT "source_document" "The document belongs to a source, which alone changes it" "change it where it comes from, and sync the source";
    MailDocument CONFLICT "mail_document" "The document is a file in a mail and goes with it" "change or delete the mail";
    IdempotencyInFlight CONFLICT "idempotency_in_flight" "A request with this Idempotency-Key is worked on" "wait for its answer, or send it again after the time in Retry-After";
    JobFinal CONFLICT "job_final" "The job has ended already" "nothing is left to cancel";
    JobNotFailed CONFLICT "job_not_failed" "The job neither failed nor was cancelled" "nothing is to be tried again";
    JobSuperseded CONFLICT "job_superseded" "The job's document was begun again or deleted since" "follow the document's newest job, or send it again";
    BatchTaken CONFLICT "batch_taken" "The batch is another caller's, or was cancelled" "name a batch of your own: any fresh UUID";
    SourceTaken CONFLICT "source_taken" "A source of the tenant has this name already" "choose another name";
    SourceBusy CONFLICT "source_busy" "The source is being synced already" "wait until it is done";
    KeyEnded CONFLICT "key_ended" "The key was revoked or rotated, or has expired" "create another one";
    Withdrawn CONFLICT "withdrawn" "A document of the answer was withdrawn" "ask again";
    Conflict CONFLICT "conflict" "Somebody else changed this at the same moment" "try again";
    TooLarge PAYLOAD_TOO_LARGE "too_large" "The body or a file is larger than allowed" "split it, or raise the limit that is named";
    MediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body's Content-Type is not one that is read here" "send application/json, or multipart/form-data where files are taken";
    RangeNotSatisfiable RANGE_NOT_SATISFIABLE "range_not_satisfiable" "The range lies outside of the document" "see the Content-Range header for its size";
    BadBody UNPROCESSABLE_ENTITY "bad_body" "The body does not have the form that is wanted" "compare it with /docs";
    BadField UNPROCESSABLE_ENTITY "bad_field" "A field is wrong" "correct the field that is named";
    UriReserved UNPROCESSABLE_ENTITY "uri_reserved" "The URI is of a kind that only the library gives" "choose another uri: files in a mail come with their mail";
    BadFilter UNPROCESSABLE_ENTITY "bad_filter" "The filter is wrong" "correct it at the pointer";
    BadQuestion UNPROCESSABLE_ENTITY "bad_question" "The question cannot be asked like this" "correct what the detail names";
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused" "The Idempotency-Key was another request's" "take a fresh key for another request";
    ReadersRequired UNPROCESSABLE_ENTITY "readers_required" "The upload does not say who may read it" "name readers or a department_id";
    BadReader UNPROCESSABLE_ENTITY "bad_reader" "A reader is not one" "use everyone, dept:<id>, group:<id> or user:<id>";
    ModelNotAllowed UNPROCESSABLE_ENTITY "model_not_allowed" "The model is not one of those allowed" "leave model out, or name an allowed one";
    PromptTooLong UNPROCESSABLE_ENTITY "prompt_too_long" "Not one passage fits the prompt" "shorten question or instructions, or take a model that reads more";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "The caller or its tenant comes too often" "come back after the time in Retry-After; RateLimit-Remaining says how much is left";
    TooManyFailures TOO_MANY_REQUESTS "too_many_failures" "Too many wrong keys or tokens come from this address" "correct the key, and come back after the time in Retry-After; a right one is not refused for this";
    TooManyStreams TOO_MANY_REQUESTS "too_many_streams" "Too many streams are open" "close one, or come back after the time in Retry-After";
    TokenBudgetSpent TOO_MANY_REQUESTS "token_budget_spent" "The tokens of the day are spent" "come back after the time in Retry-After: a day ends at 0:00 UTC";
    TooManyRequests TOO_MANY_REQUESTS "too_many_requests" "Too many requests of one caller or address are worked on" "wait for some of them to end, or come back after the time in Retry-After";
    TooManyConnections TOO_MANY_REQUESTS "too_many_connections" "Too many connections of one address are open" "close some, or name the proxy in server.trusted_proxies";
    TooManyTickets TOO_MANY_REQUESTS "too_many_tickets" "Too many stream tickets are waiting" "use those you have, or wait a minute";
    Busy SERVICE_UNAVAILABLE "busy" "Too much is going on" "try again after the time in Retry-After";
    Internal INTERNAL_SERVER_ERROR "internal" "Something went wrong inside" "look for the request's id in the server's log";
    StorageFull INSUFFICIENT_STORAGE "storage_full" "The server has no room for it" "make room on the disk of the data directory and send it again; nothing was kept";
    ModelRefused BAD_GATEWAY "model_refused" "The chat model refused" "check the model, its key and its limits with ragstone doctor";
    ModelFailed BAD_GATEWAY "model_failed" "The chat model failed" "try again; ragstone doctor checks the model";
    ShuttingDown SERVICE_UNAVAILABLE "shutting_down" "The server is shutting down" "try again after the time in Retry-After; a stream is begun again, without Last-Event-ID";
    NotReady SERVICE_UNAVAILABLE "not_ready" "A dependency is not ready" "see dependencies";
    CatalogueUnavailable SERVICE_UNAVAILABLE "catalogue_unavailable" "The catalogue is unavailable" "try again; ragstone doctor checks it";
    IndexUnavailable SERVICE_UNAVAILABLE "index_unavailable" "The index is unavailable" "try again; ragstone doctor checks it";
    EmbedderUnavailable SERVICE_UNAVAILABLE "embedder_unavailable" "The embedding model is unavailable" "try again, or search with mode lexical; ragstone doctor checks it";
    SearchFailed SERVICE_UNAVAILABLE "search_failed" "The search failed" "try again; ragstone doctor checks what it stands on";
    IssuerUnavailable SERVICE_UNAVAILABLE "issuer_unavailable" "The keys of the token's issuer are unavailable" "try again after the time in Retry-After; the server's log says why";
    ModelBusy SERVICE_UNAVAILABLE "model_busy" "The chat model is busy" "try again after a while";
    Broken SERVICE_UNAVAILABLE "interrupted" "The answer broke off" "ask again";
    Timeout GATEWAY_TIMEOUT "timeout" "The answer took too long" "try again, or ask for less";
}

impl Code {
    /// The code with this string; `None` if there is none.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// The code for a response of which only the status is known.
    pub fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType,
            StatusCode::RANGE_NOT_SATISFIABLE => Self::RangeNotSatisfiable,
            StatusCode::UNPROCESSABLE_ENTITY => Self::BadBody,
            StatusCode::SERVICE_UNAVAILABLE => Self::Busy,
            StatusCode::GATEWAY_TIMEOUT => Self::Timeout,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// The table of all codes in Markdown, for the API description.
pub(in crate::http) fn code_table() -> String {
    let mut table = String::from("| status | code | meaning | what to do |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let (status, word) = (code.status().as_u16(), code.as_str());
        writeln!(table, "| {status} | `{word}` | {} | {} |", code.title(), code.hint())
            .expect("writing to a string does not fail");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_found_again() {
        for code in Code::ALL {
            assert_eq!(Code::from_word(code.as_str()), Some(*code));
            assert!(!code.status().is_success());
            assert!(code_table().contains(&format!("`{}`", code.as_str())));
        }
        assert_eq!(Code::from_word("no_such_code"), None);
    }
}
