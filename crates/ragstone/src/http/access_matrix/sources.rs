//! Compares the sources that a caller can see with the rule: those whose readers it may grant, all of them.

use std::collections::BTreeSet;

use ragstone_core::access::Role;
use ragstone_core::id::{CollectionName, SourceId};
use ragstone_core::seam::source::SourceRecord;
use serde_json::{Map, Value, json};

use super::matrix::Matrix;
use super::random::Random;
use super::rule::{Caller, Kept};
use super::world::World;
use crate::http::test_app::TestApp;

const SOURCES: &str = "/api/v1/sources";

/// Creates a source of a tenant as the operator, who alone may name folders.
pub async fn keep(app: &TestApp, random: &mut Random, tenant: &str, readers: BTreeSet<String>) -> Kept {
    let secret = format!("source{:016x}", random.next());
    let record = SourceRecord {
        id: SourceId((app.api.new_id)()),
        tenant: tenant.parse().expect("a tenant"),
        name: secret.parse().expect("a name"),
        kind: "folder".into(),
        settings: Map::from_iter([("path".to_owned(), json!(format!("/nowhere/{secret}")))]),
        collection: CollectionName::default(),
        readers: readers.iter().map(|reader| reader.parse().expect("a reader")).collect(),
        schedule: None,
        paused: false,
        created_by: "operator".into(),
        created_at: (app.api.clock)(),
        last_sync: None,
    };
    let id = record.id.0.to_string();
    assert!(app.api.syncer.sources.add_source(record).await.expect("it is kept"));
    Kept {
        tenant: tenant.to_owned(),
        readers,
        id,
        secret,
    }
}

/// Requests every source as `caller`, one by one and as a list.
pub async fn every_one(matrix: &mut Matrix, world: &World, caller: &Caller) {
    for kept in &world.kept {
        let may = caller.manages(kept);
        for (method, rest) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/sync")] {
            // If the caller is allowed, only calls that change nothing, so that the world stays as it is.
            if !may || matches!(method, "GET" | "PATCH") {
                one(matrix, world, caller, (kept, may), (method, rest)).await;
            }
        }
    }
    list(matrix, world, caller).await;
}

async fn one(
    matrix: &mut Matrix,
    world: &World,
    caller: &Caller,
    (kept, may): (&Kept, bool),
    (method, rest): (&str, &str),
) {
    let path = format!("{SOURCES}/{}{rest}", kept.id);
    let call = world.app.call(method, &path).key(&caller.proof.0);
    let call = match method {
        "PATCH" => call.json(&json!({ "paused": false })),
        _ => call,
    };
    let answer = call.send().await;
    let expected = match (caller.role, may) {
        (Role::Reader, _) => 403,
        (_, true) => 200,
        (_, false) => 404,
    };
    let text = answer.text();
    let describe = || {
        format!(
            "{method} {path} is {} and not {expected} for {caller:?}, {kept:?}: {text}",
            answer.status
        )
    };
    assert_eq!(answer.status, expected, "{}", describe());
    matrix.decide(answer.status == 200, may, may, describe);
    matrix.decide(text.contains(&kept.secret), may, may, describe);
}

async fn list(matrix: &mut Matrix, world: &World, caller: &Caller) {
    let (mut told, mut cursor) = (String::new(), None);
    loop {
        let next = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let path = format!("{SOURCES}?limit=2{next}").replace(' ', "%20");
        let answer = world.app.get(&path).key(&caller.proof.0).send().await;
        let expected = if caller.role == Role::Reader { 403 } else { 200 };
        assert_eq!(answer.status, expected, "{}", answer.text());
        told.push_str(answer.text());
        cursor = match (expected, &answer.json()["next_cursor"]) {
            (200, Value::String(next)) => Some(next.clone()),
            _ => break,
        };
    }
    for kept in &world.kept {
        let may = caller.manages(kept);
        let describe = || format!("{SOURCES} for {caller:?}, {kept:?}: {told}");
        matrix.decide(told.contains(&kept.secret), may, may, describe);
    }
}
