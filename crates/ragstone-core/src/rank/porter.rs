//! The original Porter stemmer (M. F. Porter, "An algorithm for suffix stripping", 1980) as its author states it in
//! Snowball (`porter`, not Porter2 or `english`). The steps keep the paper's numbers.
//!
//! Invariant: input is lower-case ASCII letters and digits; a digit counts as a consonant. The result is never empty
//! unless the input is, and is never longer than the input ("e" is added only where two or more bytes were removed).

/// Replaces `word` by its stem. Bytes other than `a..=z` and `0..=9` count as consonants.
pub fn stem_word(word: &mut Vec<u8>) {
    let has_y = mark_consonant_y(word);
    let (region1, region2) = find_regions(word);
    let mut stemmer = PorterStemmer { word, region1, region2 };
    stemmer.strip_plurals();
    stemmer.strip_past_and_gerund();
    stemmer.final_y();
    stemmer.double_suffixes();
    stemmer.adjective_suffixes();
    stemmer.bare_suffixes();
    stemmer.final_e();
    stemmer.final_double_l();
    if has_y {
        word.make_ascii_lowercase();
    }
}

/// Writes each `y` that acts as a consonant (first letter, or after a vowel) as `Y`; returns whether there was one.
fn mark_consonant_y(word: &mut [u8]) -> bool {
    let mut found = false;
    let mut after_vowel = true;
    for byte in word {
        if *byte == b'y' && after_vowel {
            *byte = b'Y';
            found = true;
        }
        after_vowel = is_vowel(*byte);
    }
    found
}

/// Starts of R1 and R2: behind the first and the second consonant that follows a vowel. "m > 0" of the paper is
/// "the suffix lies in R1", "m > 1" is "in R2".
fn find_regions(word: &[u8]) -> (usize, usize) {
    let first = behind_vowel_consonant(word, 0);
    (first, behind_vowel_consonant(word, first))
}

fn behind_vowel_consonant(word: &[u8], from: usize) -> usize {
    let consonant = word[from..]
        .iter()
        .position(|&byte| is_vowel(byte))
        .map(|vowel| from + vowel)
        .and_then(|vowel| {
            word[vowel..]
                .iter()
                .position(|&byte| !is_vowel(byte))
                .map(|next| vowel + next)
        });
    consonant.map_or(word.len(), |position| position + 1)
}

const fn is_vowel(byte: u8) -> bool {
    matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

/// A suffix and its replacement. A table lists every suffix before the shorter ones that it ends with.
type SuffixRule = (&'static [u8], &'static [u8]);

/// Rules of step 2, which turns double suffixes into single ones.
const DOUBLE: &[SuffixRule] = &[
    (b"ational", b"ate"),
    (b"tional", b"tion"),
    (b"enci", b"ence"),
    (b"anci", b"ance"),
    (b"abli", b"able"),
    (b"entli", b"ent"),
    (b"eli", b"e"),
    (b"izer", b"ize"),
    (b"ization", b"ize"),
    (b"ation", b"ate"),
    (b"ator", b"ate"),
    (b"alism", b"al"),
    (b"aliti", b"al"),
    (b"alli", b"al"),
    (b"fulness", b"ful"),
    (b"ousli", b"ous"),
    (b"ousness", b"ous"),
    (b"iveness", b"ive"),
    (b"iviti", b"ive"),
    (b"biliti", b"ble"),
];

/// Rules of step 3, for suffixes such as `-ful` and `-ness`.
const ADJECTIVE: &[SuffixRule] = &[
    (b"alize", b"al"),
    (b"icate", b"ic"),
    (b"iciti", b"ic"),
    (b"ical", b"ic"),
    (b"ative", b""),
    (b"ful", b""),
    (b"ness", b""),
];

/// Suffixes that step 4 removes.
const BARE: &[&[u8]] = &[
    b"al", b"ance", b"ence", b"er", b"ic", b"able", b"ible", b"ant", b"ement", b"ment", b"ent", b"ou", b"ism", b"ate",
    b"iti", b"ous", b"ive", b"ize", b"ion",
];

struct PorterStemmer<'a> {
    word: &'a mut Vec<u8>,
    region1: usize,
    region2: usize,
}

