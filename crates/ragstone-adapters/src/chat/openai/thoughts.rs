//! Removes a model's thoughts from the answer text, if its server leaves them there, before anybody reads or cites
//! them.
//!
//! Thoughts stand between tags (`<think>…</think>` and the like), at the beginning or on lines of their own; the
//! closing tag may be missing if the answer was cut off. Some servers put the opening tag into the prompt, so only the
//! closing one arrives, and everything before it is thoughts. Such text cannot be distinguished from an answer until
//! the tag arrives, and text that was sent cannot be withdrawn. So the first answer of a model in a process is held
//! until its end or that tag, and the result is recorded: later answers are sent at once, or are held until the tag.
//!
//! Invariant: the output does not depend on how the text is split into deltas; nothing before a closing tag is sent.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memchr::memchr3;

/// Pairs of tags around thoughts, in ASCII lower case.
const TAGS: [(&str, &str); 9] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
];

/// First bytes of all tags.
const TAG_BYTES: [u8; 3] = [b'<', b'[', "◁".as_bytes()[0]];

/// Prefixes of model names whose services never leave thoughts in the text; `NOT_SEPARATE` has the exceptions.
const SEPARATE: [&str; 4] = ["gpt-", "chatgpt-", "claude-", "gemini-"];
const NOT_SEPARATE: [&str; 1] = ["gpt-oss"];

/// Most models that are recorded; the answers of further ones are held each time.
const MAX_MODELS: usize = 256;

/// What was observed of a model's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ThoughtMarking {
    /// The text is an answer from the beginning, or an opening tag says otherwise.
    Marked,
    /// The text begins with thoughts, and only their end is marked.
    Unmarked,
}

/// What was observed of models' answers since the process began.
#[derive(Debug, Default)]
pub(super) struct ModelThoughtMarkings {
    seen: Mutex<HashMap<String, ThoughtMarking>>,
    /// The operator states that no model omits the opening tag.
    all_marked: bool,
}

impl ModelThoughtMarkings {
    /// With `all_marked`, no answer is ever held.
    pub fn new(all_marked: bool) -> Self {
        Self {
            seen: Mutex::default(),
            all_marked,
        }
    }

    fn lock_seen(&self) -> MutexGuard<'_, HashMap<String, ThoughtMarking>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marking_of(&self, model: &str) -> Option<ThoughtMarking> {
        let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        let begins = |names: &[&str]| names.iter().any(|begin| name.starts_with(begin));
        if let Some(habit) = self.lock_seen().get(model) {
            return Some(*habit);
        }
        (self.all_marked || begins(&SEPARATE) && !begins(&NOT_SEPARATE)).then_some(ThoughtMarking::Marked)
    }

    fn record_marking(&self, model: &str, habit: ThoughtMarking) {
        let mut seen = self.lock_seen();
        if seen.len() >= MAX_MODELS && !seen.contains_key(model) {
            return;
        }
        if seen.insert(model.to_owned(), habit) != Some(habit) && habit == ThoughtMarking::Unmarked {
            tracing::info!(
                model,
                "the model's answers begin with thoughts without a sign: each is held until they end"
            );
        }
    }
}

/// Error: a closing tag came after text before it had been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LateTag;

/// Removes thoughts from one answer.
#[derive(Debug)]
pub(super) struct ThoughtFilter<'a> {
    habits: &'a ModelThoughtMarkings,
    model: &'a str,
    /// Text that is, or may become, part of a tag.
    unread: String,
    /// The closing tag that is awaited.
    inside: Option<&'static str>,
    /// Text that is sent only once it is known not to be thoughts.
    held: Option<String>,
    /// Whether text was sent.
    begun: bool,
    /// Whether thoughts were removed.
    thought: bool,
    code: CodeTracker,
}

impl<'a> ThoughtFilter<'a> {
    pub fn new(habits: &'a ModelThoughtMarkings, model: &'a str) -> Self {
        let is_marked = habits.marking_of(model) == Some(ThoughtMarking::Marked);
        Self {
            habits,
            model,
            unread: String::new(),
            inside: None,
            held: (!is_marked).then(String::new),
            begun: false,
            thought: false,
            code: CodeTracker::default(),
        }
    }

