//! What the tests of all crates share. It depends on no other crate, so that the tests of each can use it.
//!
//! A test that does not find what it needs calls [`skip_test`] and returns. The line is shown although the test passes, is
//! appended to the file that `RAGSTONE_TEST_SKIPS` names, and the test fails instead where `RAGSTONE_TEST_REQUIRE` asks for it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Mutex;

/// What a skipped test lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A program that `.ci/run` installs (PostgreSQL, Redis): with `RAGSTONE_TEST_REQUIRE=1` its absence is a failure.
    InstalledByCi,
    /// Anything else: data outside the repository, other servers, a network, long runs that are asked for by name.
    Optional,
}

/// Reports that a test does not run: `what` is not tested, `enable` says how to enable it.
///
/// # Panics
///
/// If `RAGSTONE_TEST_REQUIRE=1` and the requirement is [`Requirement::InstalledByCi`], or if it is `all`.
#[track_caller]
pub fn skip_test(requirement: Requirement, what: &str, enable: &str) {
    let required = read_variable("RAGSTONE_TEST_REQUIRE").is_some_and(|value| match value.as_str() {
        "all" => true,
        "1" => requirement == Requirement::InstalledByCi,
        _ => false,
    });
    assert!(
        !required,
        "required by RAGSTONE_TEST_REQUIRE, and missing: {what}; to enable: {enable}"
    );
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("skipped: {what}; to enable: {enable}\n");
    let mut reported = REPORTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !reported.insert(line.clone()) {
        return;
    }
    // Written to the stream itself: the test harness captures `eprintln!` and shows it for failed tests alone.
    let shown = std::io::stderr().write_all(line.as_bytes());
    let stored = read_variable("RAGSTONE_TEST_SKIPS").map_or(Ok(()), |path| {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())
    });
    assert!(
        shown.and(stored).is_ok(),
        "a skipped test could not be reported: {line}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what they must not skip"
)]
fn read_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
