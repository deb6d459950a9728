//! `inspect`: shows the result of one step for an input; nothing is stored.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use ragstone_core::document::ParsedDocument;
use ragstone_core::rank::analyzer::analyze_text;
use ragstone_core::seam::embedder::TextKind;
use ragstone_core::split::{
    KeepSeparator, SplitSettings, SplitStrategy, arrives_as_markdown, split_document, split_text,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::CommandOutput;
use super::progress::fetch_bar;
use super::{CommandContext, UsageError};
use crate::config::Settings;
use crate::wiring;

/// Texts that are embedded at once.
const EMBED_BATCH: usize = 64;

/// Which step
#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// The text, pages and sections that the parser sees in a file
    Parse {
        /// The file
        file: PathBuf,
    },
    /// The chunks of a file, or of the text on stdin as it is
    Split(SplitCommand),
    /// The lexical terms of texts: JSON lines {"text"} in, {"tokens"} out
    Analyze {
        /// A file of JSON lines, or -
        file: PathBuf,
    },
    /// The vectors of texts: JSON lines {"text", "kind": "query"|"passage"} in, {"vector"} out
    Embed {
        /// A file of JSON lines, or -
        file: PathBuf,
    },
}

/// Where the splitter keeps a separator.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeepSeparatorArgument {
    Start,
    End,
    None,
}

/// Which splitter to use.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SplitStrategyArgument {
    Recursive,
    Markdown,
}

/// How it is split; what is not said comes from the settings.
#[derive(Debug, Args)]
pub struct SplitCommand {
    /// The file, or -
    file: PathBuf,
    /// Characters of the longest chunk
    #[arg(long, value_name = "N")]
    chunk_size: Option<usize>,
    /// Characters that the next chunk may repeat
    #[arg(long, value_name = "N")]
    chunk_overlap: Option<usize>,
    /// Where to cut, best first: a JSON list
    #[arg(long, value_name = "JSON", value_parser = parse_separators)]
    separators: Option<SeparatorList>,
    /// What becomes of a separator
    #[arg(long)]
    keep_separator: Option<KeepSeparatorArgument>,
    /// Keep white space around chunks
    #[arg(long)]
    no_strip: bool,
    /// Which splitter [default: by the type of the file; recursive for -]
    #[arg(long)]
    strategy: Option<SplitStrategyArgument>,
}

#[derive(Debug, Clone)]
struct SeparatorList(Vec<String>);

fn parse_separators(text: &str) -> Result<SeparatorList, String> {
    serde_json::from_str(text)
        .map(SeparatorList)
        .map_err(|error| format!("not a JSON list of text: {error}"))
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
    #[serde(default = "default_kind")]
    kind: TextKind,
}

fn default_kind() -> TextKind {
    TextKind::Passage
}

impl InspectCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let CommandContext { settings, output } = context;
        match self {
            Self::Parse { file } => show_parsed(&parse_file(&settings, &file).await?, output),
            Self::Split(split) => split.run(&settings, output).await,
            Self::Analyze { file } => {
                for line in read_text_lines(&file)? {
                    output.write_json_line(&json!({ "tokens": analyze_text(&line?.text) }))?;
                }
                Ok(())
            }
            Self::Embed { file } => embed_texts(&settings, &file, output).await,
        }
    }
}

async fn parse_file(settings: &Settings, file: &Path) -> anyhow::Result<ParsedDocument> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let parsed = wiring::parser_pool(settings)?.parse_file(file, &name, None).await;
    parsed.map_err(|error| anyhow::anyhow!("{}: {error}", error.code()))
}

fn show_parsed(parsed: &ParsedDocument, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        let whole = json!([{ "page": null, "text": parsed.text }]);
        let pages = parsed.pages.iter();
        let pages: Vec<Value> = pages
            .map(|span| json!({ "page": span.page, "text": parsed.text[span.range.clone()] }))
            .collect();
        let sections = parsed.sections.iter();
        let sections: Vec<Value> = sections
            .map(|span| json!({ "path": span.path, "range": [span.range.start, span.range.end] }))
            .collect();
        return output.write_json_line(&json!({
            "title": parsed.title,
            "media_type": parsed.media_type,
            "pages": if pages.is_empty() { whole } else { pages.into() },
            "sections": sections,
            "warnings": parsed.warnings,
            "attachments": parsed.attachments,
        }));
    }
    for span in &parsed.pages {
        if let Some(page) = span.page {
            output.write_line(&format!("── page {page} ──"))?;
        }
        output.write_line(&parsed.text[span.range.clone()])?;
    }
    for warning in &parsed.warnings {
        super::output::print_message(&format!("warning: {}: {}", warning.code, warning.detail));
    }
    Ok(())
}

