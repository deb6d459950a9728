//! Access matrix: in random worlds, every route is called as every caller, and each response is compared with the rule.
//!
//! A decision is one caller, one document and one route, shown or refused. Every response is also searched for bytes
//! that its caller may not read. `RAGSTONE_TEST_MATRIX_DECISIONS` is the minimum number of decisions, and
//! `RAGSTONE_TEST_MATRIX_SEED` the seed of the first world; a failure prints the seed that reproduces it.

mod explained;
mod leaky;
mod matrix;
mod random;
mod rule;
mod sources;
mod world;

use leaky::leaky;
use matrix::Matrix;
use random::Random;
use world::World;

/// Minimum number of decisions by default.
const DECISIONS: u64 = 5_000;

/// Maximum number of faults printed per world.
const TOLD: usize = 20;

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no setting of the program"
)]
fn asked(name: &str, else_: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")),
        Err(_) => else_,
    }
}

/// Draws worlds until enough decisions were made.
async fn run(index: Option<world::AroundIndex>) -> Matrix {
    let (wanted, mut seed) = (
        asked("RAGSTONE_TEST_MATRIX_DECISIONS", DECISIONS),
        asked("RAGSTONE_TEST_MATRIX_SEED", 1),
    );
    let mut all = Matrix::default();
    while all.decisions() < wanted {
        let world = World::draw(&mut Random::of(seed), index).await;
        let one = Matrix::of(&world, &mut Random::of(seed)).await;
        let faults = one.leaks.len() + one.refused.len();
        let told: Vec<_> = one.leaks.iter().chain(&one.refused).take(TOLD).collect();
        assert!(
            faults == 0,
            "{faults} faults; RAGSTONE_TEST_MATRIX_SEED={seed} RAGSTONE_TEST_MATRIX_DECISIONS=1 shows them again: \
             {told:#?}"
        );
        let counted = world.app.api.library.access_alarms().leaked_hits();
        match index {
            None => assert_eq!(counted, 0, "seed {seed}"),
            Some(_) => assert!(counted >= one.offered, "seed {seed}: {counted} of {}", one.offered),
        }
        all.add(one);
        seed += 1;
    }
    eprintln!(
        "{} decisions in {} requests: {} shown, {} refused",
        all.decisions(),
        all.requests,
        all.shown,
        all.hidden
    );
    all
}

#[tokio::test]
async fn every_route_shows_what_the_rule_says() {
    let all = run(None).await;
    // A matrix in which nearly all decisions are alike proves nothing.
    assert!(all.shown > all.decisions() / 20 && all.hidden > all.decisions() / 20);
}

#[tokio::test]
async fn an_index_that_knows_no_scope_shows_nothing_more() {
    let all = run(Some(leaky)).await;
    assert!(all.offered > 0, "the index leaked nothing");
}
