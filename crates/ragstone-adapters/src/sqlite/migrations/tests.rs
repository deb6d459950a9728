//! Processes killed during a migration: the next start finds a database that it can migrate.
#![cfg(unix)]

use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::types::Value;
use rusqlite::{OpenFlags, ffi};

use super::*;
use crate::sqlite::{SqliteDatabase, open_connection};

/// Tells the test binary, run again, that it is the child, and which database it migrates.
const CHILD: &str = "RAGSTONE_TEST_MIGRATE";
/// How many looks the child lives.
const LOOKS: &str = "RAGSTONE_TEST_MIGRATE_LOOKS";
/// Steps of SQLite's machine between two looks, by the schema that is migrated: the first two fill tables anew, the
/// later ones make small tables, each in fewer steps than those have between two looks.
fn steps_a_look(schema: u32) -> i32 {
    if schema < 2 { 400 } else { 16 }
}
/// The signal of `abort` (SIGABRT).
const ABORTED: i32 = 6;
/// More looks than any migration takes.
const MOST_LOOKS: i64 = 2_000;
/// What the test harness calls the test below.
const NAME: &str = "sqlite::migrations::tests::a_database_whose_migration_was_killed_migrates_at_the_next_start";
/// Four documents and their jobs, of the first schema.
const ROWS: &str = include_str!("../../catalogue/sqlite/tests/schema_1_rows.sql");

static LEFT: AtomicI64 = AtomicI64::new(0);

#[test]
fn a_database_whose_migration_was_killed_migrates_at_the_next_start() {
    #[expect(clippy::disallowed_methods, reason = "the test starts itself again and is told so")]
    let (child, looks) = (std::env::var_os(CHILD), std::env::var(LOOKS));
    if let Some(path) = child {
        return migrate_until_killed(Path::new(&path), looks.unwrap().parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    for schema in 0..STEPS.len() {
        older(&path, schema);
        drop(SqliteDatabase::open(&path).unwrap());
        let expected = everything(&path);
        let mut kills = 0;
        for looks in 1..MOST_LOOKS {
            older(&path, schema);
            let ended = run_child(&path, looks);
            if ended.success() {
                break;
            }
            assert_eq!(ended.signal(), Some(ABORTED), "schema {schema}, {looks} looks: {ended}");
            kills += 1;
            drop(SqliteDatabase::open(&path).unwrap());
            assert_eq!(everything(&path), expected, "schema {schema}, {looks} looks");
        }
        assert!(kills > 0, "schema {schema}: the child was killed on its way");
    }
}

/// The database as an older program left it.
fn older(path: &Path, schema: usize) {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
    let connection = open_connection(path, OpenFlags::default()).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    drop(connection);
    let mut connection = open_connection(path, OpenFlags::default()).unwrap();
    let first = schema.min(1);
    run_steps(&mut connection, path, &STEPS[..first]).unwrap();
    if first == 1 {
        connection.execute_batch(ROWS).unwrap();
    }
    run_steps(&mut connection, path, &STEPS[..schema]).unwrap();
}

fn run_child(path: &Path, looks: i64) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(CHILD, path)
        .env(LOOKS, looks.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

fn migrate_until_killed(path: &Path, looks: i64) {
    unsafe extern "C" fn look(_: *mut c_void) -> i32 {
        if LEFT.fetch_sub(1, Ordering::Relaxed) <= 1 {
            // Nothing is closed, rolled back or written any more.
            std::process::abort();
        }
        0
    }
    let mut connection = open_connection(path, OpenFlags::default()).unwrap();
    let schema = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    LEFT.store(looks, Ordering::Relaxed);
    // SAFETY: the handle is open for as long as the connection lives, and the function uses no argument.
    unsafe {
        ffi::sqlite3_progress_handler(
            connection.handle(),
            steps_a_look(schema),
            Some(look),
            std::ptr::null_mut(),
        );
    }
    run_migrations(&mut connection, path).unwrap();
}

/// The schema and every row.
fn everything(path: &Path) -> Vec<Vec<Value>> {
    let connection = open_connection(path, OpenFlags::default()).unwrap();
    let ask = |query: &str| -> Vec<Vec<Value>> {
        let mut statement = connection.prepare(query).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        let rows = statement.query_map([], row).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(ask("pragma integrity_check"), [[Value::Text("ok".into())]]);
    assert!(ask("pragma foreign_key_check").is_empty());
    let mut all = ask("pragma user_version");
    let schema = ask("select type, name, sql from sqlite_master order by type, name");
    for object in &schema {
        if let [Value::Text(kind), Value::Text(name), _] = &object[..]
            && kind == "table"
        {
            let columns = ask(&format!("select name from pragma_table_info('{name}') limit 2"));
            let order = Vec::from_iter((1..=columns.len()).map(|column| column.to_string())).join(", ");
            all.extend(ask(&format!("select * from \"{name}\" order by {order}")));
        }
    }
    all.extend(schema);
    all
}

#[test]
fn an_additive_step_runs_once_and_leaves_the_number_for_the_older_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let numbered = Numbered("create table notes (body text not null) strict");
    let additive = Additive {
        name: "notes_colour",
        script: "alter table notes add column colour text not null default 'none'",
    };
    let mut connection = open_connection(&path, OpenFlags::default()).unwrap();
    for _ in 0..2 {
        run_steps(&mut connection, &path, &[numbered, additive]).unwrap();
        // The older program: its steps end before the additive one, and its rows lack the column.
        run_steps(&mut connection, &path, &[numbered]).unwrap();
        connection
            .execute("insert into notes (body) values ('old')", [])
            .unwrap();
    }
    let colours: i64 = connection
        .query_row("select count(*) from notes where colour = 'none'", [], |row| row.get(0))
        .unwrap();
    let recorded: Vec<String> = connection
        .prepare("select name from schema_additions")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!((colours, recorded), (2, vec!["notes_colour".to_owned()]));
}

#[test]
fn a_numbered_step_is_refused_by_the_older_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let (first, second) = (Numbered("create table a (x)"), Numbered("drop table a"));
    let mut connection = open_connection(&path, OpenFlags::default()).unwrap();
    run_steps(&mut connection, &path, &[first, second]).unwrap();
    let refused = run_steps(&mut connection, &path, &[first]).unwrap_err();
    assert!(
        matches!(refused, SqliteError::Newer { found: 2, known: 1, .. }),
        "{refused}"
    );
}
