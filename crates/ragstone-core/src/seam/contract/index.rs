//! Contract of every vector index.

use std::future::Future;
use std::sync::Arc;

use serde_json::json;

use super::lexical_index::{a_lexical_index, vectors_may_come_later};
use super::model::{assert_same, expected};
use super::sample::{Sample, acl, asking, caller, fields};
use crate::access::{Acl, Scope, ScopedQuery};
use crate::filter::MetadataFilter;
use crate::id::{CollectionName, DocumentId, Generation};
use crate::rank::LexicalQuery;
use crate::seam::index::{IndexError, IndexHits, IndexPoint, IndexQuery, IndexSpec, SearchMode, VectorIndex};

/// Length of the suite's vectors.
pub const DIMENSIONS: usize = 32;
pub(super) const MODES: [SearchMode; 3] = [SearchMode::Hybrid, SearchMode::Dense, SearchMode::Lexical];

pub(super) type Index = Arc<dyn VectorIndex>;

/// Runs the suite; `make` gives a fresh, empty index each time.
pub async fn index_contract<F: Future<Output = Index>>(make: impl Fn() -> F) {
    points_are_seen_from_publish_to_delete(make().await).await;
    both_scores_are_true_in_every_mode(make().await).await;
    a_scope_bounds_everything(make().await).await;
    every_set_of_a_conjunction_must_grant(make().await).await;
    collection_filter_and_without_narrow(make().await).await;
    access_changes_both_ways(make().await).await;
    ties_and_depth(make().await).await;
    gate_without_words_and_without_vectors(make().await).await;
    points_without_vectors(make().await).await;
    text_is_read_through_a_scope(make().await).await;
    another_spec_is_refused(make().await).await;
    a_lexical_index(make().await).await;
}

/// For an index that takes vectors after points without them; one that cannot refuses the wider spec by `Mismatch`.
pub async fn growing_index_contract<F: Future<Output = Index>>(make: impl Fn() -> F) {
    vectors_may_come_later(make().await).await;
}

/// The index spec that the suite uses.
pub fn spec() -> IndexSpec {
    IndexSpec {
        embedder: Some("suite".into()),
        dimensions: Some(DIMENSIONS),
        lexical: "suite".into(),
    }
}

/// A hybrid query with random vector and terms.
pub fn question(sample: &mut Sample) -> IndexQuery {
    IndexQuery {
        mode: SearchMode::Hybrid,
        dense: Some(sample.vector()),
        lexical: sample.lexical_query(),
        query_gate: 0.9,
        depth: 10,
        exact_count: 10,
        excluded: Vec::new(),
    }
}

/// A question of `scope` over everything it may see.
pub fn ask(scope: &Scope, query: &IndexQuery) -> ScopedQuery<IndexQuery> {
    ScopedQuery::for_contract(scope, None, None, query.clone())
}

pub(super) async fn find(index: &Index, query: &ScopedQuery<IndexQuery>) -> IndexHits {
    index.search(query).await.expect("the index answers")
}

#[track_caller]
fn documents(hits: &IndexHits) -> Vec<DocumentId> {
    let mut documents: Vec<_> = hits.hits.iter().map(|hit| hit.document).collect();
    documents.sort();
    documents.dedup();
    documents
}

async fn store(index: &Index, points: &[IndexPoint]) {
    index.prepare_index(&spec()).await.expect("the spec fits");
    index.upsert_points(points.to_vec()).await.expect("the points fit");
}

pub(super) async fn show(index: &Index, points: &[IndexPoint]) {
    for point in points {
        let published = index
            .publish_generation(point.chunk.document_id, point.generation)
            .await;
        published.expect("publishing works");
    }
}

/// Stores points and shows them.
pub async fn store_visible(index: &Index, points: &[IndexPoint]) {
    store(index, points).await;
    show(index, points).await;
}

pub(super) fn open() -> Acl {
    acl("a", &[&["everyone"]])
}

