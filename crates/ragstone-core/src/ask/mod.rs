//! Answers a question: retrieves passages, abstains or prompts the model, assembles sentences, verifies citations.
//!
//! Invariant: a citation is sent only after the stored text was read again and found equal, and while its document is
//! still admitted. An answer links only to documents that the model was shown. Dropping the event stream drops the
//! model's stream. JSON, SSE and the command line consume the same events.

mod assemble;
mod event;
mod links;
mod marker;
mod request;
mod target;

use std::sync::Arc;

use async_stream::try_stream;
use async_trait::async_trait;
use futures::{Stream, StreamExt, pin_mut};

use crate::access::{Admitted, Scope};
use crate::document::{SourceUrl, TextRange};
use crate::id::DocumentId;
use crate::library::Passage;
use crate::prompt::{self, NO_ANSWER, Prompt, PromptOptions};
use crate::seam::ChatModel;
use crate::seam::chat::{ChatEvent, ChatRequest, FinishReason, TokenUsage};

use assemble::{AnswerAssembler, AnswerStep, CitationCandidate};
use links::LinkFilter;

pub use event::{Answer, AnswerError, AnswerEvent, AnswerSentence, Citation, Notice, RetrievalError};
pub use request::{AskOptions, AskRequest, Mode};

/// Tokens reserved for the answer if the request sets no `max_tokens`.
pub const ANSWER_TOKENS: usize = 1_024;

/// Most bytes of an answer. Far above any useful answer; it stops a model that repeats itself without end.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Retrieves the passages that an answer is based on, and reads them again for verification. Implemented by `Library`.
#[async_trait]
pub trait Retriever: Send + Sync {
    /// The passages that match the question, best first, with scored sentences if `with_sentences`.
    async fn retrieve_passages(
        &self,
        scope: &Scope,
        request: &AskRequest,
        with_sentences: bool,
    ) -> Result<RetrievedPassages, RetrievalError>;

    /// Reads the stored text of these passages again, in their order; all must belong to one version. An entry is
    /// `None` if the version is no longer published or admitted, or has no such range.
    async fn stored_texts(&self, scope: &Scope, passages: &[&Passage]) -> Result<Vec<Option<String>>, RetrievalError>;

    /// Whether the scope still admits every one of these documents.
    async fn still_admitted(&self, scope: &Scope, documents: &[DocumentId]) -> Result<bool, RetrievalError>;
}

/// Passages retrieved for a question, with the verdict on the evidence.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetrievedPassages {
    /// Admitted passages, best first.
    pub passages: Vec<Admitted<Passage>>,
    /// True if the evidence is too weak to answer from.
    pub insufficient_evidence: bool,
    /// Notices about the search for the reader of the answer.
    pub notices: Vec<Notice>,
}

/// Answers a question from what `scope` may read. The stream ends with exactly one `Done` or `Failed`.
pub fn answer_question(
    evidence: Arc<dyn Retriever>,
    model: Arc<dyn ChatModel>,
    scope: Scope,
    request: AskRequest,
    options: AskOptions,
) -> impl Stream<Item = AnswerEvent> + Send + 'static {
    run_answer(evidence, model, scope, request, options).map(|event| match event {
        Ok(event) => event,
        Err(AnswerError { code, detail }) => AnswerEvent::Failed { code, detail },
    })
}

/// Consumes the events and returns the complete answer. Fails with the code of a `Failed` event, or with `interrupted`
/// if the stream ends without a final event.
pub async fn collect_answer(events: impl Stream<Item = AnswerEvent>) -> Result<Answer, AnswerError> {
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            AnswerEvent::Done(answer) => return Ok(*answer),
            AnswerEvent::Failed { code, detail } => return Err(AnswerError { code, detail }),
            _ => {}
        }
    }
    Err(AnswerError::new("interrupted", "the answer ended without an end"))
}

fn run_answer(
    evidence: Arc<dyn Retriever>,
    model: Arc<dyn ChatModel>,
    scope: Scope,
    request: AskRequest,
    options: AskOptions,
) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> + Send + 'static {
    try_stream! {
        let speaker = resolve_model(model.as_ref(), &request, &options)?;
        let mut found = evidence.retrieve_passages(&scope, &request, model.model_description().quotes_sentences).await?;
        let abstain = found.insufficient_evidence || found.passages.is_empty();
        let messages = if abstain { Vec::new() } else { prompt_within_budget(&mut found, model.as_ref(), &request, &options)? };
        let mut telling = AnswerSession::new(evidence, scope, found, speaker, options);
        yield telling.sources_event();
        if abstain {
            yield telling.no_answer_event();
            yield telling.finish_answer(FinishReason::NoAnswer).await?;
            return;
        }
        let mut events = model.stream_reply(telling.build_chat_request(request, messages)).await?;
        let finish = loop {
            let finish = telling.on_model_event(events.next().await)?;
            while let Some(step) = telling.assembler.next_step() {
                if let Some(event) = telling.apply_step(step).await? {
                    yield event;
                }
            }
            if let Some(finish) = finish {
                break finish;
            }
        };
        drop(events);
        if telling.check_empty_answer(&finish)? {
            yield telling.no_answer_event();
        }
        yield telling.finish_answer(finish).await?;
    }
}

