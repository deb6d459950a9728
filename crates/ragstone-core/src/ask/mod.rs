//! The story of an answer: passages -> abstain or prompt -> model -> sentences -> verified citations -> events.
//!
//! Invariant: a citation is sent only after the stored text was read again and found equal, and while its document is
//! still admitted. An answer links to nothing but documents it was shown. Dropping the stream drops the model's. JSON, SSE and the command line read the same events.

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
use crate::seam::chat::{ChatEvent, ChatRequest, FinishReason, Usage};

use assemble::{Assembler, Claim, Step};
use links::Links;

pub use event::{Answer, AnswerEvent, AnswerSentence, AskError, Citation, Failed, Notice};
pub use request::{AskOptions, AskRequest, Mode};

/// Tokens left for an answer where the request does not say.
pub const ANSWER_TOKENS: usize = 1_024;

/// Most bytes of an answer: far beyond any that is read, it ends a model that repeats itself without end.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What an answer rests on; `Library` gives it.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// The passages that answer the question, best first, with scored sentences if `with_sentences`.
    async fn passages(&self, scope: &Scope, request: &AskRequest, with_sentences: bool) -> Result<Found, AskError>;

    /// The texts that are stored where these passages of one version stand, read again and in their order; none if the
    /// version is withdrawn, or has no such range.
    async fn stored_texts(&self, scope: &Scope, passages: &[&Passage]) -> Result<Vec<Option<String>>, AskError>;

    /// Whether the scope still admits every one of these documents.
    async fn still_admitted(&self, scope: &Scope, documents: &[DocumentId]) -> Result<bool, AskError>;
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Best first.
    pub passages: Vec<Admitted<Passage>>,
    /// The evidence is too thin to answer from.
    pub thin: bool,
    /// What the reader should know about the search.
    pub notices: Vec<Notice>,
}

/// Answers a question with what `scope` may read. The events end with exactly one `Done` or `Failed`.
pub fn answer(
    evidence: Arc<dyn Evidence>,
    model: Arc<dyn ChatModel>,
    scope: Scope,
    request: AskRequest,
    options: AskOptions,
) -> impl Stream<Item = AnswerEvent> + Send + 'static {
    tell(evidence, model, scope, request, options).map(|event| match event {
        Ok(event) => event,
        Err(Failed { code, detail }) => AnswerEvent::Failed { code, detail },
    })
}

/// The answer of a stream of events as a whole.
pub async fn collect(events: impl Stream<Item = AnswerEvent>) -> Result<Answer, Failed> {
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            AnswerEvent::Done(answer) => return Ok(*answer),
            AnswerEvent::Failed { code, detail } => return Err(Failed { code, detail }),
            _ => {}
        }
    }
    Err(Failed::new("interrupted", "the answer ended without an end"))
}

fn tell(
    evidence: Arc<dyn Evidence>,
    model: Arc<dyn ChatModel>,
    scope: Scope,
    request: AskRequest,
    options: AskOptions,
) -> impl Stream<Item = Result<AnswerEvent, Failed>> + Send + 'static {
    try_stream! {
        let speaker = speaker(model.as_ref(), &request, &options)?;
        let mut found = evidence.passages(&scope, &request, model.describe().quotes_sentences).await?;
        let abstain = found.thin || found.passages.is_empty();
        let messages = if abstain { Vec::new() } else { fit(&mut found, model.as_ref(), &request, &options)? };
        let mut telling = Telling::new(evidence, scope, found, speaker, options);
        yield telling.sources();
        if abstain {
            yield telling.say_no_answer();
            yield telling.done(FinishReason::NoAnswer).await?;
            return;
        }
        let mut events = model.stream(telling.chat_request(request, messages)).await?;
        let finish = loop {
            let finish = telling.hear(events.next().await)?;
            while let Some(step) = telling.assembler.step() {
                if let Some(event) = telling.take(step).await? {
                    yield event;
                }
            }
            if let Some(finish) = finish {
                break finish;
            }
        };
        drop(events);
        if telling.said_nothing(&finish)? {
            yield telling.say_no_answer();
        }
        yield telling.done(finish).await?;
    }
}

