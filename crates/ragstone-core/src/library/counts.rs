//! What one search and one answer cost their stores: exact numbers of calls, so that no change adds one unnoticed.

use std::sync::Arc;

use futures::StreamExt;
use uuid::Uuid;

use super::*;
use crate::access::Principal;
use crate::ask::{self, AnswerEvent, AskOptions, AskRequest};
use crate::id::TraceId;
use crate::prompt::PromptTemplate;
use crate::seam::fake::faults::Faults;
use crate::seam::fake::{House, writer};
use crate::seam::fake_chat::FakeChat;

const TEXTS: [(&str, &str); 3] = [
    (
        "vault.txt",
        "The vault opens with the number 4711. The vault has two doors of steel.",
    ),
    (
        "garden.txt",
        "The garden opens at nine. Its gate is never locked in summer.",
    ),
    ("harbour.txt", "The harbour master keeps the number of every ship."),
];

async fn house() -> (House, Principal) {
    let (house, owner) = (House::new(), writer("default", &["group:g"]));
    for (uri, text) in TEXTS {
        house.ingest(&owner, uri, &["group:g"], text).await;
    }
    (house, owner)
}

fn options() -> AskOptions {
    AskOptions {
        template: PromptTemplate::default(),
        prompt_tokens: 8_000,
        models: Vec::new(),
        trace_id: TraceId(Uuid::nil()),
        boundary: "b0".into(),
    }
}

/// One call of each kind, whatever is found.
const SEARCH: [(&str, usize); 6] = [
    ("get_chunks", 1),
    ("get_document_access", 1),
    ("get_document_labels", 1),
    ("piece_frequencies", 1),
    ("search", 1),
    ("term_statistics", 1),
];

#[tokio::test]
async fn a_search_asks_each_store_once() {
    let (house, owner) = house().await;
    let faults = Arc::new(Faults::default());
    let library = house.watched(&faults);
    for limit in [1, 3] {
        let request = SearchRequest {
            collapse: true,
            ..SearchRequest::new("what number opens the vault", limit)
        };
        let found = library.search(&owner.scope(), &request).await.unwrap();
        assert_eq!(found.passages.len(), limit);
        assert_eq!(faults.counts(), SEARCH, "{limit} passages");
    }
}

#[tokio::test]
async fn an_answer_opens_each_cited_text_once_however_often_it_is_cited() {
    let (house, owner) = house().await;
    let faults = Arc::new(Faults::default());
    let library = Arc::new(house.watched(&faults));
    let model = FakeChat::saying([
        "The vault opens with the number 4711 [1]. ",
        "The vault has two doors of steel [1]. ",
        "The vault opens with the number 4711 [1].",
    ]);
    let request = AskRequest {
        question: "what number opens the vault".into(),
        limit: 3,
        ..AskRequest::default()
    };
    let events: Vec<AnswerEvent> = ask::answer_question(library, Arc::new(model), owner.scope(), request, options())
        .collect()
        .await;
    let Some(AnswerEvent::Done(answer)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(
        answer
            .sentences
            .iter()
            .map(|sentence| sentence.citations.len())
            .sum::<usize>(),
        3
    );
    // Beside the search: admission of each cited sentence, of the text that is opened, and of all at the end.
    let mut expected: Vec<_> = SEARCH.to_vec();
    expected[1].1 += 3 + 1 + 1;
    expected.insert(0, ("get", 1));
    assert_eq!(faults.counts(), expected);
}
