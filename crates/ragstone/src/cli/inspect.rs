//! `inspect`: what a step makes of an input; nothing is stored.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use ragstone_core::document::ParsedDocument;
use ragstone_core::rank::analyzer::analyze;
use ragstone_core::seam::embedder::TextKind;
use ragstone_core::split::{
    KeepSeparator, SplitSettings, SplitStrategy, arrives_as_markdown, split_document, split_text,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::Output;
use super::progress::fetch_bar;
use super::{Context, Usage};
use crate::config::Settings;
use crate::wiring;

/// Texts embedded at once.
const EMBED_BATCH: usize = 64;

/// Which step
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// The text, pages and sections that the parser sees in a file
    Parse {
        /// The file
        file: PathBuf,
    },
    /// The chunks of a file, or of the text on stdin as it is
    Split(Split),
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

/// Where a separator goes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Keep {
    Start,
    End,
    None,
}

/// Which splitter.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Strategy {
    Recursive,
    Markdown,
}

/// How it is split; what is not said comes from the settings.
#[derive(Debug, Args)]
pub struct Split {
    /// The file, or -
    file: PathBuf,
    /// Characters of the longest chunk
    #[arg(long, value_name = "N")]
    chunk_size: Option<usize>,
    /// Characters that the next chunk may repeat
    #[arg(long, value_name = "N")]
    chunk_overlap: Option<usize>,
    /// Where to cut, best first: a JSON list
    #[arg(long, value_name = "JSON", value_parser = separators)]
    separators: Option<Separators>,
    /// What becomes of a separator
    #[arg(long)]
    keep_separator: Option<Keep>,
    /// Keep white space around chunks
    #[arg(long)]
    no_strip: bool,
    /// Which splitter [default: by the type of the file; recursive for -]
    #[arg(long)]
    strategy: Option<Strategy>,
}

#[derive(Debug, Clone)]
struct Separators(Vec<String>);

fn separators(text: &str) -> Result<Separators, String> {
    serde_json::from_str(text)
        .map(Separators)
        .map_err(|error| format!("not a JSON list of text: {error}"))
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
    #[serde(default = "passage")]
    kind: TextKind,
}

fn passage() -> TextKind {
    TextKind::Passage
}

impl Inspect {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let Context { settings, output } = context;
        match self {
            Self::Parse { file } => show_parsed(&parse(&settings, &file).await?, output),
            Self::Split(split) => split.run(&settings, output).await,
            Self::Analyze { file } => {
                for line in lines(&file)? {
                    output.object(&json!({ "tokens": analyze(&line?.text) }))?;
                }
                Ok(())
            }
            Self::Embed { file } => embed(&settings, &file, output).await,
        }
    }
}

async fn parse(settings: &Settings, file: &Path) -> anyhow::Result<ParsedDocument> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let parsed = wiring::parser_pool(settings)?.parse(file, &name, None).await;
    parsed.map_err(|error| anyhow::anyhow!("{}: {error}", error.code()))
}

fn show_parsed(parsed: &ParsedDocument, output: Output) -> anyhow::Result<()> {
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
        return output.object(&json!({
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
            output.line(&format!("── page {page} ──"))?;
        }
        output.line(&parsed.text[span.range.clone()])?;
    }
    for warning in &parsed.warnings {
        super::output::say(&format!("warning: {}: {}", warning.code, warning.detail));
    }
    Ok(())
}

impl Split {
    async fn run(self, settings: &Settings, output: Output) -> anyhow::Result<()> {
        if self.file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("stdin is not UTF-8 text")?;
            let wanted = self.settings(settings, SplitStrategy::Recursive)?;
            for piece in split_text(&text, &wanted) {
                output.object(&json!({
                    "text": piece.text, "range": [piece.range.start, piece.range.end], "page": null, "section": null
                }))?;
            }
            return Ok(());
        }
        let parsed = parse(settings, &self.file).await?;
        let usual = match arrives_as_markdown(&parsed.media_type) {
            true => settings.split.structured,
            false => SplitStrategy::Recursive,
        };
        let wanted = self.settings(settings, usual)?;
        for chunk in split_document(&parsed, &wanted) {
            output.object(&json!({
                "text": chunk.text,
                "range": [chunk.range.start, chunk.range.end],
                "page": chunk.page,
                "section": chunk.section,
            }))?;
        }
        Ok(())
    }

    fn settings(&self, settings: &Settings, usual: SplitStrategy) -> anyhow::Result<SplitSettings> {
        let base = settings.split.settings();
        let wanted = SplitSettings {
            chunk_size: self.chunk_size.unwrap_or(base.chunk_size),
            chunk_overlap: self.chunk_overlap.unwrap_or(base.chunk_overlap),
            separators: self.separators.clone().map_or(base.separators, |given| given.0),
            keep_separator: match self.keep_separator {
                Some(Keep::Start) => KeepSeparator::Start,
                Some(Keep::End) => KeepSeparator::End,
                Some(Keep::None) => KeepSeparator::None,
                None => base.keep_separator,
            },
            strip: base.strip && !self.no_strip,
            strategy: match self.strategy {
                Some(Strategy::Recursive) => SplitStrategy::Recursive,
                Some(Strategy::Markdown) => SplitStrategy::Markdown,
                None => usual,
            },
        };
        wanted.validate().map_err(|error| Usage(error.to_string()))?;
        Ok(wanted)
    }
}

async fn embed(settings: &Settings, file: &Path, output: Output) -> anyhow::Result<()> {
    let embedder = wiring::embedder(settings, &fetch_bar()).await?;
    let mut lines = lines(file)?.peekable();
    while lines.peek().is_some() {
        // Neighbours of one kind go together.
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
        for embedding in embedder.embed(&texts, kind).await? {
            output.object(&json!({ "vector": embedding.vector }))?;
        }
    }
    Ok(())
}

/// JSON lines of a file or of stdin, as they come.
fn lines(file: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<TextLine>> + use<>> {
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
