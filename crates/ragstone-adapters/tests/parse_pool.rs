//! The pool of parser processes over every PDF of the shared set, hostile and corrupted ones included.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "pdf")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use ragstone_adapters::parse::{ParseLimits, ParserOptions, ParserPool};

fn options() -> ParserOptions {
    ParserOptions::new(env!("CARGO_BIN_EXE_parse_worker"), [] as [&str; 0])
}

fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/pdf")).join(path);
    if found.exists() {
        return Some(found);
    }
    ragstone_testkit::skip_test("the shared PDFs", &format!("put them at {}", found.display()));
    None
}

async fn code_of(pool: &ParserPool, bytes: &[u8], name: &str) -> &'static str {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document");
    std::fs::write(&path, bytes).unwrap();
    match pool.parse_file(&path, name, None).await {
        Ok(document) => {
            assert!(!document.text.trim().is_empty(), "{name} is stored empty");
            "parsed"
        }
        Err(error) => {
            assert!(error.to_string().contains(name), "{error} does not name {name}");
            error.code()
        }
    }
}

/// A shell in the place of a parser process, which does `then` instead of parsing.
fn impostor(then: &str) -> ParserOptions {
    let ready = r#"{"message":"ready","isolation":{"network_namespace":false,"system_call_filter":false}}"#;
    let head = format!("m\\{:o}\\0\\0\\0", ready.len());
    let script = format!("printf '{head}%s' '{ready}'; head -c 5 >/dev/null; {then}");
    ParserOptions {
        workers: 1,
        max_waiting: 0,
        wall_seconds: 1,
        ..ParserOptions::new("/bin/sh", ["-c", &script])
    }
}

/// A file with one page whose content stream is `content`, and `extra` objects from number 6 on.
fn pdf(content: &str, extra: &str) -> Vec<u8> {
    format!(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
         3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj\n\
         4 0 obj<</Length {}>>stream\n{content}\nendstream endobj\n\
         5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n{extra}\ntrailer<</Root 1 0 R>>\n%%EOF\n",
        content.len() + 1
    )
    .into_bytes()
}

#[tokio::test]
async fn every_format_passes_through_a_worker() {
    let pool = ParserPool::new(options());
    for (name, bytes, expected) in [
        (
            "a.pdf",
            pdf("BT /F1 12 Tf 72 700 Td (Hello from a page) Tj ET", ""),
            "parsed",
        ),
        ("a.md", b"# Title\n\ntext\n".to_vec(), "parsed"),
        ("a.html", b"<!doctype html><p>text".to_vec(), "parsed"),
        ("a.txt", b"text".to_vec(), "parsed"),
        ("empty.pdf", Vec::new(), "empty_file"),
        ("blank.txt", b" \n".to_vec(), "no_text"),
        ("blank.pdf", pdf("0 0 m 9 9 l S", ""), "no_text"),
        ("picture.pdf", b"\x89PNG\r\n\x1a\n".to_vec(), "unsupported_media_type"),
        ("not.pdf", b"hello".to_vec(), "damaged"),
    ] {
        assert_eq!(code_of(&pool, &bytes, name).await, expected, "{name}");
    }
    let isolation = pool.probe_isolation().await.unwrap();
    if cfg!(target_os = "linux") && !(isolation.network_namespace || isolation.system_call_filter) {
        ragstone_testkit::skip_test("parsers without a network", "a kernel that permits network namespaces");
    }
}

#[tokio::test]
async fn limits_hold() {
    let limits = ParseLimits {
        max_bytes: 4000,
        max_pages: 1,
        max_text_bytes: 100,
    };
    let pool = ParserPool::new(ParserOptions { limits, ..options() });
    assert_eq!(code_of(&pool, &[b'a'; 4001], "long.txt").await, "too_large");
    assert_eq!(code_of(&pool, &[b'a'; 101], "long.txt").await, "too_much_text");
    let many = String::from_utf8(pdf("BT ET", ""))
        .unwrap()
        .replace("[3 0 R]/Count 1", "[3 0 R 3 0 R]/Count 2");
    assert_eq!(code_of(&pool, many.as_bytes(), "pages.pdf").await, "too_many_pages");
    let nobody = ParserPool::new(ParserOptions::new("/nonexistent/program", [] as [&str; 0]));
    assert_eq!(code_of(&nobody, b"a", "a.txt").await, "parser_unavailable");
    let impostor = ParserPool::new(ParserOptions::new("/bin/sh", ["-c", "exit 3"]));
    assert_eq!(code_of(&impostor, b"a", "a.txt").await, "parser_unavailable");
}

