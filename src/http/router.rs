//! The router: the whole URL surface of both listeners.
//!
//! ```text
//! public   GET HEAD PUT DELETE OPTIONS   /{name}         assets, upload
//!          POST OPTIONS                  /{folder}/      form
//!          GET HEAD OPTIONS              /-/healthy  /-/ready
//! admin    GET HEAD                      /  /metrics  /api/status  /api/assets  /api/assets/{name}
//!                                        /api/events  /api/openapi.json
//! ```

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{self, HeaderValue};
use http::{HeaderName, Method, StatusCode};

use super::problem::{Problem, ProblemKind};
use super::target::Target;
use super::{App, admin, assets, form, layers, status, upload};

const ASSET_METHODS: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const FOLDER_METHODS: &str = "POST, OPTIONS";
const OWN_METHODS: &str = "GET, HEAD, OPTIONS";
const ALL_METHODS: &str = "GET, HEAD, PUT, POST, DELETE, OPTIONS";

/// Builds the router of the public listener.
pub fn public_router(app: Arc<App>) -> Router {
    let watch = app.flows.watch.clone();
    Router::new()
        .route("/-/healthy", any(healthy))
        .route("/-/ready", any(ready))
        .fallback(dispatch)
        .layer(from_fn(cors))
        .layer(from_fn_with_state(watch, layers::around))
        .with_state(app)
}

/// Builds the router of the admin listener.
pub fn admin_router(app: Arc<App>) -> Router {
    let watch = app.flows.watch.clone();
    Router::new()
        .route("/", any(status::page))
        .route("/metrics", any(admin::metrics))
        .route("/api/status", any(status::json))
        .route("/api/assets", any(admin::assets))
        .route("/api/assets/{*name}", any(admin::asset))
        .route("/api/events", any(admin::events))
        .route("/api/openapi.json", any(admin::openapi))
        .fallback(admin::unknown)
        .layer(from_fn_with_state(Arc::clone(&app), admin::gate))
        .layer(from_fn_with_state(watch, layers::around))
        .with_state(app)
}

/// Sends a request to its handler; a malformed path is refused before its method.
async fn dispatch(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let target = Target::of(request.method(), request.uri())?;
    let method = request.method().clone();
    match (target, method.as_str()) {
        (Target::Asset(name), "GET" | "HEAD") => assets::read(&app, &name, &request.into_parts().0).await,
        (Target::Asset(name), "PUT") => upload::put(&app, name, request).await,
        (Target::Asset(name), "DELETE") => assets::delete(&app, name, &request.into_parts().0).await,
        (Target::Asset(_), "OPTIONS") => Ok(options(ASSET_METHODS)),
        (Target::Asset(_), _) => Err(Problem::method_not_allowed(ASSET_METHODS)),
        (Target::Folder(folder), "POST") => form::post(&app, &folder, request).await,
        (Target::Folder(_), "OPTIONS") => Ok(options(FOLDER_METHODS)),
        (Target::Folder(_), _) => Err(Problem::method_not_allowed(FOLDER_METHODS)),
        (Target::Ours, _) => Err(Problem::new(ProblemKind::NotFound, "there is nothing here")),
        (Target::Server, "OPTIONS") => Ok(options(ALL_METHODS)),
        (Target::Server, _) => Err(Problem::method_not_allowed(ALL_METHODS)),
    }
}

async fn healthy(method: Method) -> Result<Response, Problem> {
    own(&method, || Ok("healthy\n"))
}

async fn ready(State(app): State<Arc<App>>, method: Method) -> Result<Response, Problem> {
    own(&method, || {
        let not_ready = || Problem::new(ProblemKind::NotReady, "starting up or shutting down");
        app.is_ready().then_some("ready\n").ok_or_else(not_ready)
    })
}

fn own(method: &Method, answer: impl FnOnce() -> Result<&'static str, Problem>) -> Result<Response, Problem> {
    match method.as_str() {
        "GET" | "HEAD" => Ok(([(header::CACHE_CONTROL, "no-store")], answer()?).into_response()),
        "OPTIONS" => Ok(options(OWN_METHODS)),
        _ => Err(Problem::method_not_allowed(OWN_METHODS)),
    }
}

/// Answers OPTIONS, preflights included: reads are for every origin, writes for none.
fn options(allow: &'static str) -> Response {
    let fields = [
        (header::ALLOW, allow),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, PREFLIGHT_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, fields).into_response()
}

/// What a page may send along with a read. `*` would not cover `Authorization`, which no read needs.
const PREFLIGHT_HEADERS: &str = "Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range, \
                                 Cache-Control, Accept, Accept-Language, Content-Type";

/// Lets pages of every origin read.
async fn cors(request: Request, next: Next) -> Response {
    let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let mut response = next.run(request).await;
    if is_read {
        let any: [(HeaderName, HeaderValue); 2] = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*")),
        ];
        response.headers_mut().extend(any);
    }
    response
}
