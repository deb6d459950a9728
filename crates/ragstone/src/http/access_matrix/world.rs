//! Random tenants with callers, documents and sources, built through the API.

use std::collections::BTreeSet;
use std::sync::Arc;

use ragstone_core::access::{Acl, Role};
use ragstone_core::id::DocumentId;
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::catalogue::DocumentPatch;
use ragstone_core::seam::fake::WordEmbedder;
use serde_json::{Value, json};
use uuid::Uuid;

use super::random::Random;
use super::rule::{Caller, Kept, Proof, Sent, Sets, State};
use super::sources;
use crate::http::HttpSettings;
use crate::http::auth::jwt::tests::support::World as Issuer;
use crate::http::test_app::{Fittings, TestApp, caller};

pub const TENANTS: [&str; 3] = ["acme", "beta", "gamma"];
const DEPARTMENTS: [&str; 3] = ["dept:sales", "dept:lab", "dept:law"];
const GROUPS: [&str; 3] = ["group:staff", "group:board", "group:night"];
const USERS: [&str; 3] = ["user:ann", "user:bob", "user:eve"];
/// Callers of a tenant.
const CALLERS: usize = 5;
/// Documents of a tenant.
const DOCUMENTS: usize = 7;
/// Sources of a tenant.
const SOURCES: usize = 3;
/// Readers of documents until their own are set.
const NOBODY_YET: &str = "user:nobody-yet";
/// A word that every text contains.
pub const COMMON: &str = "zebra";

pub type AroundIndex = fn(Arc<dyn VectorIndex>) -> Arc<dyn VectorIndex>;

/// An app with its callers, documents and sources.
pub struct World {
    pub app: TestApp,
    pub callers: Vec<Caller>,
    pub sent: Vec<Sent>,
    pub kept: Vec<Kept>,
    _issuer: Issuer,
}

impl World {
    pub async fn draw(random: &mut Random, index: Option<AroundIndex>) -> Self {
        let issuer = Issuer::meaning(json!({
            "tenant_claim": "tenant", "departments_claim": "departments", "groups_claim": "groups",
            "role_claim": "role", "roles": {"reader": "reader", "writer": "writer", "admin": "admin"},
        }))
        .await;
        let settings = HttpSettings {
            issuers: Some(issuer.issuers.clone()),
            ..HttpSettings::default()
        };
        let fittings = Fittings {
            embedder: Some(Arc::new(WordEmbedder::default())),
            index,
            quotes: true,
            ..Fittings::default()
        };
        let app = TestApp::fitted(settings, fittings);
        let mut callers = Vec::new();
        let mut sent = Vec::new();
        for tenant in TENANTS {
            for n in 0..CALLERS {
                callers.push(draw_caller(random, &app, &issuer, tenant, n).await);
            }
            sent.extend((0..DOCUMENTS).map(|n| draw_document(random, tenant, n)));
        }
        let mut world = Self {
            app,
            callers,
            sent,
            kept: Vec::new(),
            _issuer: issuer,
        };
        world.build(random).await;
        world
    }

    /// Uploads the documents and brings each into its state; jobs that must have run come first.
    async fn build(&mut self, random: &mut Random) {
        let Self {
            app,
            callers,
            sent,
            kept,
            ..
        } = self;
        let admin = |tenant: &str| {
            let mut admins = callers.iter().filter(|caller| caller.role == Role::Admin);
            let admin = admins.find(|caller| caller.tenant == tenant);
            admin.expect("each tenant has one").proof.0.clone()
        };
        for document in sent.iter_mut().filter(|sent| sent.state != State::Pending) {
            let secret = document.secret.clone();
            let writers = callers.iter().filter(|caller| caller.role == Role::Writer);
            let writers: Vec<_> = writers.filter(|caller| caller.tenant == document.tenant).collect();
            match random.below(3) {
                0 => {
                    let writer = random.pick(&writers);
                    document.brought_by = Some(writer.subject.clone());
                    send(app, random, (&writer.proof.0, "everyone"), document, &secret).await;
                }
                _ => {
                    let admin = admin(&document.tenant);
                    send(app, random, (&admin, NOBODY_YET), document, &secret).await;
                }
            }
        }
        app.work().await;
        for document in sent.iter().filter(|sent| sent.state == State::Purged) {
            change_access(app, document).await;
            delete(app, document).await;
        }
        app.work().await;
        for document in sent.iter_mut().filter(|sent| sent.state != State::Purged) {
            if matches!(document.state, State::Pending | State::Renewed) {
                let secret = document.unpublished.clone();
                let admin = admin(&document.tenant);
                send(app, random, (&admin, NOBODY_YET), document, &secret).await;
            }
            change_access(app, document).await;
            if document.state == State::Deleted {
                delete(app, document).await;
            }
        }
        for tenant in TENANTS {
            for _ in 0..SOURCES {
                let readers = set(random);
                kept.push(sources::keep(app, random, tenant, readers).await);
            }
        }
    }
}

fn draw_document(random: &mut Random, tenant: &str, n: usize) -> Sent {
    let state = *random.pick(&[
        State::Published,
        State::Published,
        State::Published,
        State::Published,
        State::Renewed,
        State::Pending,
        State::Deleted,
        State::Purged,
    ]);
    let lags = state == State::Published && random.below(4) == 0;
    let secret = format!("secret{:016x}", random.next());
    Sent {
        tenant: tenant.to_owned(),
        sets: match state {
            State::Deleted | State::Purged => some_sets(random),
            _ => sets(random),
        },
        brought_by: None,
        index_knows: lags.then(|| some_sets(random)),
        state,
        id: String::new(),
        job: String::new(),
        uri: format!("doc://{n}/{secret}"),
        unpublished: format!("secret{:016x}", random.next()),
        secret,
    }
}

