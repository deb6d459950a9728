//! Contract of every store of idempotent responses.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::sample::tenant;
use crate::seam::idempotency::{
    IdempotencyStore, MAX_RESPONSES_PER_CALLER, RESPONSE_LIFETIME, RequestKey, StoredResponse,
};

type Shared = Arc<dyn IdempotencyStore>;

const SECOND: Duration = Duration::from_secs(1);

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn idempotency_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    an_answer_comes_back_to_its_caller_only(make().await).await;
    an_answer_grows_old(make().await).await;
    the_first_answer_stays(make().await).await;
    the_oldest_goes_where_there_are_too_many(make().await).await;
}

fn key(tenant_name: &str, subject: &str, key: &str) -> RequestKey {
    RequestKey {
        tenant: tenant(tenant_name),
        subject: subject.into(),
        key: key.into(),
    }
}

fn answer(n: u8) -> StoredResponse {
    StoredResponse {
        fingerprint: [n; 32],
        status: 202,
        body: format!("{{\"n\":{n}}}"),
    }
}

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time")
}

async fn keep(store: &Shared, key: &RequestKey, n: u8, now: OffsetDateTime) {
    store.save_response(key, answer(n), now).await.expect("kept");
}

async fn check(store: &Shared, key: &RequestKey, now: OffsetDateTime, expected: Option<u8>) {
    let found = store.find_response(key, now).await.expect("an answer");
    assert_eq!(found, expected.map(answer), "{key:?}");
}

async fn an_answer_comes_back_to_its_caller_only(store: Shared) {
    check(&store, &key("a", "u", "k"), start(), None).await;
    keep(&store, &key("a", "u", "k"), 1, start()).await;
    check(&store, &key("a", "u", "k"), start(), Some(1)).await;
    for other in [key("b", "u", "k"), key("a", "v", "k"), key("a", "u", "l")] {
        check(&store, &other, start(), None).await;
    }
}

async fn an_answer_grows_old(store: Shared) {
    let own = key("a", "u", "k");
    keep(&store, &own, 1, start()).await;
    check(&store, &own, start() + RESPONSE_LIFETIME - SECOND, Some(1)).await;
    check(&store, &own, start() + RESPONSE_LIFETIME, None).await;
    keep(&store, &own, 2, start() + RESPONSE_LIFETIME).await;
    check(&store, &own, start() + RESPONSE_LIFETIME, Some(2)).await;
}

async fn the_first_answer_stays(store: Shared) {
    let own = key("a", "u", "k");
    keep(&store, &own, 1, start()).await;
    keep(&store, &own, 2, start() + SECOND).await;
    check(&store, &own, start() + SECOND, Some(1)).await;
}

async fn the_oldest_goes_where_there_are_too_many(store: Shared) {
    let other = key("a", "v", "k");
    keep(&store, &other, 9, start()).await;
    let own = |n: u64| key("a", "u", &n.to_string());
    for n in 0..=MAX_RESPONSES_PER_CALLER {
        keep(&store, &own(n), 1, start() + SECOND * (n as u32 / 2)).await;
    }
    let now = start() + SECOND * (MAX_RESPONSES_PER_CALLER as u32 / 2);
    check(&store, &own(MAX_RESPONSES_PER_CALLER), now, Some(1)).await;
    check(&store, &own(2), now, Some(1)).await;
    let oldest = store.find_response(&own(0), now).await.expect("an answer");
    let next = store.find_response(&own(1), now).await.expect("an answer");
    assert_eq!(oldest.iter().chain(&next).count(), 1, "one of the two oldest went");
    check(&store, &other, now, Some(9)).await;
}
