//! Cuts chunks to what a model can read, which is limited in tokens and not in characters.
//!
//! Invariant: a chunk that fits at once is not changed; ranges lie in the text that was split.

use super::{SplitSettings, TextPiece, split_text};

/// Smallest chunk size, in characters, for another cut; below it a chunk stays as it is.
const MIN_CHARACTERS: usize = 32;

/// The chunks of `text`; each one that does not fit is cut again to half the size.
pub(super) fn split_to_fit(text: &str, settings: &SplitSettings, fits: &dyn Fn(&str) -> bool) -> Vec<TextPiece> {
    let mut fitting = Vec::new();
    for piece in split_text(text, settings) {
        if fits(&piece.text) {
            fitting.push(piece);
        } else {
            cut_oversized(text, piece, settings, fits, &mut fitting);
        }
    }
    fitting
}

fn cut_oversized(
    text: &str,
    piece: TextPiece,
    settings: &SplitSettings,
    fits: &dyn Fn(&str) -> bool,
    fitting: &mut Vec<TextPiece>,
) {
    let part = &text[piece.range.clone()];
    let characters = part.chars().count();
    let chunk_size = characters.min(settings.chunk_size).div_ceil(2);
    if chunk_size < MIN_CHARACTERS {
        return fitting.push(piece);
    }
    let halves = split_to_fit(part, &smaller_settings(settings, chunk_size), fits);
    fitting.extend(halves.into_iter().map(|half| TextPiece {
        range: half.range.start + piece.range.start..half.range.end + piece.range.start,
        text: half.text,
    }));
}

/// The settings with a smaller size: the overlap shrinks in proportion, and a text without any separator is cut between
/// characters.
fn smaller_settings(settings: &SplitSettings, chunk_size: usize) -> SplitSettings {
    let mut smaller = SplitSettings {
        chunk_size,
        chunk_overlap: settings.chunk_overlap * chunk_size / settings.chunk_size.max(1),
        ..settings.clone()
    };
    if !smaller.separators.is_empty() && !smaller.separators.iter().any(String::is_empty) {
        smaller.separators.push(String::new());
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::super::SplitStrategy;
    use super::*;

    const MOST: usize = 100;

    fn fits(text: &str) -> bool {
        text.chars().count() <= MOST
    }

    #[test]
    fn what_fits_is_cut_as_ever() {
        let text = "A sentence of some words stands here.\n\n".repeat(60);
        for strategy in [SplitStrategy::Recursive, SplitStrategy::Markdown] {
            let settings = SplitSettings {
                strategy,
                ..SplitSettings::default()
            };
            assert_eq!(split_to_fit(&text, &settings, &|_| true), split_text(&text, &settings));
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_until_it_does_and_nothing_is_lost() {
        let texts = [
            "退款期限为收货后三十天。".repeat(200),
            "word ".repeat(700),
            "x".repeat(3_000),
            "# One\n\nA paragraph of words.\n\n| a | b |\n|---|---|\n".to_owned() + &"| 1 | 2 |\n".repeat(300),
        ];
        let strategies = [SplitStrategy::Recursive, SplitStrategy::Markdown];
        for (text, strategy) in texts
            .iter()
            .flat_map(|text| strategies.map(|strategy| (text, strategy)))
        {
            let settings = SplitSettings {
                strategy,
                ..SplitSettings::default()
            };
            let pieces = split_to_fit(text, &settings, &fits);
            assert!(pieces.iter().all(|piece| fits(&piece.text)), "{strategy:?}");
            let mut end = 0;
            for piece in &pieces {
                assert_eq!(piece.text, text[piece.range.clone()]);
                assert!(piece.range.start <= end || text[end..piece.range.start].trim().is_empty());
                end = end.max(piece.range.end);
            }
            assert!(text[end..].trim().is_empty(), "{strategy:?}");
        }
    }

    #[test]
    fn what_never_fits_ends() {
        let pieces = split_to_fit(&"x".repeat(2_000), &SplitSettings::default(), &|_| false);
        assert!(
            pieces.iter().all(|piece| piece.text.len() < 2 * MIN_CHARACTERS),
            "{}",
            pieces.len()
        );
    }
}
