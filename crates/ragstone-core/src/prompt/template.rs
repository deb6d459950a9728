//! The configurable text around question and passages: two messages with placeholders.
//!
//! Invariant: placeholders are filled in one pass; inserted text is never searched for placeholders.

use std::fmt::Write as _;

/// The placeholders that a template may contain.
pub const PLACEHOLDERS: [&str; 5] = ["rules", "passages", "question", "instructions", "language"];

/// Default text of the system message.
pub const DEFAULT_SYSTEM: &str = "{rules}\n\n{language}\n\n{instructions}";

/// Default text of the user message. The labels before the tags are for models that know that older form.
pub const DEFAULT_USER: &str = "Context:\n{passages}\n\n<question>\nQuestion: {question}\n</question>";

/// A parsed template that has the required placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate {
    system: Vec<TemplatePart>,
    user: Vec<TemplatePart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Placeholder(&'static str),
}

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A required placeholder is in neither message.
    #[error("the prompt template lacks {{{0}}}")]
    Missing(&'static str),
    /// A name in braces is not a placeholder.
    #[error("the prompt template has {{{name}}}, which is none of {known}")]
    Unknown {
        /// The name in braces.
        name: String,
        /// The allowed placeholders, separated by commas.
        known: String,
    },
}

impl Default for PromptTemplate {
    fn default() -> Self {
        Self::parse(DEFAULT_SYSTEM, DEFAULT_USER).expect("a constant that the tests parse")
    }
}

impl PromptTemplate {
    /// Parses the two messages; an empty `system` means that none is sent. `{passages}` and `{question}` must stand in
    /// one of them; any other lower-case word in braces must be a placeholder, so that a misspelled one is found.
    pub fn parse(system: &str, user: &str) -> Result<Self, TemplateError> {
        let template = Self {
            system: parse_parts(system)?,
            user: parse_parts(user)?,
        };
        for needed in ["passages", "question"] {
            let both = [&template.system, &template.user];
            if !both
                .iter()
                .any(|pieces| pieces.contains(&TemplatePart::Placeholder(needed)))
            {
                return Err(TemplateError::Missing(needed));
            }
        }
        Ok(template)
    }

    /// The system and the user message with `value` inserted for each placeholder; white space at the ends is removed.
    pub(super) fn fill_placeholders<'a>(&self, value: impl Fn(&str) -> &'a str) -> (String, String) {
        let fill = |pieces: &[TemplatePart]| {
            let parts = pieces.iter().map(|piece| match piece {
                TemplatePart::Text(text) => text,
                TemplatePart::Placeholder(name) => value(name),
            });
            parts.collect::<String>().trim().to_owned()
        };
        (fill(&self.system), fill(&self.user))
    }
}

fn parse_parts(text: &str) -> Result<Vec<TemplatePart>, TemplateError> {
    let mut pieces = vec![];
    let mut rest = text;
    while let Some((before, name, after)) = next_placeholder(rest) {
        let Some(known) = PLACEHOLDERS.iter().find(|known| **known == name) else {
            return Err(unknown_placeholder(name));
        };
        pieces.push(TemplatePart::Text(before.to_owned()));
        pieces.push(TemplatePart::Placeholder(known));
        rest = after;
    }
    pieces.push(TemplatePart::Text(rest.to_owned()));
    Ok(pieces)
}

/// The first `{word}` of lower-case letters and `_`, with the text before and after it; other braces are text.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('{').find_map(|(open, _)| {
        let inside = &text[open + 1..];
        let name = &inside[..inside.find(|c: char| !(c.is_ascii_lowercase() || c == '_'))?];
        let after = inside[name.len()..].strip_prefix('}')?;
        (!name.is_empty()).then_some((&text[..open], name, after))
    })
}

fn unknown_placeholder(name: &str) -> TemplateError {
    let mut known = String::new();
    for (number, placeholder) in PLACEHOLDERS.iter().enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        write!(known, "{comma}{{{placeholder}}}").expect("a string takes all");
    }
    TemplateError::Unknown {
        name: name.to_owned(),
        known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_not_read_again() {
        let template = PromptTemplate::parse("", "{passages}|{question}|{ x }|{}|{\"a\": 1}").expect("it holds both");
        let filled = template.fill_placeholders(|name| match name {
            "passages" => "{question}",
            _ => "{passages}",
        });
        assert_eq!(
            filled,
            (String::new(), "{question}|{passages}|{ x }|{}|{\"a\": 1}".to_owned())
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |system: &str, user: &str, expected: &str| {
            let error = PromptTemplate::parse(system, user).expect_err("it is wrong");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("", "{question}", "lacks {passages}");
        check("{rules}", "{passages}", "lacks {question}");
        check(
            "",
            "{context} {question}",
            "{context}, which is none of {rules}, {passages}",
        );
        assert!(PromptTemplate::parse("{passages}", "{question}").is_ok());
    }
}
