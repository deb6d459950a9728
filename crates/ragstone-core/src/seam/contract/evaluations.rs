//! Contract of every store of evaluation runs.

use std::future::Future;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::sample::tenant;
use crate::seam::evaluations::{EvaluationStore, RecordedOutcome};

type Store = Arc<dyn EvaluationStore>;

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn evaluation_contract<F: Future<Output = Store>>(make: impl Fn() -> F) {
    an_unfinished_run_goes_on(make().await).await;
    a_finished_run_stays_as_it_is(make().await).await;
    another_fingerprint_begins_afresh(make().await).await;
    tenants_do_not_meet(make().await).await;
}

async fn begin(store: &Store, of: &str, name: &str, fingerprint: &str) -> Vec<RecordedOutcome> {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    let begun = store.begin_run(&tenant(of), name, fingerprint, now).await;
    begun.expect("begun")
}

async fn record(store: &Store, of: &str, name: &str, question: &str, outcome: &str) -> bool {
    let (tenant, outcome) = (tenant(of), outcome_of(question, outcome));
    let recorded = store.record_outcome(&tenant, name, outcome).await;
    recorded.expect("an answer")
}

fn outcome_of(question: &str, outcome: &str) -> RecordedOutcome {
    RecordedOutcome {
        question: question.into(),
        outcome: outcome.into(),
    }
}

async fn an_unfinished_run_goes_on(store: Store) {
    assert!(!record(&store, "a", "run", "1", "x").await);
    assert!(begin(&store, "a", "run", "f").await.is_empty());
    assert!(record(&store, "a", "run", "2", "y").await);
    assert!(record(&store, "a", "run", "1", "x").await);
    assert!(record(&store, "a", "run", "2", "z").await);
    let known = [outcome_of("1", "x"), outcome_of("2", "z")];
    assert_eq!(begin(&store, "a", "run", "f").await, known);
    let (head, outcomes) = store
        .get_run(&tenant("a"), "run")
        .await
        .expect("an answer")
        .expect("a run");
    assert_eq!(
        (head.name.as_str(), head.finished, outcomes.as_slice()),
        ("run", false, &known[..])
    );
    assert_eq!(head.started_at, OffsetDateTime::UNIX_EPOCH + Duration::days(20_000));
}

async fn a_finished_run_stays_as_it_is(store: Store) {
    assert!(!store.finish_run(&tenant("a"), "run").await.expect("an answer"));
    begin(&store, "a", "run", "f").await;
    assert!(record(&store, "a", "run", "1", "x").await);
    assert!(store.finish_run(&tenant("a"), "run").await.expect("an answer"));
    assert!(!store.finish_run(&tenant("a"), "run").await.expect("an answer"));
    assert!(!record(&store, "a", "run", "1", "y").await);
    let (head, outcomes) = store
        .get_run(&tenant("a"), "run")
        .await
        .expect("an answer")
        .expect("a run");
    assert_eq!((head.finished, outcomes), (true, vec![outcome_of("1", "x")]));
    assert!(begin(&store, "a", "run", "f").await.is_empty());
    assert!(record(&store, "a", "run", "1", "y").await);
}

async fn another_fingerprint_begins_afresh(store: Store) {
    begin(&store, "a", "run", "f").await;
    record(&store, "a", "run", "1", "x").await;
    assert!(begin(&store, "a", "run", "g").await.is_empty());
    let (head, outcomes) = store
        .get_run(&tenant("a"), "run")
        .await
        .expect("an answer")
        .expect("a run");
    assert_eq!((head.fingerprint.as_str(), outcomes.len()), ("g", 0));
}

async fn tenants_do_not_meet(store: Store) {
    begin(&store, "a", "run", "f").await;
    begin(&store, "a", "another", "f").await;
    begin(&store, "b", "run", "f").await;
    record(&store, "a", "run", "1", "x").await;
    assert!(!record(&store, "b", "another", "1", "x").await);
    assert!(begin(&store, "b", "run", "f").await.is_empty());
    assert!(
        store
            .get_run(&tenant("b"), "another")
            .await
            .expect("an answer")
            .is_none()
    );
    let runs = store.list_runs(&tenant("a")).await.expect("an answer");
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["another", "run"]);
    assert!(store.list_runs(&tenant("c")).await.expect("an answer").is_empty());
}