/// The model to use: the requested one, or the configured one by default. Fails with `model_not_allowed` if the
/// requested model is neither configured nor in the allowed list.
fn resolve_model(model: &dyn ChatModel, request: &AskRequest, options: &AskOptions) -> Result<String, AnswerError> {
    let configured = model.model_description().model;
    match &request.model {
        Some(other) if *other != configured && !options.models.contains(other) => Err(AnswerError::new(
            "model_not_allowed",
            format!(
                "model {other:?} is not one of those allowed: {}",
                options.models.join(", ")
            ),
        )),
        Some(other) => Ok(other.clone()),
        None => Ok(configured),
    }
}

/// Builds the prompt. Passages that do not fit are removed from `found`, with a notice.
fn prompt_within_budget(
    found: &mut RetrievedPassages,
    model: &dyn ChatModel,
    request: &AskRequest,
    options: &AskOptions,
) -> Result<Vec<crate::seam::chat::ChatMessage>, AnswerError> {
    let answer = request.max_tokens.map_or(ANSWER_TOKENS, |tokens| tokens as usize);
    let budget = model
        .model_description()
        .context_tokens
        .saturating_sub(answer)
        .min(options.prompt_tokens);
    let prompt_options = PromptOptions {
        template: &options.template,
        boundary: &options.boundary,
        instructions: request.instructions.as_deref(),
        language: request.language.as_deref(),
        budget,
    };
    let Prompt { messages, kept } = prompt::build_prompt(&request.question, &found.passages, &prompt_options);
    if kept == 0 {
        let detail = format!("not one passage fits the prompt's {budget} tokens beside rules and question");
        return Err(AnswerError::new("prompt_too_long", detail));
    }
    if kept < found.passages.len() {
        let detail = format!("{} of {} passages fit the prompt", kept, found.passages.len());
        found.notices.push(Notice::new("passages_left_out", detail));
        found.passages.truncate(kept);
    }
    Ok(messages)
}

/// The stored text at a passage's range; `None` if there is none any more.
type StoredPassageText = Option<String>;

/// The passages of the prompt, shared by the events, the chat request and the session.
struct ShownPassages {
    passages: Arc<[Admitted<Passage>]>,
    notices: Vec<Notice>,
}

/// State of one answer while it is streamed.
struct AnswerSession {
    retriever: Arc<dyn Retriever>,
    scope: Scope,
    shown: ShownPassages,
    links: LinkFilter,
    assembler: AnswerAssembler,
    /// Per passage, the stored text that was read again; the outer `None` until a passage of its version is cited.
    stored: Vec<Option<StoredPassageText>>,
    /// In the order of their numbers, each number once.
    citations: Vec<Citation>,
    usage: TokenUsage,
    model_name: String,
    options: AskOptions,
    /// Text that was sent without the model: [`NO_ANSWER`], or empty.
    fallback_text: String,
}

impl AnswerSession {
    fn new(
        evidence: Arc<dyn Retriever>,
        scope: Scope,
        found: RetrievedPassages,
        speaker: String,
        options: AskOptions,
    ) -> Self {
        let found = ShownPassages {
            passages: found.passages.into(),
            notices: found.notices,
        };
        let texts: Vec<Arc<str>> = found
            .passages
            .iter()
            .map(|passage| passage.chunk.text.as_str().into())
            .collect();
        let sources = found
            .passages
            .iter()
            .flat_map(|passage| {
                // A URI can be anything, also `javascript:`; only web addresses may be linked.
                let address = SourceUrl::from_text(Some(&passage.uri));
                passage.source_url.clone().into_iter().chain(address)
            })
            .map(String::from);
        Self {
            links: LinkFilter::new(sources, texts.clone()),
            retriever: evidence,
            scope,
            stored: vec![None; found.passages.len()],
            shown: found,
            assembler: AnswerAssembler::new(texts),
            citations: Vec::new(),
            usage: TokenUsage::default(),
            model_name: speaker,
            options,
            fallback_text: String::new(),
        }
    }

