//! The rules that no compiler checks: the floors, which module may use which, the call sites that are pinned, and the
//! house's order. Plain text scanning, see `tidy/source.rs`.
//!
//! A rule that fails names file and line and says what to do. The tables in `tidy/tables.rs` are meant to be changed, together with
//! the reason that stands beside each entry; a change here is a change of architecture and belongs in review.

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tables.rs"]
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use source::SourceFile;
use tables::*;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in crates/");
    crates.parent().expect("crates/ lies in the workspace").to_path_buf()
});

static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(|| source::load(&ROOT));

fn package(name: &str) -> impl Iterator<Item = &'static SourceFile> {
    FILES.iter().filter(move |file| file.package == name)
}

/// Places where any of `needles` stands in code that is not a test's.
fn places(file: &SourceFile, needles: &[&str]) -> Vec<String> {
    let found = needles.iter().flat_map(|needle| file.find(&file.code, needle));
    found.map(|at| file.place(at)).collect()
}

fn at_home(file: &SourceFile, home: &str) -> bool {
    file.path == format!("{home}.rs") || file.path.starts_with(&format!("{home}/"))
}

#[track_caller]
fn none(violations: Vec<String>, rule: &str) {
    assert!(violations.is_empty(), "{rule}\n  {}\n", violations.join("\n  "));
}

/// Names under `[section]` of a crate's manifest.
fn dependencies(package: &str, section: &str) -> Vec<String> {
    let path = ROOT.join("crates").join(package).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).expect("every crate has a manifest");
    names_in_section(&manifest, section)
}

fn names_in_section(manifest: &str, section: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header == section;
            if let Some(name) = header.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) {
                names.push(name.to_string());
            }
        } else if inside && !line.starts_with('#') {
            let end = line.find(['.', ' ', '=']).unwrap_or(0);
            names.extend((end > 0).then(|| line[..end].to_string()));
        }
    }
    names
}

#[test]
fn core_depends_on_meaning_only() {
    let foreign = |name: &String| !CORE_DEPENDENCIES.contains(&name.as_str());
    let violations = dependencies("ragstone-core", "dependencies")
        .into_iter()
        .filter(foreign)
        .collect();
    none(
        violations,
        "ragstone-core may not depend on these; a pure library may be added to CORE_DEPENDENCIES",
    );
}

#[test]
fn adapters_depend_on_nothing_of_the_process() {
    let names = dependencies("ragstone-adapters", "dependencies");
    let violations = names
        .into_iter()
        .filter(|name| NOT_FOR_ADAPTERS.contains(&name.as_str()))
        .collect();
    none(
        violations,
        "ragstone-adapters may not depend on what the process is made of",
    );
}

#[test]
fn the_encoder_knows_nothing_of_ragstone() {
    let names = dependencies("ragstone-encoder", "dependencies");
    let ours = names.into_iter().filter(|name| name.starts_with("ragstone"));
    none(
        ours.collect(),
        "ragstone-encoder turns texts into vectors and knows no seam",
    );
}

#[test]
fn the_process_depends_on_no_engine() {
    let names = dependencies("ragstone", "dependencies");
    let violations = names
        .into_iter()
        .filter(|name| NOT_FOR_PROCESS.contains(&name.as_str()))
        .collect();
    none(
        violations,
        "engines stand behind a seam in ragstone-adapters, not in ragstone",
    );
}

#[test]
fn contract_suites_are_for_tests() {
    let mut violations = Vec::new();
    for name in ["ragstone-core", "ragstone-adapters", "ragstone"] {
        let path = ROOT.join("crates").join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(path).expect("every crate has a manifest");
        let shipped = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let uses = |line: &&str| line.contains("\"contract\"") || line.contains("/contract\"");
        violations.extend(shipped.lines().filter(uses).map(|line| format!("{name}: {line}")));
    }
    for file in FILES.iter() {
        violations.extend(places(file, &["for_contract"]));
    }
    none(
        violations,
        "the feature `contract` and `for_contract` make unchecked values: dev-dependencies and tests only",
    );
}

#[test]
fn core_knows_no_world() {
    let mut violations = Vec::new();
    for (needle, reason) in NOT_IN_CORE {
        for file in package("ragstone-core") {
            let found = places(file, &[needle]);
            violations.extend(found.into_iter().map(|place| format!("{place}  ({needle}: {reason})")));
        }
    }
    none(
        violations,
        "ragstone-core knows no HTTP, SQL, environment, clock or files",
    );
}

