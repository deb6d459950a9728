//! Contract of every store of feedback.

use std::future::Future;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::sample::{readers, tenant};
use crate::id::TraceId;
use crate::seam::catalogue::{CatalogueError, PageRequest};
use crate::seam::feedback::{AnswerRating, AnsweredQuestion, CitedPlace, FeedbackStore, RatedAnswer, ThumbVote};

type Store = Arc<dyn FeedbackStore>;

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn feedback_contract<F: Future<Output = Store>>(make: impl Fn() -> F) {
    an_answer_is_rated_by_its_asker_alone(make().await).await;
    a_later_word_takes_the_place_of_an_earlier_one(make().await).await;
    feedback_is_listed_in_its_order_and_by_pages(make().await).await;
    what_is_removed_is_gone(make().await).await;
    what_is_old_or_too_much_is_forgotten(make().await).await;
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
}

fn trace(n: u128) -> TraceId {
    TraceId(Uuid::from_u128(n))
}

fn answer(n: u128, subject: &str) -> AnsweredQuestion {
    AnsweredQuestion {
        trace_id: trace(n),
        subject: subject.into(),
        readers: Some(readers(&["dept:lab", "user:ann"])),
        asked_at: at(n as i64),
        question: format!("What is \"{n}\"?"),
        answer: "Ein Maß 日本.".into(),
        answered: true,
        cited: vec![CitedPlace {
            uri: "a://b".into(),
            page: Some(3),
        }],
        model: "m".into(),
    }
}

fn thumb(thumb: ThumbVote) -> AnswerRating {
    AnswerRating {
        thumb: Some(thumb),
        ..AnswerRating::default()
    }
}

async fn keep(store: &Store, of: &str, answer: &AnsweredQuestion) {
    store.save_answer(&tenant(of), answer).await.expect("kept");
}

async fn rate(store: &Store, of: (&str, &str), n: u128, rating: AnswerRating, seconds: i64) -> bool {
    let tenant = tenant(of.0);
    let rated = store.rate_answer(&tenant, of.1, trace(n), rating, at(seconds));
    rated.await.expect("an answer")
}

async fn all(store: &Store, of: &str) -> Vec<RatedAnswer> {
    let page = PageRequest {
        cursor: None,
        limit: 1_000,
    };
    let listed = store.list_rated_answers(&tenant(of), &page).await.expect("a page");
    assert_eq!(listed.next_cursor, None);
    listed.items
}

async fn an_answer_is_rated_by_its_asker_alone(store: Store) {
    keep(&store, "a", &answer(1, "u")).await;
    let whole = AnswerRating {
        thumb: Some(ThumbVote::Down),
        comment: Some("no\n\"it\" is not".into()),
        correct_answer: Some("42".into()),
    };
    for other in [("a", "v"), ("b", "u")] {
        assert!(!rate(&store, other, 1, whole.clone(), 5).await, "{other:?}");
    }
    assert!(!rate(&store, ("a", "u"), 2, whole.clone(), 5).await);
    assert!(all(&store, "a").await.is_empty(), "nobody said anything yet");
    assert!(rate(&store, ("a", "u"), 1, whole.clone(), 5).await);
    let kept = RatedAnswer {
        answer: answer(1, "u"),
        rating: whole,
        rated_at: at(5),
    };
    assert_eq!(all(&store, "a").await, [kept]);
    assert!(all(&store, "b").await.is_empty());
}

async fn a_later_word_takes_the_place_of_an_earlier_one(store: Store) {
    keep(&store, "a", &answer(1, "u")).await;
    assert!(rate(&store, ("a", "u"), 1, thumb(ThumbVote::Up), 5).await);
    // Kept again, it stays as it is.
    let everybody = AnsweredQuestion {
        readers: None,
        question: "another".into(),
        ..answer(1, "u")
    };
    keep(&store, "a", &everybody).await;
    assert!(rate(&store, ("a", "u"), 1, thumb(ThumbVote::Down), 6).await);
    let kept = RatedAnswer {
        answer: answer(1, "u"),
        rating: thumb(ThumbVote::Down),
        rated_at: at(6),
    };
    assert_eq!(all(&store, "a").await, [kept]);
    let elsewhere = AnsweredQuestion {
        trace_id: trace(2),
        ..everybody
    };
    keep(&store, "a", &elsewhere).await;
    assert!(rate(&store, ("a", "u"), 2, thumb(ThumbVote::Up), 7).await);
    assert_eq!(all(&store, "a").await[1].answer, elsewhere);
}

async fn feedback_is_listed_in_its_order_and_by_pages(store: Store) {
    for n in 1..=5 {
        keep(&store, "a", &answer(n, "u")).await;
        keep(&store, "b", &answer(n, "u")).await;
    }
    // The fourth is asked about last of all, and the fifth never.
    for (n, seconds) in [(3, 10), (1, 20), (2, 20), (4, 30)] {
        assert!(rate(&store, ("a", "u"), n, thumb(ThumbVote::Up), seconds).await);
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = PageRequest { cursor, limit: 2 };
        let listed = store.list_rated_answers(&tenant("a"), &page).await.expect("a page");
        assert!(listed.items.len() <= 2);
        seen.extend(listed.items.into_iter().map(|feedback| feedback.answer.trace_id));
        match listed.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [trace(3), trace(1), trace(2), trace(4)]);
    let bad = PageRequest {
        cursor: Some("nonsense".into()),
        limit: 2,
    };
    let refused = store.list_rated_answers(&tenant("a"), &bad).await;
    assert!(matches!(refused, Err(CatalogueError::BadCursor)));
}

async fn what_is_removed_is_gone(store: Store) {
    for n in 1..=2 {
        keep(&store, "a", &answer(n, "u")).await;
        assert!(rate(&store, ("a", "u"), n, thumb(ThumbVote::Up), 5).await);
    }
    let remove = async |of: &str, subject: Option<&str>, n| {
        let removed = store.remove_answer(&tenant(of), subject, trace(n)).await;
        removed.expect("an answer")
    };
    assert!(!remove("b", None, 1).await);
    assert!(!remove("a", Some("v"), 1).await);
    assert_eq!(all(&store, "a").await.len(), 2);
    assert!(remove("a", Some("u"), 1).await);
    assert!(!remove("a", Some("u"), 1).await);
    assert!(remove("a", None, 2).await);
    assert!(all(&store, "a").await.is_empty());
    assert!(!rate(&store, ("a", "u"), 1, thumb(ThumbVote::Up), 6).await);
}

async fn what_is_old_or_too_much_is_forgotten(store: Store) {
    for (of, answers) in [("a", 1..=6), ("b", 5..=6)] {
        for n in answers {
            keep(&store, of, &answer(n, "u")).await;
            assert!(rate(&store, (of, "u"), n, thumb(ThumbVote::Up), 50).await);
        }
    }
    let forget = async |before, most| store.remove_old_answers(at(before), most).await.expect("forgotten");
    let left = async |of: &str| -> Vec<_> {
        let kept = all(&store, of).await;
        kept.into_iter().map(|kept| kept.answer.trace_id).collect()
    };
    assert_eq!(forget(0, 10).await, 0);
    assert_eq!(forget(3, 10).await, 2);
    assert_eq!(left("a").await, [3, 4, 5, 6].map(trace));
    assert_eq!(forget(0, 2).await, 2);
    assert_eq!(left("a").await, [5, 6].map(trace));
    assert_eq!(left("b").await, [5, 6].map(trace));
}