#[tokio::test]
async fn a_death_is_reported_and_the_next_document_is_parsed() {
    let tight = ParserOptions {
        workers: 1,
        cpu_seconds: 2,
        wall_seconds: 20,
        memory_bytes: 256 << 20,
        ..options()
    };
    let pool = ParserPool::new(tight);
    let nested = "[".repeat(20_000) + &"]".repeat(20_000);
    let dictionaries = "<</A".repeat(20_000) + "1" + &">>".repeat(20_000);
    let blocks = "BT ".repeat(300_000);
    let deep_page = format!("<html><body>{}text", "<div>".repeat(200_000));
    for (name, bytes) in [
        ("nested.pdf", pdf("BT ET", &format!("6 0 obj{nested}endobj"))),
        ("nested-content.pdf", pdf(&format!("{nested} TJ"), "")),
        (
            "nested-dictionaries.pdf",
            pdf("BT ET", &format!("6 0 obj{dictionaries}endobj")),
        ),
        ("nested-blocks.pdf", pdf(&blocks, "")),
        ("deep.html", deep_page.into_bytes()),
    ] {
        let code = code_of(&pool, &bytes, name).await;
        eprintln!("{name}: {code}");
        assert_eq!(
            code_of(&pool, b"still here", "next.txt").await,
            "parsed",
            "after {name}"
        );
    }
}

#[tokio::test]
async fn a_process_that_dies_or_hangs_is_named_so() {
    for (then, expected) in [
        ("kill -XCPU $$", "parse_timed_out"),
        (
            "echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$",
            "parse_out_of_memory",
        ),
        ("kill -SEGV $$", "parse_crashed"),
        ("printf 'no frame at all'", "parse_crashed"),
        ("while :; do read -r line; done", "parse_timed_out"),
    ] {
        let pool = ParserPool::new(impostor(then));
        assert_eq!(code_of(&pool, b"text", "a.txt").await, expected, "{then}");
    }
}

#[tokio::test]
async fn callers_beyond_the_limit_are_refused_and_a_dropped_one_frees_its_turn() {
    let program = ParserOptions {
        workers: 1,
        max_waiting: 0,
        ..options()
    };
    let pool = ParserPool::new(program);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "text").unwrap();
    let (first, second) = tokio::join!(
        pool.parse_file(&path, "a.txt", None),
        pool.parse_file(&path, "b.txt", None)
    );
    let mut codes = [first, second].map(|result| result.map_or_else(|error| error.code(), |_| "parsed"));
    codes.sort_unstable();
    assert_eq!(codes, ["parsed", "parser_busy"]);
    let hanging = ParserPool::new(impostor("while :; do read -r line; done"));
    let dropped = tokio::time::timeout(Duration::from_millis(100), hanging.parse_file(&path, "a.txt", None)).await;
    assert!(dropped.is_err());
    assert_eq!(code_of(&hanging, b"text", "a.txt").await, "parse_timed_out");
}