impl SplitCommand {
    async fn run(self, settings: &Settings, output: CommandOutput) -> anyhow::Result<()> {
        if self.file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("stdin is not UTF-8 text")?;
            let wanted = self.split_settings(settings, SplitStrategy::Recursive)?;
            for piece in split_text(&text, &wanted) {
                output.write_json_line(&json!({
                    "text": piece.text, "range": [piece.range.start, piece.range.end], "page": null, "section": null
                }))?;
            }
            return Ok(());
        }
        let parsed = parse_file(settings, &self.file).await?;
        let usual = match arrives_as_markdown(&parsed.media_type) {
            true => settings.split.structured,
            false => SplitStrategy::Recursive,
        };
        let wanted = self.split_settings(settings, usual)?;
        for chunk in split_document(&parsed, &wanted) {
            output.write_json_line(&json!({
                "text": chunk.text,
                "range": [chunk.range.start, chunk.range.end],
                "page": chunk.page,
                "section": chunk.section,
            }))?;
        }
        Ok(())
    }

    fn split_settings(&self, settings: &Settings, usual: SplitStrategy) -> anyhow::Result<SplitSettings> {
        let base = settings.split.splitter_settings();
        let wanted = SplitSettings {
            chunk_size: self.chunk_size.unwrap_or(base.chunk_size),
            chunk_overlap: self.chunk_overlap.unwrap_or(base.chunk_overlap),
            separators: self.separators.clone().map_or(base.separators, |given| given.0),
            keep_separator: match self.keep_separator {
                Some(KeepSeparatorArgument::Start) => KeepSeparator::Start,
                Some(KeepSeparatorArgument::End) => KeepSeparator::End,
                Some(KeepSeparatorArgument::None) => KeepSeparator::None,
                None => base.keep_separator,
            },
            strip: base.strip && !self.no_strip,
            strategy: match self.strategy {
                Some(SplitStrategyArgument::Recursive) => SplitStrategy::Recursive,
                Some(SplitStrategyArgument::Markdown) => SplitStrategy::Markdown,
                None => usual,
            },
        };
        wanted.validate().map_err(|error| UsageError(error.to_string()))?;
        Ok(wanted)
    }
}

async fn embed_texts(settings: &Settings, file: &Path, output: CommandOutput) -> anyhow::Result<()> {
    let embedder = wiring::require_embedder(settings, &fetch_bar()).await?;
    let mut lines = read_text_lines(file)?.peekable();
    while lines.peek().is_some() {
        // Consecutive texts of one kind are embedded together.
        let (mut texts, mut kind) = (Vec::new(), TextKind::Passage);
        while texts.len() < EMBED_BATCH {
            let fits =
                |line: &anyhow::Result<TextLine>| line.as_ref().is_ok_and(|line| texts.is_empty() || line.kind == kind);
            match lines.next_if(fits) {
                Some(line) => {
                    let line = line?;
                    kind = line.kind;
                    texts.push(line.text);
                }
                None => break,
            }
        }
        if texts.is_empty()
            && let Some(Err(error)) = lines.next()
        {
            return Err(error);
        }
        for embedding in embedder.embed_texts(&texts, kind).await? {
            output.write_json_line(&json!({ "vector": embedding.vector }))?;
        }
    }
    Ok(())
}

/// Reads JSON lines from a file or stdin, one at a time.
fn read_text_lines(file: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<TextLine>> + use<>> {
    let reader: Box<dyn BufRead + Send> = match file == Path::new("-") {
        true => Box::new(std::io::BufReader::new(std::io::stdin())),
        false => {
            let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            Box::new(std::io::BufReader::new(opened))
        }
    };
    Ok(reader.split(b'\n').zip(1..).filter_map(|(line, number)| {
        let parse = |line: Vec<u8>| {
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            serde_json::from_slice(line).with_context(|| format!("line {number} is not {{\"text\": …}}"))
        };
        match line {
            Ok(line) if line.iter().all(u8::is_ascii_whitespace) => None,
            Ok(line) => Some(parse(line)),
            Err(error) => Some(Err(error.into())),
        }
    }))
}