impl PorterStemmer<'_> {
    /// Step 1a of the paper: plurals.
    fn strip_plurals(&mut self) {
        if !self.word.ends_with(b"s") || self.word.ends_with(b"ss") {
            return;
        }
        let cut = if self.word.ends_with(b"sses") || self.word.ends_with(b"ies") {
            2
        } else {
            1
        };
        self.cut_bytes(cut);
    }

    /// Step 1b of the paper: `-eed`, `-ed` and `-ing`.
    fn strip_past_and_gerund(&mut self) {
        if self.word.ends_with(b"eed") {
            if self.word.len() - 3 >= self.region1 {
                self.cut_bytes(1);
            }
            return;
        }
        let suffix = match self.word.as_slice() {
            [.., b'e', b'd'] => 2,
            [.., b'i', b'n', b'g'] => 3,
            _ => return,
        };
        let rest = self.word.len() - suffix;
        if !self.word[..rest].iter().any(|&byte| is_vowel(byte)) {
            return;
        }
        self.word.truncate(rest);
        self.mend_ending();
    }

    /// Second half of step 1b: "conflat" -> "conflate", "hopp" -> "hop", "fil" -> "file".
    fn mend_ending(&mut self) {
        match self.word.as_slice() {
            [.., b'a', b't'] | [.., b'b', b'l'] | [.., b'i', b'z'] => self.word.push(b'e'),
            [.., first, second] if first == second && b"bdfgmnprt".contains(second) => self.cut_bytes(1),
            word if word.len() == self.region1 && ends_short(word) => self.word.push(b'e'),
            _ => {}
        }
    }

    /// Step 1c of the paper: a final `y` behind a stem with a vowel.
    fn final_y(&mut self) {
        if let Some((last @ (b'y' | b'Y'), rest)) = self.word.split_last_mut()
            && rest.iter().any(|&byte| is_vowel(byte))
        {
            *last = b'i';
        }
    }

    /// Step 2 of the paper: the rules of [`DOUBLE`].
    fn double_suffixes(&mut self) {
        if let Some((_, b'i' | b'l' | b'm' | b'n' | b'r' | b's')) = self.last_two() {
            self.apply_rules(DOUBLE);
        }
    }

    /// Step 3 of the paper: the rules of [`ADJECTIVE`].
    fn adjective_suffixes(&mut self) {
        if let Some((_, b'e' | b'i' | b'l' | b's')) = self.last_two() {
            self.apply_rules(ADJECTIVE);
        }
    }

    /// The first rule whose suffix fits decides, whether or not the suffix lies in R1.
    fn apply_rules(&mut self, rules: &[SuffixRule]) {
        let Some((suffix, replacement)) = rules.iter().find(|(suffix, _)| self.word.ends_with(suffix)) else {
            return;
        };
        let rest = self.word.len() - suffix.len();
        if rest >= self.region1 {
            self.word.truncate(rest);
            self.word.extend_from_slice(replacement);
        }
    }

    /// Step 4 of the paper: the suffixes of [`BARE`]; `ion` is removed only after `s` or `t`.
    fn bare_suffixes(&mut self) {
        let Some((_, b'c' | b'e' | b'i' | b'l' | b'm' | b'n' | b'r' | b's' | b't' | b'u')) = self.last_two() else {
            return;
        };
        let Some(suffix) = BARE.iter().find(|suffix| self.word.ends_with(suffix)) else {
            return;
        };
        let rest = self.word.len() - suffix.len();
        let allowed = *suffix != b"ion" || matches!(self.word[..rest].last(), Some(b's' | b't'));
        if rest >= self.region2 && allowed {
            self.word.truncate(rest);
        }
    }

    /// Step 5a of the paper: a final `e`.
    fn final_e(&mut self) {
        if let Some((b'e', rest)) = self.word.split_last() {
            let position = rest.len();
            if position >= self.region2 || (position >= self.region1 && !ends_short(rest)) {
                self.cut_bytes(1);
            }
        }
    }

    /// Step 5b of the paper: a final double `l`.
    fn final_double_l(&mut self) {
        if self.word.ends_with(b"ll") && self.word.len() > self.region2 {
            self.cut_bytes(1);
        }
    }

    fn last_two(&self) -> Option<(u8, u8)> {
        match self.word.as_slice() {
            [.., first, second] => Some((*first, *second)),
            _ => None,
        }
    }

    fn cut_bytes(&mut self, bytes: usize) {
        self.word.truncate(self.word.len() - bytes);
    }
}

/// Whether `word` ends in consonant, vowel, consonant, the last not w, x or y: "hop", "fil". (*o of the paper.)
fn ends_short(word: &[u8]) -> bool {
    matches!(word, [.., first, vowel, last]
        if !is_vowel(*first) && is_vowel(*vowel) && !is_vowel(*last) && !matches!(last, b'w' | b'x' | b'Y'))
}

#[cfg(test)]
mod tests {
    use super::stem_word;

    fn check(word: &str, expected: &str) {
        let mut bytes = word.as_bytes().to_vec();
        stem_word(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{word}");
    }

    #[test]
    fn follows_the_steps_of_the_paper() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("cats", "cat"),
            ("us", "u"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("vietnamization", "vietnam"),
            ("hopefulness", "hope"),
            ("formaliti", "formal"),
            ("electrical", "electr"),
            ("adjustment", "adjust"),
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("region", "region"),
            ("probate", "probat"),
            ("cease", "ceas"),
            ("controlling", "control"),
            ("rolling", "roll"),
        ] {
            check(word, expected);
        }
    }

    #[test]
    fn takes_digits_for_consonants_and_leading_y_too() {
        for (word, expected) in [
            ("", ""),
            ("s", ""),
            ("1990s", "1990"),
            ("covid19", "covid19"),
            ("yes", "ye"),
            ("saying", "sai"),
            ("y", "y"),
        ] {
            check(word, expected);
        }
    }
}