#[tokio::test]
async fn hostile_files_of_the_shared_set_do_what_its_readme_says() {
    let Some(folder) = shared("edge") else { return };
    let pool = ParserPool::new(options());
    for (name, expected) in [
        ("image-only-1-page.pdf", Err("no_text")),
        ("zero-bytes.pdf", Err("empty_file")),
        ("password.pdf", Err("encrypted")),
        ("malformed.pdf", Ok("2021")),
        ("google-doc-export.pdf", Ok("Beautiful is better than ugly.")),
        ("right-to-left-arabic.pdf", Ok("البرمجة بلغة")),
    ] {
        match (pool.parse_file(&folder.join(name), name, None).await, expected) {
            (Ok(document), Ok(words)) => assert!(document.text.contains(words), "{name}: {}", document.text),
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{name}"),
            (found, _) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn every_answer_key_of_the_shared_set_stands_on_its_page() {
    let Some(folder) = shared("files") else { return };
    let Some(questions) = shared("questions.jsonl") else {
        return;
    };
    let pool = ParserPool::new(options());
    let mut documents = std::collections::HashMap::new();
    let mut keys = 0;
    for line in std::fs::read_to_string(questions).unwrap().lines() {
        let question: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(wanted) = question["answer_keys"].as_array() else {
            continue;
        };
        let Some(file) = question["file"].as_str().map(str::to_owned) else {
            continue;
        };
        if !documents.contains_key(&file) {
            let document = pool.parse_file(&folder.join(&file), &file, None).await.unwrap();
            assert!(
                document
                    .pages
                    .windows(2)
                    .all(|pair| pair[0].range.end == pair[1].range.start)
            );
            assert_eq!(document.pages.last().unwrap().range.end, document.text.len());
            documents.insert(file.clone(), document);
        }
        let document = &documents[&file];
        let Some(page) = question["page"].as_u64().map(|page| &document.pages[page as usize - 1]) else {
            continue;
        };
        for key in wanted {
            let key = key.as_str().unwrap();
            keys += 1;
            assert!(
                plain(&document.text[page.range.clone()]).contains(&plain(key)),
                "{file} {:?}: {key}",
                page.page
            );
        }
    }
    assert_eq!(keys, 43);
}

/// White space and dashes in one form.
fn plain(text: &str) -> String {
    let dashes = |character| matches!(character, '\u{2010}'..='\u{2015}' | '\u{2212}');
    text.replace(dashes, "-")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Corrupts the smaller files of the shared set in every way and checks that each ends within the limits.
///
/// With `RAGSTONE_TEST_ALL_CORRUPTED` set, all files take part.
#[tokio::test]
async fn corrupted_files_end_within_the_limits() {
    const SMALL: u64 = 600_000;
    const VARIANTS: u64 = 24;
    let (Some(files), Some(edge)) = (shared("files"), shared("edge")) else {
        return;
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a person asks for the long run by the environment"
    )]
    let all = std::env::var_os("RAGSTONE_TEST_ALL_CORRUPTED").is_some();
    let pool = ParserPool::new(ParserOptions {
        cpu_seconds: if all { 15 } else { 5 },
        ..options()
    });
    let mut outcomes = std::collections::BTreeMap::<&str, u32>::new();
    for folder in [files, edge] {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths.iter().filter(|path| {
            let size = path.metadata().unwrap().len();
            size > 0 && (all || size <= SMALL)
        }) {
            let original = std::fs::read(path).unwrap();
            for variant in 0..VARIANTS {
                let name = format!("{}#{variant}", path.file_name().unwrap().display());
                let code = code_of(&pool, &corrupted(&original, variant), &name).await;
                *outcomes.entry(code).or_default() += 1;
                let orderly = !matches!(code, "parser_unavailable" | "parser_busy" | "unreadable");
                assert!(orderly, "{name}: {code}");
            }
        }
    }
    eprintln!("corrupted files: {outcomes:?}");
    assert!(outcomes.values().sum::<u32>() > 150);
}

/// One of four kinds of damage, always the same for the same variant.
fn corrupted(original: &[u8], variant: u64) -> Vec<u8> {
    let mut random = Random(variant.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ original.len() as u64 | 1);
    let mut bytes = original.to_vec();
    let length = bytes.len();
    match variant % 4 {
        0 => {
            for _ in 0..1 << (variant / 4 * 2) {
                bytes[random.below(length)] ^= 1 << random.below(8);
            }
        }
        1 => bytes.truncate(random.below(length).max(8)),
        2 => {
            let start = random.below(length);
            let end = (start + 1 + random.below(length / 8)).min(length);
            bytes.drain(start..end);
        }
        _ => {
            let (from, to) = (random.below(length), random.below(length));
            let size = random.below(length / 4).min(length - from);
            bytes.splice(to..to, original[from..from + size].iter().copied());
        }
    }
    bytes
}

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % limit.max(1)
    }
}

/// 2 GiB of spaces, packed three times over by zlib, in hexadecimal digits.
const BOMB: &str = "78daabb8f5f68eb6df9c4489b6878a3e021c7c4d0a06116501ce4612264c26898c4bb6f1711cbcdee3faa06086de02becec70b2218b8\
     1a9b7c4eeb3cdebfdebbf6d754ff7d77f6c7ddfb17d7f3cffafebcbab739f7f4fa1918181a1aadebf7c5c4fca8cb392ff79dbf0f24b2\
     d03a3256f2bc7be3f9c76b6d9f83040eeebef577a3d97fc50f756556657c4011893dbdfdd74fd670ef98ff37d2be841f2ca27e104831\
     7808f2807488813919108e04326754665466546654665466546654665466546654665466546690c8ccacdbf3efdf3c2635fecdc797ce\
     5fbc6df7c5af674ffdb27fb76cfd4100a43b2b95";

#[tokio::test]
async fn what_unpacks_without_end_ends_with_its_process() {
    let pool = ParserPool::new(ParserOptions {
        workers: 1,
        memory_bytes: 512 << 20,
        ..options()
    });
    let filters = "[/ASCIIHexDecode/FlateDecode/FlateDecode/FlateDecode]";
    let visible = "BT /F1 12 Tf 72 700 Td (Hello from a page) Tj ET";
    let bomb = String::from_utf8(pdf(&format!("{BOMB}>"), "")).unwrap();
    let bomb = bomb.replacen("<</Length", &format!("<</Filter{filters}/Length"), 1);
    let code = code_of(&pool, bomb.as_bytes(), "bomb.pdf").await;
    assert_ne!(code, "parsed");
    // One that nothing on the page needs is not unpacked.
    let attached = format!(
        "6 0 obj<</Filter{filters}/Length {}>>stream\n{BOMB}>\nendstream endobj",
        BOMB.len() + 1
    );
    assert_eq!(code_of(&pool, &pdf(visible, &attached), "attached.pdf").await, "parsed");
    assert_eq!(code_of(&pool, &pdf(visible, ""), "next.pdf").await, "parsed");
}
