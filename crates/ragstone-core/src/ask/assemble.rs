//! Assembles a model's text into an answer with verified citations, piece by piece. Pure: the caller reads the stores.
//!
//! Text is emitted as soon as it cannot be part of a marker, or of the white space before one. The model's markers are
//! removed; the verified citations are written behind each sentence once the next one begins, with new numbers.
//!
//! Invariant: the answer and its citations do not depend on how the text is cut into pieces; only markers and the white
//! space before them are lost. A citation is emitted only after [`AnswerAssembler::resolve_candidates`] confirmed it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::AnswerSentence;
use super::marker::{self, BracketContext};
use crate::cite::{self, PassageText};
use crate::document::TextRange;

/// A span of a passage that seems to support a sentence; not compared with the stored text yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CitationCandidate {
    /// Index of the passage, from 0.
    pub passage: usize,
    /// Byte range in the passage's text.
    pub range: TextRange,
}

/// One output of the assembler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AnswerStep {
    /// The next piece of the answer.
    Delta(String),
    /// Candidates to verify; no further step comes before `resolve_candidates` is called.
    Verify(Vec<CitationCandidate>),
    /// A verified citation of a sentence; its number follows in the text.
    Cite {
        /// Index of the sentence, from 0.
        sentence: usize,
        /// The citation's number in the answer, from 1; equal spans share one number.
        n: usize,
        /// The span that was verified.
        claim: CitationCandidate,
    },
}

#[derive(Debug)]
enum AssemblerInput {
    Character(char),
    Quote(CitationCandidate),
    End,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum CodeState {
    Prose,
    /// Between backticks of one line.
    Inline,
    /// Between lines of three backticks.
    Fenced,
}

/// Words whose full stop ends no sentence, in lower case.
const ABBREVIATIONS: [&str; 30] = [
    "mr", "mrs", "ms", "dr", "st", "vs", "etc", "jr", "sr", "no", "nr", "fig", "al", "e.g", "i.e", "u.s", "inc", "ltd",
    "co", "prof", "gen", "ca", "z.b", "d.h", "u.a", "bzw", "abs", "art", "pp", "vol",
];

/// The assembler of one answer, see the module.
#[derive(Debug)]
pub(super) struct AnswerAssembler {
    passages: Vec<PassageText>,
    input: VecDeque<AssemblerInput>,
    output: VecDeque<AnswerStep>,
    /// Text that may be emitted and was not yet.
    visible: String,
    /// White space that waits, because a marker may follow it.
    held: String,
    /// Text that may become a marker, from its opening bracket on.
    marker: String,
    /// Whether `marker` is complete, directly behind a word, and waits for the next character to decide.
    marker_after_word: bool,
    /// Whether the next bracket was already found to be text.
    plain_bracket: bool,
    /// White space that was removed with an accepted marker.
    taken: Option<String>,
    /// The current sentence, without `held`.
    text: String,
    /// Indexes of the passages that the current sentence names, from 0.
    named: Vec<usize>,
    /// Whether the current sentence has its full stop.
    ended: bool,
    code: CodeState,
    /// Backticks since the start of the line; `None` once other text stood there.
    fence: Option<usize>,
    waiting: Option<Vec<CitationCandidate>>,
    sentences: Vec<AnswerSentence>,
    cited: Vec<CitationCandidate>,
    answer: String,
}

impl AnswerAssembler {
    /// An assembler for an answer over passages with these texts, which the model numbers from 1.
    pub fn new(passages: Vec<Arc<str>>) -> Self {
        Self {
            passages: passages.into_iter().map(PassageText::new).collect(),
            input: VecDeque::new(),
            output: VecDeque::new(),
            visible: String::new(),
            held: String::new(),
            marker: String::new(),
            marker_after_word: false,
            plain_bracket: false,
            taken: None,
            text: String::new(),
            named: Vec::new(),
            ended: false,
            code: CodeState::Prose,
            fence: Some(0),
            waiting: None,
            sentences: Vec::new(),
            cited: Vec::new(),
            answer: String::new(),
        }
    }

