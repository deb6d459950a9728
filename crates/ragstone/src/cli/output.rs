//! Data on stdout; everything else on stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Where a command writes its data.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON in place of text.
    pub json: bool,
}

impl Output {
    /// One JSON object on a line of its own.
    pub fn object(self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(value)?;
        line.push('\n');
        self.text(&line)
    }

    /// One JSON object over several lines, where a person reads it, else on one.
    pub fn document(self, value: &impl Serialize) -> anyhow::Result<()> {
        match io::stdout().is_terminal() {
            true => self.line(&serde_json::to_string_pretty(value)?),
            false => self.object(value),
        }
    }

    /// A line of text.
    pub fn line(self, text: &str) -> anyhow::Result<()> {
        self.text(&format!("{text}\n"))
    }

    /// Text as it is, at once.
    pub fn text(self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// A line for the person at the terminal; one that cannot be written is lost.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a failure is only that nobody reads any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(closed)
}
