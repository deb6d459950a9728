//! Tokens, as the program takes them: where keys may come from, who is told, and what an issuer out of reach means.

use crate::http::request;
use crate::support::{Sandbox, Server};

/// An issuer on this machine that nobody answers for.
const ABSENT: &str = r#"[{"issuer": "http://127.0.0.1:9", "audience": "ragstone", "tenant": "acme"}]"#;
/// `{"alg":"EdDSA"}`, `{"iss":"http://127.0.0.1:9"}` and a signature.
const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkifQ.AAAA";

#[test]
fn an_issuer_switches_access_on() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_ACCESS__ISSUERS", ABSENT);
    let server = Server::start(&sandbox);
    let list = || request(&server.address, "GET", "/api/v1/documents");
    assert_eq!(request(&server.address, "GET", "/healthz").send().status, 200);
    let nobody = list().send();
    nobody.problem(401, "unauthorized");
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    let bad = list().header("Authorization", "Bearer a.b.c").send();
    bad.problem(401, "unauthorized");
    assert_eq!(bad.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    let early = list().header("Authorization", &format!("Bearer {TOKEN}")).send();
    early.problem(503, "issuer_unavailable");
    assert_eq!(early.header("retry-after"), Some("30"));
}

#[test]
fn doctor_names_the_issuers() {
    let sandbox = Sandbox::lexical()
        .with("RAGSTONE_ACCESS__ISSUERS", ABSENT)
        .with("RAGSTONE_LISTEN", "0.0.0.0:8080");
    let told = sandbox.run(&["doctor"]).ended(0).out;
    assert!(told.contains("for callers with a key or a token"), "{told}");
    assert!(
        told.contains("http://127.0.0.1:9, its keys are discovered, for tenant acme, audience ragstone"),
        "{told}"
    );
}

#[test]
fn keys_over_plain_http_are_refused_at_start() {
    let plain =
        r#"[{"issuer": "https://login.example.com", "audience": "a", "jwks_url": "http://login.example.com/k"}]"#;
    let ran = Sandbox::lexical()
        .with("RAGSTONE_ACCESS__ISSUERS", plain)
        .run(&["doctor"]);
    assert!(ran.ended(2).err.contains("jwks_url must be an https:// address"));
}