    /// Adds a piece of the model's text.
    pub fn push_text(&mut self, text: &str) {
        // Nearly all of it becomes visible and is emitted as one piece.
        self.visible.reserve(text.len());
        self.input.extend(text.chars().map(AssemblerInput::Character));
    }

    /// Adds the model's own citation: the text since the last boundary is this span of a passage (from 1).
    pub fn push_quote(&mut self, passage: usize, range: TextRange) {
        let Some(passage) = passage.checked_sub(1) else {
            return;
        };
        self.input
            .push_back(AssemblerInput::Quote(CitationCandidate { passage, range }));
    }

    /// Marks the end of the model's text.
    pub fn finish_input(&mut self) {
        self.input.push_back(AssemblerInput::End);
    }

    /// The next output; `None` while more input is needed, or a `Verify` step is unresolved.
    pub fn next_step(&mut self) -> Option<AnswerStep> {
        while self.output.is_empty() && self.waiting.is_none() {
            match self.input.pop_front() {
                Some(AssemblerInput::Character(c)) => self.process_character(c),
                Some(AssemblerInput::Quote(claim)) => self.process_quote(claim),
                Some(AssemblerInput::End) => self.process_end(),
                None => {
                    self.flush_visible();
                    break;
                }
            }
        }
        self.output.pop_front()
    }

    /// Resolves the last `Verify` step: which of its candidates hold, in its order.
    pub fn resolve_candidates(&mut self, holds: &[bool]) {
        let claims = self.waiting.take().unwrap_or_default();
        let verified = claims.into_iter().zip(holds).filter(|(_, holds)| **holds);
        let sentence = self.sentences.len();
        let mut numbers: Vec<usize> = Vec::new();
        for (claim, _) in verified {
            let n = self.number_of(&claim);
            if !numbers.contains(&n) {
                numbers.push(n);
                self.output.push_back(AnswerStep::Cite { sentence, n, claim });
            }
        }
        if !numbers.is_empty() {
            let markers: String = numbers.iter().map(|n| format!("[{n}]")).collect();
            self.visible = format!(" {markers}");
            self.flush_visible();
        }
        self.close_sentence(numbers);
    }

    /// The finished sentences; all of them once every step was taken.
    pub fn sentences(&self) -> &[AnswerSentence] {
        &self.sentences
    }

    /// The text of all deltas so far.
    pub fn answer_text(&self) -> &str {
        &self.answer
    }

    fn number_of(&mut self, claim: &CitationCandidate) -> usize {
        let known = self.cited.iter().position(|cited| cited == claim);
        known.unwrap_or_else(|| {
            self.cited.push(claim.clone());
            self.cited.len() - 1
        }) + 1
    }

    fn process_character(&mut self, c: char) {
        if self.code == CodeState::Fenced {
            return self.process_fenced_character(c);
        }
        if self.marker_after_word {
            self.marker_after_word = false;
            match marker::may_follow_marker(c) && self.names_passage() {
                true => self.accept_marker(),
                false => return self.reparse_marker_as_text(Some(AssemblerInput::Character(c))),
            }
        }
        match c {
            _ if !self.marker.is_empty() => self.process_marker_character(c),
            c if marker::is_opening_bracket(c) && self.may_open_marker() => self.marker.push(c),
            '\n' => self.process_newline(),
            c if c.is_whitespace() && self.text.is_empty() && self.taken.is_some() => {}
            c if c.is_whitespace() => self.held.push(c),
            c => self.process_visible_character(c),
        }
    }

    /// Everything in a code fence is text and belongs to no sentence.
    fn process_fenced_character(&mut self, c: char) {
        self.visible.push(c);
        self.track_fence(c);
    }

    fn may_open_marker(&mut self) -> bool {
        let plain = std::mem::take(&mut self.plain_bracket);
        !plain && self.code == CodeState::Prose && self.bracket_context() != BracketContext::AfterCode
    }

    /// What a bracket at this position would directly follow.
    fn bracket_context(&self) -> BracketContext {
        match self.held.is_empty() && self.taken.is_none() {
            true => marker::bracket_context_after(&self.text),
            false => BracketContext::Free,
        }
    }

