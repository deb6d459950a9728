use futures::executor::block_on;
use uuid::Uuid;

use super::fixture::{FakeEvidence, OFFSET, passage};
use super::*;
use crate::access::Principal;
use crate::id::TraceId;
use crate::prompt::PromptTemplate;
use crate::seam::ChatError;
use crate::seam::fake_chat::FakeChat;

const WINDOW: &str = "Intro. The refund window is thirty days. Shipping is free.";
const PARKING: &str = "A parking permit costs 12 euros.";

fn evidence() -> FakeEvidence {
    FakeEvidence {
        found: RetrievedPassages {
            passages: vec![passage(WINDOW), passage(PARKING)],
            ..RetrievedPassages::default()
        },
        ..FakeEvidence::default()
    }
}

fn options() -> AskOptions {
    AskOptions {
        template: PromptTemplate::default(),
        prompt_tokens: 4_000,
        models: vec!["other".into()],
        trace_id: TraceId(Uuid::from_u128(7)),
        boundary: "k7Qz".into(),
    }
}

fn request() -> AskRequest {
    AskRequest {
        question: "How long is the refund window?".into(),
        limit: 5,
        ..AskRequest::default()
    }
}

fn start(evidence: FakeEvidence, model: &Arc<FakeChat>, request: AskRequest) -> impl Stream<Item = AnswerEvent> {
    let scope = Principal::local_operator().scope();
    answer_question(
        Arc::new(evidence),
        Arc::clone(model) as Arc<dyn ChatModel>,
        scope,
        request,
        options(),
    )
}

fn events(evidence: FakeEvidence, model: FakeChat) -> Vec<AnswerEvent> {
    block_on(start(evidence, &Arc::new(model), request()).collect())
}

fn names(events: &[AnswerEvent]) -> Vec<String> {
    let name = |event: &AnswerEvent| match event {
        AnswerEvent::Sources { passages, .. } => format!("sources {}", passages.len()),
        AnswerEvent::Delta { text } => text.clone(),
        AnswerEvent::Citation(citation) => format!("citation {} {}", citation.sentence, citation.n),
        AnswerEvent::Done(answer) => format!("done {}", answer.answered),
        AnswerEvent::Failed { code, .. } => format!("failed {code}"),
    };
    events.iter().map(name).collect()
}

fn whole(events: Vec<AnswerEvent>) -> Answer {
    block_on(collect_answer(futures::stream::iter(events))).unwrap()
}

#[test]
fn an_answer_is_told_in_order() {
    let usage = TokenUsage {
        prompt_tokens: 9,
        completion_tokens: 4,
    };
    let said = vec![
        Ok(ChatEvent::Delta("The refund window".into())),
        Ok(ChatEvent::Delta(" is thirty days [1].".into())),
        Ok(ChatEvent::Usage(usage)),
        Ok(ChatEvent::End(FinishReason::Stop)),
    ];
    let events = events(evidence(), FakeChat::giving(said));
    assert_eq!(
        names(&events),
        [
            "sources 2",
            "The refund window",
            " is thirty days.",
            "citation 0 1",
            " [1]",
            "done true"
        ]
    );
    let answer = whole(events);
    assert_eq!(answer.answer, "The refund window is thirty days. [1]");
    assert_eq!(
        answer.sentences,
        [AnswerSentence {
            text: "The refund window is thirty days.".into(),
            citations: vec![1]
        }]
    );
    assert_eq!(
        (answer.usage, answer.model.as_str(), answer.sources.len()),
        (usage, "fake", 2)
    );
    let citation = &answer.citations[0];
    assert_eq!(citation.quote, "The refund window is thirty days.");
    assert_eq!(citation.range, OFFSET + 7..OFFSET + 7 + citation.quote.len());
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(
        json["citations"][0]["range"],
        serde_json::json!([OFFSET + 7, OFFSET + 40])
    );
    assert_eq!(json["citations"][0]["source_url"], serde_json::Value::Null);
}

