//! `GET /openapi.json` and `GET /docs`: the OpenAPI description, and a page that shows it.
//!
//! Invariant: the page loads nothing from another host.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Description, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::UtoipaMethodRouter;

use super::problem::{Code, PROBLEM_JSON, ProblemBody, code_table};

const PAGE: &str = include_str!("../ui/docs.html");
const STYLE: &str = include_str!("../ui/docs.css");
const SCRIPT: &str = include_str!("../ui/docs.js");
/// Content security policy of the page: only its own script and style, and calls to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Problems that every endpoint except health can return.
const COMMON: [Code; 14] = [
    Code::Unauthorized,
    Code::NotLocal,
    Code::ForeignHost,
    Code::ForeignOrigin,
    Code::Forbidden,
    Code::RateLimited,
    Code::TooManyFailures,
    Code::TooManyRequests,
    Code::TooManyConnections,
    Code::Busy,
    Code::Internal,
    Code::IssuerUnavailable,
    Code::ShuttingDown,
    Code::Timeout,
];

#[derive(OpenApi)]
#[openapi(
    info(title = "Ragstone", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(ProblemBody)),
    modifiers(&DescriptionModifier),
    security(("key" = [])),
    tags(
        (name = "documents", description = "Upload, show, change and delete documents."),
        (name = "jobs", description = "Background work and its progress."),
        (name = "ask", description = "Search, and answers with verified citations."),
        (name = "feedback", description = "Ratings and corrections of answers."),
        (name = "keys", description = "API keys, their tenants, roles and readers."),
        (name = "sources", description = "Places that documents come from, and their syncs."),
        (name = "operation", description = "Health, metrics and this description.")
    )
)]
pub(super) struct ApiDescription;

/// Adds what the derive macro cannot express: the version, the table of problem codes and the security scheme.
struct DescriptionModifier;

impl Modify for DescriptionModifier {
    fn modify(&self, api: &mut Description) {
        api.info.version = env!("CARGO_PKG_VERSION").into();
        api.info.description = Some(format!(
            "Every answer that is not 2xx is `{PROBLEM_JSON}` (RFC 9457) with a stable `code`, a `detail` and a `hint`.\n\n{}",
            code_table()
        ));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// Describes the problems of a route that needs a caller: `problems` and those in `COMMON`.
pub(super) fn guarded_endpoint<S>(mut routes: UtoipaMethodRouter<S>, problems: &[Code]) -> UtoipaMethodRouter<S> {
    let mut codes: Vec<Code> = problems.iter().copied().chain(COMMON).collect();
    codes.sort_unstable();
    codes.dedup();
    describe_problems(&mut routes, &codes);
    routes
}

/// Describes the problems of a route that needs no caller.
pub(super) fn open_endpoint<S>(mut routes: UtoipaMethodRouter<S>, problems: &[Code]) -> UtoipaMethodRouter<S> {
    describe_problems(&mut routes, problems);
    routes
}

fn describe_problems<S>((_, paths, _): &mut UtoipaMethodRouter<S>, codes: &[Code]) {
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            codes.iter().for_each(|code| add_problem(operation, *code));
        }
    }
}

/// Adds a problem code to an operation. Codes with the same status share one response.
fn add_problem(operation: &mut Operation, code: Code) {
    let status = code.status().as_str().to_owned();
    let line = format!("`{}`: {}", code.as_str(), code.title());
    let described = operation.responses.responses.remove(&status);
    let before = match described {
        Some(utoipa::openapi::RefOr::T(response)) => format!("{}; ", response.description),
        _ => String::new(),
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let response = ResponseBuilder::new()
        .description(before + &line)
        .content(PROBLEM_JSON, content)
        .build();
    operation.responses.responses.insert(status, response.into());
}

/// Serialises the description to JSON once, at start.
pub(super) fn render_description(api: &Description) -> Bytes {
    Bytes::from(serde_json::to_vec(api).expect("a description serialises"))
}

/// Response with the description as JSON.
pub(super) fn description_response(description: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], description.clone()).into_response()
}

/// `GET /docs`: the HTML page.
pub(super) async fn docs_page() -> Response {
    static_asset("text/html; charset=utf-8", PAGE)
}

/// `GET /docs/page.css`: the style of the page.
pub(super) async fn docs_style() -> Response {
    static_asset("text/css; charset=utf-8", STYLE)
}

/// `GET /docs/page.js`: the script of the page.
pub(super) async fn docs_script() -> Response {
    static_asset("text/javascript; charset=utf-8", SCRIPT)
}

fn static_asset(media_type: &'static str, text: &'static str) -> Response {
    let head = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (head, text).into_response()
}

#[cfg(test)]
mod tests;
