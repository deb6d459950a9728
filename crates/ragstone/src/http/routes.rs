//! All routes of the HTTP API, and the middleware in front of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{guarded_endpoint, open_endpoint};
use super::problem::{ApiProblem, Code};
use super::{
    ApiServices, HttpSettings, RouterState, ask, audit, auth, documents, explain, feedback, health, jobs, keys, limits,
    metrics, middleware, openapi, search, shutdown, sources, stream_tickets,
};

/// Builds the router of the whole HTTP API. Serve it with [`super::server::run_server`], which adds the peer address:
/// a request with neither that address nor a key is refused, unless it comes through the operator channel.
pub fn build_router(api: Arc<ApiServices>) -> Router {
    let app = build_state(api);
    let quick = timed_routes().route_layer(from_fn_with_state(app.clone(), middleware::enforce_timeout));
    let described = OpenApiRouter::with_openapi(openapi::ApiDescription::openapi())
        .merge(quick)
        .merge(streaming_routes());
    let (router, description) = described.split_for_parts();
    let description = openapi::render_description(&description);
    let router = router
        .route(
            "/openapi.json",
            get(async move || openapi::description_response(&description)),
        )
        .route("/docs", get(openapi::docs_page))
        .route("/docs/page.css", get(openapi::docs_style))
        .route("/docs/page.js", get(openapi::docs_script));
    add_middleware(app, router)
}

/// Builds the router of a process that runs workers only: health, readiness and metrics.
pub fn build_worker_router(api: Arc<ApiServices>) -> Router {
    let app = build_state(api);
    let routes = operation_routes().route_layer(from_fn_with_state(app.clone(), middleware::enforce_timeout));
    add_middleware(app, routes.split_for_parts().0)
}

fn build_state(api: Arc<ApiServices>) -> Arc<RouterState> {
    let asked = Arc::new(feedback::RecentAnswers::new(api.settings.feedback.remember_for));
    Arc::new(RouterState {
        limits: limits::CallerLimits::new(&api.settings),
        in_flight_keys: documents::InFlightKeys::default(),
        concurrency_limit: Arc::new(limits::shares::ConcurrencyLimit::new(
            api.settings.max_requests,
            api.settings.caller_requests,
        )),
        api,
        tickets: auth::TicketStore::default(),
        replays: ask::ResumableStreams::default(),
        recent_answers: asked,
    })
}

/// Adds the middleware of every route. The layer that is added last runs first.
fn add_middleware(app: Arc<RouterState>, routes: Router<Arc<RouterState>>) -> Router {
    let body_bytes = usize::try_from(app.settings.body_bytes).unwrap_or(usize::MAX);
    let router = routes
        .fallback(async || ApiProblem::new(Code::NoRoute, "there is no such path"))
        .method_not_allowed_fallback(async || ApiProblem::new(Code::MethodNotAllowed, "not with this method"))
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(from_fn_with_state(app.clone(), middleware::limit_concurrency))
        .layer(from_fn_with_state(app.clone(), limits::enforce_rate_limit))
        .layer(from_fn_with_state(app.api.clone(), shutdown::refuse_during_shutdown))
        .layer(from_fn(audit::record_caller))
        .layer(from_fn_with_state(app.clone(), auth::identify_caller))
        .layer(from_fn(middleware::catch_panic))
        .layer(from_fn(middleware::complete_problem))
        .layer(from_fn_with_state(app.api.clone(), audit::record_request));
    let router = match cors_layer(&app.settings) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn(middleware::add_security_headers))
        .layer(from_fn_with_state(app.api.clone(), middleware::observe_request))
        .with_state(app)
}

/// Wraps routes that are reachable through the operator channel only: each request gets an id, is counted, and is
/// written to the audit log as the operator's. The caller adds the [`super::OperatorChannel`] extension around the
/// result.
pub fn wrap_operator_routes(api: Arc<ApiServices>, routes: Router) -> Router {
    routes
        .layer(from_fn_with_state(api.clone(), audit::record_operator))
        .layer(from_fn_with_state(api.clone(), audit::record_request))
        .layer(from_fn_with_state(api, middleware::observe_request))
}

/// Routes about the process itself.
fn operation_routes() -> OpenApiRouter<Arc<RouterState>> {
    OpenApiRouter::new()
        .routes(open_endpoint(routes!(health::get_health), &[]))
        .routes(open_endpoint(routes!(health::get_readiness), health::READY_PROBLEMS))
        .routes(guarded_endpoint(routes!(metrics::get_metrics), metrics::PROBLEMS))
}

/// Routes whose response head must be sent within `settings.request_timeout`.
fn timed_routes() -> OpenApiRouter<Arc<RouterState>> {
    operation_routes()
        .routes(guarded_endpoint(
            routes!(documents::list::list_documents),
            documents::list::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::get::get_document),
            documents::get::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::patch::update_document),
            documents::patch::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::delete::delete_document),
            documents::delete::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::chunks::list_chunks),
            documents::chunks::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::page::get_document_page),
            documents::page::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(documents::content::get_document_content),
            documents::content::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(jobs::list::list_jobs), jobs::list::PROBLEMS))
        .routes(guarded_endpoint(routes!(jobs::get::get_job), jobs::get::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(jobs::cancel::cancel_job),
            jobs::cancel::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(jobs::retry::retry_job), jobs::retry::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(jobs::events::stream_job_events),
            jobs::events::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(keys::create::create_key),
            keys::create::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(keys::list::list_keys), keys::list::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(keys::rotate::rotate_key),
            keys::rotate::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(keys::revoke::revoke_key),
            keys::revoke::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(explain::explain_access), explain::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(feedback::give::give_feedback),
            feedback::give::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(feedback::list::list_feedback),
            feedback::list::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(feedback::remove::delete_feedback),
            feedback::remove::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::create::create_source),
            sources::create::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::list::list_sources),
            sources::list::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::get::get_source),
            sources::get::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::patch::update_source),
            sources::patch::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::remove::delete_source),
            sources::remove::PROBLEMS,
        ))
        .routes(guarded_endpoint(
            routes!(sources::sync::sync_source),
            sources::sync::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(search::search_passages), search::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(stream_tickets::create_stream_ticket),
            stream_tickets::PROBLEMS,
        ))
}

/// Routes without a total timeout, because an upload or a model may take long; each limits its own pauses.
fn streaming_routes() -> OpenApiRouter<Arc<RouterState>> {
    OpenApiRouter::new()
        .routes(guarded_endpoint(
            routes!(documents::upload::upload_documents),
            documents::upload::PROBLEMS,
        ))
        .routes(guarded_endpoint(routes!(ask::json::ask_question), ask::PROBLEMS))
        .routes(guarded_endpoint(
            routes!(ask::stream::stream_answer),
            ask::STREAM_PROBLEMS,
        ))
}

/// The CORS layer; `None` while no origins are configured.
fn cors_layer(settings: &HttpSettings) -> Option<CorsLayer> {
    let origins: Vec<_> = settings
        .allowed_origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let last_event_id = HeaderName::from_static("last-event-id");
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::RANGE,
            HeaderName::from_static("idempotency-key"),
            last_event_id,
        ])
        .expose_headers([
            HeaderName::from_static("x-request-id"),
            header::RETRY_AFTER,
            header::CONTENT_RANGE,
            limits::RATE_LIMIT,
            limits::RATE_REMAINING,
            limits::RATE_RESET,
        ]);
    (!origins.is_empty()).then(|| layer.allow_origin(AllowOrigin::list(origins)))
}