    fn sources_event(&self) -> AnswerEvent {
        AnswerEvent::Sources {
            passages: self.shown.passages.clone(),
            notices: self.shown.notices.clone(),
        }
    }

    fn build_chat_request(&self, request: AskRequest, messages: Vec<crate::seam::chat::ChatMessage>) -> ChatRequest {
        ChatRequest {
            messages,
            question: request.question,
            passages: self.shown.passages.clone(),
            model: request.model,
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            reply_schema: None,
        }
    }

    /// Processes one event of the model. Returns the finish reason once the model has ended.
    fn on_model_event(
        &mut self,
        event: Option<Result<ChatEvent, crate::seam::ChatError>>,
    ) -> Result<Option<FinishReason>, AnswerError> {
        let broken = || AnswerError::new("model_failed", "the model's answer broke off before its end");
        let finish = match event.ok_or_else(broken)?? {
            ChatEvent::Delta(text) => {
                let text = self.links.filter_text(&text);
                self.assembler.push_text(&text);
                (self.assembler.answer_text().len() > MAX_ANSWER_BYTES).then_some(FinishReason::Length)
            }
            ChatEvent::Quote { passage, range } => {
                self.release_held_text();
                self.assembler.push_quote(passage, range);
                None
            }
            ChatEvent::Usage(usage) => {
                self.usage = usage;
                None
            }
            ChatEvent::End(finish) => Some(finish),
        };
        if finish.is_some() {
            self.release_held_text();
            self.assembler.finish_input();
        }
        Ok(finish)
    }

    fn release_held_text(&mut self) {
        let text = self.links.flush_held();
        self.assembler.push_text(&text);
    }

    /// Turns a step of the assembler into an event. Resolves a `Verify` step itself, which gives no event.
    async fn apply_step(&mut self, step: AnswerStep) -> Result<Option<AnswerEvent>, AnswerError> {
        match step {
            AnswerStep::Delta(text) => Ok(Some(AnswerEvent::Delta { text })),
            AnswerStep::Cite { sentence, n, claim } => {
                Ok(self.build_citation(sentence, n, &claim).map(AnswerEvent::Citation))
            }
            AnswerStep::Verify(claims) => {
                let holds = self.verify_candidates(claims).await?;
                self.assembler.resolve_candidates(&holds);
                Ok(None)
            }
        }
    }

    /// Checks admission again, then compares each span with the stored text; one result per candidate, in order.
    async fn verify_candidates(&mut self, claims: Vec<CitationCandidate>) -> Result<Vec<bool>, AnswerError> {
        let documents = claims
            .iter()
            .map(|claim| self.shown.passages[claim.passage].chunk.document_id);
        self.check_admitted(documents.collect()).await?;
        let mut holds = Vec::with_capacity(claims.len());
        for claim in claims {
            self.reread_stored_text(claim.passage).await?;
            holds.push(self.verified_quote(&claim).is_some());
        }
        Ok(holds)
    }

    /// The stored text at a candidate's span, if it was read again and equals the text that was shown.
    fn verified_quote(&self, claim: &CitationCandidate) -> Option<&str> {
        let stored = self.stored[claim.passage].as_ref()?.as_deref()?;
        let shown = &self.shown.passages[claim.passage].chunk.text;
        let quote = stored.get(claim.range.clone())?;
        (shown.get(claim.range.clone()) == Some(quote)).then_some(quote)
    }

    /// Reads the stored text of a passage, and of all others of its version in the same call, unless this was done.
    async fn reread_stored_text(&mut self, passage: usize) -> Result<(), AnswerError> {
        if self.stored[passage].is_some() {
            return Ok(());
        }
        let of = |passage: &Passage| (passage.chunk.document_id, passage.generation);
        let passages = &self.shown.passages;
        let version: Vec<usize> = (0..passages.len())
            .filter(|n| of(&passages[*n]) == of(&passages[passage]))
            .collect();
        let asked: Vec<&Passage> = version.iter().map(|n| &*passages[*n]).collect();
        let mut texts = self.retriever.stored_texts(&self.scope, &asked).await?.into_iter();
        for n in version {
            self.stored[n] = Some(texts.next().flatten());
        }
        Ok(())
    }

    async fn check_admitted(&self, mut documents: Vec<DocumentId>) -> Result<(), AnswerError> {
        documents.sort_unstable();
        documents.dedup();
        match self.retriever.still_admitted(&self.scope, &documents).await? {
            true => Ok(()),
            false => Err(AnswerError::new(
                "withdrawn",
                "a document of this answer was withdrawn while it was written",
            )),
        }
    }

