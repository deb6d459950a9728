//! What claims must contain and which rights they give: each accepted claim beside a refused one.

use ragstone_core::access::Role;
use serde_json::{Value, json};

use super::support::*;
use crate::http::auth::jwt::TokenError::{self, *};
use crate::http::auth::jwt::claims::MAX_VALUES;

fn wrong(claim: &str) -> Result<(), TokenError> {
    Err(Claim(claim.into()))
}

#[tokio::test]
async fn a_token_has_its_time() {
    let world = World::new().await;
    for (name, members, expected) in [
        ("end", json!({"exp": NOW + 1}), Ok(())),
        ("within the skew", json!({"exp": NOW - 59}), Ok(())),
        ("fraction", json!({"exp": NOW as f64 - 59.5}), Ok(())),
        ("just past", json!({"exp": NOW - 60}), Err(Expired)),
        ("long past", json!({"exp": 0}), Err(Expired)),
        ("before time", json!({"exp": -1e300}), Err(Expired)),
        ("text", json!({"exp": (NOW + 600).to_string()}), wrong("exp")),
        ("null", json!({"exp": null}), wrong("exp")),
        ("true", json!({"exp": true}), wrong("exp")),
        ("list", json!({"exp": [NOW + 600]}), wrong("exp")),
        ("begins", json!({"nbf": NOW + 60}), Ok(())),
        ("begins later", json!({"nbf": NOW + 61}), Err(NotYet)),
        ("never begins", json!({"nbf": 1e308}), Err(NotYet)),
        ("begins, text", json!({"nbf": "0"}), wrong("nbf")),
        ("begins, null", json!({"nbf": null}), wrong("nbf")),
        ("issued", json!({"iat": NOW + 60}), Ok(())),
        ("issued later", json!({"iat": NOW + 61}), Err(NotYet)),
        ("issued, text", json!({"iat": "0"}), wrong("iat")),
    ] {
        world.check(name, &world.says(members), expected).await;
    }
    let endless = world.ed.token("ed", &without(claims_of(MAIN), "exp"));
    world.check("endless", &endless, wrong("exp")).await;
    let huge = claims_of(MAIN).to_string().replace(&(NOW + 600).to_string(), "1e999");
    let huge = world.ed.seal(r#"{"alg":"EdDSA","kid":"ed"}"#, huge);
    world.check("no number", &huge, Err(Malformed)).await;
    let strict = World::meaning(json!({"clock_skew_seconds": 0})).await;
    strict
        .check("twin", &strict.says(json!({"exp": NOW + 1, "nbf": NOW})), Ok(()))
        .await;
    strict
        .check("strict", &strict.says(json!({"exp": NOW})), Err(Expired))
        .await;
}

#[tokio::test]
async fn a_token_that_was_accepted_expires() {
    let world = World::new().await;
    let token = world.says(json!({"exp": NOW + 100}));
    world.check("twin", &token, Ok(())).await;
    world.hands.move_wall(159);
    world.check("within the skew", &token, Ok(())).await;
    world.hands.move_wall(1);
    world.check("past", &token, Err(Expired)).await;
}

#[tokio::test]
async fn a_token_is_for_this_service() {
    let world = World::meaning(json!({"audience": ["ragstone", "https://rag.example.com"]})).await;
    for (audience, expected) in [
        (json!("ragstone"), Ok(())),
        (json!("https://rag.example.com"), Ok(())),
        (json!(["other", "ragstone"]), Ok(())),
        (json!("other"), Err(Audience)),
        (json!("ragstone "), Err(Audience)),
        (json!("RAGSTONE"), Err(Audience)),
        (json!("ragstone other"), Err(Audience)),
        (json!(""), Err(Audience)),
        (json!([]), Err(Audience)),
        (json!(["other"]), Err(Audience)),
        (json!(["ragstone", 1]), wrong("aud")),
        (json!([["ragstone"]]), wrong("aud")),
        (json!({"ragstone": true}), wrong("aud")),
        (json!(null), wrong("aud")),
    ] {
        world
            .check(&audience.to_string(), &world.says(json!({"aud": audience})), expected)
            .await;
    }
    let nobody = world.ed.token("ed", &without(claims_of(MAIN), "aud"));
    world.check("missing", &nobody, Err(Audience)).await;
}

/// Settings in which each claim means something.
fn meaning() -> Value {
    json!({
        "tenant_claim": "org.id",
        "subject_claim": "email",
        "departments_claim": "department",
        "groups_claim": "https://example.com/groups",
        "role_claim": "realm_access.roles",
        "roles": {"editors": "writer", "owners": "admin", "guests": "reader"},
    })
}

fn said() -> Value {
    json!({"email": "ann@example.com", "org": {"id": "acme"}})
}

#[tokio::test]
async fn claims_become_a_tenant_readers_and_a_role() {
    let world = World::meaning(meaning()).await;
    let check = async |members: Value, readers: &[&str], role: Role| {
        let token = world.verify(&world.says(with(said(), members))).await.unwrap();
        let held: Vec<&str> = token.readers.iter().map(|reader| reader.as_str()).collect();
        assert_eq!(
            (token.tenant.as_str(), token.subject.as_str()),
            ("acme", "ann@example.com")
        );
        assert_eq!((&held[..], token.role), (readers, role));
    };
    let user = "user:ann@example.com";
    check(json!({}), &[user], Role::Reader).await;
    check(
        json!({"department": "sales", "https://example.com/groups": ["b", "a", "a"]}),
        &["dept:sales", "group:a", "group:b", user],
        Role::Reader,
    )
    .await;
    check(
        json!({"department": ["x", "y z"]}),
        &["dept:x", "dept:y z", user],
        Role::Reader,
    )
    .await;
    check(
        json!({"department": null, "https://example.com/groups": []}),
        &[user],
        Role::Reader,
    )
    .await;
    check(
        json!({"groups": ["a"], "roles": ["owners"], "example": {"com/groups": ["a"]}}),
        &[user],
        Role::Reader,
    )
    .await;
    // A name that looks like another kind of reader is a name.
    check(
        json!({"department": "x,group:y"}),
        &["dept:x,group:y", user],
        Role::Reader,
    )
    .await;
    let roles = |roles: Value| json!({"realm_access": {"roles": roles}});
    check(roles(json!("editors")), &[user], Role::Writer).await;
    check(roles(json!(["editors", "offline_access"])), &[user], Role::Writer).await;
    check(roles(json!(["guests", "owners", "editors"])), &[user], Role::Admin).await;
    check(roles(json!(["admin", "Owners", "writer"])), &[user], Role::Reader).await;
    check(roles(json!(null)), &[user], Role::Reader).await;
    check(json!({"realm_access": null}), &[user], Role::Reader).await;
}

#[tokio::test]
async fn a_claim_that_does_not_parse_refuses_the_token() {
    let world = World::meaning(meaning()).await;
    let check = async |claim: &str, members: Value| {
        world
            .check(&members.to_string(), &world.says(with(said(), members)), wrong(claim))
            .await;
    };
    world.check("twin", &world.says(said()), Ok(())).await;
    for tenant in [
        json!("a/b"),
        json!(""),
        json!("a b"),
        json!("x".repeat(129)),
        json!("../main"),
        json!(1),
        json!(null),
        json!(["acme"]),
        json!("a\u{0}"),
    ] {
        check("org.id", json!({"org": {"id": tenant}})).await;
    }
    for around in [json!("acme"), json!(["acme"]), json!({}), json!(null)] {
        check("org.id", json!({"org": around})).await;
    }
    for subject in [
        json!(""),
        json!(" "),
        json!(7),
        json!(null),
        json!(["ann"]),
        json!("a\nb"),
        json!("x".repeat(252)),
    ] {
        check("email", json!({"email": subject})).await;
    }
    for (claim, path) in [
        ("department", "department"),
        ("https://example.com/groups", "https://example.com/groups"),
    ] {
        for value in [
            json!(1),
            json!({"a": true}),
            json!([1]),
            json!([["a"]]),
            json!(["a", null]),
            json!(""),
            json!(["a", ""]),
            json!(["a\u{7}"]),
            json!(["x".repeat(300)]),
        ] {
            check(path, json!({claim: value})).await;
        }
        let many: Vec<String> = (0..=MAX_VALUES).map(|n| n.to_string()).collect();
        let too_many = world.says(with(said(), json!({claim: many})));
        world.check("many", &too_many, Err(TooMany(path.into()))).await;
        world
            .check("twin", &world.says(with(said(), json!({claim: many[1..]}))), Ok(()))
            .await;
    }
    for roles in [json!(1), json!({"owners": true}), json!([{"name": "owners"}])] {
        check("realm_access.roles", json!({"realm_access": {"roles": roles}})).await;
    }
    check("realm_access.roles", json!({"realm_access": ["owners"]})).await;
}

#[tokio::test]
async fn without_settings_a_claim_gives_nothing() {
    let world = World::meaning(json!({"tenant": "fixed"})).await;
    let claims = json!({"tenant": "other", "groups": ["a"], "departments": ["b"], "role": "admin", "roles": ["admin"], "realm_access": {"roles": ["admin"]}});
    let token = world.verify(&world.says(claims)).await.unwrap();
    let held: Vec<&str> = token.readers.iter().map(|reader| reader.as_str()).collect();
    assert_eq!(
        (token.tenant.as_str(), &held[..], token.role),
        ("fixed", &["user:ann"][..], Role::Reader)
    );
}
