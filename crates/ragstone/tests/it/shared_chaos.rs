//! Two servers and two workers over shared stores, killed one after the other while documents come, change and go: what is
//! left must be what one undisturbed server leaves in a data directory.
//!
//! `RAGSTONE_TEST_CHAOS_KILLS` and `RAGSTONE_TEST_CHAOS_SEED` as in `chaos`.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::chaos::{
    Contents, DOCUMENTS, Dice, Door, Ids, Operation, PATIENCE, carry_out, number, operations, sandbox, settled_state,
    state_after,
};
use crate::shared_set::{Set, start};
use crate::support::{Sandbox, Server};

const KILLS: u64 = 4;
/// Operations for each kill, so that something is always under way.
const OPERATIONS_A_KILL: u64 = 12;
/// Longest time between two kills, in milliseconds.
const LONGEST_PAUSE: u64 = 1_500;

/// The processes; those that serve come first.
struct House<'a> {
    homes: &'a [Sandbox],
    living: VecDeque<(usize, Server)>,
    changes: u64,
}

/// How far two sums of the same weights may be apart, in millionths.
const LAST_DIGITS: f64 = 5.0;
const ROLES: [&str; 4] = ["api", "api", "worker", "worker"];

impl House<'_> {
    /// Kills the process of a home and starts another one there; callers turn to the other server meanwhile.
    fn kill(&mut self, home: usize, door: &Door) {
        self.living.retain(|(living, _)| *living != home);
        self.show(door);
        self.living.push_back((home, start(&self.homes[home], ROLES[home])));
        self.show(door);
    }

    /// Lets callers in by a server that lives: the one that is there longest.
    fn show(&mut self, door: &Door) {
        let server = self.living.iter().find(|(home, _)| ROLES[*home] == "api");
        self.changes += 1;
        door.open(self.changes, server.map(|(_, server)| server.address.clone()));
    }
}

/// What is left after `operations` while processes die at `deaths`: after how long, and which.
fn shared_state_after(homes: &[Sandbox], operations: &[Operation], deaths: &[(u64, usize)]) -> Value {
    let door = Door::default();
    std::thread::scope(|scope| {
        let (sender, finished) = mpsc::channel();
        let door = &door;
        let mut house = House {
            homes,
            living: (0..).zip(homes).map(|(n, home)| (n, start(home, ROLES[n]))).collect(),
            changes: 0,
        };
        house.show(door);
        scope.spawn(move || {
            let mut ids = Ids::new();
            for operation in operations {
                carry_out(door, &Contents::Texts, *operation, &mut ids);
            }
            // Nobody listens any more if the test failed.
            let _ = sender.send(());
        });
        let (_silent, nothing) = mpsc::channel::<()>();
        for (milliseconds, home) in deaths {
            let _ = nothing.recv_timeout(Duration::from_millis(*milliseconds));
            house.kill(*home, door);
        }
        let _ = finished.recv_timeout(PATIENCE * 4);
        let state = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settled_state(door)));
        door.close();
        state.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The same passages by score. Another index adds in another order, so a score may differ in its last digit, and with it
/// who comes first among equals.
fn is_near(found: &Value, expected: &Value) -> bool {
    let scores = |list: &Value| -> Vec<(String, f64)> {
        let passages = list.as_array().unwrap().iter();
        passages
            .map(|passage| (passage[0].to_string(), passage[1].as_f64().unwrap()))
            .collect()
    };
    let (found, expected) = (scores(found), scores(expected));
    let is_near = |a: f64, b: f64| (a - b).abs() <= LAST_DIGITS;
    let by_place = found.iter().zip(&expected).all(|(a, b)| is_near(a.1, b.1));
    let by_name = found.iter().all(|(name, score)| {
        let other = expected.iter().find(|(other, _)| other == name);
        other.is_none_or(|(_, other)| is_near(*score, *other))
    });
    found.len() == expected.len() && by_place && by_name
}

#[test]
fn killing_changes_nothing_of_shared_stores() {
    let Some(set) = Set::start() else { return };
    let kills = number("RAGSTONE_TEST_CHAOS_KILLS").unwrap_or(KILLS);
    let seed = number("RAGSTONE_TEST_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("shared chaos: repeat with RAGSTONE_TEST_CHAOS_KILLS={kills} RAGSTONE_TEST_CHAOS_SEED={seed}");
    let mut dice = Dice(seed);
    let operations = operations(&mut dice, kills * OPERATIONS_A_KILL + DOCUMENTS);
    let deaths: Vec<_> = (0..kills)
        .map(|_| (dice.below(LONGEST_PAUSE), dice.below(ROLES.len() as u64) as usize))
        .collect();
    let calm = sandbox();
    let expected = state_after(&calm, &Contents::Texts, &operations, &[]);
    let homes: Vec<Sandbox> = ROLES.iter().map(|_| set.sandbox()).collect();
    let found = shared_state_after(&homes, &operations, &deaths);
    assert_eq!(found["documents"], expected["documents"], "seed {seed}, {kills} kills");
    let searches = |state: &Value| state["searches"].as_array().unwrap().clone();
    for (found, expected) in searches(&found).iter().zip(searches(&expected)) {
        assert!(
            is_near(found, &expected),
            "seed {seed}, {kills} kills: {found} is not {expected}"
        );
    }
    homes[0].run(&["fsck"]).ended(0);
}
