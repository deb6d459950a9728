//! Access to stored text: every allowed case with its refused twin, an index that leaks, and one that lags.

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::access::{Acl, Principal, Scope, ScopedQuery};
use crate::ask::Retriever as _;
use crate::document::DocumentMetadata;
use crate::filter::MetadataFilter;
use crate::id::{DocumentId, Generation, PointId};
use crate::seam::catalogue::{DocumentPatch, PageRequest};
use crate::seam::fake::{House, MemoryIndex, writer};
use crate::seam::index::{DocumentGeneration, IndexHits, IndexPoint, IndexQuery, IndexSpec, SearchMode, StoredChunk};

const SECRET: &str = "The vault opens with the number 4711. Nobody else knows it.";

/// An index that forgets the scope of a search: it finds everything, for everybody.
struct LeakyIndex(MemoryIndex);

fn operator() -> Scope {
    Principal::local_operator().scope()
}

#[async_trait]
impl VectorIndex for LeakyIndex {
    async fn prepare_index(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        self.0.prepare_index(spec).await
    }
    async fn upsert_points(&self, points: Vec<IndexPoint>) -> Result<(), IndexError> {
        self.0.upsert_points(points).await
    }
    async fn publish_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.0.publish_generation(document, generation).await
    }
    async fn delete_generation(&self, document: DocumentId, generation: Generation) -> Result<(), IndexError> {
        self.0.delete_generation(document, generation).await
    }
    async fn set_access(
        &self,
        document: DocumentId,
        generation: Generation,
        acl: &Acl,
        acl_revision: u64,
        fields: &DocumentMetadata,
    ) -> Result<(), IndexError> {
        self.0.set_access(document, generation, acl, acl_revision, fields).await
    }
    async fn search(&self, query: &ScopedQuery<IndexQuery>) -> Result<IndexHits, IndexError> {
        let everything = ScopedQuery::new(&operator(), None, None, query.query().clone());
        self.0.search(&everything).await
    }
    async fn get_chunks(&self, _: &Scope, points: &[PointId], tokens: bool) -> Result<Vec<StoredChunk>, IndexError> {
        self.0.get_chunks(&operator(), points, tokens).await
    }
    async fn list_chunks(
        &self,
        _: &Scope,
        document: DocumentId,
        generation: Generation,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, IndexError> {
        self.0.list_chunks(&operator(), document, generation, from, limit).await
    }
    async fn count_points(&self) -> Result<u64, IndexError> {
        self.0.count_points().await
    }
    async fn list_generations(
        &self,
        document: Option<DocumentId>,
    ) -> Result<Vec<(DocumentGeneration, u64)>, IndexError> {
        self.0.list_generations(document).await
    }
}

async fn found(house: &House, caller: &Principal, query: &str) -> usize {
    house
        .library
        .search(&caller.scope(), &SearchRequest::new(query, 5))
        .await
        .unwrap()
        .passages
        .len()
}

fn page() -> PageRequest {
    PageRequest {
        cursor: None,
        limit: 10,
    }
}

#[tokio::test]
async fn every_road_is_open_to_a_reader_and_shut_to_the_others() {
    let house = House::new();
    let owner = writer("default", &["group:g"]);
    let id = house.ingest(&owner, "x.txt", &["group:g"], SECRET).await;
    let generation = house
        .library
        .get_document(&owner.scope(), id)
        .await
        .unwrap()
        .unwrap()
        .published
        .unwrap();
    let check = async |caller: Principal, admitted: bool| {
        let (scope, library) = (caller.scope(), &house.library);
        assert_eq!(found(&house, &caller, "vault").await > 0, admitted, "search");
        assert_eq!(
            library.get_document(&scope, id).await.unwrap().is_some(),
            admitted,
            "document"
        );
        assert_eq!(
            library.list_chunks(&scope, id, &page()).await.unwrap().is_some(),
            admitted,
            "chunks"
        );
        assert_eq!(
            library.read_page(&scope, id, 1).await.unwrap().is_some(),
            admitted,
            "page"
        );
        assert_eq!(
            library.open_original(&scope, id, None).await.unwrap().is_some(),
            admitted,
            "original"
        );
        let quote = library.read_quote(&scope, id, generation, &(0..9)).await.unwrap();
        assert_eq!(
            quote.map(|quote| quote.into_inner()),
            admitted.then(|| "The vault".to_owned()),
            "quote"
        );
        assert_eq!(
            library.still_admitted(&scope, &[id]).await.unwrap(),
            admitted,
            "admission"
        );
        let listed = library
            .list_documents(&scope, &Default::default(), &page())
            .await
            .unwrap()
            .items;
        assert_eq!(!listed.is_empty(), admitted, "list");
    };
    check(writer("default", &["group:g"]), true).await;
    check(writer("default", &["group:h"]), false).await;
    check(writer("default", &[]), false).await;
    check(writer("b", &["group:g"]), false).await;
}