#[test]
fn core_modules_use_what_is_below_them() {
    check_layers("ragstone-core", CORE_LAYERS, CORE_LOOPS);
}

#[test]
fn process_modules_use_what_is_below_them() {
    check_layers("ragstone", PROCESS_LAYERS, &[]);
}

fn check_layers(name: &str, layers: &[(&str, &[&str])], loops: &[(&str, &str, &[&str])]) {
    let table: BTreeMap<&str, &[&str]> = layers.iter().copied().collect();
    let modules: BTreeSet<&str> = package(name)
        .filter_map(|file| Some(file.module.first()?.as_str()))
        .collect();
    let mut violations = Vec::new();
    for file in package(name).filter(|file| !file.module.is_empty()) {
        let own = file.module[0].as_str();
        let Some(allowed) = table.get(own) else {
            violations.push(format!("{}: `{own}` is not in the table", file.path));
            continue;
        };
        for (at, path) in file.crate_paths() {
            let Some(used) = path
                .first()
                .filter(|used| modules.contains(used.as_str()) && *used != own)
            else {
                continue;
            };
            let narrow = loops.iter().find(|(from, to, _)| *from == own && to == used);
            let passes =
                narrow.is_none_or(|(_, _, items)| path.get(1).is_some_and(|item| items.contains(&item.as_str())));
            if !allowed.contains(&used.as_str()) || !passes {
                violations.push(format!("{}  (`{own}` uses `{}`)", file.place(at), path.join("::")));
            }
        }
    }
    none(
        violations,
        "a module uses one that its layer may not; move the item down, or change the table in tidy.rs with a reason",
    );
}

#[test]
fn layers_have_no_loops() {
    for (layers, loops) in [(CORE_LAYERS, CORE_LOOPS), (PROCESS_LAYERS, &[][..])] {
        let mut below: BTreeSet<&str> = BTreeSet::new();
        for (module, allowed) in layers {
            let known = |used: &&&str| {
                !below.contains(**used) && !loops.iter().any(|(from, to, _)| from == module && *to == **used)
            };
            let early: Vec<String> = allowed
                .iter()
                .filter(known)
                .map(|used| format!("{module} -> {used}"))
                .collect();
            none(early, "a layer may use only the ones that stand before it in its table");
            below.insert(module);
        }
    }
}

#[test]
fn seams_of_the_adapters_stand_apart() {
    let mut violations = Vec::new();
    for file in package("ragstone-adapters").filter(|file| !file.module.is_empty() && file.module[0] != "bin") {
        let own = file.module[0].as_str();
        for (at, path) in file.crate_paths() {
            let used = path.first().map_or("", String::as_str);
            if used != own && ADAPTER_SEAMS.contains(&used) {
                violations.push(format!("{}  (`{own}` uses `{used}`)", file.place(at)));
            }
        }
    }
    none(
        violations,
        "one seam's folder may not use another's; what they share gets a module of its own",
    );
}

#[test]
fn only_wiring_names_implementations() {
    let wiring = "crates/ragstone/src/wiring";
    let mut violations = Vec::new();
    for file in package("ragstone").filter(|file| !at_home(file, wiring)) {
        // A parser process starts before there is anything to wire: no settings, no runtime.
        let parser = "ragstone_adapters::parse::worker_main()";
        let named = file
            .find(&file.code, "ragstone_adapters")
            .filter(|&at| file.path != "crates/ragstone/src/main.rs" || !file.code[at..].starts_with(parser));
        violations.extend(named.map(|at| file.place(at)));
    }
    none(violations, "only wiring names what stands behind a seam");
}

#[test]
fn only_config_reads_the_environment() {
    const READS: &[&str] = &[
        "env::var",
        "env::vars",
        "env::var_os",
        "env::vars_os",
        "env::set_var",
        "env::remove_var",
        "Env::prefixed",
        "Env::raw",
        "option_env!",
    ];
    // The testkit is told by the environment what tests must not skip; no product code depends on it.
    let others = FILES
        .iter()
        .filter(|file| !at_home(file, "crates/ragstone/src/config") && !at_home(file, "crates/ragstone-testkit/src"));
    let mut violations: Vec<String> = others.flat_map(|file| places(file, READS)).collect();
    for file in package("ragstone-adapters") {
        violations.extend(places(file, &["env::current_exe", "current_exe()"]));
    }
    none(
        violations,
        "only config/ of the binary reads the environment; adapters are handed what they need",
    );
}