    /// Adds text; returns the part of the answer that can be sent.
    pub fn push(&mut self, text: impl Into<String>) -> Result<String, LateTag> {
        let text = text.into();
        if self.can_pass_through(&text) {
            self.code.track_text(&text);
            self.begun |= !text.trim().is_empty();
            return Ok(text);
        }
        self.unread.push_str(&text);
        let mut out = String::new();
        if self.held.is_some() && self.habits.marking_of(self.model) == Some(ThoughtMarking::Marked) {
            // Another answer of the model has shown its marking meanwhile.
            self.release_held(&mut out);
        }
        self.process_unread(&mut out, false)?;
        Ok(out)
    }

    /// Whether no tag is awaited and `text` contains no beginning of a tag: then all of it can be sent.
    fn can_pass_through(&self, text: &str) -> bool {
        let waits = self.inside.is_some() || self.held.is_some() || !self.unread.is_empty();
        let is_trimmed = self.thought && !self.begun;
        !waits && !is_trimmed && memchr3(TAG_BYTES[0], TAG_BYTES[1], TAG_BYTES[2], text.as_bytes()).is_none()
    }

    /// Releases the held text as answer, because the service separates thoughts itself.
    pub fn release_as_answer(&mut self) -> String {
        let mut out = String::new();
        self.habits.record_marking(self.model, ThoughtMarking::Marked);
        self.release_held(&mut out);
        out
    }

    /// Returns the rest. `finished` is false if the answer was cut off.
    pub fn finish_text(&mut self, finished: bool) -> Result<String, LateTag> {
        let mut out = String::new();
        self.process_unread(&mut out, true)?;
        if self.held.is_none() {
            return Ok(out);
        }
        match self.habits.marking_of(self.model) {
            // The answer was cut off before its thoughts ended.
            Some(ThoughtMarking::Unmarked) if !finished => self.held = None,
            Some(_) => self.release_held(&mut out),
            None => {
                if finished {
                    self.habits.record_marking(self.model, ThoughtMarking::Marked);
                }
                self.release_held(&mut out);
            }
        }
        Ok(out)
    }

    fn process_unread(&mut self, out: &mut String, ended: bool) -> Result<(), LateTag> {
        loop {
            let text = std::mem::take(&mut self.unread);
            match self.inside {
                Some(close) => match find_tag(&text, close) {
                    Some(at) => {
                        self.inside = None;
                        self.thought = true;
                        self.unread = text[at + close.len()..].to_owned();
                    }
                    None => {
                        self.unread = text[text.len() - partial_tag_bytes(&text, [close])..].to_owned();
                        return Ok(());
                    }
                },
                None => match self.next_tag(&text) {
                    Some((at, tag)) => {
                        self.write_text(&text[..at], out);
                        self.unread = text[at + tag.tag_text().len()..].to_owned();
                        self.handle_tag(tag, out)?;
                    }
                    None => {
                        let tags = TAGS.iter().flat_map(|(open, close)| [*open, *close]);
                        let keep = if ended { 0 } else { partial_tag_bytes(&text, tags) };
                        let (now, later) = text.split_at(text.len() - keep);
                        self.write_text(now, out);
                        self.unread = later.to_owned();
                        return Ok(());
                    }
                },
            }
        }
    }

    /// The first tag of `text` that counts: an opening one at the beginning of a line, a closing one anywhere; none in
    /// code.
    fn next_tag(&self, text: &str) -> Option<(usize, ThoughtTag)> {
        let mut code = self.code;
        for (at, c) in text.char_indices() {
            if !code.is_inside() {
                let rest = &text[at..];
                let is_first = code.line_is_blank;
                let opens = TAGS.iter().find(|(open, _)| is_first && starts_with_tag(rest, open));
                let closes = TAGS.iter().find(|(_, close)| starts_with_tag(rest, close));
                match (opens, closes) {
                    (Some((open, close)), _) => return Some((at, ThoughtTag::Open { open, close })),
                    (None, Some((_, close))) => return Some((at, ThoughtTag::Close(close))),
                    (None, None) => {}
                }
            }
            code.track_char(c);
        }
        None
    }

