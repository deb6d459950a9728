//! Guarantees of group commit for each of its writes.

use std::sync::mpsc;

use super::*;

type Written = Result<i64, SqliteError>;

/// A write that notes `key`, and what the transaction knew before it.
fn note(key: &'static str) -> impl FnOnce(&Transaction<'_>) -> Written + Send {
    move |t| {
        let before = t.query_row("select count(*) from settings", [], |row| row.get(0))?;
        t.execute("insert into settings (key, value) values (?1, '')", [key])?;
        Ok(before)
    }
}

fn keys(database: &SqliteDatabase) -> Vec<String> {
    let read = |c: &Connection| {
        let mut statement = c.prepare("select key from settings order by key")?;
        let keys = statement.query_map([], |row| row.get(0))?;
        Ok::<_, SqliteError>(keys.collect::<rusqlite::Result<_>>()?)
    };
    database.read_blocking(read).unwrap()
}

/// A database whose writer is held until the sender is used, so that what is written meanwhile is one group.
async fn held(folder: &tempfile::TempDir) -> (SqliteDatabase, mpsc::Sender<()>) {
    let database = SqliteDatabase::open(&folder.path().join("ragstone.db")).unwrap();
    let (release, released) = mpsc::channel();
    let (holds, held) = oneshot::channel();
    let first = database.clone();
    tokio::spawn(async move {
        let wait = move |_: &Transaction<'_>| {
            let _ = holds.send(());
            let _ = released.recv();
            Ok::<_, SqliteError>(())
        };
        first.write(Durability::Ordered, wait).await
    });
    held.await.unwrap();
    (database, release)
}

/// Starts a write, which waits in its place from the return of this on.
async fn wait_for<T: Send + 'static>(
    database: &SqliteDatabase,
    durability: Durability,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, SqliteError> + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, SqliteError>> {
    let waiting = || lock_mutex(&database.shared.queue.state).waiting.len();
    let (before, other) = (waiting(), database.clone());
    let write = tokio::spawn(async move { other.write(durability, work).await });
    while waiting() == before {
        tokio::task::yield_now().await;
    }
    write
}

#[tokio::test]
async fn one_sync_serves_all_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    let before = database.commit_counts();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut writes = Vec::new();
    for name in names {
        writes.push(wait_for(&database, Durability::Synced, note(name)).await);
    }
    release.send(()).unwrap();
    for (at, write) in (0..).zip(writes) {
        assert_eq!(write.await.unwrap().unwrap(), at, "in their order");
    }
    let after = database.commit_counts();
    // The write that held the others up, and theirs.
    assert_eq!((after.all - before.all, after.synced - before.synced), (2, 1));
    assert_eq!(keys(&database), names);
}

#[tokio::test]
async fn a_group_is_no_larger_than_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    let before = database.commit_counts();
    let mut writes = Vec::new();
    for _ in 0..2 * MAX_GROUP + 1 {
        writes.push(wait_for(&database, Durability::Ordered, |_| Ok(())).await);
    }
    release.send(()).unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(database.commit_counts().all - before.all, 1 + 3);
}

#[tokio::test]
async fn what_fails_costs_its_neighbours_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    let fails = |t: &Transaction<'_>| {
        note("fails")(t)?;
        Err::<(), _>(SqliteError::Damaged("on purpose".into()))
    };
    let panics = |t: &Transaction<'_>| -> Result<(), SqliteError> {
        note("panics")(t)?;
        panic!("on purpose")
    };
    let first = wait_for(&database, Durability::Synced, note("a")).await;
    let failed = wait_for(&database, Durability::Synced, fails).await;
    let twice = wait_for(&database, Durability::Synced, note("a")).await;
    let panicked = wait_for(&database, Durability::Synced, panics).await;
    let last = wait_for(&database, Durability::Synced, note("b")).await;
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert!(matches!(failed.await.unwrap(), Err(SqliteError::Damaged(_))));
    assert!(matches!(twice.await.unwrap(), Err(SqliteError::Sqlite(_))));
    assert!(matches!(panicked.await.unwrap(), Err(SqliteError::TaskEnded(_))));
    assert_eq!(last.await.unwrap().unwrap(), 1);
    assert_eq!(keys(&database), ["a", "b"]);
}

#[tokio::test]
async fn a_transaction_that_is_taken_back_fails_those_that_ran_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    // What SQLite does by itself where the disk is full.
    let full = |t: &Transaction<'_>| {
        note("full")(t)?;
        t.execute_batch("rollback")?;
        Err::<(), _>(SqliteError::Damaged("on purpose".into()))
    };
    let before = wait_for(&database, Durability::Synced, note("before")).await;
    let failed = wait_for(&database, Durability::Synced, full).await;
    let behind = wait_for(&database, Durability::Synced, note("behind")).await;
    release.send(()).unwrap();
    assert!(matches!(before.await.unwrap(), Err(SqliteError::GroupCommit(_))));
    assert!(matches!(failed.await.unwrap(), Err(SqliteError::Damaged(_))));
    assert_eq!(behind.await.unwrap().unwrap(), 0);
    assert_eq!(keys(&database), ["behind"]);
}

#[tokio::test]
async fn a_write_goes_on_when_its_caller_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    let left = wait_for(&database, Durability::Ordered, note("left")).await;
    left.abort();
    release.send(()).unwrap();
    assert_eq!(database.write(Durability::Ordered, note("next")).await.unwrap(), 1);
}

#[tokio::test]
async fn memory_follows_each_commit_before_the_next_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let (database, release) = held(&folder).await;
    let memory = Arc::new(Mutex::new(Vec::new()));
    let mut writes = Vec::new();
    for name in ["a", "fails", "b"] {
        let (database, memory) = (database.clone(), memory.clone());
        let work = move |t: &Transaction<'_>| match name {
            "fails" => Err(SqliteError::Damaged("on purpose".into())),
            name => note(name)(t),
        };
        let follow = move |_: &mut i64| lock_mutex(&memory).push(name);
        writes.push(tokio::spawn(async move {
            database.write_then(Durability::Ordered, work, follow).await
        }));
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    for write in writes {
        let _ = write.await.unwrap();
    }
    assert_eq!(*lock_mutex(&memory), ["a", "b"]);
}

#[test]
fn a_runtime_that_ends_leaves_a_writer_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteDatabase::open(&folder.path().join("ragstone.db")).unwrap();
    for name in ["a", "b"] {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime
            .block_on(database.write(Durability::Ordered, note(name)))
            .unwrap();
    }
    assert_eq!(keys(&database), ["a", "b"]);
}
