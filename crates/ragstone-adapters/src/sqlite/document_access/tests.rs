//! The memory against the rows, over transactions that commit, fail, replace and delete.

use ragstone_core::id::DocumentId;
use rusqlite::params;
use uuid::Uuid;

use crate::sqlite::{Durability, SqliteDatabase, SqliteError};

const DOCUMENT: &str = "insert or replace into documents (id, tenant, collection, source, uri, life, status, newest, version,
    media_type, chunks, warnings, name, content_hash, bytes, incoming, pipeline, acl, acl_revision, metadata, created_at,
    updated_at)
    values (?1, 'a', 'default', 'upload', hex(?1), 1, ?2, 'pending', 1, 'text/plain', 0, '[]', 'x', x'00', 1, 'i', 'p', ?3, ?4, '{}',
    1, 1)";

fn acl(group: &str) -> String {
    format!("{{\"tenant\":\"a\",\"sets\":[[\"group:{group}\"]]}}")
}

fn id(n: u128) -> DocumentId {
    DocumentId(Uuid::from_u128(n))
}

fn write(database: &SqliteDatabase, n: u128, status: &str, group: &str, revision: u64) {
    database
        .write_blocking::<_, SqliteError>(Durability::Ordered, |t| {
            t.execute(DOCUMENT, params![id(n).0, status, acl(group), revision])?;
            Ok(())
        })
        .unwrap();
}

/// Each document's revision, and that memory says what a fresh reading of the rows says.
fn revisions(database: &SqliteDatabase, ids: &[u128]) -> Vec<u64> {
    let ids: Vec<_> = ids.iter().map(|n| id(*n)).collect();
    let remembered = database.get_document_access_blocking(&ids).unwrap();
    database.forget_access();
    assert_eq!(remembered, database.get_document_access_blocking(&ids).unwrap());
    remembered.iter().map(|access| access.acl_revision).collect()
}

#[test]
fn memory_follows_commits_and_nothing_else() {
    let database = SqliteDatabase::in_memory().unwrap();
    write(&database, 1, "published", "g", 1);
    write(&database, 2, "published", "g", 2);
    assert_eq!(revisions(&database, &[1, 2, 3]), [1, 2]);
    write(&database, 1, "published", "h", 5);
    assert_eq!(revisions(&database, &[1, 2]), [5, 2], "replaced");
    write(&database, 2, "deleting", "g", 2);
    assert_eq!(revisions(&database, &[1, 2]), [5], "tombstoned");
    let failed = database.write_blocking(Durability::Ordered, |t| {
        t.execute(DOCUMENT, params![id(1).0, "published", acl("i"), 9])?;
        Err::<(), _>(SqliteError::Damaged("on purpose".into()))
    });
    assert!(failed.is_err());
    assert_eq!(revisions(&database, &[1]), [5], "rolled back");
    database
        .write_blocking::<_, SqliteError>(Durability::Ordered, |t| {
            t.execute("delete from documents where id = ?1", [id(1).0])?;
            t.execute(
                "update documents set id = ?2, status = 'published' where id = ?1",
                [id(2).0, id(3).0],
            )?;
            Ok(())
        })
        .unwrap();
    assert_eq!(revisions(&database, &[1, 2, 3]), [2], "deleted, and under another id");
}

#[test]
fn documents_share_their_acls_and_unused_ones_go() {
    let database = SqliteDatabase::in_memory().unwrap();
    for n in 0..50 {
        write(&database, n, "published", "g", 1);
    }
    let both = database.get_document_access_blocking(&[id(0), id(1)]).unwrap();
    assert!(std::sync::Arc::ptr_eq(&both[0].acl, &both[1].acl));
    for n in 0..50 {
        write(&database, 0, "published", &format!("g{n}"), n);
    }
    assert!(database.remembered_acls() < 10, "{}", database.remembered_acls());
}
