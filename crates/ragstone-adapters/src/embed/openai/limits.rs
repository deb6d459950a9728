//! Request limits of the service as learned from refusals, until the end of the process.

use std::sync::atomic::{AtomicUsize, Ordering};

use ragstone_core::prompt::estimate_tokens;

/// Learned limits; token counts are estimates by [`estimate_tokens`].
#[derive(Debug)]
pub(super) struct LearnedLimits {
    /// Most texts per request.
    texts: AtomicUsize,
    /// Most tokens per request.
    request_tokens: AtomicUsize,
    /// Most tokens per text: from the settings, or learned when a longer text was refused.
    text_tokens: AtomicUsize,
}

impl LearnedLimits {
    /// Starts without limits, except the tokens of a text if they are known.
    pub fn new(text_tokens: Option<usize>) -> Self {
        Self {
            texts: AtomicUsize::new(usize::MAX),
            request_tokens: AtomicUsize::new(usize::MAX),
            text_tokens: AtomicUsize::new(text_tokens.unwrap_or(usize::MAX)),
        }
    }

    /// Whether a request for these texts is known to be refused.
    pub fn is_exceeded_by(&self, texts: &[String]) -> bool {
        texts.len() > self.texts.load(Ordering::Relaxed)
            || total_tokens(texts) > self.request_tokens.load(Ordering::Relaxed)
    }

    /// Most tokens per text that are accepted.
    pub fn text_tokens(&self) -> usize {
        self.text_tokens.load(Ordering::Relaxed)
    }

    /// Learns from a refused request whose `halves` were both accepted: the larger half is the new limit. `by_length`
    /// if the refusal was about tokens.
    pub fn learn_request(&self, halves: [&[String]; 2], by_length: bool) {
        let (limit, size, unit) = match by_length {
            true => (&self.request_tokens, halves.map(total_tokens), "tokens, estimated"),
            false => (&self.texts, halves.map(<[String]>::len), "texts"),
        };
        lower_limit(
            limit,
            size[0].max(size[1]),
            "the embedding service takes fewer in a request",
            unit,
        );
    }

    /// Learns that a text was refused for its length, and that a beginning of `taken` tokens was accepted.
    pub fn learn_text(&self, taken: usize) {
        lower_limit(
            &self.text_tokens,
            taken,
            "the embedding model reads less of a text",
            "tokens, estimated",
        );
    }
}

/// Lowers a limit, and logs it.
fn lower_limit(limit: &AtomicUsize, found: usize, what: &str, unit: &str) {
    let found = found.max(1);
    if limit.fetch_min(found, Ordering::Relaxed) > found {
        tracing::info!(limit = found, unit, "{what}, remembered until the end of this process");
    }
}

fn total_tokens(texts: &[String]) -> usize {
    texts.iter().map(|text| estimate_tokens(text)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_only_get_lower() {
        let texts: Vec<String> = (0..8).map(|_| "x".repeat(40)).collect();
        let limits = LearnedLimits::new(None);
        assert!(!limits.is_exceeded_by(&texts));
        limits.learn_request([&texts[..3], &texts[3..7]], false);
        assert!(limits.is_exceeded_by(&texts[..5]) && !limits.is_exceeded_by(&texts[..4]));
        limits.learn_request([&texts[..6], &texts[6..]], false);
        assert!(limits.is_exceeded_by(&texts[..5]));
        limits.learn_request([&texts[..2], &texts[2..3]], true);
        assert!(limits.is_exceeded_by(&texts[..3]) && !limits.is_exceeded_by(&texts[..2]));
        limits.learn_text(300);
        limits.learn_text(400);
        assert_eq!(limits.text_tokens(), 300);
        assert_eq!(LearnedLimits::new(Some(8)).text_tokens(), 8);
    }
}
