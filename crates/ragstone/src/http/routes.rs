//! Every route, on one page.

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

use super::openapi::{endpoint, open_endpoint};
use super::problem::{Code, Problem};
use super::{
    Api, App, HttpSettings, ask, audit, auth, documents, explain, feedback, health, jobs, keys, limits, metrics,
    middleware, openapi, search, shutdown, sources, stream_tickets,
};

/// The whole HTTP interface. Serve it with [`super::server::serve`]: without the caller's address, and without a key or the operator's door, nobody is let in.
pub fn router(api: Arc<Api>) -> Router {
    let app = app(api);
    let quick = quick().route_layer(from_fn_with_state(app.clone(), middleware::in_time));
    let described = OpenApiRouter::with_openapi(openapi::Api::openapi())
        .merge(quick)
        .merge(streaming());
    let (router, description) = described.split_for_parts();
    let description = openapi::rendered(&description);
    let router = router
        .route("/openapi.json", get(async move || openapi::json(&description)))
        .route("/docs", get(openapi::page))
        .route("/docs/page.css", get(openapi::style))
        .route("/docs/page.js", get(openapi::script));
    guarded(app, router)
}

/// What a process shows that does background work alone: how it is, and what was counted.
pub fn worker_router(api: Arc<Api>) -> Router {
    let app = app(api);
    let routes = operation().route_layer(from_fn_with_state(app.clone(), middleware::in_time));
    guarded(app, routes.split_for_parts().0)
}

fn app(api: Arc<Api>) -> Arc<App> {
    let asked = Arc::new(feedback::Asked::new(api.settings.feedback.remember_for));
    Arc::new(App {
        limits: limits::Limits::new(&api.settings),
        keys_at_work: documents::KeysAtWork::default(),
        places: Arc::new(limits::shares::Shares::new(
            api.settings.max_requests,
            api.settings.caller_requests,
        )),
        api,
        tickets: auth::Tickets::default(),
        replays: ask::Replays::default(),
        asked,
    })
}

/// What stands before every route.
fn guarded(app: Arc<App>, routes: Router<Arc<App>>) -> Router {
    let body_bytes = usize::try_from(app.settings.body_bytes).unwrap_or(usize::MAX);
    let router = routes
        .fallback(async || Problem::new(Code::NoRoute, "there is no such path"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "not with this method"))
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(from_fn_with_state(app.clone(), middleware::in_place))
        .layer(from_fn_with_state(app.clone(), limits::admit))
        .layer(from_fn_with_state(app.api.clone(), shutdown::refuse_at_end))
        .layer(from_fn(audit::note_caller))
        .layer(from_fn_with_state(app.clone(), auth::identify))
        .layer(from_fn(middleware::catch_panic))
        .layer(from_fn(middleware::complete))
        .layer(from_fn_with_state(app.api.clone(), audit::record));
    let router = match cors(&app.settings) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn(middleware::secure))
        .layer(from_fn_with_state(app.api.clone(), middleware::observe))
        .with_state(app)
}

/// `routes` behind the door that only the operator can open: each request has an id, is counted, and has its line in the
/// audit log as the operator's. Put [`super::OperatorDoor`] around what this gives.
pub fn operators(api: Arc<Api>, routes: Router) -> Router {
    routes
        .layer(from_fn_with_state(api.clone(), audit::note_operator))
        .layer(from_fn_with_state(api.clone(), audit::record))
        .layer(from_fn_with_state(api, middleware::observe))
}

/// Routes about the process itself.
fn operation() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(open_endpoint(routes!(health::healthz), &[]))
        .routes(open_endpoint(routes!(health::readyz), health::READY_PROBLEMS))
        .routes(endpoint(routes!(metrics::metrics), metrics::PROBLEMS))
}

/// Routes whose answers come at once.
fn quick() -> OpenApiRouter<Arc<App>> {
    operation()
        .routes(endpoint(routes!(documents::list::list), documents::list::PROBLEMS))
        .routes(endpoint(routes!(documents::get::get), documents::get::PROBLEMS))
        .routes(endpoint(routes!(documents::patch::patch), documents::patch::PROBLEMS))
        .routes(endpoint(
            routes!(documents::delete::delete),
            documents::delete::PROBLEMS,
        ))
        .routes(endpoint(
            routes!(documents::chunks::chunks),
            documents::chunks::PROBLEMS,
        ))
        .routes(endpoint(routes!(documents::page::page), documents::page::PROBLEMS))
        .routes(endpoint(
            routes!(documents::content::content),
            documents::content::PROBLEMS,
        ))
        .routes(endpoint(routes!(jobs::list::list), jobs::list::PROBLEMS))
        .routes(endpoint(routes!(jobs::get::get), jobs::get::PROBLEMS))
        .routes(endpoint(routes!(jobs::cancel::cancel), jobs::cancel::PROBLEMS))
        .routes(endpoint(routes!(jobs::retry::retry), jobs::retry::PROBLEMS))
        .routes(endpoint(routes!(jobs::events::events), jobs::events::PROBLEMS))
        .routes(endpoint(routes!(keys::create::create), keys::create::PROBLEMS))
        .routes(endpoint(routes!(keys::list::list), keys::list::PROBLEMS))
        .routes(endpoint(routes!(keys::rotate::rotate), keys::rotate::PROBLEMS))
        .routes(endpoint(routes!(keys::revoke::revoke), keys::revoke::PROBLEMS))
        .routes(endpoint(routes!(explain::explain), explain::PROBLEMS))
        .routes(endpoint(routes!(feedback::give::give), feedback::give::PROBLEMS))
        .routes(endpoint(routes!(feedback::list::list), feedback::list::PROBLEMS))
        .routes(endpoint(routes!(feedback::remove::remove), feedback::remove::PROBLEMS))
        .routes(endpoint(routes!(sources::create::create), sources::create::PROBLEMS))
        .routes(endpoint(routes!(sources::list::list), sources::list::PROBLEMS))
        .routes(endpoint(routes!(sources::get::get), sources::get::PROBLEMS))
        .routes(endpoint(routes!(sources::patch::patch), sources::patch::PROBLEMS))
        .routes(endpoint(routes!(sources::remove::remove), sources::remove::PROBLEMS))
        .routes(endpoint(routes!(sources::sync::sync), sources::sync::PROBLEMS))
        .routes(endpoint(routes!(search::search), search::PROBLEMS))
        .routes(endpoint(routes!(stream_tickets::create), stream_tickets::PROBLEMS))
}

/// Routes that take as long as a body or a model does; each bounds its own pauses.
fn streaming() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(endpoint(
            routes!(documents::upload::upload),
            documents::upload::PROBLEMS,
        ))
        .routes(endpoint(routes!(ask::json::ask), ask::PROBLEMS))
        .routes(endpoint(routes!(ask::stream::stream), ask::STREAM_PROBLEMS))
}

/// Off until origins are set.
fn cors(settings: &HttpSettings) -> Option<CorsLayer> {
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