async fn points_are_seen_from_publish_to_delete(index: Index) {
    let mut sample = Sample::new(1, DIMENSIONS);
    let old: Vec<IndexPoint> = (0..3).map(|n| sample.point(&open(), "x", 1, n)).collect();
    let new: Vec<IndexPoint> = (0..2).map(|n| sample.point(&open(), "x", 2, n)).collect();
    let query = ask(&caller("a", &[]), &question(&mut sample));
    let document = old[0].chunk.document_id;

    store(&index, &old).await;
    assert!(find(&index, &query).await.hits.is_empty(), "stored is not visible");
    index
        .publish_generation(document, Generation(9))
        .await
        .expect("nothing to show is fine");
    assert!(find(&index, &query).await.hits.is_empty(), "another generation");
    show(&index, &old).await;
    assert_same(&find(&index, &query).await, &expected(&old, &query), "published");

    store(&index, &new).await;
    assert_same(&find(&index, &query).await, &expected(&old, &query), "new is hidden");
    store(&index, &old).await;
    store(&index, &new).await;
    assert_eq!(
        index.count_points().await.expect("a count"),
        5,
        "the same point twice is one"
    );
    assert_same(&find(&index, &query).await, &expected(&old, &query), "stored twice");

    show(&index, &new).await;
    let both: Vec<IndexPoint> = old.iter().chain(&new).cloned().collect();
    assert_same(&find(&index, &query).await, &expected(&both, &query), "both visible");
    let generations = index.list_generations(None).await.expect("generations");
    assert_eq!(
        generations,
        [((document, Generation(1)), 3), ((document, Generation(2)), 2)]
    );

    index.delete_generation(document, Generation(1)).await.expect("delete");
    assert_same(&find(&index, &query).await, &expected(&new, &query), "old is gone");
    index
        .delete_generation(document, Generation(1))
        .await
        .expect("delete again");
    index
        .delete_generation(document, Generation(2))
        .await
        .expect("delete the last");
    assert!(find(&index, &query).await.hits.is_empty(), "nothing is left");
    assert_eq!(index.count_points().await.expect("a count"), 0);
    assert!(index.list_generations(None).await.expect("generations").is_empty());
}

async fn both_scores_are_true_in_every_mode(index: Index) {
    let mut sample = Sample::new(2, DIMENSIONS);
    let points: Vec<IndexPoint> = (0..60)
        .map(|n| sample.point(&open(), &format!("{}", n % 7), 1, n))
        .collect();
    store_visible(&index, &points).await;
    for mode in MODES {
        for depth in [0, 1, 7, 100] {
            let query = IndexQuery {
                mode,
                depth,
                ..question(&mut sample)
            };
            let query = ask(&caller("a", &[]), &query);
            let case = format!("{mode:?} at depth {depth}");
            assert_same(&find(&index, &query).await, &expected(&points, &query), &case);
        }
    }
}

async fn a_scope_bounds_everything(index: Index) {
    let mut sample = Sample::new(3, DIMENSIONS);
    let acls = [
        open(),
        acl("b", &[&["everyone"]]),
        acl("a", &[&["group:g"]]),
        acl("a", &[&["group:h"]]),
        acl("a", &[&["group:g", "group:h"]]),
        acl("a", &[&["nobody"]]),
        acl("a", &[&[]]),
        acl("a", &[]),
        acl("a", &[&["user:u"]]),
    ];
    let mut points = Vec::new();
    for (n, acl) in acls.iter().enumerate() {
        points.extend((0..3).map(|ordinal| sample.point(acl, &n.to_string(), 1, ordinal)));
    }
    store_visible(&index, &points).await;
    let scopes = [
        (caller("a", &[]), 1),
        (caller("a", &["group:g"]), 3),
        (caller("a", &["group:g", "group:h", "user:u"]), 5),
        (caller("a", &["nobody"]), 1),
        (caller("b", &["group:g", "group:h", "user:u"]), 1),
        (caller("c", &["group:g"]), 0),
    ];
    for (scope, seen) in scopes {
        for mode in MODES {
            let query = ask(
                &scope,
                &IndexQuery {
                    mode,
                    depth: 100,
                    ..question(&mut sample)
                },
            );
            let found = find(&index, &query).await;
            assert_same(&found, &expected(&points, &query), &format!("{scope:?}"));
            let most = if mode == SearchMode::Lexical {
                documents(&found).len()
            } else {
                seen
            };
            assert_eq!(documents(&found).len(), most, "{scope:?}");
            assert!(documents(&found).len() <= seen, "{scope:?}");
        }
    }
}

