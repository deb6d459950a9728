//! A Confluence over a real socket, Cloud or Data Center, in the shapes that Atlassian publishes: lists in pages, by
//! cursor or by number, restrictions and attachments expanded, credentials that expire, limits and faults on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::answers;
use super::site::Site;

/// What goes wrong, and when.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Each so many requests one is answered with 500.
    pub broken_every: Option<usize>,
    /// Each so many requests one is answered with 429.
    pub busy_every: Option<usize>,
    /// After so many requests the token has expired.
    pub expires_after: Option<usize>,
    /// After so many requests nothing works.
    pub dies_after: Option<usize>,
    /// Lists never end.
    pub endless: bool,
    /// Paths that hold this are answered so.
    pub at: Option<(&'static str, u16)>,
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub requests: Vec<String>,
    pub now: usize,
    /// Most requests in flight at a time.
    pub most: usize,
}

pub struct Server {
    pub cloud: bool,
    /// Results of a page of a list, at most.
    pub at_once: usize,
    pub site: Mutex<Site>,
    pub faults: Mutex<Faults>,
    pub seen: Mutex<Seen>,
    /// The token that is right.
    pub token: Mutex<String>,
    /// The token that the source sends.
    pub sent: Mutex<String>,
    pub address: String,
    /// Another host, where the Cloud keeps files.
    pub media: String,
    count: watch::Sender<usize>,
}

/// How to sign in at the Cloud.
pub const EMAIL: &str = "bot@example.com";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Server {
    pub async fn start(cloud: bool, site: Site) -> Arc<Self> {
        Self::start_with(cloud, site, 7).await
    }

    /// A server that gives so many results at once.
    pub async fn start_with(cloud: bool, site: Site, at_once: usize) -> Arc<Self> {
        let (ours, media) = (listener().await, listener().await);
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self {
            cloud,
            at_once,
            site: Mutex::new(site),
            faults: Mutex::default(),
            seen: Mutex::default(),
            token: Mutex::new("secret-token".into()),
            sent: Mutex::new("secret-token".into()),
            address: address(&ours),
            media: address(&media),
            count: watch::channel(0).0,
        });
        let app = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(ours, app).await });
        let app = Router::new().fallback(elsewhere).with_state(server.clone());
        tokio::spawn(async move { axum::serve(media, app).await });
        server
    }

    pub fn site(&self) -> MutexGuard<'_, Site> {
        lock(&self.site)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub fn sent_token(&self) -> String {
        lock(&self.sent).clone()
    }

    /// What was asked since the last time.
    pub fn take_seen(&self) -> Seen {
        let mut seen = lock(&self.seen);
        let now = seen.now;
        std::mem::replace(&mut *seen, Seen { now, ..Seen::default() })
    }

    /// Waits until so many requests have come since [`Server::take_seen`].
    pub async fn reached(&self, requests: usize) {
        let mut count = self.count.subscribe();
        count.wait_for(|count| *count >= requests).await.expect("it runs");
    }

    /// Where Confluence begins on the host.
    pub fn context(&self) -> &'static str {
        if self.cloud { "/wiki" } else { "/confluence" }
    }

    fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        use base64::Engine;
        let token = lock(&self.token);
        let expected = match self.cloud {
            true => {
                let pair = format!("{EMAIL}:{token}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            false => format!("Bearer {token}"),
        };
        headers
            .get("authorization")
            .is_some_and(|value| value == expected.as_str())
    }

    fn fault(&self, number: usize, path: &str) -> Option<Response> {
        let faults = self.faults();
        if let Some((_, status)) = faults.at.filter(|(part, _)| path.contains(part)) {
            let status = StatusCode::from_u16(status).unwrap();
            return Some((status, "not now").into_response());
        }
        let each = |every: Option<usize>| every.is_some_and(|every| number % every == every - 1);
        let past = |after: Option<usize>| after.is_some_and(|after| number >= after);
        if past(faults.dies_after) {
            return Some((StatusCode::SERVICE_UNAVAILABLE, "down").into_response());
        }
        if past(faults.expires_after) {
            return Some((StatusCode::UNAUTHORIZED, "expired").into_response());
        }
        if each(faults.busy_every) {
            let headers = [("retry-after", "0.02"), ("x-ratelimit-remaining", "0")];
            return Some((StatusCode::TOO_MANY_REQUESTS, headers, "slow down").into_response());
        }
        each(faults.broken_every).then(|| (StatusCode::INTERNAL_SERVER_ERROR, "oh").into_response())
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Notes a request while it is in flight.
struct InFlight<'a>(&'a Server);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        lock(&self.0.seen).now -= 1;
    }
}

