//! Mails: who wrote to whom, the text, and the text of what is attached, each in a section of its own.

use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};
use ragstone_core::document::ParseWarning;

use super::ParseLimits;
use super::attached::{self, Attached};
use super::blocks::Blocks;
use super::error::ParseProblem;
use super::html;
use super::sink::{Outline, PageSink};

/// Hands out a mail as one page without a number; `depth` counts the mails that it is attached to.
pub(super) fn parse(
    bytes: &[u8],
    limits: &ParseLimits,
    depth: usize,
    sink: &mut dyn PageSink,
) -> Result<Outline, ParseProblem> {
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| ParseProblem::damaged("it has no header of a mail"))?;
    let mut blocks = Blocks::new(sink, limits);
    let subject = message.subject().map(str::to_owned);
    blocks.heading(1, subject.as_deref().unwrap_or("Mail without a subject"));
    if let Some(head) = head(&message) {
        blocks.paragraph(&head);
    }
    body(&message, &mut blocks);
    let warnings = attachments(&message, limits, depth, &mut blocks)?;
    let mut outline = blocks.finish(subject)?;
    outline.warnings.extend(warnings);
    Ok(outline)
}

fn head(message: &Message) -> Option<String> {
    let mut lines = Vec::new();
    for (name, address) in [
        ("From", message.from()),
        ("To", message.to()),
        ("Cc", message.cc()),
    ] {
        if let Some(names) = address.map(names).filter(|names| !names.is_empty()) {
            lines.push(format!("{name}: {names}"));
        }
    }
    lines.extend(message.date().map(|date| format!("Date: {}", date.to_rfc3339())));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn names(address: &Address) -> String {
    let one = |addr: &mail_parser::Addr| match (addr.name(), addr.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    address.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The plain text where there is one, as the sender meant it to be read; else the web page.
fn body(message: &Message, blocks: &mut Blocks) {
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => blocks.paragraph(text),
            PartType::Html(page) => {
                let markdown = html::whole_body(page, blocks.hidden());
                blocks.markdown(&markdown, 1);
            }
            _ => {}
        }
    }
}

fn attachments(
    message: &Message,
    limits: &ParseLimits,
    depth: usize,
    blocks: &mut Blocks,
) -> Result<Vec<ParseWarning>, ParseProblem> {
    let mut all = Vec::new();
    for (part, number) in message.attachments().zip(1..) {
        let declared = part.content_type().map(|kind| match &kind.c_subtype {
            Some(subtype) => format!("{}/{subtype}", kind.c_type),
            None => kind.c_type.to_string(),
        });
        let (name, bytes) = match &part.body {
            PartType::Message(inner) => (
                inner.subject().map(|subject| format!("{subject}.eml")),
                inner.raw_message().to_vec(),
            ),
            _ => (
                part.attachment_name().map(str::to_owned),
                part.contents().to_vec(),
            ),
        };
        all.push(Attached {
            name: name.unwrap_or_else(|| format!("attachment {number}")),
            declared,
            inline: part.content_id().is_some(),
            bytes,
        });
    }
    attached::write(all, limits, depth, blocks)
}