async fn every_set_of_a_conjunction_must_grant(index: Index) {
    let mut sample = Sample::new(4, DIMENSIONS);
    let five: &[&[&str]] = &[&["group:a"], &["group:b"], &["group:c"], &["group:d"], &["group:e"]];
    let points = [
        sample.point(&acl("a", &[&["group:a", "group:b"], &["group:c"]]), "two", 1, 0),
        sample.point(&acl("a", five), "five", 1, 0),
        sample.point(&acl("a", &[&["everyone"], &[]]), "empty", 1, 0),
    ];
    store_visible(&index, &points).await;
    let all = ["group:a", "group:b", "group:c", "group:d", "group:e"];
    let check = async |held: &[&str], seen: usize, sample: &mut Sample| {
        let query = ask(&caller("a", held), &question(sample));
        let found = find(&index, &query).await;
        assert_same(&found, &expected(&points, &query), &format!("{held:?}"));
        assert_eq!(documents(&found).len(), seen, "{held:?}");
    };
    check(&all, 2, &mut sample).await;
    check(&all[..4], 1, &mut sample).await;
    check(&["group:b", "group:c"], 1, &mut sample).await;
    check(&["group:a", "group:b"], 0, &mut sample).await;
    check(&["group:c"], 0, &mut sample).await;
}

async fn collection_filter_and_without_narrow(index: Index) {
    let mut sample = Sample::new(5, DIMENSIONS);
    let manuals: CollectionName = "manuals".parse().expect("a name");
    let mut points: Vec<IndexPoint> = (0..24)
        .map(|n| sample.point(&open(), &format!("{}", n % 4), 1, n))
        .collect();
    for point in &mut points {
        let which = point.fields["uri"].as_str().expect("a uri").to_owned();
        if which == "1" {
            point.collection = manuals.clone();
        }
        point.fields = fields(&which, if which == "2" { "de" } else { "en" });
    }
    store_visible(&index, &points).await;
    let german = MetadataFilter::from_json(&json!({"type": "eq", "key": "lang", "value": "de"})).expect("a filter");
    let scope = caller("a", &[]);
    let check = async |collection: Option<&CollectionName>, filter: Option<&MetadataFilter>, without, seen: usize| {
        let query = IndexQuery {
            excluded: without,
            ..question(&mut Sample::new(6, DIMENSIONS))
        };
        let query = ScopedQuery::for_contract(&scope, collection.cloned(), filter.cloned(), query);
        let found = find(&index, &query).await;
        assert_same(&found, &expected(&points, &query), &format!("{query:?}"));
        assert_eq!(documents(&found).len(), seen, "{query:?}");
    };
    let unknown: CollectionName = "unknown".parse().expect("a name");
    let first = (points[0].chunk.document_id, Generation(1));
    check(None, None, vec![], 4).await;
    check(Some(&manuals), None, vec![], 1).await;
    check(Some(&unknown), None, vec![], 0).await;
    check(None, Some(&german), vec![], 1).await;
    check(Some(&manuals), Some(&german), vec![], 0).await;
    check(None, None, vec![first], 3).await;
    check(None, None, vec![(first.0, Generation(2))], 4).await;
}

