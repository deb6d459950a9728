//! Rollback of an upgrade: the plan shown before, and the files afterwards.

use super::*;
use crate::sqlite::SqliteDatabase;
use crate::sqlite::migrations::testing::{at_schema, newest};
use crate::sqlite::upgrade::CopyPolicy;

/// A document of this id, with the least that a row needs.
const DOCUMENT: &str = "insert into documents (id, tenant, collection, source, uri, life, status, newest, version, media_type,
    chunks, warnings, name, content_hash, bytes, incoming, pipeline, acl, acl_revision, metadata, created_at, updated_at)
    values (?1, 'default', 'default', 'upload', 'u', 1, 'published', 'published', 1, 'text/plain', 0, '[]', 'n', x'00', 1,
    '', '', '[]', 1, '{}', 1, 1)";
const KEY: &str = "insert into api_keys (id, hash, name, tenant, role, readers, subject, created_at)
    values (?1, x'00', 'n', 'default', 'reader', '[]', 's', 1)";

fn policy(time: &str) -> CopyPolicy {
    CopyPolicy {
        kept: 2,
        label: format!("0.2.0-{time}"),
    }
}

/// A database that was upgraded from schema 8, with a document and a key from before.
fn upgraded(path: &Path) -> Connection {
    let older = at_schema(path, 8);
    for id in [1_u8, 2, 3] {
        older.execute(DOCUMENT, [[id; 16]]).unwrap();
    }
    older.execute(KEY, ["old"]).unwrap();
    drop(older);
    let (_, upgrade) = SqliteDatabase::open_upgrading(path, None, &policy("20260101T000000Z")).unwrap();
    assert!(upgrade.unwrap().copy.is_some());
    Connection::open(path).unwrap()
}

#[test]
fn what_changed_since_the_copy_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let newer = upgraded(&path);
    let changed = || match plan_rollback(&path).unwrap() {
        RollbackPlan::Copy {
            from: 8, to, changed, ..
        } if to == newest() => changed.unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(changed().is_nothing());
    newer.execute(DOCUMENT, [[4_u8; 16]]).unwrap();
    newer
        .execute(
            "update documents set metadata = '{\"a\":1}' where id = ?1",
            [[1_u8; 16]],
        )
        .unwrap();
    newer
        .execute("update documents set status = 'deleting' where id = ?1", [[2_u8; 16]])
        .unwrap();
    newer
        .execute("delete from documents where id = ?1", [[3_u8; 16]])
        .unwrap();
    newer.execute(KEY, ["new"]).unwrap();
    newer
        .execute("update api_keys set revoked_at = 2 where id = 'old'", [])
        .unwrap();
    let expected = ChangedSince {
        added: 1,
        changed: 1,
        deleted: 2,
        keys_added: 1,
        keys_revoked: 1,
    };
    assert_eq!(changed(), expected);
}

#[test]
fn the_copy_takes_the_place_and_the_newer_database_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let newer = upgraded(&path);
    newer.execute(DOCUMENT, [[4_u8; 16]]).unwrap();
    newer
        .execute("update counters set value = 17 where name = 'generation'", [])
        .unwrap();
    // As a process that was killed leaves it: with a write-ahead log.
    std::mem::forget(newer);
    let RollbackPlan::Copy { copy, .. } = plan_rollback(&path).unwrap() else {
        panic!("there is a copy");
    };
    let aside = restore_copy(&path, &copy, "0.2.0-20260102T000000Z").unwrap();
    assert_eq!(aside.file_name().unwrap(), "ragstone.db.after-0.2.0-20260102T000000Z");
    let rows = |path: &Path| -> (u32, i64) {
        let connection = Connection::open(path).unwrap();
        let count = connection.query_row("select count(*) from documents", [], |row| row.get(0));
        (schema_version(&connection).unwrap(), count.unwrap())
    };
    assert_eq!(rows(&path), (8, 3));
    assert_eq!(rows(&aside), (newest(), 4));
    assert!(!copy.exists());
    // Generation 17 names blobs of the newer documents: it is not drawn again.
    let drawn: i64 = Connection::open(&path)
        .unwrap()
        .query_row("select value from counters where name = 'generation'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(drawn, 17);
    assert_eq!(plan_rollback(&path).unwrap(), RollbackPlan::NoCopy);
    // This program upgrades it once more.
    let (_, again) = SqliteDatabase::open_upgrading(&path, None, &policy("20260103T000000Z")).unwrap();
    assert_eq!(again.unwrap().from, 8);
}

#[test]
fn additive_steps_need_no_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    // All numbered steps, and no additive one: what the release before left.
    drop(at_schema(&path, newest()));
    let (_, upgrade) = SqliteDatabase::open_upgrading(&path, None, &policy("20260101T000000Z")).unwrap();
    let upgrade = upgrade.unwrap();
    assert_eq!((upgrade.from, upgrade.copy.is_some()), (upgrade.to, true));
    let expected: Vec<String> = upgrade.additions.iter().map(|name| (*name).to_owned()).collect();
    let RollbackPlan::SameSchema { schema, additions } = plan_rollback(&path).unwrap() else {
        panic!("its schema is the same");
    };
    assert_eq!((schema, additions.len()), (newest(), expected.len()));
    assert!(expected.iter().all(|name| additions.contains(name)));
}

#[test]
fn a_database_without_a_copy_has_no_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    drop(SqliteDatabase::open(&path).unwrap());
    assert_eq!(plan_rollback(&path).unwrap(), RollbackPlan::NoCopy);
}