    fn process_marker_character(&mut self, c: char) {
        if marker::closes_marker(&self.marker, c) {
            self.marker.push(c);
            let glued = self.bracket_context() == BracketContext::AfterWord;
            match marker::parse_marker_numbers(&self.marker) {
                None => self.reparse_marker_as_text(None),
                Some(_) if !marker::is_unambiguous(&self.marker) && !self.names_passage() => {
                    self.reparse_marker_as_text(None)
                }
                Some(_) if glued => self.marker_after_word = true,
                Some(_) => self.accept_marker(),
            }
        } else if marker::may_continue_marker(&self.marker, c) {
            self.marker.push(c);
        } else {
            self.reparse_marker_as_text(Some(AssemblerInput::Character(c)));
        }
    }

    fn names_passage(&self) -> bool {
        let numbers = marker::parse_marker_numbers(&self.marker).unwrap_or_default();
        numbers.iter().all(|n| (1..=self.passages.len()).contains(n))
    }

    /// Removes the marker with the white space before it; at the start of a sentence, with the white space behind it.
    fn accept_marker(&mut self) {
        let numbers = marker::parse_marker_numbers(&std::mem::take(&mut self.marker)).unwrap_or_default();
        let inside = 1..=self.passages.len();
        self.named
            .extend(numbers.into_iter().filter(|n| inside.contains(n)).map(|n| n - 1));
        let taken = match self.text.is_empty() {
            true => String::new(),
            false => std::mem::take(&mut self.held),
        };
        self.taken = Some(self.taken.take().filter(|earlier| !earlier.is_empty()).unwrap_or(taken));
    }

    /// Puts a rejected marker back into the input, where its bracket is then read as text.
    fn reparse_marker_as_text(&mut self, next: Option<AssemblerInput>) {
        let text = std::mem::take(&mut self.marker);
        if let Some(next) = next {
            self.input.push_front(next);
        }
        for c in text.chars().rev() {
            self.input.push_front(AssemblerInput::Character(c));
        }
        self.plain_bracket = true;
    }

    /// A line break ends the sentence on the line before: a paragraph, a list item or a heading.
    fn process_newline(&mut self) {
        if self.end_sentence(AssemblerInput::Character('\n')) {
            return;
        }
        self.held.push('\n');
        self.taken = None;
        self.fence = Some(0);
        self.code = CodeState::Prose;
    }

    fn process_visible_character(&mut self, c: char) {
        let behind_marker = self.taken.is_some();
        // A removed marker stood between two words: its white space keeps them apart.
        if self.held.is_empty()
            && c.is_alphanumeric()
            && let Some(taken) = self.taken.take()
        {
            self.held = taken;
        }
        if self.ended && self.begins_sentence(c, behind_marker) && self.end_sentence(AssemblerInput::Character(c)) {
            return;
        }
        self.taken = None;
        let stays_ended = self.ended && self.held.is_empty() && is_closing_mark(c);
        self.write_character(c);
        self.ended = stays_ended || (self.code == CodeState::Prose && is_stop(c));
        self.track_fence(c);
        if c == '`' && self.code != CodeState::Fenced {
            self.code = if self.code == CodeState::Prose {
                CodeState::Inline
            } else {
                CodeState::Prose
            };
        }
    }

    /// Whether `c`, behind a full stop, begins another sentence.
    fn begins_sentence(&self, c: char, behind_marker: bool) -> bool {
        let stop = self.text.chars().rev().find(|c| is_stop(*c));
        match stop.is_some_and(|stop| "。！？".contains(stop)) {
            true => !is_closing_mark(c),
            false if self.held.is_empty() => behind_marker && c.is_alphanumeric(),
            false => !(c.is_lowercase() || is_stop(c) || ends_in_abbreviation(&self.text)),
        }
    }

    fn write_character(&mut self, c: char) {
        let begins = self.text.is_empty();
        self.visible.push_str(&self.held);
        self.visible.push(c);
        if !begins {
            self.text.push_str(&self.held);
        }
        self.text.push(c);
        self.held.clear();
    }

