//! Keys that are added, removed or unreachable: when they are fetched, and what is accepted meanwhile.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::support::*;
use crate::config;
use crate::http::auth::jwt::TokenError::*;
use crate::http::auth::jwt::fetch::{KeyFetchError, KeySource};
use crate::http::auth::jwt::keys::{REFETCH_INTERVAL, USED_WHILE_FAILING};

/// `max-age` of the published keys.
const AGE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_new_key_is_accepted_and_a_withdrawn_one_refused() {
    let world = World::new().await;
    let (old, fresh) = (world.says(json!({})), Signer::ed25519());
    world.check("old", &old, Ok(())).await;
    world.publisher.publish(&[fresh.jwk("new")]);
    let new = fresh.token("new", &claims_of(MAIN));
    world.check("just fetched", &new, Err(Key)).await;
    assert_eq!(world.publisher.hits(), 1);
    world.hands.move_steady(REFETCH_INTERVAL);
    world.check("new", &new, Ok(())).await;
    assert_eq!(world.publisher.hits(), 2);
    world.check("withdrawn", &old, Err(Key)).await;
    assert_eq!(world.publisher.hits(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_the_time_of_the_cache_also_for_known_tokens() {
    let world = World::new().await;
    let token = world.says(json!({"exp": NOW + 100_000}));
    world.check("before", &token, Ok(())).await;
    world.publisher.publish(&[world.rsa.jwk("rsa")]);
    world.check("known", &token, Ok(())).await;
    world.hands.move_steady(AGE);
    world.check("after", &token, Err(Key)).await;
}

#[tokio::test]
async fn a_changed_key_of_the_same_name_is_another_key() {
    let world = World::new().await;
    let (old, fresh) = (world.says(json!({})), Signer::ed25519());
    world.check("old", &old, Ok(())).await;
    world.publisher.publish(&[fresh.jwk("ed")]);
    world.hands.move_steady(AGE);
    world.check("old", &old, Err(Signature)).await;
    world.check("new", &fresh.token("ed", &claims_of(MAIN)), Ok(())).await;
}

#[tokio::test]
async fn keys_are_renewed_while_they_are_used() {
    let world = World::new().await;
    let token = world.says(json!({}));
    world.check("first", &token, Ok(())).await;
    world.publisher.asked().await;
    world.publisher.close();
    world.hands.move_steady(AGE * 3 / 4);
    world.check("nobody waits", &token, Ok(())).await;
    world.publisher.asked().await;
    world.publisher.open();
    assert_eq!(world.publisher.hits(), 2);
}

#[tokio::test]
async fn many_callers_cause_one_fetch() {
    let world = World::new().await;
    let tokens: Vec<String> = (0..50).map(|n| world.says(json!({"sub": n.to_string()}))).collect();
    let all = join_all(tokens.iter().map(|token| world.verify(token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(world.publisher.hits(), 1);
}

#[tokio::test]
async fn garbage_cannot_flood_an_issuer() {
    let world = World::new().await;
    world.check("twin", &world.says(json!({})), Ok(())).await;
    let garbage: Vec<String> = (0..200)
        .map(|n| world.ed.token(&format!("k{n}"), &claims_of(MAIN)))
        .collect();
    for hits in 2..5 {
        world.hands.move_steady(REFETCH_INTERVAL);
        let all = join_all(garbage.iter().map(|token| world.verify(token))).await;
        assert!(all.iter().all(|verified| *verified == Err(Key)));
        assert_eq!(world.publisher.hits(), hits);
    }
    world.check("twin", &world.says(json!({"sub": "bob"})), Ok(())).await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_no_fetch() {
    let world = World::new().await;
    world.publisher.close();
    let token = world.says(json!({}));
    tokio::select! {
        verified = world.verify(&token) => panic!("{verified:?}"),
        () = world.publisher.asked() => {}
    }
    world.publisher.open();
    world.check("the next", &token, Ok(())).await;
    assert_eq!(world.publisher.hits(), 1);
}

#[tokio::test]
async fn keys_outlive_a_failure_for_a_while() {
    let world = World::new().await;
    let token = world.says(json!({"exp": NOW + 100_000}));
    world.check("before", &token, Ok(())).await;
    world.publisher.put("/keys", Page::status(500));
    world.hands.move_steady(AGE);
    world.check("failing", &token, Ok(())).await;
    let hits = world.publisher.hits();
    world.check("not asked again just now", &token, Ok(())).await;
    assert_eq!(world.publisher.hits(), hits);
    world
        .check("unknown", &world.ed.token("other", &claims_of(MAIN)), Err(Key))
        .await;
    world.hands.move_steady(USED_WHILE_FAILING);
    world.check("for too long", &token, Err(NoKeys)).await;
    world.publisher.publish(&[world.ed.jwk("ed")]);
    world.check("just asked", &token, Err(NoKeys)).await;
    world.hands.move_steady(REFETCH_INTERVAL);
    world.check("again", &token, Ok(())).await;
}

#[tokio::test]
async fn a_withdrawal_of_all_keys_is_no_failure() {
    let world = World::new().await;
    let token = world.says(json!({}));
    world.check("before", &token, Ok(())).await;
    world.publisher.publish(&[]);
    world.hands.move_steady(AGE);
    world.check("after", &token, Err(Key)).await;
}

/// An issuer at `publisher` that is asked for its discovery document, which names these keys.
async fn discovered(publisher: &Publisher, document: Value) -> Result<usize, KeyFetchError> {
    publisher.put("/.well-known/openid-configuration", Page::json(&document));
    let settings = serde_json::from_value(json!({"issuer": publisher.base, "audience": "ragstone"})).unwrap();
    fetched(settings).await
}

async fn fetched(settings: config::IssuerSettings) -> Result<usize, KeyFetchError> {
    let fetched = KeySource::new(&settings)?.fetch_keys().await?;
    Ok(fetched.keys.len())
}

#[tokio::test]
async fn keys_are_discovered() {
    let publisher = Publisher::start().await;
    publisher.publish(&[Signer::ed25519().jwk("k")]);
    let base = publisher.base.clone();
    let check = async |document: Value, expected: Result<usize, KeyFetchError>| {
        assert_eq!(discovered(&publisher, document).await, expected);
    };
    check(
        json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "more": 1}),
        Ok(1),
    )
    .await;
    check(
        json!({"issuer": format!("{base}/"), "jwks_uri": format!("{base}/keys")}),
        Err(KeyFetchError::OtherIssuer),
    )
    .await;
    check(
        json!({"issuer": MAIN, "jwks_uri": format!("{base}/keys")}),
        Err(KeyFetchError::OtherIssuer),
    )
    .await;
    check(
        json!({"issuer": base}),
        Err(KeyFetchError::Malformed("discovery document")),
    )
    .await;
    for address in [
        "http://169.254.169.254/keys",
        "http://10.0.0.1/keys",
        "file:///etc/passwd",
        "",
        "/keys",
    ] {
        let found = discovered(&publisher, json!({"issuer": base, "jwks_uri": address})).await;
        assert!(matches!(found, Err(KeyFetchError::Address(_))), "{address}: {found:?}");
    }
    let slash = format!("{base}/");
    let settings = json!({"issuer": slash, "audience": "ragstone"});
    publisher.put(
        "/.well-known/openid-configuration",
        Page::json(&json!({"issuer": slash, "jwks_uri": format!("{base}/keys")})),
    );
    assert_eq!(fetched(serde_json::from_value(settings).unwrap()).await, Ok(1));
}

#[tokio::test]
async fn what_is_no_key_set_is_refused() {
    let (publisher, other) = (Publisher::start().await, Publisher::start().await);
    let key = Signer::ed25519().jwk("k");
    other.publish(std::slice::from_ref(&key));
    let check = async |page: Page, expected: Result<usize, KeyFetchError>| {
        publisher.put("/keys", page);
        assert_eq!(fetched(settings(MAIN, &publisher, json!({}))).await, expected);
    };
    let page = |body: &[u8]| Page {
        body: body.to_vec(),
        ..Page::status(200)
    };
    check(Page::json(&json!({"keys": [key]})), Ok(1)).await;
    check(Page::json(&json!({"keys": [1, "a", {}, {"kty": "?"}, key]})), Ok(1)).await;
    check(Page::json(&json!({"keys": vec![&key; 200]})), Ok(100)).await;
    for body in [&b""[..], b"{}", b"[]", b"<html>", b"{\"keys\":{}}"] {
        check(page(body), Err(KeyFetchError::Malformed("key set"))).await;
    }
    check(page(&vec![b' '; (256 << 10) + 1]), Err(KeyFetchError::TooLarge)).await;
    for status in [204, 404, 500] {
        check(Page::status(status), Err(KeyFetchError::Status(status))).await;
    }
    let mut away = Page::status(302);
    away.headers
        .push((axum::http::header::LOCATION, format!("{}/keys", other.base)));
    check(away, Err(KeyFetchError::Status(302))).await;
    assert_eq!(other.hits(), 0);
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_not_waited_for() {
    let publisher = Publisher::start().await;
    publisher.close();
    let source = KeySource::with_timeout(&settings(MAIN, &publisher, json!({})), Duration::from_millis(50)).unwrap();
    let failed = source.fetch_keys().await.unwrap_err();
    let told = failed.to_string();
    assert!(matches!(failed, KeyFetchError::Unreachable(_)), "{told}");
    assert!(!told.contains("127.0.0.1:") && !told.contains("/keys"), "{told}");
}
