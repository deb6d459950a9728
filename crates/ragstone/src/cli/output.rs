//! Output of the commands: data on stdout, everything else on stderr.
//!
//! Invariant: no control character of a document, an answer or an error reaches a terminal, which would execute it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How a command writes its data to stdout.
#[derive(Debug, Clone, Copy)]
pub struct CommandOutput {
    /// Whether data is written as JSON rather than text.
    pub json: bool,
}

impl CommandOutput {
    /// Writes one JSON object on a line of its own.
    pub fn write_json_line(self, value: &impl Serialize) -> anyhow::Result<()> {
        write_stdout(&format!(
            "{}\n",
            escape_unsafe_characters(&serde_json::to_string(value)?)
        ))
    }

    /// Writes one JSON object, indented if stdout is a terminal, else on one line.
    pub fn write_json_document(self, value: &impl Serialize) -> anyhow::Result<()> {
        match io::stdout().is_terminal() {
            true => write_stdout(&format!(
                "{}\n",
                escape_unsafe_characters(&serde_json::to_string_pretty(value)?)
            )),
            false => self.write_json_line(value),
        }
    }

    /// Writes one line of text.
    pub fn write_line(self, text: &str) -> anyhow::Result<()> {
        self.write_text(&format!("{text}\n"))
    }

    /// Writes text without control characters except line ends and tabs.
    pub fn write_text(self, text: &str) -> anyhow::Result<()> {
        write_stdout(&strip_unsafe_characters(text))
    }
}

fn write_stdout(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Whether a terminal would execute a character, or display what follows in another order.
fn is_unsafe_character(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202d}' | '\u{202e}')
}

fn strip_unsafe_characters(text: &str) -> Cow<'_, str> {
    match text.contains(is_unsafe_character) {
        true => Cow::Owned(text.replace(is_unsafe_character, "")),
        false => Cow::Borrowed(text),
    }
}

/// Escapes the control characters that JSON allows unescaped.
fn escape_unsafe_characters(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe_character) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match is_unsafe_character(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Prints a line to stderr; write errors are ignored.
pub fn print_message(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", strip_unsafe_characters(text));
}

/// Whether an error only means that the reader of stdout has closed it.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        for (text, expected) in [
            ("plain\n\ttext – 中文", "plain\n\ttext – 中文"),
            ("\u{1b}[31mred\u{1b}]0;title\u{7}", "[31mred]0;title"),
            ("a\rb\u{8}c\u{9b}2Jd\u{7f}", "abc2Jd"),
            ("abc\u{202e}fed", "abcfed"),
        ] {
            assert_eq!(strip_unsafe_characters(text), expected, "{text:?}");
        }
        let json = serde_json::to_string("a\u{9b}2J\u{1b}\u{7f}").unwrap();
        assert_eq!(escape_unsafe_characters(&json), r#""a\u009b2J\u001b\u007f""#);
        assert_eq!(
            serde_json::from_str::<String>(&escape_unsafe_characters(&json)).unwrap(),
            "a\u{9b}2J\u{1b}\u{7f}"
        );
    }
}