#[test]
fn thin_evidence_asks_no_model() {
    let model = Arc::new(FakeChat::saying(["no"]));
    let thin = FakeEvidence {
        found: RetrievedPassages {
            insufficient_evidence: true,
            ..evidence().found
        },
        ..FakeEvidence::default()
    };
    let told: Vec<AnswerEvent> = block_on(start(thin, &model, request()).collect());
    assert_eq!(names(&told), ["sources 2", NO_ANSWER, "done false"]);
    let answer = whole(told);
    assert_eq!(
        (answer.answer.as_str(), answer.sources.len(), answer.sentences.len()),
        (NO_ANSWER, 2, 1)
    );
    let told: Vec<AnswerEvent> = block_on(start(FakeEvidence::default(), &model, request()).collect());
    assert_eq!(names(&told), ["sources 0", NO_ANSWER, "done false"]);
    assert!(model.requests().is_empty());
}

#[test]
fn an_answer_that_nothing_supports_is_none() {
    let check = |said: &str, answered: bool, notice: Option<&str>| {
        let answer = whole(events(evidence(), FakeChat::saying([said])));
        assert_eq!(answer.answered, answered, "{said}");
        assert_eq!(
            answer.notices.first().map(|notice| notice.code.as_str()),
            notice,
            "{said}"
        );
    };
    check("The refund window is thirty days [1].", true, None);
    check("The refund window is forty days [1].", false, Some("unsupported"));
    check("The passages say nothing about it.", false, Some("unsupported"));
    check("I don't know: the provided context does not say.", false, None);
    check(
        "I don't know who asks. But the refund window is thirty days [1].",
        true,
        None,
    );
    let silent = FakeChat::giving(vec![Ok(ChatEvent::End(FinishReason::NoAnswer))]);
    assert_eq!(
        names(&events(evidence(), silent)),
        ["sources 2", NO_ANSWER, "done false"]
    );
}

#[test]
fn what_changed_in_the_store_is_not_cited() {
    let changed = FakeEvidence {
        changed: vec!["thirty".into()],
        ..evidence()
    };
    let answer = whole(events(
        changed,
        FakeChat::saying(["The refund window is thirty days [1]. A parking permit costs 12 euros [2]."]),
    ));
    assert_eq!(
        answer.answer,
        "The refund window is thirty days. A parking permit costs 12 euros. [1]"
    );
    assert_eq!(answer.citations.len(), 1);
}

#[test]
fn a_withdrawn_document_ends_the_answer() {
    let check = |admissions: usize, last: &str, citations: usize| {
        let evidence = evidence();
        *evidence.admissions.lock().unwrap() = Some(admissions);
        let told = names(&events(
            evidence,
            FakeChat::saying(["The refund window is thirty days [1]. A parking permit costs 12 euros [2]."]),
        ));
        assert_eq!(told.last().unwrap(), last);
        assert_eq!(
            told.iter().filter(|name| name.starts_with("citation")).count(),
            citations
        );
    };
    check(0, "failed withdrawn", 0);
    check(1, "failed withdrawn", 1);
    check(2, "failed withdrawn", 2);
    check(3, "done true", 2);
}

#[test]
fn each_failure_has_its_code_and_is_the_end() {
    let broken = || ChatError::Broken { detail: "x".into() };
    let check = |evidence: FakeEvidence, model: FakeChat, last: &str| {
        let told = names(&events(evidence, model));
        assert_eq!(told.last().unwrap(), last);
        let ends = told
            .iter()
            .filter(|name| name.starts_with("done") || name.starts_with("failed"));
        assert_eq!(ends.count(), 1);
    };
    let busy = ChatError::Busy {
        detail: "x".into(),
        after: None,
    };
    check(evidence(), FakeChat::refusing(busy), "failed model_busy");
    check(
        evidence(),
        FakeChat::refusing(ChatError::Refused { detail: "x".into() }),
        "failed model_refused",
    );
    check(
        evidence(),
        FakeChat::giving(vec![Ok(ChatEvent::Delta("a".into())), Err(broken())]),
        "failed model_failed",
    );
    check(
        evidence(),
        FakeChat::giving(vec![Ok(ChatEvent::Delta("a".into()))]),
        "failed model_failed",
    );
    check(
        evidence(),
        FakeChat::giving(vec![Ok(ChatEvent::End(FinishReason::Stop))]),
        "failed model_failed",
    );
    let failing = FakeEvidence {
        error: Some(RetrievalError::Broken { detail: "x".into() }),
        ..FakeEvidence::default()
    };
    check(failing, FakeChat::saying(["a"]), "failed search_failed");
    let long = passage(&"word ".repeat(20_000));
    let long = FakeEvidence {
        found: RetrievedPassages {
            passages: vec![long],
            ..RetrievedPassages::default()
        },
        ..FakeEvidence::default()
    };
    check(long, FakeChat::saying(["a"]), "failed prompt_too_long");
}

