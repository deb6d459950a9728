//! The file, its permissions and its schema; transactions that fail.

use super::*;

#[test]
fn a_file_is_its_owners_alone_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let database = SqliteDatabase::open(&path).unwrap();
    database
        .write_blocking::<_, SqliteError>(Durability::Synced, |t| {
            Ok(t.execute("insert into settings (key, value) values ('a', 'b')", [])?)
        })
        .unwrap();
    drop(database);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let database = SqliteDatabase::open(&path).unwrap();
    let value: String = database
        .read_blocking::<_, SqliteError>(|c| {
            Ok(c.query_row("select value from settings where key = 'a'", [], |r| r.get(0))?)
        })
        .unwrap();
    assert_eq!(value, "b");
}

#[test]
fn an_error_rolls_back() {
    let database = SqliteDatabase::in_memory().unwrap();
    let refused = database.write_blocking(Durability::Ordered, |t| {
        t.execute("insert into settings (key, value) values ('a', 'b')", [])?;
        Err::<(), _>(SqliteError::Damaged("on purpose".into()))
    });
    assert!(refused.is_err());
    let rows: i64 = database
        .read_blocking::<_, SqliteError>(|c| Ok(c.query_row("select count(*) from settings", [], |r| r.get(0))?))
        .unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    drop(SqliteDatabase::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let error = SqliteDatabase::open(&path).unwrap_err();
    assert!(matches!(error, SqliteError::Newer { found: 999, .. }), "{error}");
}
