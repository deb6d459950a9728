//! Bombs, passwords, files that were cut off, and files with random damage, in the parser's process.

use ragstone_adapters::parse::{ParserOptions, ParserPool};

use super::fixtures;

/// Damaged copies of each file.
const DAMAGED: u64 = 40;

fn pool() -> ParserPool {
    ParserPool::new(ParserOptions {
        workers: 1,
        cpu_seconds: 20,
        wall_seconds: 60,
        ..ParserOptions::new(env!("CARGO_BIN_EXE_parse_worker"), [] as [&str; 0])
    })
}

/// `parsed`, or the code of the error.
async fn outcome(pool: &ParserPool, bytes: &[u8], name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document");
    std::fs::write(&path, bytes).unwrap();
    match pool.parse_file(&path, name, None).await {
        Ok(document) => {
            assert!(!document.text.trim().is_empty(), "{name} is stored empty");
            "parsed".to_owned()
        }
        Err(error) => {
            assert!(error.to_string().contains(name), "{error} does not name {name}");
            error.code().to_owned()
        }
    }
}

#[tokio::test]
async fn whole_files_are_read_and_cut_off_ones_refused() {
    let pool = pool();
    for (name, bytes) in fixtures::all() {
        assert_eq!(outcome(&pool, &bytes, name).await, "parsed", "{name}");
        let ending = name.rsplit('.').next().unwrap();
        if matches!(ending, "csv" | "eml") {
            continue;
        }
        // The last sector of a compound file is filled up, and may be cut without a loss.
        let nearly = if ending == "msg" { 8 } else { bytes.len() - 30 };
        for part in [8, bytes.len() / 3, nearly] {
            let found = outcome(&pool, &bytes[..part], name).await;
            assert_eq!(found, "damaged", "{part} bytes of {name}");
        }
        assert_eq!(outcome(&pool, b"no such thing", name).await, "damaged", "{name}");
    }
}

/// A generator of numbers that needs no crate (Steele, Lea, Flood: SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

#[tokio::test]
async fn random_damage_is_read_or_refused_by_a_pool_that_lives_on() {
    let pool = pool();
    for (name, bytes) in fixtures::all() {
        for seed in 0..DAMAGED {
            let mut numbers = Numbers(seed);
            let mut damaged = bytes.clone();
            for _ in 0..=numbers.below(6) {
                if damaged.is_empty() {
                    break;
                }
                let at = numbers.below(damaged.len());
                match numbers.below(3) {
                    0 => damaged[at] ^= 1 << numbers.below(8),
                    1 => damaged[at] = numbers.below(256) as u8,
                    _ => drop(damaged.drain(at..(at + numbers.below(9)).min(damaged.len()))),
                }
            }
            outcome(&pool, &damaged, name).await;
        }
        assert_eq!(
            outcome(&pool, &bytes, name).await,
            "parsed",
            "{name} after its damaged copies"
        );
    }
}

#[tokio::test]
async fn bombs_end_in_an_error_that_says_so() {
    let pool = pool();
    let bomb = format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "a".repeat(40 << 20));
    let bomb = fixtures::docx_of(&bomb);
    assert!(bomb.len() < 100 << 10, "{}", bomb.len());
    assert_eq!(outcome(&pool, &bomb, "bomb.docx").await, "unpacks_too_large");
    let entities =
        r#"<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><text:p>&b;</text:p>"#;
    let odt = fixtures::package(&[
        ("mimetype", "application/vnd.oasis.opendocument.text"),
        ("content.xml", entities),
    ]);
    assert_eq!(outcome(&pool, &odt, "entities.odt").await, "no_text");
    let deep = "<text:list><text:list-item>".repeat(100_000);
    let deep = fixtures::odf_of("text", "", &(deep + "<text:p>x</text:p>"));
    assert_eq!(outcome(&pool, &deep, "deep.odt").await, "too_complex");
    let cells = r#"<table:table><table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell></table:table-row></table:table>"#;
    let cells = fixtures::odf_of("spreadsheet", "", cells);
    assert_eq!(outcome(&pool, &cells, "cells.ods").await, "unpacks_too_large");
    assert_eq!(outcome(&pool, &fixtures::mail(), "a.eml").await, "parsed");
}

#[tokio::test]
async fn a_far_corner_cell_costs_nothing() {
    let rows = format!(
        r#"<row r="1">{}</row><row r="1048576">{}</row>"#,
        fixtures::cell("A1", "near"),
        fixtures::cell("XFD1048576", "far")
    );
    let book = fixtures::xlsx_of(&[("Corners", "", &rows)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document");
    std::fs::write(&path, book).unwrap();
    let document = pool().parse_file(&path, "corners.xlsx", None).await.unwrap();
    assert!(
        document.text.contains("near") && document.text.contains("far"),
        "{}",
        document.text
    );
    assert!(document.text.len() < 1000, "{}", document.text.len());
}

#[tokio::test]
async fn what_needs_a_password_says_so() {
    let pool = pool();
    let mut locked = fixtures::docx();
    // Bit 0 of the flags of an entry in the directory (APPNOTE 4.4.4).
    let entry = locked.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    locked[entry + 8] |= 1;
    assert_eq!(outcome(&pool, &locked, "locked.docx").await, "encrypted");
    let odt = fixtures::package(&[
        ("mimetype", "application/vnd.oasis.opendocument.text"),
        ("META-INF/manifest.xml", "<manifest:encryption-data/>"),
        ("content.xml", "\u{1}\u{2}"),
    ]);
    assert_eq!(outcome(&pool, &odt, "locked.odt").await, "encrypted");
    assert_eq!(
        outcome(&pool, &fixtures::package(&[("a.txt", "x")]), "a.zip").await,
        "unsupported_media_type"
    );
}
