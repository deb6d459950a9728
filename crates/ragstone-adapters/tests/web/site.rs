//! A web site that counts what it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::net::TcpListener;

#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    pub media: &'static str,
    pub body: String,
    pub etag: Option<&'static str>,
    pub modified: Option<&'static str>,
    pub location: Option<String>,
    /// Its body begins and does not end.
    pub never_ends: bool,
    /// A body that is no text, in place of `body`.
    pub bytes: Option<Vec<u8>>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Page {
    pub fn text(body: &str) -> Self {
        Self {
            status: 200,
            media: "text/plain",
            body: body.into(),
            etag: None,
            modified: None,
            location: None,
            never_ends: false,
            bytes: None,
            headers: Vec::new(),
        }
    }

    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            media: "application/octet-stream",
            bytes: Some(bytes),
            ..Self::text("")
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::text("no")
        }
    }

    pub fn html(body: &str) -> Self {
        Self {
            media: "text/html; charset=utf-8",
            ..Self::text(&format!("<!doctype html><body>{body}</body>"))
        }
    }

    pub fn redirect(to: &str) -> Self {
        Self {
            status: 302,
            location: Some(to.into()),
            ..Self::text("")
        }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn etag(self, etag: &'static str) -> Self {
        Self {
            etag: Some(etag),
            ..self
        }
    }

    pub fn modified(self, modified: &'static str) -> Self {
        Self {
            modified: Some(modified),
            ..self
        }
    }
}

#[derive(Debug, Default)]
pub struct Site {
    pub pages: BTreeMap<String, Page>,
    /// Whether `/calendar/N` leads to the next two.
    pub trap: bool,
    /// What the first so many requests for each path get, before its page.
    pub at_first: BTreeMap<String, (usize, Page)>,
    /// What every path gets.
    pub always: Option<Page>,
    /// Paths that were asked for.
    pub asked: Vec<String>,
    /// Pages whose bodies were sent, `robots.txt` aside.
    pub bodies: usize,
    address: String,
}

impl Site {
    pub fn put(&mut self, path: &str, page: Page) {
        self.pages.insert(path.into(), page);
    }

    fn page(&mut self, path: &str) -> Option<Page> {
        if let Some((left @ 1.., page)) = self.at_first.get_mut(path) {
            *left -= 1;
            return Some(page.clone());
        }
        if self.always.is_some() {
            return self.always.clone();
        }
        let day = path.strip_prefix("/calendar/").filter(|_| self.trap);
        match day.and_then(|day| day.parse::<u64>().ok()) {
            Some(day) => {
                let next = [2 * day + 1, 2 * day + 2].map(|day| format!("<a href=/calendar/{day}>{day}</a>"));
                Some(Page::html(&format!("day {day} {}", next.concat())))
            }
            None => self.pages.get(path).cloned(),
        }
    }
}

/// Runs a site; its address.
pub async fn start(site: Site) -> (Arc<Mutex<Site>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let site = Arc::new(Mutex::new(Site {
        address: address.clone(),
        ..site
    }));
    let app = Router::new().fallback(answer).with_state(site.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (site, address)
}

async fn answer(State(site): State<Arc<Mutex<Site>>>, uri: Uri, headers: HeaderMap) -> Response {
    let mut site = site.lock().unwrap();
    site.asked.push(uri.to_string());
    let Some(page) = site.page(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::builder()
        .status(page.status)
        .header("content-type", page.media);
    for (name, value) in [
        ("etag", page.etag),
        ("last-modified", page.modified),
        ("location", page.location.as_deref()),
    ] {
        if let Some(value) = value {
            response = response.header(name, value);
        }
    }
    let asked = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_same = |asked: Option<&str>, now: Option<&str>| asked.is_some() && asked == now;
    if is_same(asked("if-none-match"), page.etag) || is_same(asked("if-modified-since"), page.modified) {
        return response.status(304).body(Body::empty()).unwrap();
    }
    for (name, value) in &page.headers {
        response = response.header(*name, value);
    }
    site.bodies += usize::from(uri.path() != "/robots.txt");
    if let Some(bytes) = page.bytes {
        return response.body(Body::from(bytes)).unwrap();
    }
    let body = page.body.replace('@', &site.address);
    response
        .body(match page.never_ends {
            true => {
                let begins = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(body))]);
                Body::from_stream(begins.chain(futures::stream::pending()))
            }
            false => Body::from(body),
        })
        .unwrap()
}