    fn handle_tag(&mut self, tag: ThoughtTag, out: &str) -> Result<(), LateTag> {
        match tag {
            ThoughtTag::Open { close, .. } => {
                self.inside = Some(close);
                if self.held.as_ref().is_some_and(|held| held.trim().is_empty()) {
                    self.habits.record_marking(self.model, ThoughtMarking::Marked);
                    self.held = None;
                }
                Ok(())
            }
            ThoughtTag::Close(_) if self.held.is_some() => {
                self.habits.record_marking(self.model, ThoughtMarking::Unmarked);
                self.held = None;
                self.thought = true;
                self.code = CodeTracker::default();
                Ok(())
            }
            // A second closing tag after removed thoughts, or one before any text.
            ThoughtTag::Close(_) if self.thought || (!self.begun && out.trim().is_empty()) => Ok(()),
            ThoughtTag::Close(_) => {
                self.habits.record_marking(self.model, ThoughtMarking::Unmarked);
                Err(LateTag)
            }
        }
    }

    fn write_text(&mut self, text: &str, out: &mut String) {
        self.code.track_text(text);
        match &mut self.held {
            Some(held) => held.push_str(text),
            None => self.emit_text(text, out),
        }
    }

    fn release_held(&mut self, out: &mut String) {
        if let Some(held) = self.held.take() {
            self.emit_text(&held, out);
        }
    }

    /// Appends text, without white space between thoughts and answer.
    fn emit_text(&mut self, text: &str, out: &mut String) {
        let text = match self.begun || !self.thought {
            true => text,
            false => text.trim_start(),
        };
        self.begun |= !text.trim().is_empty();
        out.push_str(text);
    }
}

#[derive(Debug, Clone, Copy)]
enum ThoughtTag {
    Open { open: &'static str, close: &'static str },
    Close(&'static str),
}

impl ThoughtTag {
    fn tag_text(self) -> &'static str {
        match self {
            Self::Open { open, .. } => open,
            Self::Close(close) => close,
        }
    }
}

/// Whether a position is in code: between backticks of a line, or between fences of three.
#[derive(Debug, Clone, Copy)]
struct CodeTracker {
    fenced: bool,
    inline: bool,
    /// Whether the line has only white space so far.
    line_is_blank: bool,
    /// Number of backticks at the beginning of the line.
    ticks: Option<usize>,
}

impl Default for CodeTracker {
    fn default() -> Self {
        Self {
            fenced: false,
            inline: false,
            line_is_blank: true,
            ticks: Some(0),
        }
    }
}

impl CodeTracker {
    fn track_text(&mut self, text: &str) {
        text.chars().for_each(|c| self.track_char(c));
    }

    fn is_inside(self) -> bool {
        self.fenced || self.inline
    }

    fn track_char(&mut self, c: char) {
        match c {
            '\n' => {
                *self = Self {
                    fenced: self.fenced,
                    ..Self::default()
                }
            }
            '`' => {
                self.inline = !self.inline;
                self.line_is_blank = false;
                self.ticks = self.ticks.map(|ticks| ticks + 1);
                if self.ticks == Some(3) {
                    self.fenced = !self.fenced;
                }
            }
            c if c.is_whitespace() => {}
            _ => {
                self.line_is_blank = false;
                self.ticks = None;
            }
        }
    }
}

fn starts_with_tag(text: &str, tag: &str) -> bool {
    text.len() >= tag.len() && text.as_bytes()[..tag.len()].eq_ignore_ascii_case(tag.as_bytes())
}

fn find_tag(text: &str, tag: &str) -> Option<usize> {
    text.char_indices()
        .map(|(at, _)| at)
        .find(|at| starts_with_tag(&text[*at..], tag))
}

/// Number of bytes at the end of `text` that may be the beginning of one of `tags`.
fn partial_tag_bytes<'t>(text: &str, tags: impl IntoIterator<Item = &'t str> + Clone) -> usize {
    let longest = TAGS.iter().map(|(open, close)| open.len().max(close.len())).max();
    let from = text.len().saturating_sub(longest.unwrap_or(0));
    let from = text.ceil_char_boundary(from);
    let may_be = |at: &usize| {
        let end = &text.as_bytes()[*at..];
        tags.clone()
            .into_iter()
            .any(|tag| end.len() < tag.len() && tag.as_bytes()[..end.len()].eq_ignore_ascii_case(end))
    };
    let starts = text[from..].char_indices().map(|(at, _)| from + at);
    starts.filter(may_be).min().map_or(0, |at| text.len() - at)
}

#[cfg(test)]
#[path = "thoughts_tests.rs"]
mod tests;
