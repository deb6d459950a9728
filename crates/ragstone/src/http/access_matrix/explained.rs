//! Compares what `POST /api/v1/explain-access` tells administrators with the rule.

use ragstone_core::access::Role;
use serde_json::{Value, json};

use super::matrix::Matrix;
use super::rule::{Caller, Sent, State};
use super::world::World;

const EXPLAIN: &str = "/api/v1/explain-access";

/// Asks, as `asker`, for each document why each caller of its own tenant may or may not read it.
pub async fn every_document(matrix: &mut Matrix, world: &World, asker: &Caller) {
    for sent in &world.sent {
        let callers = world.callers.iter().filter(|caller| caller.tenant == asker.tenant);
        // A hypothetical person has no role of its own.
        for caller in callers.filter(|caller| caller.role != Role::Admin) {
            one(matrix, world, asker, sent, caller).await;
        }
    }
}

async fn one(matrix: &mut Matrix, world: &World, asker: &Caller, sent: &Sent, caller: &Caller) {
    let body = question(sent, caller);
    let answer = world.app.post(EXPLAIN, &body).key(&asker.proof.0).send().await;
    let describe = || {
        format!(
            "{EXPLAIN} is {} for {asker:?}, {sent:?}: {}",
            answer.status,
            answer.text()
        )
    };
    let may = asker.role == Role::Admin && asker.tenant == sent.tenant;
    let shown = answer.status == 200;
    // Of a purged document only the job ledger may still know.
    matrix.decide(shown, may && sent.state != State::Purged, may, describe);
    match shown {
        true => {
            let told = &answer.json()["documents"][0];
            let readable = told["readable"] == true;
            let rule = caller.may_read_text(sent);
            matrix.decide(readable, rule, rule, || format!("{told} of {caller:?}, {sent:?}"));
        }
        false => {
            let expected = if asker.role == Role::Admin { 404 } else { 403 };
            assert_eq!(answer.status, expected, "{}", describe());
            let text = answer.text();
            matrix.decide(text.contains(&sent.secret), false, false, describe);
        }
    }
}

fn question(sent: &Sent, caller: &Caller) -> Value {
    let held = |kind: &str| -> Vec<&str> {
        let named = caller.readers.iter().filter_map(|reader| reader.split_once(':'));
        named.filter(|(of, _)| *of == kind).map(|(_, name)| name).collect()
    };
    json!({
        "document": sent.id, "user": held("user").first(), "departments": held("dept"), "groups": held("group"),
    })
}