#[tokio::test]
async fn what_a_leaky_index_returns_is_counted_and_never_shown() {
    let house = House::over(Arc::new(LeakyIndex(MemoryIndex::default())));
    let owner = writer("default", &["group:g"]);
    house.ingest(&owner, "x.txt", &["group:g"], SECRET).await;
    assert_eq!(found(&house, &owner, "vault").await, 1);
    assert_eq!(house.library.access_alarms().leaked_hits(), 0);
    for stranger in [writer("default", &["group:h"]), writer("b", &["group:g"])] {
        assert_eq!(found(&house, &stranger, "vault").await, 0);
    }
    assert_eq!(house.library.access_alarms().leaked_hits(), 2);
}

#[tokio::test]
async fn a_revocation_holds_before_the_index_knows() {
    let house = House::over(Arc::new(LeakyIndex(MemoryIndex::default())));
    let caller = writer("default", &["group:g", "group:h"]);
    let id = house.ingest(&caller, "x.txt", &["group:g"], SECRET).await;
    let acl = Some(Acl::any_of(caller.tenant().clone(), ["group:h".parse().unwrap()]));
    let patch = DocumentPatch {
        acl,
        ..DocumentPatch::default()
    };
    let now = time::OffsetDateTime::UNIX_EPOCH;
    house
        .catalogue
        .patch_document(&caller.scope(), id, patch, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found(&house, &writer("default", &["group:g"]), "vault").await, 0);
    let alarms = house.library.access_alarms();
    assert_eq!(
        (alarms.leaked_hits(), alarms.stale_hits() > 0),
        (0, true),
        "late, but no leak"
    );
}

