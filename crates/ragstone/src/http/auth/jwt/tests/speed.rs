//! How long authentication takes, from the text of a key or token to its caller. Run it with optimisation:
//! `cargo test --release -p ragstone --lib -- speed --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use serde_json::{Value, json};

use super::support::*;
use crate::http::auth::CallerIdentity;
use crate::http::auth::keyring::KEY_CACHE_TTL;
use crate::http::test_app::TestApp;

/// Checks of one kind.
const CHECKS: usize = 2_000;

#[tokio::test]
#[ignore = "prints times, and checks none"]
async fn checks_of_tokens() {
    let world = World::meaning(json!({"groups_claim": "groups"})).await;
    let groups: Vec<String> = (0..200).map(|n| format!("team-{n:04}")).collect();
    for (name, groups) in [("no groups", Vec::new()), ("200 groups", groups)] {
        for (id, signer) in [("rsa", &world.rsa), ("es", &world.es), ("ed", &world.ed)] {
            let of = |n: usize| -> Value { with(claims_of(MAIN), json!({"sub": format!("u{n}"), "groups": groups})) };
            let tokens: Vec<String> = (0..CHECKS).map(|n| signer.token(id, &of(n))).collect();
            world.verify(&signer.token(id, &of(CHECKS))).await.unwrap();
            let cold = time(&world, &tokens).await;
            let one = vec![tokens[CHECKS - 1].clone(); CHECKS];
            let warm = time(&world, &one).await;
            println!(
                "{:>6} {name:<10} {:>5} bytes: signature {}, remembered {}",
                signer.algorithm(),
                one[0].len(),
                shown(&cold),
                shown(&warm)
            );
        }
    }
}

/// Microseconds of each check, shortest first.
async fn time(world: &World, tokens: &[String]) -> Vec<f64> {
    let mut times = Vec::with_capacity(tokens.len());
    for token in tokens {
        let started = Instant::now();
        let caller = CallerIdentity::from_token(world.verify(token).await.unwrap());
        std::hint::black_box((caller.clone(), caller.principal.scope()));
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

#[tokio::test]
#[ignore = "prints times, and checks none"]
async fn checks_of_keys() {
    for groups in [0, 200] {
        let app = TestApp::new();
        let groups: Vec<String> = (0..groups).map(|n| format!("team-{n:04}")).collect();
        let new = json!({"name": "n", "role": "reader", "groups": groups});
        let key = app.issue(&new).await["key"].as_str().unwrap().to_owned();
        let (mut first, mut known, begun) = (Vec::new(), Vec::new(), Instant::now());
        // Long enough that the store is asked again now and then.
        while begun.elapsed() < 5 * KEY_CACHE_TTL {
            let started = Instant::now();
            let caller = CallerIdentity::from_key(&app.api.keys.verify_key(&key).await.unwrap());
            std::hint::black_box((caller.clone(), caller.principal.scope()));
            known.push(started.elapsed().as_secs_f64() * 1e6);
            if first.is_empty() {
                first.push(known[0]);
            }
        }
        known.sort_by(f64::total_cmp);
        println!(
            "   key {:>3} groups: first {}, known {}",
            groups.len(),
            shown(&first),
            shown(&known)
        );
    }
}

fn shown(times: &[f64]) -> String {
    format!(
        "p50 {:.1} p99 {:.1} us",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    )
}