async fn answer(
    State(server): State<Arc<Server>>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let number = {
        let mut seen = lock(&server.seen);
        seen.requests.push(uri.to_string());
        seen.now += 1;
        seen.most = seen.most.max(seen.now);
        seen.requests.len() - 1
    };
    let _in_flight = InFlight(&server);
    server.count.send_replace(number + 1);
    // Others get the chance to come while this one is here.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    if let Some(fault) = server.fault(number, uri.path()) {
        return fault;
    }
    if !server.is_signed_in(&headers) {
        return (StatusCode::UNAUTHORIZED, "who are you").into_response();
    }
    let Some(path) = uri.path().strip_prefix(server.context()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let ask = Ask::new(&server, path, query.as_deref().unwrap_or_default());
    match path.strip_prefix("/download/attachments/") {
        Some(rest) => download(&server, rest),
        None => match answers::answer(&server.site(), &ask) {
            Some(Value::Null) => (StatusCode::FORBIDDEN, "not for you").into_response(),
            Some(value) => axum::Json(value).into_response(),
            None => (StatusCode::NOT_FOUND, axum::Json(json!({"message": "no content"}))).into_response(),
        },
    }
}

fn download(server: &Server, rest: &str) -> Response {
    let id: u64 = rest.split('/').nth(1).and_then(|id| id.parse().ok()).unwrap_or(0);
    let site = server.site();
    match site.contents.get(&id) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(_) if server.cloud => {
            let location = format!("{}/file/{id}?sig=abc", server.media);
            (StatusCode::FOUND, [("location", location)]).into_response()
        }
        Some(file) => ([("content-type", "text/plain")], file.body.clone()).into_response(),
    }
}

/// The host of the files, which the credentials must not reach.
async fn elsewhere(State(server): State<Arc<Server>>, uri: Uri, headers: HeaderMap) -> Response {
    if headers.contains_key("authorization") {
        return StatusCode::IM_A_TEAPOT.into_response();
    }
    let id = uri
        .path()
        .rsplit('/')
        .next()
        .and_then(|id| id.parse().ok())
        .unwrap_or(0);
    match server.site().contents.get(&id) {
        Some(file) => ([("content-type", "text/plain")], file.body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A request, taken apart.
pub struct Ask<'a> {
    pub cloud: bool,
    pub path: &'a str,
    pub query: BTreeMap<String, Vec<String>>,
    at_once: usize,
    endless: bool,
}

impl<'a> Ask<'a> {
    fn new(server: &Server, path: &'a str, query: &str) -> Self {
        let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
        for (name, value) in url.query_pairs() {
            pairs.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self {
            cloud: server.cloud,
            path,
            query: pairs,
            at_once: server.at_once,
            endless: server.faults().endless,
        }
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.first().map(String::as_str)
    }

    pub fn expands(&self, what: &str) -> bool {
        let all = self.value("expand").unwrap_or_default();
        all.split(',')
            .any(|one| one == what || one.starts_with(&format!("{what}.")))
    }

    /// One page of a list: by cursor at the Cloud, by number at a Data Center.
    pub fn page<T>(&self, all: impl Iterator<Item = T>, shown: impl Fn(T) -> Value) -> Value {
        let all: Vec<T> = all.collect();
        let by = if self.cloud { "cursor" } else { "start" };
        let start: usize = self.value(by).map_or(0, |at| {
            at.trim_start_matches("c-").parse().expect("a place that we gave")
        });
        let limit = self
            .value("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(25)
            .min(self.at_once);
        let end = all.len().min(start + limit);
        let more = end < all.len() || self.endless;
        let mut links = json!({"base": "https://elsewhere.example/wiki", "context": "/wiki"});
        if more {
            let mut url = reqwest::Url::parse("http://x").unwrap();
            for (name, values) in self.query.iter().filter(|(name, _)| *name != by) {
                for value in values {
                    url.query_pairs_mut().append_pair(name, value);
                }
            }
            let place = match (self.cloud, self.endless) {
                (_, true) => start.to_string(),
                (true, _) => format!("c-{end}"),
                (false, _) => end.to_string(),
            };
            url.query_pairs_mut().append_pair(by, &place);
            links["next"] = json!(format!("{}?{}", self.path, url.query().unwrap()));
        }
        let results: Vec<Value> = all.into_iter().skip(start).take(limit).map(shown).collect();
        json!({"size": results.len(), "start": start, "limit": limit, "results": results, "_links": links})
    }
}