#[test]
fn there_is_one_clock() {
    const READS: &[&str] = &["SystemTime::now", "now_utc", "now_local", "Utc::now", "Local::now"];
    let of = |file: &'static SourceFile| places(file, READS).into_iter().map(move |place| (file, place));
    let found: Vec<_> = FILES.iter().flat_map(of).collect();
    let homes: BTreeSet<&str> = found.iter().map(|(file, _)| file.path.as_str()).collect();
    let outside = found.iter().any(|(file, _)| file.package != "ragstone");
    let all = found.iter().map(|(_, place)| place.clone()).collect();
    none(
        if homes.len() > 1 || outside { all } else { Vec::new() },
        "the calendar is read in one file of the binary and handed in everywhere else",
    );
}

#[test]
fn every_queue_has_a_bound() {
    let endless = |file| places(file, &["unbounded_channel", "mpsc::unbounded", "mpsc::channel()"]);
    let violations = FILES.iter().flat_map(endless).collect();
    none(violations, "a queue without a bound is memory without a bound");
}

#[test]
fn pinned_calls_stay_where_they_are() {
    let mut violations = Vec::new();
    for pin in PINS {
        let mut home = false;
        let mut times = 0;
        for file in FILES.iter() {
            let found = places(file, &[pin.call]);
            if at_home(file, pin.home) {
                home = true;
                times += found.len();
            } else {
                violations.extend(found.into_iter().map(|place| format!("{place}  ({})", pin.reason)));
            }
        }
        if let Some(expected) = pin.times.filter(|expected| home && *expected != times) {
            let Pin { call, home, .. } = pin;
            violations.push(format!("`{call}` stands {times} times in {home}, expected {expected}"));
        }
    }
    none(violations, "a pinned call left its home");
}

#[test]
fn principals_and_scopes_are_made_in_one_file() {
    let makers = ["Principal {", "Scope {", "ScopedQuery {", "Admitted("];
    let mut violations = Vec::new();
    for file in FILES
        .iter()
        .filter(|file| file.path != "crates/ragstone-core/src/access.rs")
    {
        for maker in makers {
            let built = file.find(&file.code, maker).filter(|at| {
                let before = file.code[..*at].trim_end();
                !["struct", "impl", "for", ">", "enum"]
                    .iter()
                    .any(|word| before.ends_with(word))
            });
            violations.extend(built.map(|at| file.place(at)));
        }
    }
    none(
        violations,
        "the types of access have private fields and their makers in access.rs",
    );
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |file: &&SourceFile| !file.test && !file.raw.trim_start().starts_with("//!");
    let violations = FILES.iter().filter(silent).map(|file| file.path.clone()).collect();
    none(
        violations,
        "a module begins with `//!`: what it is, and its invariant if it has one",
    );
}

#[test]
fn files_are_short_or_have_a_reason() {
    let mut sorted: Vec<_> = FILES.iter().map(|file| (file.raw.lines().count(), file)).collect();
    sorted.sort_by_key(|(lines, _)| *lines);
    let (median, p90) = (sorted[sorted.len() / 2].0, sorted[sorted.len() * 9 / 10].0);
    println!("{} files, median {median} lines, p90 {p90}; the longest:", sorted.len());
    for (lines, file) in sorted.iter().rev().take(10) {
        println!("{lines:5} {}", file.path);
    }
    let reasons: BTreeMap<&str, &str> = LONG_FILES.iter().copied().collect();
    let mut violations = Vec::new();
    for (lines, file) in sorted {
        let path = file.path.as_str();
        let long = lines > if file.test { MAX_TEST_LINES } else { MAX_LINES };
        match (long, reasons.contains_key(path)) {
            (true, false) => violations.push(format!("{path} has {lines} lines")),
            (false, true) => violations.push(format!("{path} has {lines} lines: remove it from LONG_FILES")),
            _ => {}
        }
    }
    none(
        violations,
        "a file over 400 lines (600 of tests) is two things, or stands in LONG_FILES with its reason",
    );
}

