//! Markdown: kept as it is, without front matter and comments, which no reader sees; its headings become sections.

use std::borrow::Cow;
use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use ragstone_core::document::SectionSpan;

use super::error::ParseProblem;
use super::hidden::{HiddenTextKind, HiddenTextReport};
use super::normalise::normalise_text;
use super::sink::{DocumentOutline, PageSink};
use super::text;

/// Most characters of a heading in the paths of the sections below it, because each of them repeats it.
const MAX_NAME: usize = 300;
/// Start and end of an HTML comment.
const COMMENT: &str = "<!--";
const COMMENT_ENDS: &str = "-->";

/// Writes a Markdown file to the sink as one page without a number.
pub(super) fn parse_markdown(bytes: &[u8], sink: &mut dyn PageSink) -> Result<DocumentOutline, ParseProblem> {
    let mut hidden = HiddenTextReport::default();
    let whole = normalise_text(&hidden.strip_hidden_characters(&text::decode_text(bytes, None)?, None));
    let (front_matter, body) = split_front_matter(&whole);
    let body = &*strip_comments(body, &mut hidden);
    text::emit_text(body, sink)?;
    let headings = find_headings(body);
    let title = front_matter
        .and_then(front_matter_title)
        .or_else(|| first_title(&headings));
    Ok(DocumentOutline {
        title,
        sections: build_sections(&headings, body.len()),
        warnings: hidden.build_warnings(),
        attachments: Vec::new(),
    })
}

/// Removes the HTML comments from the text and counts them as hidden; comments inside code are kept.
fn strip_comments<'a>(markdown: &'a str, hidden: &mut HiddenTextReport) -> Cow<'a, str> {
    if !markdown.contains(COMMENT) {
        return Cow::Borrowed(markdown);
    }
    let (mut out, mut done) = (String::with_capacity(markdown.len()), 0);
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        if !matches!(event, Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_)) {
            continue;
        }
        while let Some(start) = markdown[done.max(range.start)..range.end.max(done)].find(COMMENT) {
            let start = done.max(range.start) + start;
            let length = markdown[start..range.end].find(COMMENT_ENDS);
            let end = length.map_or(range.end, |length| start + length + COMMENT_ENDS.len());
            hidden.count_text(HiddenTextKind::Element, None, &markdown[start..end]);
            out.push_str(&markdown[done..start]);
            done = end;
        }
    }
    out.push_str(&markdown[done..]);
    Cow::Owned(out)
}

/// A heading found in Markdown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MarkdownHeading {
    /// Level of the heading, from 1.
    pub(super) level: u8,
    /// Text of the heading, on one line.
    pub(super) text: String,
    /// Byte range of the heading.
    pub(super) range: Range<usize>,
}

/// All headings that are not inside of another block, such as a quotation.
pub(super) fn find_headings(markdown: &str) -> Vec<MarkdownHeading> {
    let mut found = Vec::new();
    let mut open: Option<MarkdownHeading> = None;
    let mut depth = 0_usize;
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) if depth == 0 => {
                open = Some(MarkdownHeading {
                    level: level as u8,
                    text: String::new(),
                    range,
                });
            }
            Event::End(TagEnd::Heading(_)) if depth == 0 => found.extend(open.take()),
            Event::Start(Tag::BlockQuote(_) | Tag::List(_)) => depth += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::List(_)) => depth = depth.saturating_sub(1),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut open {
                    heading.text.push_str(&text);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut open {
                    heading.text.push(' ');
                }
            }
            _ => {}
        }
    }
    found.retain_mut(|heading| {
        heading.text = heading.text.split_whitespace().collect::<Vec<_>>().join(" ");
        !heading.text.is_empty()
    });
    found
}

/// The section below each heading, with the path to it, in a text of `length` bytes.
pub(super) fn build_sections(headings: &[MarkdownHeading], length: usize) -> Vec<SectionSpan> {
    let mut path: Vec<(u8, &str)> = Vec::new();
    let mut spans: Vec<SectionSpan> = Vec::new();
    for heading in headings {
        if let Some(last) = spans.last_mut() {
            last.range.end = heading.range.start;
        }
        path.retain(|(level, _)| *level < heading.level);
        path.push((heading.level, &heading.text));
        let names: Vec<&str> = path.iter().map(|(_, name)| shorten_heading(name)).collect();
        spans.push(SectionSpan {
            path: names.join(" > "),
            range: heading.range.start..length,
        });
    }
    spans
}

