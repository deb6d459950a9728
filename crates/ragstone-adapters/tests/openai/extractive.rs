use futures::StreamExt;
use ragstone_adapters::chat::ExtractiveChat;
use ragstone_core::access::Admitted;
use ragstone_core::library::{Passage, PassageSentence};
use ragstone_core::prompt::NO_ANSWER;
use ragstone_core::seam::chat::{ChatEvent, ChatModel, ChatRequest, FinishReason};
use ragstone_core::seam::contract_chat;

const TEXT: &str =
    "How long is the refund window? The refund window\nis thirty days. It begins with delivery. Bees hum.";

fn quotes(request: &ChatRequest, events: &[ChatEvent]) -> Vec<String> {
    let quote = |event: &ChatEvent| match event {
        ChatEvent::Quote { passage, range } => Some(request.passages[passage - 1].chunk.text[range.clone()].to_owned()),
        _ => None,
    };
    events.iter().filter_map(quote).collect()
}

async fn events(request: &ChatRequest) -> Vec<ChatEvent> {
    let events = ExtractiveChat.stream_reply(request.clone()).await.unwrap();
    events.map(|event| event.unwrap()).collect().await
}

fn scored(question: &str, texts: &[&str], scores: &[(usize, &str, f64)]) -> ChatRequest {
    let mut request = super::request(question, texts);
    let with_scores = |(at, passage): (usize, Admitted<Passage>)| {
        let mut passage = passage.into_inner();
        for (_, sentence, score) in scores.iter().filter(|(of, ..)| *of == at) {
            let start = texts[at].find(sentence).unwrap();
            passage.sentences.push(PassageSentence {
                range: start..start + sentence.len(),
                score: *score,
            });
        }
        Admitted::for_contract(passage)
    };
    request.passages = request.passages.iter().cloned().enumerate().map(with_scores).collect();
    request
}

#[tokio::test]
async fn the_contract_holds() {
    contract_chat::describes_itself(&ExtractiveChat);
    let request = super::request("How long is the refund window?", &[TEXT]);
    contract_chat::answers_side_by_side(&ExtractiveChat, request.clone()).await;
    let said = contract_chat::answers(&ExtractiveChat, request.clone()).await;
    assert_eq!(said, "The refund window is thirty days.");
    assert_eq!(
        quotes(&request, &events(&request).await),
        ["The refund window\nis thirty days."]
    );
}

#[tokio::test]
async fn the_best_sentences_are_quoted() {
    let other = "Refunds take a month. Ants march.";
    let check = async |scores: &[(usize, &str, f64)], expected: &[&str]| {
        let request = scored("q", &[TEXT, other], scores);
        assert_eq!(quotes(&request, &events(&request).await), expected, "{scores:?}");
    };
    let (window, begins, bees) = (
        "The refund window\nis thirty days.",
        "It begins with delivery.",
        "Bees hum.",
    );
    check(&[(0, window, 1.0), (0, bees, 0.3)], &[window]).await;
    check(&[(0, begins, 1.0), (0, window, 0.9)], &[begins, window]).await;
    check(&[(0, window, 1.0), (0, bees, 0.95), (0, begins, 0.9)], &[window, bees]).await;
    check(
        &[(0, window, 0.95), (1, "Refunds take a month.", 1.0)],
        &["Refunds take a month.", window],
    )
    .await;
    check(&[(0, window, 1.0), (0, "is thirty days. It begins", 0.99)], &[window]).await;
    check(
        &[(0, "How long is the refund window?", 2.0), (0, window, 1.0)],
        &[window],
    )
    .await;
}

#[tokio::test]
async fn nothing_to_quote_is_said() {
    let check = async |texts: &[&str]| {
        let told = events(&super::request("Tensile strength of titanium?", texts)).await;
        assert_eq!(told.first(), Some(&ChatEvent::Delta(NO_ANSWER.into())));
        assert_eq!(told.last(), Some(&ChatEvent::End(FinishReason::NoAnswer)));
    };
    check(&[]).await;
    check(&["Bees hum."]).await;
    check(&["", " \n"]).await;
}
