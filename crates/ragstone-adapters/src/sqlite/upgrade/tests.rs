//! Copies before an upgrade: when one is made, what it contains, and which are retained.

use super::*;
use crate::sqlite::SqliteDatabase;
use crate::sqlite::migrations::testing::{at_schema, newest};

fn policy(kept: usize, time: &str) -> CopyPolicy {
    CopyPolicy {
        kept,
        label: format!("0.2.0-{time}"),
    }
}

fn value(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("select value from settings where key = 'a'", [], |row| row.get(0))
        .unwrap()
}

fn schema(path: &Path) -> u32 {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn an_older_database_is_copied_before_its_first_step_and_a_current_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let older = at_schema(&path, 8);
    older
        .execute("insert into settings (key, value) values ('a', 'old')", [])
        .unwrap();
    // Not in the file itself yet: the copy has what stands in the write-ahead log.
    std::mem::forget(older);
    let (database, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy(2, "20260101T000000Z")).unwrap();
    let upgrade = upgrade.unwrap();
    let copy = upgrade.copy.unwrap();
    assert_eq!((upgrade.from, upgrade.to), (8, newest()));
    assert_eq!(copy.file_name().unwrap(), "ragstone.db.before-0.2.0-20260101T000000Z");
    assert_eq!((schema(&copy), value(&copy).as_str()), (8, "old"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(database);
    let (_, again) = SqliteDatabase::open_upgrading(&path, None, &policy(2, "20260102T000000Z")).unwrap();
    assert_eq!(again, None);
    assert_eq!(list_copies(&path).unwrap(), [copy]);
}

#[test]
fn an_upgrade_that_was_killed_keeps_its_first_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let connection = at_schema(&path, 7);
    let pending = |found: u32| PendingMigrations {
        found,
        known: newest(),
        additions: vec![],
    };
    let first = copy_before_upgrade(&connection, &path, &pending(7), &policy(2, "20260101T000000Z")).unwrap();
    drop(connection);
    // Killed after one step.
    drop(at_schema(&path, 8));
    let (database, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy(2, "20260102T000000Z")).unwrap();
    assert_eq!(upgrade.unwrap().copy, first);
    assert_eq!(list_copies(&path).unwrap(), [first.unwrap()]);
    drop(database);
    let label: i64 = Connection::open(&path)
        .unwrap()
        .query_row("select count(*) from settings where key = ?1", [LABEL], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(label, 0);
}

#[test]
fn a_new_database_needs_no_copy_and_none_is_made_where_none_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let (database, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy(2, "20260101T000000Z")).unwrap();
    assert_eq!(upgrade, None);
    drop(database);
    fs::remove_file(&path).unwrap();
    drop(at_schema(&path, 8));
    let (_, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy(0, "20260101T000000Z")).unwrap();
    let upgrade = upgrade.unwrap();
    assert_eq!((upgrade.from, upgrade.copy), (8, None));
    assert_eq!(list_copies(&path).unwrap(), [] as [PathBuf; 0]);
}

#[test]
fn the_newest_copies_are_kept_and_unfinished_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let name = |label: &str| folder.path().join(format!("ragstone.db.before-{label}"));
    // Versions do not sort as text.
    for label in [
        "0.10.0-20250101T000000Z",
        "0.9.0-20240101T000000Z",
        "0.9.0-20250601T000000Z",
    ] {
        fs::write(name(label), label).unwrap();
    }
    fs::write(name("0.9.0-20250701T000000Z.partial"), "").unwrap();
    fs::write(folder.path().join("other.db.before-0.1.0-20200101T000000Z"), "").unwrap();
    drop(at_schema(&path, 8));
    let (_, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy(3, "20260101T000000Z")).unwrap();
    assert!(upgrade.unwrap().copy.is_some());
    assert_eq!(
        list_copies(&path).unwrap(),
        [
            name("0.2.0-20260101T000000Z"),
            name("0.9.0-20250601T000000Z"),
            name("0.10.0-20250101T000000Z"),
        ]
    );
    assert!(!name("0.9.0-20250701T000000Z.partial").exists());
    assert!(folder.path().join("other.db.before-0.1.0-20200101T000000Z").exists());
}

#[test]
fn an_upgrade_that_cannot_be_undone_waits_for_room_and_an_additive_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let connection = at_schema(&path, 8);
    let pending = |numbered: u32| PendingMigrations {
        found: 8,
        known: 8 + numbered,
        additions: vec!["a"],
    };
    let full =
        |pending: &PendingMigrations| copy_with_room(&connection, &path, pending, &policy(2, "20260101T000000Z"), 0);
    assert_eq!(full(&pending(0)).unwrap(), None);
    let refused = full(&pending(1)).unwrap_err();
    assert!(
        matches!(refused, SqliteError::NoRoomForCopy { free: 0, .. }),
        "{refused}"
    );
    assert_eq!((schema(&path), list_copies(&path).unwrap().len()), (8, 0));
}
