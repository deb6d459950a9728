//! Contract of every embedding cache.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;

use crate::id::{DocumentId, TenantId};
use crate::seam::embedding_cache::{EmbeddingCache, EmbeddingKey, StoredEmbedding};

type Shared = Arc<dyn EmbeddingCache>;

const MODEL: &str = "model";
/// More than a database takes as parameters of one statement where it takes few.
const MANY: usize = 1_200;

/// Runs the suite; `make` gives a fresh, empty cache with room each time.
pub async fn embedding_cache_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    what_was_put_comes_back_bit_for_bit(make().await).await;
    answers_stand_in_the_order_of_the_keys(make().await).await;
    another_model_shares_nothing(make().await).await;
    of_two_under_one_key_the_first_stays(make().await).await;
    a_forgotten_document_leaves_nothing_and_others_stay(make().await).await;
    what_was_only_found_is_forgotten_too(make().await).await;
}

/// The `n`-th document of the suite.
pub fn document(n: u128) -> DocumentId {
    DocumentId(Uuid::from_u128(n))
}

/// The key of `text` for a tenant of the suite.
pub fn key(text: &str) -> EmbeddingKey {
    EmbeddingKey::for_text(&TenantId::default(), 0, text)
}

/// An embedding that no other number has.
pub fn embedding(n: u16) -> StoredEmbedding {
    StoredEmbedding {
        vector: vec![f32::from(n), 0.5],
        pieces: vec![1, 1 + u32::from(n)],
        tokens: Some(vec![n as u8; 5]),
    }
}

async fn put(cache: &Shared, document: DocumentId, entries: &[(&str, StoredEmbedding)]) {
    let keyed = |(text, stored): &(&str, StoredEmbedding)| (key(text), stored.clone());
    cache
        .put_embeddings(MODEL, document, entries.iter().map(keyed).collect())
        .await
        .expect("kept");
}

async fn get(cache: &Shared, document: DocumentId, texts: &[&str]) -> Vec<Option<StoredEmbedding>> {
    let keys: Vec<EmbeddingKey> = texts.iter().map(|text| key(text)).collect();
    cache.get_embeddings(MODEL, document, &keys).await.expect("an answer")
}

async fn what_was_put_comes_back_bit_for_bit(cache: Shared) {
    let odd = [-0.0, f32::MIN_POSITIVE / 2.0, f32::NAN, f32::INFINITY, 0.1];
    let full = StoredEmbedding {
        vector: odd.to_vec(),
        pieces: vec![0, 7, u32::MAX],
        tokens: Some((0..=255).collect()),
    };
    let bare = StoredEmbedding {
        tokens: None,
        pieces: Vec::new(),
        ..full.clone()
    };
    let empty = StoredEmbedding {
        vector: Vec::new(),
        pieces: Vec::new(),
        tokens: Some(Vec::new()),
    };
    let entries = [("full", full), ("bare", bare), ("empty", empty)];
    put(&cache, document(1), &entries).await;
    let found = get(&cache, document(1), &["full", "bare", "empty"]).await;
    let bits = |stored: &StoredEmbedding| stored.vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for ((text, wanted), found) in entries.iter().zip(found) {
        let found = found.expect("was put");
        assert_eq!(bits(&found), bits(wanted), "{text}");
        assert_eq!(
            (found.pieces, found.tokens),
            (wanted.pieces.clone(), wanted.tokens.clone()),
            "{text}"
        );
    }
}

async fn answers_stand_in_the_order_of_the_keys(cache: Shared) {
    put(&cache, document(1), &[]).await;
    assert_eq!(get(&cache, document(1), &[]).await, []);
    let texts: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
    let even: Vec<(&str, StoredEmbedding)> = texts
        .iter()
        .enumerate()
        .step_by(2)
        .map(|(n, text)| (text.as_str(), embedding(n as u16)))
        .collect();
    put(&cache, document(1), &even).await;
    let mut asked: Vec<&str> = texts.iter().map(String::as_str).rev().collect();
    asked.push("0");
    let wanted: Vec<Option<StoredEmbedding>> = asked
        .iter()
        .map(|text| text.parse().expect("a number"))
        .map(|n: u16| n.is_multiple_of(2).then(|| embedding(n)))
        .collect();
    assert_eq!(get(&cache, document(1), &asked).await, wanted);
}

async fn another_model_shares_nothing(cache: Shared) {
    put(&cache, document(1), &[("a", embedding(1))]).await;
    let other = cache.get_embeddings("other", document(1), &[key("a")]).await;
    assert_eq!(other.expect("an answer"), [None]);
    let entry = vec![(key("a"), embedding(2))];
    cache.put_embeddings("other", document(1), entry).await.expect("kept");
    assert_eq!(get(&cache, document(1), &["a"]).await, [Some(embedding(1))]);
}

async fn of_two_under_one_key_the_first_stays(cache: Shared) {
    put(&cache, document(1), &[("a", embedding(1)), ("a", embedding(2))]).await;
    put(&cache, document(2), &[("a", embedding(3))]).await;
    assert_eq!(get(&cache, document(1), &["a"]).await, [Some(embedding(1))]);
    assert_eq!(
        cache.list_documents().await.expect("an answer"),
        [document(1), document(2)]
    );
}

async fn a_forgotten_document_leaves_nothing_and_others_stay(cache: Shared) {
    put(&cache, document(1), &[("a", embedding(1)), ("both", embedding(2))]).await;
    put(&cache, document(2), &[("b", embedding(3)), ("both", embedding(2))]).await;
    cache.remove_document(document(3)).await.expect("nothing to do");
    cache.remove_document(document(1)).await.expect("forgotten");
    let found = get(&cache, document(9), &["a", "both", "b"]).await;
    assert_eq!(found, [None, None, Some(embedding(3))]);
    cache.remove_document(document(1)).await.expect("once is enough");
    cache.remove_document(document(2)).await.expect("forgotten");
    assert_eq!(
        cache.list_documents().await.expect("an answer"),
        [],
        "the last finder went with what it found"
    );
}

async fn what_was_only_found_is_forgotten_too(cache: Shared) {
    put(&cache, document(1), &[("a", embedding(1)), ("own", embedding(2))]).await;
    get(&cache, document(2), &["a", "none"]).await;
    cache.remove_document(document(2)).await.expect("forgotten");
    let found = get(&cache, document(1), &["a", "own"]).await;
    assert_eq!(found, [None, Some(embedding(2))]);
}
