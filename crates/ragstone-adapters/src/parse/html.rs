//! Web pages: the main content as Markdown, so that tables, lists and code stay readable.

use dom_smoothie::{Config, Readability};
use encoding_rs::Encoding;
use htmd::HtmlToMarkdown;

use super::error::ParseProblem;
use super::normalise::normalised;
use super::sink::{Outline, PageSink};
use super::{markdown, text};

/// Where an encoding declaration is looked for (HTML standard, "prescan a byte stream").
const CHARSET_WITHIN: usize = 1024;
/// Main content shorter than this share of the body is taken for a mistake, and the body is used.
const MAIN_SHARE: f64 = 0.3;
/// Elements that hold no content of the page.
const NO_CONTENT: &[&str] = &[
    "head", "script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "form", "button",
    "input", "select", "dialog", "img", "picture", "video", "audio",
];
/// Elements around the content.
const AROUND_CONTENT: &[&str] = &["nav", "header", "footer", "aside", "menu"];

/// Hands out a web page as one page without a number.
pub(super) fn parse(bytes: &[u8], sink: &mut dyn PageSink) -> Result<Outline, ParseProblem> {
    let html = text::decode(bytes, declared_encoding(bytes))?;
    let (title, markdown) = content(&html);
    let text = normalised(&markdown);
    text::emit(&text, sink)?;
    let headings = markdown::headings(&text);
    let title = title.or_else(|| markdown::first_title(&headings));
    Ok(Outline {
        title,
        sections: markdown::sections(&headings, text.len()),
        warnings: Vec::new(),
    })
}

/// Title and Markdown of the page: its main content, or its body where that finds too little.
fn content(html: &str) -> (Option<String>, String) {
    let body = to_markdown(html, AROUND_CONTENT);
    let config = Config {
        keep_classes: true,
        ..Config::default()
    };
    let Ok(mut page) = Readability::new(html, None, Some(config)) else {
        return (None, body);
    };
    let title = page
        .get_article_title()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let title = (!title.is_empty()).then_some(title);
    let main = page
        .parse()
        .map(|article| to_markdown(&article.content, &[]))
        .unwrap_or_default();
    let enough = letters(&main) as f64 >= MAIN_SHARE * letters(&body) as f64;
    (
        title,
        if enough && !main.trim().is_empty() {
            main
        } else {
            body
        },
    )
}

fn to_markdown(html: &str, also_skipped: &[&str]) -> String {
    let skipped = NO_CONTENT.iter().chain(also_skipped).copied().collect();
    HtmlToMarkdown::builder()
        .skip_tags(skipped)
        .build()
        .convert(html)
        .unwrap_or_default()
}

fn letters(text: &str) -> usize {
    text.chars()
        .filter(|character| character.is_alphanumeric())
        .count()
}

fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CHARSET_WITHIN)]).to_ascii_lowercase();
    let (_, after) = head.split_once("charset=")?;
    let label: String = after
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
        .collect();
    Encoding::for_label(label.as_bytes())
}