async fn access_changes_both_ways(index: Index) {
    let mut sample = Sample::new(7, DIMENSIONS);
    let (held, other) = (acl("a", &[&["group:g"]]), acl("a", &[&["group:h"]]));
    let mut points = vec![
        sample.point(&held, "x", 1, 0),
        sample.point(&held, "x", 1, 1),
        sample.point(&held, "x", 2, 0),
        sample.point(&held, "y", 1, 0),
    ];
    store_visible(&index, &points).await;
    let document = points[0].chunk.document_id;
    let query = ask(&caller("a", &["group:g"]), &question(&mut sample));
    assert_same(&find(&index, &query).await, &expected(&points, &query), "before");
    for (revision, acl) in [(2, &other), (3, &held), (4, &acl("a", &[])), (5, &open())] {
        let fields = fields("x", &format!("r{revision}"));
        let set = index.set_access(document, Generation(1), acl, revision, &fields).await;
        set.expect("the access is set");
        for point in &mut points[..2] {
            point.acl = acl.clone();
            point.acl_revision = revision;
            point.fields = fields.clone();
        }
        assert_same(
            &find(&index, &query).await,
            &expected(&points, &query),
            &format!("{acl:?}"),
        );
        let narrow = json!({"type": "eq", "key": "lang", "value": format!("r{revision}")});
        let narrow = MetadataFilter::from_json(&narrow).expect("a filter");
        let narrow = ScopedQuery::for_contract(query.scope(), None, Some(narrow), query.query().clone());
        assert_same(&find(&index, &narrow).await, &expected(&points, &narrow), "fields");
    }
    let text = index
        .get_chunks(query.scope(), &[points[0].id], false)
        .await
        .expect("text");
    assert_eq!(text.len(), 1, "granted again");
}

async fn ties_and_depth(index: Index) {
    let mut sample = Sample::new(8, DIMENSIONS);
    let model = sample.point(&open(), "tie", 1, 0);
    let mut points: Vec<IndexPoint> = (0..40).map(|n| sample.point(&open(), "tie", 1, n)).collect();
    for point in &mut points {
        point.dense.clone_from(&model.dense);
        point.lexical = model.lexical.clone();
    }
    store_visible(&index, &points).await;
    for depth in [1, 10, 39, 40] {
        let query = IndexQuery {
            depth,
            lexical: asking(&model.lexical),
            ..question(&mut sample)
        };
        let query = ask(&caller("a", &[]), &query);
        let found = find(&index, &query).await;
        assert_eq!(found.hits.len(), depth, "both legs name the same ones");
        assert_same(&found, &expected(&points, &query), &format!("ties at depth {depth}"));
    }
}

async fn gate_without_words_and_without_vectors(index: Index) {
    let mut sample = Sample::new(9, DIMENSIONS);
    let points: Vec<IndexPoint> = (0..30).map(|n| sample.point(&open(), "g", 1, n)).collect();
    store_visible(&index, &points).await;
    let scope = caller("a", &[]);
    for mode in MODES {
        let wordless = IndexQuery {
            mode,
            lexical: LexicalQuery {
                unigrams: vec![],
                bigrams: vec![],
                upper_bound: 1e-9,
            },
            ..question(&mut sample)
        };
        let vectorless = IndexQuery {
            mode,
            dense: None,
            ..question(&mut sample)
        };
        let unreadable = IndexQuery {
            mode,
            query_gate: 0.0,
            ..question(&mut sample)
        };
        for query in [wordless, vectorless, unreadable] {
            let query = ask(&scope, &query);
            assert_same(
                &find(&index, &query).await,
                &expected(&points, &query),
                &format!("{mode:?}"),
            );
        }
    }
    let query = ask(&caller("b", &[]), &question(&mut sample));
    let nothing = find(&index, &query).await;
    assert_eq!((nothing.gate, nothing.hits.len()), (0.0, 0), "nothing in scope");
}