#[test]
fn how_a_model_stopped_is_said() {
    let check = |finish: FinishReason, notice: &str| {
        let said = vec![
            Ok(ChatEvent::Delta("The refund window is thirty days".into())),
            Ok(ChatEvent::End(finish)),
        ];
        let answer = whole(events(evidence(), FakeChat::giving(said)));
        assert_eq!((answer.answered, answer.notices[0].code.as_str()), (true, notice));
    };
    check(FinishReason::Length, "truncated");
    check(FinishReason::Filtered, "filtered");
}

#[test]
fn only_an_allowed_model_is_asked() {
    let ask = |name: &str| {
        let model = Arc::new(FakeChat::saying(["The refund window is thirty days [1]."]));
        let request = AskRequest {
            model: Some(name.into()),
            ..request()
        };
        let told: Vec<AnswerEvent> = block_on(start(evidence(), &model, request).collect());
        (
            names(&told).last().unwrap().clone(),
            model.requests().first().and_then(|request| request.model.clone()),
        )
    };
    assert_eq!(ask("other"), ("done true".into(), Some("other".into())));
    assert_eq!(ask("evil"), ("failed model_not_allowed".into(), None));
}

#[test]
fn what_does_not_fit_the_prompt_is_no_source() {
    let long = passage(&"word ".repeat(3_000));
    let found = RetrievedPassages {
        passages: vec![passage(WINDOW), long],
        ..RetrievedPassages::default()
    };
    let told = events(
        FakeEvidence {
            found,
            ..FakeEvidence::default()
        },
        FakeChat::saying(["x"]),
    );
    assert_eq!(names(&told)[0], "sources 1");
    assert_eq!(whole(told).notices[0].code, "passages_left_out");
}

#[test]
fn who_leaves_ends_the_models_stream() {
    let model = Arc::new(FakeChat::hanging_after("The refund"));
    let told = start(evidence(), &model, request());
    block_on(async {
        pin_mut!(told);
        told.next().await.unwrap();
        assert_eq!(model.open(), 0, "sources come before the model is asked");
        told.next().await.unwrap();
        assert_eq!(model.open(), 1);
    });
    assert_eq!(model.open(), 0);
}

#[test]
fn an_answer_links_to_nothing_but_what_was_shown() {
    let shown = "https://docs.example/refunds";
    let mut evidence = evidence();
    // What the document is called is no address that anybody may be led to.
    evidence.found.passages[0] = Admitted::for_contract(Passage {
        source_url: shown.parse().ok(),
        uri: "javascript:alert(1)".into(),
        ..evidence.found.passages[0].clone().into_inner()
    });
    let said = vec![
        Ok(ChatEvent::Delta(
            "The refund window is thirty days [1]. See [x](https://evil.exa".into(),
        )),
        Ok(ChatEvent::Delta(format!("mple/?d=1) and [y]({shown}#page=3)."))),
        Ok(ChatEvent::Delta(" ![z](https://evil.example/z.png)".into())),
        Ok(ChatEvent::Delta(" [w](javascript:alert(1))".into())),
        Ok(ChatEvent::End(FinishReason::Stop)),
    ];
    let events = events(evidence, FakeChat::giving(said));
    let told: String = events
        .iter()
        .filter_map(|event| match event {
            AnswerEvent::Delta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let answer = whole(events);
    let expected = format!("The refund window is thirty days. [1] See [x] and [y]({shown}#page=3). [z] [w]");
    assert_eq!(
        (answer.answer.as_str(), told.as_str()),
        (expected.as_str(), expected.as_str())
    );
    assert_eq!(answer.notices[0].code, "links_removed");
}
