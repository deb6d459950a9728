//! The contract suite, the size limit, and the replacement of unusable files.

use std::path::PathBuf;

use ragstone_core::seam::contract::embedding_cache::{document, embedding, embedding_cache_contract, key};

use super::*;

const ROOM: u64 = 64 << 20;
/// Bytes of token bits that make an entry of the size of a real one.
const TOKENS: usize = 4_700;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache.db")
    }

    fn open(&self, max_bytes: u64) -> SqliteEmbeddingCache {
        SqliteEmbeddingCache::open(&self.path(), max_bytes).unwrap()
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().len()
    }
}

async fn put(cache: &SqliteEmbeddingCache, numbers: std::ops::Range<u16>) {
    let large = |n| StoredEmbedding {
        tokens: Some(vec![n as u8; TOKENS]),
        ..embedding(n)
    };
    let entries = numbers.map(|n| (key(&n.to_string()), large(n))).collect();
    cache.put_embeddings("m", document(1), entries).await.unwrap();
}

async fn holds(cache: &SqliteEmbeddingCache, n: u16) -> bool {
    let found = cache
        .get_embeddings("m", document(1), &[key(&n.to_string())])
        .await
        .unwrap();
    found[0].is_some()
}

#[tokio::test]
async fn keeps_the_contract() {
    // The folders live as long as the test.
    let folders = Mutex::new(Vec::new());
    embedding_cache_contract(|| async {
        let folder = Folder::new();
        let cache: Arc<dyn EmbeddingCache> = Arc::new(folder.open(ROOM));
        folders.lock().unwrap().push(folder);
        cache
    })
    .await;
}

#[tokio::test]
async fn what_was_kept_is_there_when_it_is_opened_again_for_its_owner_alone() {
    let folder = Folder::new();
    let cache = folder.open(ROOM);
    put(&cache, 0..3).await;
    drop(cache);
    let cache = folder.open(ROOM);
    assert!(holds(&cache, 2).await);
    assert!(!holds(&cache, 3).await);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_first_and_the_bound_holds() {
    let (folder, bound) = (Folder::new(), 4 << 20);
    let cache = folder.open(bound);
    put(&cache, 0..64).await;
    for start in (64..2_048).step_by(64) {
        assert!(holds(&cache, 7).await, "used in each turn");
        put(&cache, start..start + 64).await;
    }
    assert!(holds(&cache, 2_047).await);
    assert!(!holds(&cache, 8).await);
    drop(cache);
    let batch = 64 * 2 * TOKENS as u64;
    assert!(
        folder.bytes() <= bound + batch,
        "{} bytes, {bound} allowed",
        folder.bytes()
    );
}

#[tokio::test]
async fn a_lower_bound_gives_bytes_back_and_keeps_the_newest() {
    let folder = Folder::new();
    let cache = folder.open(ROOM);
    for start in (0..2_048).step_by(64) {
        put(&cache, start..start + 64).await;
    }
    drop(cache);
    let (before, bound) = (folder.bytes(), 4 << 20);
    let cache = folder.open(bound);
    assert!(holds(&cache, 2_047).await);
    assert!(!holds(&cache, 0).await);
    drop(cache);
    assert!(
        folder.bytes() <= bound && bound < before,
        "{} of {before} bytes",
        folder.bytes()
    );
}

#[tokio::test]
async fn a_file_that_is_no_cache_is_replaced() {
    let other = || {
        let folder = Folder::new();
        let connection = Connection::open(folder.path()).unwrap();
        connection
            .execute_batch("create table entries (a text); pragma user_version = 99")
            .unwrap();
        drop(connection);
        std::fs::read(folder.path()).unwrap()
    };
    for bytes in [
        b"not a database, but long enough to look like one".repeat(200),
        other(),
        vec![],
    ] {
        let folder = Folder::new();
        std::fs::write(folder.path(), bytes).unwrap();
        let cache = folder.open(ROOM);
        put(&cache, 0..1).await;
        assert!(holds(&cache, 0).await);
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path()).unwrap();
    assert!(
        SqliteEmbeddingCache::open(&folder.path(), ROOM).is_err(),
        "a folder is no file"
    );
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_is_replaced() {
    let damages = [
        "update embeddings set vector = zeroblob(length(vector)) where entry = 2",
        "update embeddings set tokens = null",
        "update embeddings set sum = zeroblob(31)",
        "delete from embeddings",
        "drop table embeddings",
    ];
    for damage in damages {
        let folder = Folder::new();
        let cache = folder.open(ROOM);
        put(&cache, 0..5).await;
        let other = Connection::open(folder.path()).unwrap();
        other.execute_batch(damage).unwrap();
        drop(other);
        assert!(!holds(&cache, 1).await, "{damage}");
        put(&cache, 0..5).await;
        assert!(holds(&cache, 1).await, "{damage}");
    }
}

#[tokio::test]
async fn it_may_be_deleted_at_any_time() {
    let folder = Folder::new();
    let cache = folder.open(ROOM);
    put(&cache, 0..2).await;
    std::fs::remove_file(folder.path()).unwrap();
    put(&cache, 2..4).await;
    cache.remove_document(document(1)).await.unwrap();
    drop(cache);
    let cache = folder.open(ROOM);
    assert!(!holds(&cache, 3).await);
    put(&cache, 0..2).await;
    assert!(holds(&cache, 1).await);
    drop(cache);
    SqliteEmbeddingCache::remove_file(&folder.path()).unwrap();
    SqliteEmbeddingCache::remove_file(&folder.path()).unwrap();
    assert_eq!(std::fs::read_dir(folder.folder.path()).unwrap().count(), 0);
}
