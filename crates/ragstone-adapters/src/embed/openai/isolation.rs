//! Isolates the texts of a batch that a service cannot embed.
//!
//! A failed batch is halved until the failing texts are alone; such a text is retried, then shortened. Before any of
//! that, and before a text is given up, a plain text must succeed: otherwise the service itself is failing.

use futures::FutureExt;
use futures::future::BoxFuture;
use ragstone_core::prompt::estimate_tokens;

use super::reply::VectorResult;
use super::{OpenAiEmbedder, TRIES_BEFORE_PROBE, single_vector};
use crate::openai::ServiceError;

/// Tries of a text that fails alone: a failure by chance, even every second time, must not be attributed to the text.
const TRIES_ALONE: usize = 3;

/// How often a text is halved before it gets no vector. An eighth of a usual chunk is a sentence or two; less would
/// not represent the chunk.
const HALVINGS: u32 = 3;

/// Least number of characters to which a text is cut.
const MIN_CHARACTERS: usize = 16;

/// Result for one text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextOutcome {
    /// Vector of the whole text.
    Whole(Vec<f32>),
    /// Vector of the beginning of the text.
    Beginning(Vec<f32>),
    /// No vector, with the reason.
    None(String),
}

/// Cause of a failed batch: the service or the contents.
enum BatchError {
    Service(ServiceError),
    Contents(ServiceError),
}

/// Results of half a batch, and whether one request was enough.
struct HalfOutcome {
    outcomes: Vec<TextOutcome>,
    at_once: bool,
}

impl OpenAiEmbedder {
    /// Embeds a batch, with a result for each text; an error if the service is at fault.
    pub(super) fn embed_batch<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<TextOutcome>, ServiceError>> {
        async move {
            if texts.len() > 1 && self.limits.is_exceeded_by(texts) {
                let (left, right) = texts.split_at(texts.len() / 2);
                let mut outcomes = self.embed_batch(left).await?;
                outcomes.extend(self.embed_batch(right).await?);
                return Ok(outcomes);
            }
            let most = self.limits.text_tokens();
            let readable: Vec<String> = texts.iter().map(|text| cut_to_tokens(text, most).to_owned()).collect();
            let mut outcomes = self.embed_or_split(&readable).await?;
            for ((text, readable), outcome) in texts.iter().zip(&readable).zip(&mut outcomes) {
                if let TextOutcome::Whole(vector) = outcome
                    && readable.len() < text.len()
                {
                    *outcome = TextOutcome::Beginning(std::mem::take(vector));
                }
            }
            Ok(outcomes)
        }
        .boxed()
    }

    /// Embeds a question; one that is too long for the model is cut.
    pub(super) async fn embed_question(&self, text: &str, tries: usize) -> Result<Vec<f32>, ServiceError> {
        let text = cut_to_tokens(text, self.limits.text_tokens());
        let whole = [text.to_owned()];
        let fault = match self
            .request_with_permit(&self.queries, &whole, tries, ServiceError::is_transient)
            .await
        {
            Ok(vectors) => return single_vector(vectors),
            Err(fault) if !fault.is_transient() && fault.may_be_contents() => fault,
            Err(fault) => return Err(fault),
        };
        for part in shorter_beginnings(text) {
            let vectors = self
                .request_with_permit(&self.queries, &[part.to_owned()], 1, ServiceError::is_transient)
                .await;
            if let Ok(vector) = vectors.and_then(single_vector) {
                return Ok(vector);
            }
        }
        Err(fault)
    }

    async fn embed_or_split(&self, texts: &[String]) -> Result<Vec<TextOutcome>, ServiceError> {
        match self.embed_with_retry(texts).await {
            Ok(vectors) => self.resolve_outcomes(texts, vectors).await,
            Err(BatchError::Contents(fault)) => self.split_batch(texts, fault).await,
            Err(BatchError::Service(fault)) => Err(fault),
        }
    }