/// At least one set: without, nobody may change or delete it.
fn some_sets(random: &mut Random) -> Sets {
    std::iter::repeat_with(|| sets(random))
        .find(|sets| !sets.is_empty())
        .expect("it comes without end")
}

/// One set usually; several, an empty one, or none at all.
fn sets(random: &mut Random) -> Sets {
    match random.below(10) {
        0 => vec![],
        1 => vec![BTreeSet::new()],
        2 => vec![set(random), BTreeSet::new()],
        3 | 4 => vec![set(random), set(random)],
        5 => vec![set(random), set(random), set(random)],
        6 => vec![BTreeSet::from(["everyone".to_owned()])],
        _ => vec![set(random)],
    }
}

/// One to three readers.
fn set(random: &mut Random) -> BTreeSet<String> {
    let all = [&["everyone"][..], &DEPARTMENTS, &GROUPS, &USERS].concat();
    let size = 1 + random.below(3);
    (0..size).map(|_| (*random.pick(&all)).to_owned()).collect()
}

/// The first caller of a tenant is its administrator, the second a writer, the others are random.
async fn draw_caller(random: &mut Random, app: &TestApp, issuer: &Issuer, tenant: &str, n: usize) -> Caller {
    let role = match n {
        0 => Role::Admin,
        1 => Role::Writer,
        _ => *random.pick(&[Role::Reader, Role::Reader, Role::Writer]),
    };
    let (departments, groups) = (random.some(&DEPARTMENTS), random.some(&GROUPS));
    // A token always names a person.
    let by_key = random.below(2) == 0;
    let user = (!by_key || random.below(2) == 0).then(|| *random.pick(&USERS));
    let bare = |readers: &[&str]| -> Vec<String> {
        let names = readers.iter().map(|reader| reader.split_once(':').unwrap().1);
        names.map(str::to_owned).collect()
    };
    let mut claims = json!({
        "tenant": tenant, "role": role, "departments": bare(&departments), "groups": bare(&groups),
    });
    let person = user.map(|user| bare(&[user]).remove(0));
    let subject = person.clone().unwrap_or_else(|| format!("the key {n}"));
    let proof = if by_key {
        claims["name"] = json!(format!("{tenant} {n}"));
        claims["user"] = json!(person);
        app.issue(&claims).await["key"].as_str().unwrap().to_owned()
    } else {
        claims["sub"] = json!(person);
        issuer.says(claims)
    };
    let readers = departments.into_iter().chain(groups).chain(user);
    Caller {
        tenant: tenant.to_owned(),
        role,
        subject,
        readers: readers.map(str::to_owned).collect(),
        proof: Proof(proof),
    }
}

/// Uploads a version whose text contains `secret`; its readers are set afterwards.
async fn send(app: &TestApp, random: &mut Random, (key, reader): (&str, &str), document: &mut Sent, secret: &str) {
    let words: Vec<String> = (0..20).map(|_| format!("w{:08x}", random.next() as u32)).collect();
    let body = json!({
        "uri": document.uri, "title": format!("Title {}", document.secret), "readers": [reader],
        "text": format!("The {COMMON} hides the {secret} in the cellar. {}.", words.join(" ")),
    });
    let answer = app.post("/api/v1/documents", &body).key(key).send().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    document.id = text(&answer.json()["document"]["id"]);
    document.job = text(&answer.json()["job"]["id"]);
}

async fn delete(app: &TestApp, document: &Sent) {
    let admin = caller(&document.tenant, &[], Role::Admin);
    let deleted = app
        .api
        .ingestor
        .uploads()
        .delete_document(&admin, id(document))
        .await
        .unwrap();
    assert!(deleted.is_some());
}

/// Sets the readers of the document, and the ones that the index has.
async fn change_access(app: &TestApp, document: &Sent) {
    let admin = caller(&document.tenant, &[], Role::Admin);
    let patch = |sets: &Sets| DocumentPatch {
        acl: Some(acl(&document.tenant, sets)),
        ..DocumentPatch::default()
    };
    let told = patch(document.index_knows.as_ref().unwrap_or(&document.sets));
    let changed = app
        .api
        .ingestor
        .uploads()
        .patch_document(&admin, id(document), told)
        .await;
    assert!(changed.unwrap().is_some());
    if document.index_knows.is_some() {
        let (scope, now) = (admin.scope(), (app.api.clock)());
        let patch = patch(&document.sets);
        let changed = app.api.catalogue.patch_document(&scope, id(document), patch, now);
        assert!(changed.await.unwrap().is_some());
    }
}

fn acl(tenant: &str, sets: &Sets) -> Acl {
    let set = |set: &BTreeSet<String>| set.iter().map(|reader| reader.parse().unwrap()).collect();
    Acl {
        tenant: tenant.parse().unwrap(),
        sets: sets.iter().map(set).collect(),
    }
}

fn id(document: &Sent) -> DocumentId {
    DocumentId(document.id.parse::<Uuid>().unwrap())
}
