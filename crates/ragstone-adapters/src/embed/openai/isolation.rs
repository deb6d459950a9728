//! Which texts a service cannot embed, while it embeds others.
//!
//! A batch that fails is halved until the texts at fault stand alone; such a text is tried again, then shorter. Before any
//! of that, and before a text goes without a vector, a plain text must succeed: else it is the service that fails.

use futures::FutureExt;
use futures::future::BoxFuture;
use ragstone_core::prompt::tokens;

use super::reply::Vector;
use super::{OpenAiEmbedder, TRIES_BEFORE_PROBE, single};
use crate::openai::Fault;

/// Tries of a text that fails alone: what fails by chance, be it every second time, should not be blamed on a text.
const TRIES_ALONE: usize = 3;

/// How often a text is halved before it goes without a vector. An eighth of a usual chunk is a sentence or two; less
/// would stand for nothing.
const HALVINGS: u32 = 3;

/// Fewest characters that are worth a vector, where a text is cut.
const MIN_CHARACTERS: usize = 16;

/// What became of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// The vector of all of it.
    Whole(Vec<f32>),
    /// The vector of its beginning.
    Beginning(Vec<f32>),
    /// None, and why.
    None(String),
}

/// Whose fault it is that a batch has no vectors.
enum Failure {
    Service(Fault),
    Contents(Fault),
}

/// What became of a half, and whether one request was enough.
struct Settled {
    outcomes: Vec<Outcome>,
    at_once: bool,
}

