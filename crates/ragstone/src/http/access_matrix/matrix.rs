//! Calls every route as every caller, and judges each response by the rule.

use std::collections::BTreeSet;

use futures::StreamExt;
use ragstone_core::access::Role;
use serde_json::{Value, json};

use super::random::Random;
use super::rule::{Caller, Sent, State};
use super::world::{COMMON, World};
use super::{explained, sources};
use crate::http::test_app::Answer;

const DOCUMENTS: &str = "/api/v1/documents";
const JOBS: &str = "/api/v1/jobs";

/// The number of decisions, and the wrong ones.
#[derive(Default)]
pub struct Matrix {
    pub shown: u64,
    pub hidden: u64,
    pub requests: u64,
    /// Passages that an index without a scope offered to callers who may not read them.
    pub offered: u64,
    pub leaks: Vec<String>,
    pub refused: Vec<String>,
}

/// What a caller who may read gets.
#[derive(Clone)]
enum Allowed {
    /// This status, and the body is read to its end.
    Status(u16),
    /// 200, and a stream of events that does not end.
    Stream,
    /// Only called by those who must be refused, because it would change the world.
    Unasked,
}

/// A route that names a document or its job.
struct Route {
    method: &'static str,
    path: String,
    body: Value,
    /// Whether the role reader is refused in any case.
    writes: bool,
    /// Whether the caller may read the document that it would change, and no more.
    read_only: bool,
    admitted: bool,
    allowed: Allowed,
    /// Whether the caller presents a ticket, bought with its credential, instead of the credential.
    by_ticket: bool,
}

impl Matrix {
    pub async fn of(world: &World, random: &mut Random) -> Self {
        let mut matrix = Self::default();
        for caller in &world.callers {
            for sent in &world.sent {
                for route in routes(caller, sent) {
                    matrix.walk(world, caller, sent, route).await;
                }
                matrix.replaces(world, caller, sent).await;
            }
            matrix.lists(world, caller).await;
            matrix.searches(world, caller).await;
            matrix.narrowed(world, caller, random).await;
            matrix.answers(world, caller).await;
            matrix.tickets(world, caller, random).await;
            explained::every_document(&mut matrix, world, caller).await;
            sources::every_one(&mut matrix, world, caller).await;
        }
        matrix
    }

    pub fn decisions(&self) -> u64 {
        self.shown + self.hidden
    }

    pub fn add(&mut self, other: Self) {
        self.shown += other.shown;
        self.hidden += other.hidden;
        self.requests += other.requests;
        self.offered += other.offered;
    }

    /// Records one decision: what was shown, what must be shown, and what may be.
    pub fn decide(&mut self, shown: bool, must: bool, may: bool, what: impl Fn() -> String) {
        match shown {
            true => self.shown += 1,
            false => self.hidden += 1,
        }
        match shown {
            true if !may => self.leaks.push(what()),
            false if must => self.refused.push(what()),
            _ => {}
        }
    }

    /// Checks that no byte of a response contains what its caller may not read.
    fn look_through(&mut self, world: &World, caller: &Caller, text: &str, what: &str) {
        self.requests += 1;
        for sent in &world.sent {
            let secret = !caller.may_read(sent) && text.contains(&sent.secret);
            if secret || text.contains(&sent.unpublished) {
                self.leaks.push(format!("{what} told {caller:?} of {sent:?}: {text}"));
            }
        }
    }

    async fn walk(&mut self, world: &World, caller: &Caller, sent: &Sent, route: Route) {
        let forbidden = route.writes && caller.role == Role::Reader || route.read_only;
        let admitted = route.admitted && !forbidden;
        let what = format!("{} {}", route.method, route.path);
        let call = match route.by_ticket {
            true => world
                .app
                .get(&format!("{}?ticket={}", route.path, ticket(world, caller).await)),
            false => world.app.call(route.method, &route.path).key(&caller.proof.0),
        };
        let call = match &route.body {
            Value::Null => call,
            body => call.json(body),
        };
        let (status, text) = match (&route.allowed, admitted) {
            (Allowed::Unasked, true) => return,
            (Allowed::Stream, true) => begun(call.open().await).await,
            _ => {
                let answer = call.send().await;
                (answer.status, lossy(&answer))
            }
        };
        let expected = match &route.allowed {
            _ if forbidden => 403,
            _ if !admitted => 404,
            Allowed::Status(status) => *status,
            Allowed::Stream | Allowed::Unasked => 200,
        };
        self.look_through(world, caller, &text, &what);
        let describe = || format!("{what} is {status} and not {expected} for {caller:?}, {sent:?}: {text}");
        let shown = status != 403 && status != 404;
        self.decide(shown, admitted, admitted, describe);
        if shown == admitted && status != expected {
            self.refused.push(describe());
        }
    }