async fn points_without_vectors(index: Index) {
    let mut sample = Sample::new(10, DIMENSIONS);
    let mut points: Vec<IndexPoint> = (0..20).map(|n| sample.point(&open(), "v", 1, n)).collect();
    for point in points.iter_mut().step_by(2) {
        point.dense = None;
    }
    store_visible(&index, &points).await;
    for mode in MODES {
        let query = ask(
            &caller("a", &[]),
            &IndexQuery {
                mode,
                depth: 15,
                ..question(&mut sample)
            },
        );
        assert_same(
            &find(&index, &query).await,
            &expected(&points, &query),
            &format!("{mode:?}"),
        );
    }
}

async fn text_is_read_through_a_scope(index: Index) {
    let mut sample = Sample::new(11, DIMENSIONS);
    let acl = acl("a", &[&["group:g"]]);
    let points: Vec<IndexPoint> = (0..5).map(|n| sample.point(&acl, "t", 1, n)).collect();
    let document = points[0].chunk.document_id;
    let ids: Vec<_> = points.iter().map(|point| point.id).collect();
    let reads = caller("a", &["group:g"]);
    let refused = [caller("a", &[]), caller("a", &["group:h"]), caller("b", &["group:g"])];
    store(&index, &points).await;
    assert!(
        index.get_chunks(&reads, &ids, false).await.expect("text").is_empty(),
        "hidden"
    );
    show(&index, &points).await;

    let mut found = index.get_chunks(&reads, &ids, true).await.expect("text");
    found.sort_by_key(|chunk| chunk.chunk.ordinal);
    assert_eq!(found.len(), points.len());
    for (found, point) in found.iter().zip(&points) {
        assert_eq!((&found.chunk, found.point), (&point.chunk, point.id));
        assert_eq!(
            (found.generation, &found.collection),
            (point.generation, &point.collection)
        );
        assert_eq!(found.tokens, point.tokens);
    }
    let without = index.get_chunks(&reads, &ids[..2], false).await.expect("text");
    assert!(
        without.iter().all(|chunk| chunk.tokens.is_none()),
        "tokens were not asked for"
    );
    let page = index
        .list_chunks(&reads, document, Generation(1), 1, 2)
        .await
        .expect("a page");
    assert_eq!(page.iter().map(|chunk| chunk.chunk.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert!(
        index
            .list_chunks(&reads, document, Generation(2), 0, 9)
            .await
            .expect("a page")
            .is_empty()
    );
    for scope in refused {
        assert!(
            index.get_chunks(&scope, &ids, true).await.expect("text").is_empty(),
            "{scope:?}"
        );
        assert!(
            index
                .list_chunks(&scope, document, Generation(1), 0, 9)
                .await
                .expect("a page")
                .is_empty()
        );
    }
}

async fn another_spec_is_refused(index: Index) {
    let mut sample = Sample::new(12, DIMENSIONS);
    let other = IndexSpec {
        dimensions: Some(DIMENSIONS + 1),
        ..spec()
    };
    index
        .prepare_index(&other)
        .await
        .expect("an empty index takes any spec");
    index
        .prepare_index(&spec())
        .await
        .expect("and another one while it is empty");
    let mut long = sample.point(&open(), "m", 1, 0);
    long.dense = Some(vec![0.0; DIMENSIONS + 1]);
    let refused = index.upsert_points(vec![long]).await;
    assert!(matches!(refused, Err(IndexError::Mismatch { .. })), "{refused:?}");
    assert_eq!(
        index.count_points().await.expect("a count"),
        0,
        "nothing of a refused batch is stored"
    );
    store_visible(&index, &[sample.point(&open(), "m", 1, 0)]).await;
    index.prepare_index(&spec()).await.expect("the same spec again");
    let refused = index.prepare_index(&other).await;
    assert!(matches!(refused, Err(IndexError::Mismatch { .. })), "{refused:?}");
    let query = IndexQuery {
        dense: Some(vec![0.0; 3]),
        ..question(&mut sample)
    };
    let refused = index.search(&ask(&caller("a", &[]), &query)).await;
    assert!(matches!(refused, Err(IndexError::Mismatch { .. })), "{refused:?}");
}