    fn build_citation(&mut self, sentence: usize, n: usize, claim: &CitationCandidate) -> Option<Citation> {
        let quote = self.verified_quote(claim)?.to_owned();
        let passage = &self.shown.passages[claim.passage];
        let citation = Citation {
            sentence,
            n,
            document_id: passage.chunk.document_id,
            chunk_id: passage.chunk.id,
            title: passage.title.clone(),
            uri: passage.uri.clone(),
            source_url: passage.source_url.clone(),
            page: passage.chunk.page,
            section: passage.chunk.section.clone(),
            range: document_range(passage, &claim.range),
            quote,
            verified: true,
        };
        if n > self.citations.len() {
            self.citations.push(citation.clone());
        }
        Some(citation)
    }

    /// Whether the model returned no text because there is no answer; any other empty reply is an error.
    fn check_empty_answer(&self, finish: &FinishReason) -> Result<bool, AnswerError> {
        match (self.assembler.answer_text().trim().is_empty(), finish) {
            (false, _) => Ok(false),
            (true, FinishReason::NoAnswer) => Ok(true),
            (true, FinishReason::Length) => Err(AnswerError::new(
                "model_failed",
                "the model spent its tokens before it said a word",
            )),
            (true, FinishReason::Filtered) => Err(AnswerError::new("model_refused", "the service withheld the answer")),
            (true, FinishReason::Interrupted(reason)) => {
                let detail = format!("the service ended the answer before its first word: {reason}");
                Err(AnswerError::new("model_failed", detail))
            }
            (true, FinishReason::Stop) => Err(AnswerError::new("model_failed", "the model said nothing")),
        }
    }

    fn no_answer_event(&mut self) -> AnswerEvent {
        self.fallback_text = NO_ANSWER.to_owned();
        AnswerEvent::Delta {
            text: NO_ANSWER.to_owned(),
        }
    }

    /// Checks admission of all shown passages once more, then builds the final event.
    async fn finish_answer(self, finish: FinishReason) -> Result<AnswerEvent, AnswerError> {
        self.check_admitted(
            self.shown
                .passages
                .iter()
                .map(|passage| passage.chunk.document_id)
                .collect(),
        )
        .await?;
        let mut sentences = self.assembler.sentences().to_vec();
        if !self.fallback_text.is_empty() {
            sentences.push(AnswerSentence {
                text: self.fallback_text.clone(),
                citations: Vec::new(),
            });
        }
        let text = self.assembler.answer_text().to_owned() + &self.fallback_text;
        let answered = is_answered(&text, &sentences, &finish);
        let mut notices = self.shown.notices;
        notices.extend(closing_notice(&text, answered, &finish));
        notices.extend(links_notice(self.links.removed_count()));
        let mut sources: Vec<String> = Vec::new();
        for passage in self.shown.passages.iter() {
            if !sources.contains(&passage.uri) {
                sources.push(passage.uri.clone());
            }
        }
        Ok(AnswerEvent::Done(Box::new(Answer {
            answer: text,
            answered,
            sentences,
            citations: self.citations,
            sources,
            usage: self.usage,
            model: self.model_name,
            trace_id: self.options.trace_id,
            notices,
        })))
    }
}

/// Whether the documents contained an answer. A text without any verified sentence does not count: it is a refusal in
/// the model's own words or comes from elsewhere, so nobody should rely on it.
fn is_answered(text: &str, sentences: &[AnswerSentence], finish: &FinishReason) -> bool {
    let refuses = *finish == FinishReason::NoAnswer || (sentences.len() == 1 && prompt::is_no_answer(text));
    !refuses && sentences.iter().any(|sentence| !sentence.citations.is_empty())
}

/// A notice about how the answer ended, if the reader needs one.
fn closing_notice(text: &str, answered: bool, finish: &FinishReason) -> Option<Notice> {
    match finish {
        FinishReason::Length => Some(Notice::new("truncated", "the answer was cut at its limit of tokens")),
        FinishReason::Interrupted(reason) => Some(Notice::new(
            "truncated",
            format!("the service ended the answer early: {reason}"),
        )),
        FinishReason::Filtered => Some(Notice::new("filtered", "the service withheld the rest of the answer")),
        FinishReason::Stop if !answered && !prompt::is_no_answer(text) => Some(Notice::new(
            "unsupported",
            "no sentence of this answer could be verified against the passages",
        )),
        _ => None,
    }
}

fn links_notice(removed: usize) -> Option<Notice> {
    let detail = format!("{removed} links to other places than the documents shown were taken out");
    (removed > 0).then(|| Notice::new("links_removed", detail))
}

fn document_range(passage: &Passage, range: &TextRange) -> TextRange {
    let start = passage.chunk.range.start;
    start + range.start..start + range.end
}

#[cfg(test)]
mod count_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
