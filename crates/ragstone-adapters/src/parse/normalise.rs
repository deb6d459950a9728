//! Normalises the text that leaves a parser, so that byte ranges mean the same everywhere.
//!
//! Line ends become `\n`, and so do form feeds and vertical tabs. Other control characters, byte order marks,
//! zero-width spaces and soft hyphens are removed. Non-breaking hyphens and spaces become plain ones, Latin ligatures
//! become their letters. Composed and decomposed letters stay as they are, because a quote must be found in the
//! original too.

/// Appends `raw` to `out` in normalised form.
pub(super) fn push_normalised(out: &mut String, raw: &str) {
    out.reserve(raw.len());
    let mut characters = raw.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                if characters.peek() == Some(&'\n') {
                    characters.next();
                }
                out.push('\n');
            }
            '\n' | '\t' => out.push(character),
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => {}
            '\u{2010}' | '\u{2011}' => out.push('-'),
            '\u{a0}' | '\u{2007}' | '\u{202f}' => out.push(' '),
            '\u{fb00}'..='\u{fb06}' => out.push_str(expand_ligature(character)),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
}

/// Returns `raw` in normalised form.
pub(super) fn normalise_text(raw: &str) -> String {
    let mut out = String::new();
    push_normalised(&mut out, raw);
    out
}

fn expand_ligature(character: char) -> &'static str {
    match character {
        '\u{fb00}' => "ff",
        '\u{fb01}' => "fi",
        '\u{fb02}' => "fl",
        '\u{fb03}' => "ffi",
        '\u{fb04}' => "ffl",
        _ => "st",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_takes_its_normal_form() {
        for (raw, expected) in [
            ("a\r\nb\rc\n", "a\nb\nc\n"),
            ("page\u{c}next", "page\nnext"),
            ("non\u{2011}breaking\u{a0}space", "non-breaking space"),
            ("hy\u{ad}phen", "hyphen"),
            ("\u{feff}\u{fb01}nd o\u{fb03}ce", "find office"),
            ("bell\u{7}, tab\t", "bell, tab\t"),
            ("e\u{301} and é stay", "e\u{301} and é stay"),
        ] {
            assert_eq!(normalise_text(raw), expected);
        }
    }
}