    /// Nobody can replace a document that they may not write. Those who may do not try, because it would change the
    /// world.
    async fn replaces(&mut self, world: &World, caller: &Caller, sent: &Sent) {
        let is_there = !matches!(sent.state, State::Deleted | State::Purged);
        let is_asked = is_there && caller.tenant == sent.tenant && caller.role != Role::Reader;
        if !is_asked || caller.may_write(sent) {
            return;
        }
        let body = json!({"uri": sent.uri, "text": "Mine.", "readers": ["everyone"]});
        let answer = world.app.post(DOCUMENTS, &body).key(&caller.proof.0).send().await;
        let text = lossy(&answer);
        self.look_through(world, caller, &text, DOCUMENTS);
        let describe = || {
            format!(
                "POST of {} is {} for {caller:?}, {sent:?}: {text}",
                sent.uri, answer.status
            )
        };
        self.decide(answer.status != 409, false, false, describe);
    }

    /// A response that lists documents by `named` must list those that must be found, and none that may not.
    fn compare(
        &mut self,
        world: &World,
        caller: &Caller,
        what: &str,
        shown: &BTreeSet<String>,
        rule: impl Fn(&Sent) -> (String, bool, bool),
    ) {
        for sent in &world.sent {
            let (name, must, may) = rule(sent);
            let describe = || format!("{what} for {caller:?}, {sent:?}");
            self.decide(shown.contains(&name), must, may, describe);
        }
        let known = |name: &String| world.sent.iter().any(|sent| rule(sent).0 == *name);
        if let Some(unknown) = shown.iter().find(|name| !known(name)) {
            self.leaks.push(format!("{what} shows {unknown} to {caller:?}"));
        }
    }

    async fn lists(&mut self, world: &World, caller: &Caller) {
        let documents = self.get(world, caller, &format!("{DOCUMENTS}?limit=1000")).await;
        let shown = names(&documents["documents"], "id");
        self.compare(world, caller, "the list of documents", &shown, |sent| {
            (sent.id.clone(), caller.may_read(sent), caller.may_read(sent))
        });
        let jobs = self.get(world, caller, &format!("{JOBS}?limit=1000")).await;
        let shown = names(&jobs["jobs"], "document_id");
        self.compare(world, caller, "the list of jobs", &shown, |sent| {
            (sent.id.clone(), caller.may_watch(sent), caller.may_watch(sent))
        });
    }

    async fn searches(&mut self, world: &World, caller: &Caller) {
        for mode in ["hybrid", "dense", "lexical"] {
            let body = json!({"query": COMMON, "limit": 100, "mode": mode});
            let found = self.post(world, caller, "/api/v1/search", &body).await.json();
            self.found(world, caller, mode, &names(&found["passages"], "document_id"));
        }
    }

    /// A search whose filter names one document.
    async fn narrowed(&mut self, world: &World, caller: &Caller, random: &mut Random) {
        let one = random.pick(&world.sent);
        let filter = json!({"type": "eq", "key": "document_id", "value": one.id});
        let body = json!({"query": COMMON, "limit": 100, "filter": filter});
        let found = self.post(world, caller, "/api/v1/search", &body).await.json();
        let shown = names(&found["passages"], "document_id");
        self.compare(world, caller, "a narrowed search", &shown, |sent| {
            let is_it = sent.id == one.id;
            let (must, may) = (caller.must_find(sent), caller.may_read_text(sent));
            (sent.id.clone(), is_it && must, is_it && may)
        });
    }

    async fn answers(&mut self, world: &World, caller: &Caller) {
        let question = format!("Where is the {COMMON}?");
        let body = json!({"question": question, "limit": 100});
        let answer = self.post(world, caller, "/api/v1/ask", &body).await.json();
        let shown = answer["sources"].as_array().unwrap().iter();
        let shown: BTreeSet<String> = shown.map(|uri| uri.as_str().unwrap().to_owned()).collect();
        self.offer(world, caller);
        self.compare(world, caller, "an answer", &shown, |sent| {
            (sent.uri.clone(), caller.must_find(sent), caller.may_read_text(sent))
        });
        let body = json!({"question": question, "limit": 100, "stream": true});
        let streamed = self.post(world, caller, "/api/v1/ask", &body).await;
        self.streamed(world, caller, "an answer's events", &streamed);
        let path = format!("/api/v1/ask-stream?limit=100&query={COMMON}");
        let streamed = world.app.get(&path).key(&caller.proof.0).send().await;
        self.look_through(world, caller, streamed.text(), &path);
        self.streamed(world, caller, "an answer's stream", &streamed);
    }

    /// A ticket authenticates its caller once, and for streams only.
    async fn tickets(&mut self, world: &World, caller: &Caller, random: &mut Random) {
        let path = format!(
            "/api/v1/ask-stream?limit=100&query={COMMON}&ticket={}",
            ticket(world, caller).await
        );
        let streamed = world.app.get(&path).send().await;
        self.look_through(world, caller, streamed.text(), &path);
        self.streamed(world, caller, "a stream by ticket", &streamed);
        let again = world.app.get(&path).send().await.status;
        self.decide(again == 200, false, false, || {
            format!("a spent ticket is {again} for {caller:?}")
        });
        let document = &random.pick(&world.sent).id;
        let path = format!("{DOCUMENTS}/{document}?ticket={}", ticket(world, caller).await);
        let other = world.app.get(&path).send().await.status;
        self.decide(other == 200, false, false, || {
            format!("a ticket opens a document: {other} for {caller:?}")
        });
    }