    /// Embeds a batch. Its contents are at fault only if a plain text succeeds; until it does, transient errors are
    /// retried.
    async fn embed_with_retry(&self, texts: &[String]) -> Result<Vec<VectorResult>, BatchError> {
        let tries = self.options.connection.max_tries();
        let mut failures = 0;
        let few = |fault: &ServiceError| {
            failures += 1;
            fault.is_transient() && (!fault.may_be_contents() || failures < TRIES_BEFORE_PROBE)
        };
        let fault = match self.request_with_permit(&self.passages, texts, tries, few).await {
            Ok(vectors) => return Ok(vectors),
            Err(fault) if !fault.may_be_contents() => return Err(BatchError::Service(fault)),
            Err(fault) => fault,
        };
        if self.probe_succeeds().await {
            return Err(BatchError::Contents(fault));
        }
        if !fault.is_transient() {
            return Err(BatchError::Service(fault));
        }
        let rest = tries.saturating_sub(TRIES_BEFORE_PROBE).max(1);
        match self
            .request_with_permit(&self.passages, texts, rest, ServiceError::is_transient)
            .await
        {
            Ok(vectors) => Ok(vectors),
            Err(fault) if fault.may_be_contents() && self.probe_succeeds().await => Err(BatchError::Contents(fault)),
            Err(fault) => Err(BatchError::Service(fault)),
        }
    }

    /// Whether a plain text gets a vector. It is different each time, so that no cache in between answers for the
    /// service.
    async fn probe_succeeds(&self) -> bool {
        let probe = [format!("This is plain text number {}.", fastrand::u32(..))];
        let vectors = self
            .request_with_permit(&self.passages, &probe, 1, ServiceError::is_transient)
            .await;
        vectors.and_then(single_vector).is_ok()
    }