#[tokio::test]
async fn a_filter_only_narrows() {
    let house = House::new();
    let owner = writer("default", &["group:g"]);
    house.ingest(&owner, "x.txt", &["group:g"], SECRET).await;
    let check = async |caller: &Principal, filter: &str, expected: usize| {
        let filter = MetadataFilter::from_json(&serde_json::from_str(filter).unwrap()).unwrap();
        let request = SearchRequest {
            filter: Some(filter),
            ..SearchRequest::new("vault", 5)
        };
        let found = house.library.search(&caller.scope(), &request).await.unwrap();
        assert_eq!(found.passages.len(), expected);
    };
    let everything = r#"{"type": "prefix", "key": "uri", "value": ""}"#;
    check(&owner, everything, 1).await;
    check(&owner, r#"{"type": "eq", "key": "uri", "value": "y.txt"}"#, 0).await;
    check(&writer("default", &[]), everything, 0).await;
}

#[tokio::test]
async fn modes_agree_on_a_clear_case_and_say_where_each_leg_put_it() {
    let house = House::new();
    let caller = writer("default", &[]);
    house.ingest(&caller, "a.txt", &["everyone"], SECRET).await;
    house
        .ingest(
            &caller,
            "b.txt",
            &["everyone"],
            "A ship sails to the north, and comes back.",
        )
        .await;
    for mode in [SearchMode::Hybrid, SearchMode::Dense, SearchMode::Lexical] {
        let request = SearchRequest {
            mode,
            ..SearchRequest::new("where does the ship sail", 5)
        };
        let found = house.library.search(&caller.scope(), &request).await.unwrap();
        assert!(found.passages[0].chunk.text.contains("ship"), "{mode:?}");
        assert_eq!(found.passages[0].ranks.lexical, Some(1), "{mode:?}");
        assert!(found.notices.is_empty());
    }
}

#[tokio::test]
async fn without_an_embedder_search_goes_on_by_words_and_says_so() {
    let house = House::new();
    let caller = writer("default", &[]);
    house.ingest(&caller, "a.txt", &["everyone"], SECRET).await;
    let broken = EmbedError::Broken { detail: "gone".into() };
    house.embedder.fail_with(vec![broken.clone(), broken]);
    let request = SearchRequest::new("vault", 5);
    let found = house.library.search(&caller.scope(), &request).await.unwrap();
    assert_eq!(
        (found.passages.len(), found.notices[0].code.as_str()),
        (1, "lexical_only")
    );
    let dense = SearchRequest {
        mode: SearchMode::Dense,
        ..request
    };
    let refused = house.library.search(&caller.scope(), &dense).await;
    assert!(
        matches!(refused, Err(LibraryError::Embed(_))),
        "a dense search needs it"
    );
}

#[tokio::test]
async fn sentences_are_scored_against_the_question() {
    let house = House::new();
    let caller = writer("default", &[]);
    house.ingest(&caller, "a.txt", &["everyone"], SECRET).await;
    let request = SearchRequest {
        sentences: true,
        ..SearchRequest::new("what opens the vault", 1)
    };
    let found = house.library.search(&caller.scope(), &request).await.unwrap();
    let passage = &found.passages[0];
    let best = &passage.chunk.text[passage.sentences[0].range.clone()];
    assert_eq!(best, "The vault opens with the number 4711.");
}

#[tokio::test]
async fn bad_questions_are_refused_by_name() {
    let house = House::new();
    let scope = writer("default", &[]).scope();
    let check = async |request: SearchRequest, part: &str| {
        let error = house.library.search(&scope, &request).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(SearchRequest::new("  ", 5), "empty").await;
    check(SearchRequest::new("x".repeat(MAX_QUESTION_BYTES + 1), 5), "bytes").await;
    check(SearchRequest::new("x", 0), "limit").await;
    check(SearchRequest::new("x", MAX_PASSAGES + 1), "limit").await;
}

#[tokio::test]
async fn an_empty_library_answers_with_nothing() {
    let house = House::new();
    assert_eq!(found(&house, &writer("default", &[]), "anything").await, 0);
}

#[tokio::test]
async fn a_library_learns_what_chance_reaches_and_keeps_it_until_it_has_doubled() {
    let house = House::new();
    let operator = Principal::local_operator();
    let (scope, library) = (operator.scope(), &house.library);
    assert!(
        library.calibrate_threshold(&scope).await.unwrap(),
        "an empty library gets the cautious default"
    );
    let text = "The wind gauge turns in the wind. The rain gauge fills in the rain. ".repeat(60);
    house.ingest(&operator, "x.txt", &["everyone"], &text).await;
    assert!(library.calibrate_threshold(&scope).await.unwrap(), "it has doubled");
    assert!(!library.calibrate_threshold(&scope).await.unwrap(), "and not again");
    let ask = async |question: &str| {
        let found = library.search(&scope, &SearchRequest::new(question, 1)).await.unwrap();
        library.has_insufficient_evidence(scope.tenant(), &found.evidence)
    };
    assert!(!ask("what fills the rain gauge").await);
    assert!(ask("which chess opening did the champion play").await);
}

#[tokio::test]
async fn a_question_without_its_vector_is_judged_by_words() {
    let house = House::new();
    let operator = Principal::local_operator();
    let (scope, library) = (operator.scope(), &house.library);
    let thin = |fused: f64, dense: bool| {
        let evidence = ConfidenceScores {
            fused,
            dense,
            ..ConfidenceScores::default()
        };
        library.has_insufficient_evidence(scope.tenant(), &evidence)
    };
    assert!(!thin(0.5, false) && thin(0.5, true));
    let text = "The wind gauge turns in the wind. The rain gauge fills in the rain. ".repeat(60);
    house.ingest(&operator, "x.txt", &["everyone"], &text).await;
    house
        .embedder
        .fail_with(vec![EmbedError::Broken { detail: "gone".into() }]);
    assert!(
        library.calibrate_threshold(&scope).await.is_err(),
        "chance is not found without vectors"
    );
    assert!(library.calibrate_threshold(&scope).await.unwrap());
    assert!(!thin(0.5, false), "and is not the measure of words");
}
