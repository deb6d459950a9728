//! What the tests of all crates share. It depends on no other crate, so that the tests of each can use it.
//!
//! A test that does not find what it needs calls [`skip_test`] or [`skip_installed_test`] and returns. The line is shown although
//! the test passes, is appended to the file that `RAGSTONE_TEST_SKIPS` names, and the test fails instead where
//! `RAGSTONE_TEST_REQUIRE` asks for it.

mod programs;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Mutex;

pub use programs::{find_postgresql, find_program, unprivileged_user};

/// Reports that a test does not run, as it lacks what `.ci/run` does not install: data outside the repository, other servers, a
/// network. `what` is not tested, `enable` says how to enable it.
///
/// # Panics
///
/// With `RAGSTONE_TEST_REQUIRE=all`.
#[track_caller]
pub fn skip_test(what: &str, enable: &str) {
    report_skip(what, enable, &["all"]);
}

/// Like [`skip_test`], for what `.ci/run` installs: PostgreSQL and Redis.
///
/// # Panics
///
/// With `RAGSTONE_TEST_REQUIRE=1`, which `.ci/run` sets, and with `all`.
#[track_caller]
pub fn skip_installed_test(what: &str, enable: &str) {
    report_skip(what, enable, &["1", "all"]);
}

#[track_caller]
fn report_skip(what: &str, enable: &str, required_by: &[&str]) {
    let required = read_variable("RAGSTONE_TEST_REQUIRE").is_some_and(|value| required_by.contains(&value.as_str()));
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

/// A variable of the environment, by which tests are told where servers are and what they must not skip.
#[expect(clippy::disallowed_methods, reason = "tests are set up by their environment")]
pub fn read_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