    /// Embeds a refused batch in halves. If each half succeeds with one request, the batch was too large.
    fn split_batch<'a>(
        &'a self,
        texts: &'a [String],
        fault: ServiceError,
    ) -> BoxFuture<'a, Result<Vec<TextOutcome>, ServiceError>> {
        async move {
            if let [text] = texts {
                return Ok(vec![self.embed_alone(text, fault).await?]);
            }
            let (left, right) = texts.split_at(texts.len() / 2);
            let mut first = self.embed_half(left).await?;
            let second = self.embed_half(right).await?;
            if first.at_once && second.at_once && fault.may_be_size() {
                self.limits.learn_request([left, right], fault.is_about_length());
            }
            first.outcomes.extend(second.outcomes);
            Ok(first.outcomes)
        }
        .boxed()
    }

    async fn embed_half(&self, texts: &[String]) -> Result<HalfOutcome, ServiceError> {
        if texts.len() > 1 && self.limits.is_exceeded_by(texts) {
            return Ok(HalfOutcome {
                outcomes: self.embed_batch(texts).await?,
                at_once: false,
            });
        }
        let tries = self.options.connection.max_tries();
        let is_busy = |fault: &ServiceError| fault.is_transient() && !fault.may_be_contents();
        match self.request_with_permit(&self.passages, texts, tries, is_busy).await {
            Ok(vectors) => Ok(HalfOutcome {
                outcomes: self.resolve_outcomes(texts, vectors).await?,
                at_once: true,
            }),
            Err(fault) if fault.may_be_contents() => Ok(HalfOutcome {
                outcomes: self.split_batch(texts, fault).await?,
                at_once: false,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Collects the vectors; each text without a vector in the reply is embedded alone.
    async fn resolve_outcomes(
        &self,
        texts: &[String],
        vectors: Vec<VectorResult>,
    ) -> Result<Vec<TextOutcome>, ServiceError> {
        let mut outcomes = Vec::with_capacity(texts.len());
        for (text, vector) in texts.iter().zip(vectors) {
            outcomes.push(match vector {
                Ok(vector) => TextOutcome::Whole(vector),
                Err(why) => self.embed_alone(text, ServiceError::broken(why)).await?,
            });
        }
        Ok(outcomes)
    }

    /// Embeds a text that failed alone, or that got no vector in a reply.
    async fn embed_alone(&self, text: &str, mut fault: ServiceError) -> Result<TextOutcome, ServiceError> {
        if fault.is_transient() && !text.trim().is_empty() {
            match self.embed_text(text, TRIES_ALONE).await {
                Ok(vector) => return Ok(TextOutcome::Whole(vector)),
                Err(again) if !again.may_be_contents() => return Err(again),
                Err(again) => fault = again,
            }
        }
        for part in shorter_beginnings(text) {
            match self.embed_text(part, TRIES_BEFORE_PROBE).await {
                Ok(vector) => {
                    if fault.is_about_length() {
                        self.limits.learn_text(estimate_tokens(part));
                    }
                    return Ok(TextOutcome::Beginning(vector));
                }
                Err(again) if !again.may_be_contents() => return Err(again),
                Err(_) => {}
            }
        }
        match self.probe_succeeds().await {
            true => Ok(TextOutcome::None(fault.detail().to_owned())),
            false => Err(fault),
        }
    }

    async fn embed_text(&self, text: &str, tries: usize) -> Result<Vec<f32>, ServiceError> {
        let texts = [text.to_owned()];
        let vectors = self
            .request_with_permit(&self.passages, &texts, tries, ServiceError::is_transient)
            .await?;
        single_vector(vectors)
    }
}

/// Beginnings of a text, each half as long as the previous one.
fn shorter_beginnings(text: &str) -> impl Iterator<Item = &str> {
    let characters = text.chars().count();
    (1..=HALVINGS)
        .map(move |halving| characters >> halving)
        .take_while(|characters| *characters >= MIN_CHARACTERS)
        .map(|characters| cut_to_characters(text, characters))
}

/// Cuts a text to at most `characters` characters, at white space if there is some close by.
fn cut_to_characters(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    match head.rfind(char::is_whitespace) {
        Some(space) if end < text.len() && space >= end - end / 4 => head[..space].trim_end(),
        _ => head,
    }
}

/// Cuts a text to about `most` estimated tokens.
fn cut_to_tokens(text: &str, most: usize) -> &str {
    let mut part = text;
    loop {
        let count = estimate_tokens(part);
        if count <= most {
            return part;
        }
        // The estimate is not linear along a text, so the first cut may still be too long.
        let characters = part.chars().count();
        let wanted = (characters as u128 * most as u128 / count as u128) as usize;
        part = cut_to_characters(part, wanted.min(characters - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_words_where_it_has_any() {
        assert_eq!(cut_to_characters("one two three", 9), "one two");
        assert_eq!(cut_to_characters("one two three", 99), "one two three");
        assert_eq!(cut_to_characters("a bbbbbbbbbbbb", 8), "a bbbbbb");
        assert_eq!(cut_to_characters("退款期限为收货后", 3), "退款期");
        let text = "word ".repeat(100);
        let lengths: Vec<usize> = shorter_beginnings(&text).map(|part| part.chars().count()).collect();
        assert_eq!(lengths, [249, 124, 59]);
        assert_eq!(shorter_beginnings("a text of thirty-one characters").count(), 0);
        assert_eq!(shorter_beginnings("").count(), 0);
    }

    #[test]
    fn the_beginning_has_no_more_tokens_than_wanted() {
        for text in ["退款期限".repeat(100), "word ".repeat(500), "退款 word".repeat(90)] {
            for most in [1, 7, 100, 10_000] {
                let part = cut_to_tokens(&text, most);
                assert!(
                    text.starts_with(part) && estimate_tokens(part) <= most,
                    "{most}: {part}"
                );
                assert!(
                    part.len() == text.len() || estimate_tokens(part) * 2 >= most,
                    "{most}: {part}"
                );
            }
        }
    }
}
