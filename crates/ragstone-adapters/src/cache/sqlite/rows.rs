//! All SQL statements of the cache except its schema.

use ragstone_core::id::DocumentId;
use ragstone_core::seam::embedding_cache::{EmbeddingKey, StoredEmbedding};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::CacheFileError;

/// Entries removed in one statement when there is no room.
const EVICTED_AT_ONCE: u32 = 256;

/// Turn number of the most recent use.
pub fn last_turn(connection: &Connection) -> Result<u64, CacheFileError> {
    Ok(connection.query_row("select ifnull(max(used), 0) from entries", [], |row| row.get(0))?)
}

/// Returns the embeddings under `keys`, and marks them as used by `document`.
pub fn get_embeddings(
    connection: &mut Connection,
    turn: u64,
    fingerprint: &str,
    document: DocumentId,
    keys: &[EmbeddingKey],
) -> Result<Vec<Option<StoredEmbedding>>, CacheFileError> {
    let transaction = connection.transaction()?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let entry = find_entry(&transaction, fingerprint, key)?;
        if let Some(entry) = entry {
            note_use(&transaction, turn, document, entry)?;
        }
        found.push(
            entry
                .map(|entry| load_embedding(&transaction, entry, key))
                .transpose()?,
        );
    }
    transaction.commit()?;
    Ok(found)
}

/// Stores the embeddings that are missing, and marks all of them as used by `document`.
pub fn put_embeddings(
    connection: &mut Connection,
    turn: u64,
    fingerprint: &str,
    document: DocumentId,
    entries: &[(EmbeddingKey, StoredEmbedding)],
) -> Result<(), CacheFileError> {
    let transaction = connection.transaction()?;
    for (key, stored) in entries {
        let held = find_entry(&transaction, fingerprint, key)?;
        let entry = match held {
            Some(entry) => entry,
            None => insert_entry(&transaction, turn, fingerprint, key, stored)?,
        };
        note_use(&transaction, turn, document, entry)?;
    }
    Ok(transaction.commit()?)
}

/// Removes every entry that `document` uses.
pub fn remove_document(connection: &mut Connection, document: DocumentId) -> Result<(), CacheFileError> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "delete from entries where id in (select entry from uses where document = ?1)",
        [document.0],
    )?;
    Ok(transaction.commit()?)
}

/// Lists every document that uses an entry.
pub fn list_documents(connection: &Connection) -> Result<Vec<DocumentId>, CacheFileError> {
    let mut statement = connection.prepare_cached("select distinct document from uses order by document")?;
    let documents = statement.query_map([], |row| row.get(0).map(DocumentId))?;
    Ok(documents.collect::<Result<_, _>>()?)
}

/// Removes some of the least recently used entries; returns how many.
pub fn remove_oldest(connection: &Connection) -> Result<usize, CacheFileError> {
    let oldest = "delete from entries where id in (select id from entries order by used, id limit ?1)";
    Ok(connection.prepare_cached(oldest)?.execute([EVICTED_AT_ONCE])?)
}

fn find_entry(t: &Transaction<'_>, fingerprint: &str, key: &EmbeddingKey) -> Result<Option<i64>, CacheFileError> {
    let mut statement = t.prepare_cached("select id from entries where fingerprint = ?1 and key = ?2")?;
    Ok(statement
        .query_row(params![fingerprint, key.0], |row| row.get(0))
        .optional()?)
}

fn note_use(t: &Transaction<'_>, turn: u64, document: DocumentId, entry: i64) -> Result<(), CacheFileError> {
    t.prepare_cached("update entries set used = ?2 where id = ?1 and used <> ?2")?
        .execute(params![entry, turn])?;
    t.prepare_cached("insert or ignore into uses (document, entry) values (?1, ?2)")?
        .execute(params![document.0, entry])?;
    Ok(())
}

fn insert_entry(
    t: &Transaction<'_>,
    turn: u64,
    fingerprint: &str,
    key: &EmbeddingKey,
    stored: &StoredEmbedding,
) -> Result<i64, CacheFileError> {
    t.prepare_cached("insert into entries (fingerprint, key, used) values (?1, ?2, ?3)")?
        .execute(params![fingerprint, key.0, turn])?;
    let entry = t.last_insert_rowid();
    let vector: Vec<u8> = stored.vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let pieces: Vec<u8> = stored.pieces.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tokens = stored.tokens.as_deref();
    t.prepare_cached("insert into embeddings (entry, sum, vector, pieces, tokens) values (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            entry,
            embedding_checksum(key, &vector, &pieces, tokens),
            vector,
            pieces,
            tokens
        ])?;
    Ok(entry)
}

fn load_embedding(t: &Transaction<'_>, entry: i64, key: &EmbeddingKey) -> Result<StoredEmbedding, CacheFileError> {
    let mut statement = t.prepare_cached("select sum, vector, pieces, tokens from embeddings where entry = ?1")?;
    let mut rows = statement.query([entry])?;
    match rows.next()? {
        Some(row) => read_embedding(row, key),
        None => Err(CacheFileError::Damaged("an entry without its embedding")),
    }
}

fn read_embedding(row: &Row<'_>, key: &EmbeddingKey) -> Result<StoredEmbedding, CacheFileError> {
    let (vector, pieces) = (row.get_ref("vector")?, row.get_ref("pieces")?);
    let blobs = vector.as_blob().ok().zip(pieces.as_blob().ok());
    let (vector, pieces) = blobs.ok_or(CacheFileError::Damaged("a row of another form"))?;
    let tokens: Option<Vec<u8>> = row.get("tokens")?;
    if row.get::<_, [u8; 32]>("sum")? != embedding_checksum(key, vector, pieces, tokens.as_deref()) {
        return Err(CacheFileError::Damaged("an embedding that is not what was kept"));
    }
    Ok(StoredEmbedding {
        vector: four_byte_groups(vector).map(f32::from_le_bytes).collect(),
        pieces: four_byte_groups(pieces).map(u32::from_le_bytes).collect(),
        tokens,
    })
}

fn four_byte_groups(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks().0.iter().copied()
}

/// Checksum over an embedding and its key.
fn embedding_checksum(key: &EmbeddingKey, vector: &[u8], pieces: &[u8], tokens: Option<&[u8]>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    for part in [Some(vector), Some(pieces), tokens] {
        hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    *hasher.finalize().as_bytes()
}