/// The model that will speak: the configured one, or the one asked for if it is allowed.
fn speaker(model: &dyn ChatModel, request: &AskRequest, options: &AskOptions) -> Result<String, Failed> {
    let configured = model.describe().model;
    match &request.model {
        Some(other) if *other != configured && !options.models.contains(other) => Err(Failed::new(
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

/// The prompt; passages that do not fit leave `found`, with a notice.
fn fit(
    found: &mut Found,
    model: &dyn ChatModel,
    request: &AskRequest,
    options: &AskOptions,
) -> Result<Vec<crate::seam::chat::Message>, Failed> {
    let answer = request.max_tokens.map_or(ANSWER_TOKENS, |tokens| tokens as usize);
    let budget = model
        .describe()
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
    let Prompt { messages, kept } = prompt::build(&request.question, &found.passages, &prompt_options);
    if kept == 0 {
        let detail = format!("not one passage fits the prompt's {budget} tokens beside rules and question");
        return Err(Failed::new("prompt_too_long", detail));
    }
    if kept < found.passages.len() {
        let detail = format!("{} of {} passages fit the prompt", kept, found.passages.len());
        found.notices.push(Notice::new("passages_left_out", detail));
        found.passages.truncate(kept);
    }
    Ok(messages)
}

/// The text that is stored where a passage stands; none if there is none.
type Stored = Option<String>;

/// What was found, shared by all who are shown it.
struct Shown {
    passages: Arc<[Admitted<Passage>]>,
    notices: Vec<Notice>,
}

/// An answer on its way.
struct Telling {
    evidence: Arc<dyn Evidence>,
    scope: Scope,
    found: Shown,
    links: Links,
    assembler: Assembler,
    /// What was read again of each passage, once one of its version was cited.
    stored: Vec<Option<Stored>>,
    /// By number.
    citations: Vec<Citation>,
    usage: Usage,
    speaker: String,
    options: AskOptions,
    /// What was said without the model.
    own_words: String,
}

impl Telling {
    fn new(evidence: Arc<dyn Evidence>, scope: Scope, found: Found, speaker: String, options: AskOptions) -> Self {
        let found = Shown {
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
                // A URI that is no address of the web may be anything, `javascript:` too.
                let address = SourceUrl::of_text(Some(&passage.uri));
                passage.source_url.clone().into_iter().chain(address)
            })
            .map(String::from);
        Self {
            links: Links::new(sources, texts.clone()),
            evidence,
            scope,
            stored: vec![None; found.passages.len()],
            found,
            assembler: Assembler::new(texts),
            citations: Vec::new(),
            usage: Usage::default(),
            speaker,
            options,
            own_words: String::new(),
        }
    }

    fn sources(&self) -> AnswerEvent {
        AnswerEvent::Sources {
            passages: self.found.passages.clone(),
            notices: self.found.notices.clone(),
        }
    }

    fn chat_request(&self, request: AskRequest, messages: Vec<crate::seam::chat::Message>) -> ChatRequest {
        ChatRequest {
            messages,
            question: request.question,
            passages: self.found.passages.clone(),
            model: request.model,
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            reply_schema: None,
        }
    }

    /// Takes in what the model said; a reason once it said all.
    fn hear(
        &mut self,
        event: Option<Result<ChatEvent, crate::seam::ChatError>>,
    ) -> Result<Option<FinishReason>, Failed> {
        let broken = || Failed::new("model_failed", "the model's answer broke off before its end");
        let finish = match event.ok_or_else(broken)?? {
            ChatEvent::Delta(text) => {
                let text = self.links.text(&text);
                self.assembler.text(&text);
                (self.assembler.answer().len() > MAX_ANSWER_BYTES).then_some(FinishReason::Length)
            }
            ChatEvent::Quote { passage, range } => {
                self.release_held();
                self.assembler.quote(passage, range);
                None
            }
            ChatEvent::Usage(usage) => {
                self.usage = usage;
                None
            }
            ChatEvent::End(finish) => Some(finish),
        };
        if finish.is_some() {
            self.release_held();
            self.assembler.end();
        }
        Ok(finish)
    }

    fn release_held(&mut self) {
        let text = self.links.end();
        self.assembler.text(&text);
    }

    /// What a step of the answer is to its reader.
    async fn take(&mut self, step: Step) -> Result<Option<AnswerEvent>, Failed> {
        match step {
            Step::Delta(text) => Ok(Some(AnswerEvent::Delta { text })),
            Step::Cite { sentence, n, claim } => Ok(self.cite(sentence, n, &claim).map(AnswerEvent::Citation)),
            Step::Verify(claims) => {
                let holds = self.verify(claims).await?;
                self.assembler.resolve(&holds);
                Ok(None)
            }
        }
    }

    /// Asks for admission again, then reads each span again.
    async fn verify(&mut self, claims: Vec<Claim>) -> Result<Vec<bool>, Failed> {
        let documents = claims
            .iter()
            .map(|claim| self.found.passages[claim.passage].chunk.document_id);
        self.admitted(documents.collect()).await?;
        let mut holds = Vec::with_capacity(claims.len());
        for claim in claims {
            self.read_again(claim.passage).await?;
            holds.push(self.quote(&claim).is_some());
        }
        Ok(holds)
    }

    /// The text that is stored at a claim's span, if it was read again and is what was shown there.
    fn quote(&self, claim: &Claim) -> Option<&str> {
        let stored = self.stored[claim.passage].as_ref()?.as_deref()?;
        let shown = &self.found.passages[claim.passage].chunk.text;
        let quote = stored.get(claim.range.clone())?;
        (shown.get(claim.range.clone()) == Some(quote)).then_some(quote)
    }

    /// Reads the stored text of a passage, and of all others of its version in one go, unless that was done.
    async fn read_again(&mut self, passage: usize) -> Result<(), Failed> {
        if self.stored[passage].is_some() {
            return Ok(());
        }
        let of = |passage: &Passage| (passage.chunk.document_id, passage.generation);
        let passages = &self.found.passages;
        let version: Vec<usize> = (0..passages.len())
            .filter(|n| of(&passages[*n]) == of(&passages[passage]))
            .collect();
        let asked: Vec<&Passage> = version.iter().map(|n| &*passages[*n]).collect();
        let mut texts = self.evidence.stored_texts(&self.scope, &asked).await?.into_iter();
        for n in version {
            self.stored[n] = Some(texts.next().flatten());
        }
        Ok(())
    }

    async fn admitted(&self, mut documents: Vec<DocumentId>) -> Result<(), Failed> {
        documents.sort_unstable();
        documents.dedup();
        match self.evidence.still_admitted(&self.scope, &documents).await? {
            true => Ok(()),
            false => Err(Failed::new(
                "withdrawn",
                "a document of this answer was withdrawn while it was written",
            )),
        }
    }

    fn cite(&mut self, sentence: usize, n: usize, claim: &Claim) -> Option<Citation> {
        let quote = self.quote(claim)?.to_owned();
        let passage = &self.found.passages[claim.passage];
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

    /// Whether a model that ended said nothing because there is no answer; an error where it just said nothing.
    fn said_nothing(&self, finish: &FinishReason) -> Result<bool, Failed> {
        match (self.assembler.answer().trim().is_empty(), finish) {
            (false, _) => Ok(false),
            (true, FinishReason::NoAnswer) => Ok(true),
            (true, FinishReason::Length) => Err(Failed::new(
                "model_failed",
                "the model spent its tokens before it said a word",
            )),
            (true, FinishReason::Filtered) => Err(Failed::new("model_refused", "the service withheld the answer")),
            (true, FinishReason::Interrupted(reason)) => {
                let detail = format!("the service ended the answer before its first word: {reason}");
                Err(Failed::new("model_failed", detail))
            }
            (true, FinishReason::Stop) => Err(Failed::new("model_failed", "the model said nothing")),
        }
    }

    fn say_no_answer(&mut self) -> AnswerEvent {
        self.own_words = NO_ANSWER.to_owned();
        AnswerEvent::Delta {
            text: NO_ANSWER.to_owned(),
        }
    }

    /// Asks for admission of everything the model read once more, then ends.
    async fn done(self, finish: FinishReason) -> Result<AnswerEvent, Failed> {
        self.admitted(
            self.found
                .passages
                .iter()
                .map(|passage| passage.chunk.document_id)
                .collect(),
        )
        .await?;
        let mut sentences = self.assembler.sentences().to_vec();
        if !self.own_words.is_empty() {
            sentences.push(AnswerSentence {
                text: self.own_words.clone(),
                citations: Vec::new(),
            });
        }
        let text = self.assembler.answer().to_owned() + &self.own_words;
        let answered = answered(&text, &sentences, &finish);
        let mut notices = self.found.notices;
        notices.extend(closing_notice(&text, answered, &finish));
        notices.extend(links_notice(self.links.removed()));
        let mut sources: Vec<String> = Vec::new();
        for passage in self.found.passages.iter() {
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
            model: self.speaker,
            trace_id: self.options.trace_id,
            notices,
        })))
    }
}

/// Whether the documents held an answer. A text none of whose sentences could be verified is none: it is either a
/// refusal in words of the model's own, or told from elsewhere, and nobody should build on it.
fn answered(text: &str, sentences: &[AnswerSentence], finish: &FinishReason) -> bool {
    let refuses = *finish == FinishReason::NoAnswer || (sentences.len() == 1 && prompt::is_no_answer(text));
    !refuses && sentences.iter().any(|sentence| !sentence.citations.is_empty())
}

/// What the reader should know about how the answer ended.
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