    fn streamed(&mut self, world: &World, caller: &Caller, what: &str, answer: &Answer) {
        let frames = answer.frames();
        assert_eq!(frames.last().unwrap().0, "done", "{what} for {caller:?}");
        self.found(world, caller, what, &names(&frames[0].2["passages"], "document_id"));
    }

    fn found(&mut self, world: &World, caller: &Caller, what: &str, shown: &BTreeSet<String>) {
        self.offer(world, caller);
        self.compare(world, caller, what, shown, |sent| {
            (sent.id.clone(), caller.must_find(sent), caller.may_read_text(sent))
        });
    }

    /// Counts what an index without a scope returns in one search that the caller may not read.
    fn offer(&mut self, world: &World, caller: &Caller) {
        let is_told = |sent: &&Sent| sent.index_knows.is_none();
        let stands = |sent: &&Sent| matches!(sent.state, State::Published | State::Renewed);
        let sent = world.sent.iter().filter(stands).filter(is_told);
        self.offered += sent.filter(|sent| !caller.may_read_text(sent)).count() as u64;
    }

    async fn get(&mut self, world: &World, caller: &Caller, path: &str) -> Value {
        let answer = world.app.get(path).key(&caller.proof.0).send().await;
        self.look_through(world, caller, answer.text(), path);
        answer.json()
    }

    pub async fn post(&mut self, world: &World, caller: &Caller, path: &str, body: &Value) -> Answer {
        let answer = world.app.post(path, body).key(&caller.proof.0).send().await;
        assert_eq!(answer.status, 200, "{caller:?}: {}", answer.text());
        self.look_through(world, caller, answer.text(), path);
        answer
    }
}

/// Every route that names `sent` or its newest job.
fn routes(caller: &Caller, sent: &Sent) -> Vec<Route> {
    let (document, job) = (format!("{DOCUMENTS}/{}", sent.id), format!("{JOBS}/{}", sent.job));
    let (reads, text, watches) = (
        caller.may_read(sent),
        caller.may_read_text(sent),
        caller.may_watch(sent),
    );
    let waits = matches!(sent.state, State::Pending | State::Renewed);
    let ends = if waits { Allowed::Stream } else { Allowed::Status(200) };
    let ends_again = ends.clone();
    let cancel = if waits { Allowed::Unasked } else { Allowed::Status(409) };
    let route = |method, path: &str, admitted, allowed| Route {
        method,
        path: path.to_owned(),
        body: Value::Null,
        writes: false,
        read_only: false,
        admitted,
        allowed,
        by_ticket: false,
    };
    let write = |method, path: &str, body, admitted, allowed| Route {
        body,
        writes: true,
        ..route(method, path, admitted, allowed)
    };
    let read_only = reads && !caller.may_write(sent);
    let change = |method, body, allowed| Route {
        read_only,
        ..write(method, &document, body, reads, allowed)
    };
    let same_title = json!({"title": format!("Title {}", sent.secret)});
    vec![
        route("GET", &document, reads, Allowed::Status(200)),
        route("GET", &format!("{document}/chunks"), reads, Allowed::Status(200)),
        route("GET", &format!("{document}/pages/1"), text, Allowed::Status(200)),
        route("GET", &format!("{document}/content"), text, Allowed::Status(200)),
        route("GET", &job, watches, Allowed::Status(200)),
        route("GET", &format!("{job}/events"), watches, ends),
        Route {
            by_ticket: true,
            ..route("GET", &format!("{job}/events"), watches, ends_again)
        },
        change("PATCH", same_title, Allowed::Status(200)),
        change("DELETE", Value::Null, Allowed::Unasked),
        write("DELETE", &job, Value::Null, watches, cancel),
        write(
            "POST",
            &format!("{job}/retry"),
            Value::Null,
            watches,
            Allowed::Status(409),
        ),
    ]
}

/// A ticket, bought with the caller's credential.
async fn ticket(world: &World, caller: &Caller) -> String {
    let bought = world.app.post("/api/v1/stream-tickets", &json!({}));
    let bought = bought.key(&caller.proof.0).send().await;
    assert_eq!(bought.status, 201, "{caller:?}: {}", bought.text());
    bought.json()["ticket"].as_str().unwrap().to_owned()
}

/// The head of a stream that goes on, and its first event.
async fn begun(response: axum::response::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.expect("there is a first event").unwrap();
    (status, String::from_utf8_lossy(&first).into_owned())
}

fn lossy(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// What a field of a list's items holds.
fn names(list: &Value, field: &str) -> BTreeSet<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
}