impl OpenAiEmbedder {
    /// What became of each text of a batch; an error where the service is at fault.
    pub(super) fn batch<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        async move {
            if texts.len() > 1 && self.limits.exceeded_by(texts) {
                let (left, right) = texts.split_at(texts.len() / 2);
                let mut outcomes = self.batch(left).await?;
                outcomes.extend(self.batch(right).await?);
                return Ok(outcomes);
            }
            let most = self.limits.text_tokens();
            let readable: Vec<String> = texts.iter().map(|text| beginning_of(text, most).to_owned()).collect();
            let mut outcomes = self.settled(&readable).await?;
            for ((text, readable), outcome) in texts.iter().zip(&readable).zip(&mut outcomes) {
                if let Outcome::Whole(vector) = outcome
                    && readable.len() < text.len()
                {
                    *outcome = Outcome::Beginning(std::mem::take(vector));
                }
            }
            Ok(outcomes)
        }
        .boxed()
    }

    /// The vector of a question; one that the model cannot read whole is cut.
    pub(super) async fn question(&self, text: &str, tries: usize) -> Result<Vec<f32>, Fault> {
        let text = beginning_of(text, self.limits.text_tokens());
        let whole = [text.to_owned()];
        let fault = match self.placed(&self.queries, &whole, tries, Fault::passes).await {
            Ok(vectors) => return single(vectors),
            Err(fault) if !fault.passes() && fault.may_be_contents() => fault,
            Err(fault) => return Err(fault),
        };
        for part in shorter(text) {
            let vectors = self.placed(&self.queries, &[part.to_owned()], 1, Fault::passes).await;
            if let Ok(vector) = vectors.and_then(single) {
                return Ok(vector);
            }
        }
        Err(fault)
    }

    async fn settled(&self, texts: &[String]) -> Result<Vec<Outcome>, Fault> {
        match self.patiently(texts).await {
            Ok(vectors) => self.outcomes_of(texts, vectors).await,
            Err(Failure::Contents(fault)) => self.split(texts, fault).await,
            Err(Failure::Service(fault)) => Err(fault),
        }
    }

    /// The vectors of a batch. Its contents are at fault only if a plain text succeeds; as long as it does not, what may
    /// pass is tried again.
    async fn patiently(&self, texts: &[String]) -> Result<Vec<Vector>, Failure> {
        let tries = self.options.connection.tries();
        let mut failures = 0;
        let few = |fault: &Fault| {
            failures += 1;
            fault.passes() && (!fault.may_be_contents() || failures < TRIES_BEFORE_PROBE)
        };
        let fault = match self.placed(&self.passages, texts, tries, few).await {
            Ok(vectors) => return Ok(vectors),
            Err(fault) if !fault.may_be_contents() => return Err(Failure::Service(fault)),
            Err(fault) => fault,
        };
        if self.works().await {
            return Err(Failure::Contents(fault));
        }
        if !fault.passes() {
            return Err(Failure::Service(fault));
        }
        let rest = tries.saturating_sub(TRIES_BEFORE_PROBE).max(1);
        match self.placed(&self.passages, texts, rest, Fault::passes).await {
            Ok(vectors) => Ok(vectors),
            Err(fault) if fault.may_be_contents() && self.works().await => Err(Failure::Contents(fault)),
            Err(fault) => Err(Failure::Service(fault)),
        }
    }

    /// Whether a plain text gets its vector: another one each time, so that no cache on the way answers for the service.
    async fn works(&self) -> bool {
        let probe = [format!("This is plain text number {}.", fastrand::u32(..))];
        let vectors = self.placed(&self.passages, &probe, 1, Fault::passes).await;
        vectors.and_then(single).is_ok()
    }

    /// A batch that was not taken, in halves. Where each of them is taken at once, the batch was too large.
    fn split<'a>(&'a self, texts: &'a [String], fault: Fault) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        async move {
            if let [text] = texts {
                return Ok(vec![self.alone(text, fault).await?]);
            }
            let (left, right) = texts.split_at(texts.len() / 2);
            let mut first = self.half(left).await?;
            let second = self.half(right).await?;
            if first.at_once && second.at_once && fault.may_be_size() {
                self.limits.learn_request([left, right], fault.is_about_length());
            }
            first.outcomes.extend(second.outcomes);
            Ok(first.outcomes)
        }
        .boxed()
    }

    async fn half(&self, texts: &[String]) -> Result<Settled, Fault> {
        if texts.len() > 1 && self.limits.exceeded_by(texts) {
            return Ok(Settled {
                outcomes: self.batch(texts).await?,
                at_once: false,
            });
        }
        let tries = self.options.connection.tries();
        let is_busy = |fault: &Fault| fault.passes() && !fault.may_be_contents();
        match self.placed(&self.passages, texts, tries, is_busy).await {
            Ok(vectors) => Ok(Settled {
                outcomes: self.outcomes_of(texts, vectors).await?,
                at_once: true,
            }),
            Err(fault) if fault.may_be_contents() => Ok(Settled {
                outcomes: self.split(texts, fault).await?,
                at_once: false,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Vectors as they are; each text that got none in a reply with others is looked at alone.
    async fn outcomes_of(&self, texts: &[String], vectors: Vec<Vector>) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(texts.len());
        for (text, vector) in texts.iter().zip(vectors) {
            outcomes.push(match vector {
                Ok(vector) => Outcome::Whole(vector),
                Err(why) => self.alone(text, Fault::broken(why)).await?,
            });
        }
        Ok(outcomes)
    }

    /// A text that failed alone or by itself in a reply.
    async fn alone(&self, text: &str, mut fault: Fault) -> Result<Outcome, Fault> {
        if fault.passes() && !text.trim().is_empty() {
            match self.vector_of(text, TRIES_ALONE).await {
                Ok(vector) => return Ok(Outcome::Whole(vector)),
                Err(again) if !again.may_be_contents() => return Err(again),
                Err(again) => fault = again,
            }
        }
        for part in shorter(text) {
            match self.vector_of(part, TRIES_BEFORE_PROBE).await {
                Ok(vector) => {
                    if fault.is_about_length() {
                        self.limits.learn_text(tokens(part));
                    }
                    return Ok(Outcome::Beginning(vector));
                }
                Err(again) if !again.may_be_contents() => return Err(again),
                Err(_) => {}
            }
        }
        match self.works().await {
            true => Ok(Outcome::None(fault.detail().to_owned())),
            false => Err(fault),
        }
    }

    async fn vector_of(&self, text: &str, tries: usize) -> Result<Vec<f32>, Fault> {
        let texts = [text.to_owned()];
        let vectors = self.placed(&self.passages, &texts, tries, Fault::passes).await?;
        single(vectors)
    }
}

/// Beginnings of a text, each half as long as the one before.
fn shorter(text: &str) -> impl Iterator<Item = &str> {
    let characters = text.chars().count();
    (1..=HALVINGS)
        .map(move |halving| characters >> halving)
        .take_while(|characters| *characters >= MIN_CHARACTERS)
        .map(|characters| beginning(text, characters))
}

/// At most so many characters of a text, up to a white space if one is near.
fn beginning(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    match head.rfind(char::is_whitespace) {
        Some(space) if end < text.len() && space >= end - end / 4 => head[..space].trim_end(),
        _ => head,
    }
}

/// As much of a text as has about so many tokens.
fn beginning_of(text: &str, most: usize) -> &str {
    let mut part = text;
    loop {
        let count = tokens(part);
        if count <= most {
            return part;
        }
        // Estimates do not grow evenly along a text, so the first cut may still be too long.
        let characters = part.chars().count();
        let wanted = (characters as u128 * most as u128 / count as u128) as usize;
        part = beginning(part, wanted.min(characters - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_words_where_it_has_any() {
        assert_eq!(beginning("one two three", 9), "one two");
        assert_eq!(beginning("one two three", 99), "one two three");
        assert_eq!(beginning("a bbbbbbbbbbbb", 8), "a bbbbbb");
        assert_eq!(beginning("退款期限为收货后", 3), "退款期");
        let text = "word ".repeat(100);
        let lengths: Vec<usize> = shorter(&text).map(|part| part.chars().count()).collect();
        assert_eq!(lengths, [249, 124, 59]);
        assert_eq!(shorter("a text of thirty-one characters").count(), 0);
        assert_eq!(shorter("").count(), 0);
    }

    #[test]
    fn the_beginning_has_no_more_tokens_than_wanted() {
        for text in ["退款期限".repeat(100), "word ".repeat(500), "退款 word".repeat(90)] {
            for most in [1, 7, 100, 10_000] {
                let part = beginning_of(&text, most);
                assert!(text.starts_with(part) && tokens(part) <= most, "{most}: {part}");
                assert!(part.len() == text.len() || tokens(part) * 2 >= most, "{most}: {part}");
            }
        }
    }
}
