//! Contract of an index that was created without an embedder.

use super::index::{DIMENSIONS, Index, MODES, ask, find, open, question, show, spec, store_visible};
use super::model::{assert_same, expected};
use super::sample::{Sample, caller};
use crate::seam::index::{IndexError, IndexPoint, IndexQuery, IndexSpec};

/// An index without an embedder: points with vectors are refused, words find the others.
pub(super) async fn a_lexical_index(index: Index) {
    let mut sample = Sample::new(13, DIMENSIONS);
    index.prepare_index(&lexical_spec()).await.expect("a lexical index");
    let refused = index.upsert_points(vec![sample.point(&open(), "d", 1, 0)]).await;
    assert!(matches!(refused, Err(IndexError::Mismatch { .. })), "{refused:?}");
    let points = show_without_vectors(&index, &mut sample).await;
    let wordy = |sample: &mut Sample| IndexQuery {
        dense: None,
        ..question(sample)
    };
    finds_as_expected(&index, &points, &mut sample, wordy).await;
}

/// An index begun without vectors that takes them later and keeps what it has.
pub(super) async fn vectors_may_come_later(index: Index) {
    let mut sample = Sample::new(14, DIMENSIONS);
    index.prepare_index(&lexical_spec()).await.expect("a lexical index");
    let mut points = show_without_vectors(&index, &mut sample).await;
    index.prepare_index(&spec()).await.expect("vectors may come later");
    let late = sample.point(&open(), "m", 1, 0);
    store_visible(&index, std::slice::from_ref(&late)).await;
    index
        .prepare_index(&lexical_spec())
        .await
        .expect("points without vectors fit");
    points.push(late);
    finds_as_expected(&index, &points, &mut sample, question).await;
}

fn lexical_spec() -> IndexSpec {
    IndexSpec {
        embedder: None,
        dimensions: None,
        ..spec()
    }
}

async fn show_without_vectors(index: &Index, sample: &mut Sample) -> Vec<IndexPoint> {
    let wordy = |n| IndexPoint {
        dense: None,
        ..sample.point(&open(), "l", 1, n)
    };
    let points: Vec<IndexPoint> = (0..9).map(wordy).collect();
    index
        .upsert_points(points.clone())
        .await
        .expect("points without vectors fit");
    show(index, &points).await;
    points
}

async fn finds_as_expected(
    index: &Index,
    points: &[IndexPoint],
    sample: &mut Sample,
    asked: impl Fn(&mut Sample) -> IndexQuery,
) {
    for mode in MODES {
        let query = ask(&caller("a", &[]), &IndexQuery { mode, ..asked(sample) });
        assert_same(
            &find(index, &query).await,
            &expected(points, &query),
            &format!("{mode:?}"),
        );
    }
}