#[test]
fn nothing_gives_up_without_a_reason() {
    let mut violations = Vec::new();
    for file in FILES.iter() {
        violations.extend(places(
            file,
            &[".unwrap()", ".expect(\"\")", "todo!", "unimplemented!", "dbg!"],
        ));
        violations.extend(file.find(&file.masked, "#[ignore]").map(|at| file.place(at)));
    }
    none(
        violations,
        "no unwrap (`expect(\"why it holds\")`), todo!, unimplemented! or dbg! outside tests; `#[ignore = \"why\"]`",
    );
}

#[test]
fn no_file_names_a_machine() {
    let machine = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp/", "wt"),
        concat!("/Use", "rs/"),
    ];
    let mut violations = Vec::new();
    for path in source::walk(&ROOT, NOT_OURS) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if machine.iter().any(|prefix| line.contains(prefix)) {
                let path = source::relative(&ROOT, &path);
                violations.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(violations, "a path of one machine means nothing on another");
}

#[test]
fn no_file_is_large() {
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let large = source::walk(&ROOT, NOT_OURS)
        .into_iter()
        .filter(|path| size(path) > MAX_FILE_BYTES);
    let violations = large.map(|path| source::relative(&ROOT, &path)).collect();
    none(violations, "a file over 1 MB does not belong in the repository");
}

#[test]
fn the_scanner_blanks_comments_and_literals() {
    check_mask("a//b\"c\"\nd", "a......\nd");
    check_mask("a/*b/*c*/d*/e", "a...........e");
    check_mask(r#"f("x\"y",z)"#, r#"f("....",z)"#);
    check_mask("r#\"a\"b\"#c", "r#\"...\"#c");
    check_mask("br\"a\\\"b", "br\"..\"b");
    check_mask("'a','\\'','é',<'a,'b>", "'.','..','..',<'a,'b>");
    check_mask("\"//no\"x", "\"....\"x");
}

#[track_caller]
fn check_mask(text: &str, expected: &str) {
    assert_eq!(source::mask(text).replace(' ', "."), expected);
}

#[test]
fn the_scanner_blanks_tests() {
    check_code("a;\n#[cfg(test)]\nmod tests { fn b() { x.unwrap() } }\nc;", "a; c;");
    check_code(
        "#[cfg(any(test, feature = \"contract\"))]\npub fn f(a: [u8; 3]) -> u8 { 1 }\nc;",
        "c;",
    );
    check_code("#[cfg(test)]\n#[expect(x)]\nmod tests;\nc;", "c;");
    check_code("#[cfg(not(test))]\nfn f() {}", "#[cfg(not(test))] fn f() {}");
    check_code("#[cfg(feature = \"qdrant\")]\nmod q;", "#[cfg(feature = \" \")] mod q;");
}

#[track_caller]
fn check_code(text: &str, expected: &str) {
    let code = source::without_tests(&source::mask(text), text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(code.len(), text.len());
}

#[test]
fn the_scanner_reads_paths() {
    check_paths("use crate::access::{Acl, Reader};", &["access::Acl", "access::Reader"]);
    check_paths(
        "use crate::{id, rank::{bm25, late::{a, b}}};",
        &["id", "rank::bm25", "rank::late::a", "rank::late::b"],
    );
    check_paths(
        "use super::settings::X; super::super::id::Y",
        &["split::settings::X", "id::Y"],
    );
    check_paths("pub(crate) fn f() -> crate::document::Page {}", &["document::Page"]);
    check_paths("use my_crate::x; xsuper::y", &[]);
}

#[track_caller]
fn check_paths(code: &str, expected: &[&str]) {
    let file = SourceFile {
        path: "crates/ragstone-core/src/split/recursive.rs".into(),
        package: "ragstone-core".into(),
        module: vec!["split".into(), "recursive".into()],
        raw: code.into(),
        masked: source::mask(code),
        code: source::mask(code),
        test: false,
    };
    let paths: Vec<String> = file
        .crate_paths()
        .into_iter()
        .map(|(_, path)| path.join("::"))
        .collect();
    assert_eq!(paths, expected);
}

#[test]
fn the_manifest_reader_reads_sections() {
    let manifest =
        "[dependencies]\na.workspace = true\n# b\nc = { version = \"1\" }\n[dependencies.d]\nx = 1\n[lints]\ne = 1";
    assert_eq!(names_in_section(manifest, "dependencies"), ["a", "c", "d"]);
}