/// The part of a heading that paths include.
fn shorten_heading(name: &str) -> &str {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => name[..end].trim_end(),
        None => name,
    }
}

/// The first heading of level 1, otherwise the first heading.
pub(super) fn first_title(headings: &[MarkdownHeading]) -> Option<String> {
    let first = headings.iter().find(|heading| heading.level == 1).or(headings.first());
    first.map(|heading| heading.text.clone())
}

/// Splits off front matter: YAML between `---` or TOML between `+++` at the very start. Returns it and the rest.
fn split_front_matter(text: &str) -> (Option<&str>, &str) {
    for fence in ["---\n", "+++\n"] {
        let Some(after) = text.strip_prefix(fence) else {
            continue;
        };
        let mut at = 0;
        for line in after.split_inclusive('\n') {
            if line.trim_end() == fence.trim_end() {
                return (Some(&after[..at]), after[at + line.len()..].trim_start_matches('\n'));
            }
            at += line.len();
        }
    }
    (None, text)
}

fn front_matter_title(front_matter: &str) -> Option<String> {
    let value = front_matter.lines().find_map(|line| {
        let (key, value) = line.split_once([':', '='])?;
        (key.trim_end() == "title").then_some(value.trim())
    })?;
    let value = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value)
        .trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::sink::DocumentCollector;
    use super::*;

    fn check(markdown: &str, title: Option<&str>, expected: &[(&str, &str)]) {
        let mut gathered = DocumentCollector::new(10_000);
        let outline = parse_markdown(markdown.as_bytes(), &mut gathered).unwrap();
        let document = gathered.finish("text/markdown", outline);
        assert_eq!(document.title.as_deref(), title);
        let found: Vec<_> = document
            .sections
            .iter()
            .map(|section| (section.path.as_str(), &document.text[section.range.clone()]))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn headings_become_paths() {
        check(
            "intro\n\n# Setup\na\n## Linux `x`\nb\n### Deep\nc\n## Mac\nd\n",
            Some("Setup"),
            &[
                ("Setup", "# Setup\na\n"),
                ("Setup > Linux x", "## Linux `x`\nb\n"),
                ("Setup > Linux x > Deep", "### Deep\nc\n"),
                ("Setup > Mac", "## Mac\nd\n"),
            ],
        );
    }

    #[test]
    fn a_long_heading_is_shortened_in_paths_alone() {
        let long = "é".repeat(MAX_NAME + 1);
        let text = format!("# {long}\n## b\n");
        let headings = find_headings(&text);
        let sections = build_sections(&headings, text.len());
        assert_eq!(sections[1].path, format!("{} > b", "é".repeat(MAX_NAME)));
        assert_eq!(first_title(&headings), Some(long));
    }

    #[test]
    fn front_matter_names_the_document_and_is_no_text() {
        check("---\ntitle: \"A: b\"\ntags: [x]\n---\n\ntext\n", Some("A: b"), &[]);
        check("+++\ntitle = 'T'\n+++\n# H\n", Some("T"), &[("H", "# H\n")]);
        check("---\nnot closed\n", None, &[]);
    }

    #[test]
    fn comments_are_left_out_and_told() {
        let check = |markdown: &str, expected: &str, told: bool| {
            let mut gathered = DocumentCollector::new(10_000);
            let outline = parse_markdown(markdown.as_bytes(), &mut gathered).unwrap();
            let document = gathered.finish("text/markdown", outline);
            assert_eq!(
                (document.text.as_str(), !document.warnings.is_empty()),
                (expected, told),
                "{markdown}"
            );
        };
        check("a <!-- order\nmore --> b\n", "a  b\n", true);
        check(
            "# A\n\n<!-- order\n\nmore -->\n\nb <!-- x --> c <!-- y --> d\n",
            "# A\n\n\n\nb  c  d\n",
            true,
        );
        check("text\n\n<!-- never closed\norder\n", "text\n\n", true);
        check(
            "`<!-- code -->`\n\n```html\n<!-- code -->\n```\n",
            "`<!-- code -->`\n\n```html\n<!-- code -->\n```\n",
            false,
        );
    }

    #[test]
    fn what_looks_like_a_heading_in_code_or_a_quotation_is_none() {
        check(
            "```sh\n# comment\n```\n> # quoted\n\nTitle\n=====\nx\n",
            Some("Title"),
            &[("Title", "Title\n=====\nx\n")],
        );
    }
}