    fn track_fence(&mut self, c: char) {
        self.fence = match (self.fence, c) {
            (_, '\n') => Some(0),
            (Some(2), '`') => {
                self.code = if self.code == CodeState::Fenced {
                    CodeState::Prose
                } else {
                    CodeState::Fenced
                };
                self.text.clear();
                self.named.clear();
                None
            }
            (Some(count), '`') => Some(count + 1),
            (Some(0), c) if c.is_whitespace() => Some(0),
            _ => None,
        };
    }

    /// Ends the current sentence, if there is one, and puts `next` back into the input. Returns whether there was one.
    fn end_sentence(&mut self, next: AssemblerInput) -> bool {
        if self.text.is_empty() {
            return false;
        }
        self.input.push_front(next);
        let claims = self.find_candidates();
        self.await_verification(claims);
        true
    }

    fn await_verification(&mut self, claims: Vec<CitationCandidate>) {
        if claims.is_empty() {
            return self.close_sentence(Vec::new());
        }
        self.flush_visible();
        self.waiting = Some(claims.clone());
        self.output.push_back(AnswerStep::Verify(claims));
    }

    /// The spans that support the sentence: in the passages it names, else in one that contains nearly all of it.
    fn find_candidates(&self) -> Vec<CitationCandidate> {
        let mut named = self.named.clone();
        let mut seen = std::collections::HashSet::new();
        named.retain(|passage| seen.insert(*passage));
        let claims: Vec<CitationCandidate> = named
            .into_iter()
            .filter_map(|passage| {
                Some(CitationCandidate {
                    passage,
                    range: self.passages[passage].find_support(&self.text)?,
                })
            })
            .collect();
        match claims.is_empty() {
            false => claims,
            true => cite::find_best_support(&self.text, &self.passages)
                .map(|(passage, range)| CitationCandidate { passage, range })
                .into_iter()
                .collect(),
        }
    }

    fn close_sentence(&mut self, citations: Vec<usize>) {
        let text = std::mem::take(&mut self.text);
        self.sentences.push(AnswerSentence { text, citations });
        self.named.clear();
        self.ended = false;
    }

    fn process_quote(&mut self, claim: CitationCandidate) {
        if !self.marker.is_empty() {
            self.marker_after_word = false;
            return self.reparse_marker_as_text(Some(AssemblerInput::Quote(claim)));
        }
        let passage = self.passages.get(claim.passage);
        let stands = passage.is_some_and(|text| {
            text.text()
                .get(claim.range.clone())
                .is_some_and(|quote| !quote.is_empty())
        });
        if !self.text.is_empty() {
            self.await_verification(if stands { vec![claim] } else { Vec::new() });
        }
    }

    fn process_end(&mut self) {
        if !self.marker.is_empty() {
            match std::mem::take(&mut self.marker_after_word) && self.names_passage() {
                true => self.accept_marker(),
                false => return self.reparse_marker_as_text(Some(AssemblerInput::End)),
            }
        }
        if self.end_sentence(AssemblerInput::End) {
            return;
        }
        self.visible.push_str(&std::mem::take(&mut self.held));
        self.flush_visible();
    }

    fn flush_visible(&mut self) {
        if !self.visible.is_empty() {
            let delta = std::mem::take(&mut self.visible);
            self.answer.push_str(&delta);
            self.output.push_back(AnswerStep::Delta(delta));
        }
    }
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '।' | '؟')
}

/// Whether `c` may stand between a full stop and the next sentence.
fn is_closing_mark(c: char) -> bool {
    is_stop(c)
        || matches!(
            c,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '*' | '_' | '」' | '』' | '）'
        )
}

/// Whether the full stop of `text` belongs to an abbreviation, an initial or the number of a list item.
fn ends_in_abbreviation(text: &str) -> bool {
    let Some(before) = text.strip_suffix('.') else {
        return false;
    };
    let word = before
        .rsplit(|c: char| c.is_whitespace() || c == '(')
        .next()
        .unwrap_or(before);
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let numbered = before
        .trim_start_matches(['*', '_', ' '])
        .chars()
        .all(|c| c.is_ascii_digit());
    initial || numbered || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
