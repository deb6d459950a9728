//! Files that are small and take long: each is read, or refused by name, in two seconds of a parser's processor time.
//!
//! Each is made here. Where a form is refused, its twin within the bounds is read.

mod documents;
mod markup;
mod pages;

use ragstone_adapters::parse::{ParserOptions, ParserPool};

/// Processor seconds of one file.
const SECONDS: u64 = 2;

/// What has to become of a file.
enum Expected {
    /// Its text holds this.
    Reads(&'static str),
    /// This code.
    Refused(&'static str),
    /// Either; a reader may find its own bound first. Only time and memory may not run out.
    Ends,
}
use Expected::{Ends, Reads, Refused};

struct Case {
    name: String,
    bytes: Vec<u8>,
    expected: Expected,
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        expected,
    }
}

/// Parses all of them in processes that get no more than the time.
async fn check(cases: Vec<Case>) {
    let pool = ParserPool::new(ParserOptions {
        workers: 1,
        cpu_seconds: SECONDS,
        small_cpu_seconds: SECONDS,
        wall_seconds: 60,
        ..ParserOptions::new(env!("CARGO_BIN_EXE_parse_worker"), [] as [&str; 0])
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document");
    let mut wrong = Vec::new();
    for Case { name, bytes, expected } in cases {
        std::fs::write(&path, &bytes).unwrap();
        let started = std::time::Instant::now();
        let found = pool.parse_file(&path, &name, None).await;
        eprintln!(
            "{name}: {} bytes, {:?}, {}",
            bytes.len(),
            started.elapsed(),
            found.as_ref().map_or_else(ToString::to_string, |document| format!(
                "{} bytes of text",
                document.text.len()
            ))
        );
        let right = match (&expected, &found) {
            (Reads(words), Ok(document)) => document.text.contains(words),
            (Refused(code), Err(error)) => error.code() == *code,
            (Ends, Ok(_)) => true,
            (Ends, Err(error)) => !matches!(error.code(), "parse_timed_out" | "parse_out_of_memory"),
            _ => false,
        };
        if !right {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// `one` for each number below `count`.
fn each(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

/// `open` and `close` so many times around `middle`.
fn nested(depth: usize, open: &str, middle: &str, close: &str) -> String {
    open.repeat(depth) + middle + &close.repeat(depth)
}
