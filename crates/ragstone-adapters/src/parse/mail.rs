//! Mails: who wrote to whom, the text, and what is attached, each file handed out.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::ParseLimits;
use super::attached::{self, Attached, Attachments};
use super::blocks::Blocks;
use super::error::ParseProblem;
use super::html;
use super::sink::{Outline, PageSink};

/// Hands out a mail as one page without a number, and then what is attached to it.
pub(super) fn parse(bytes: &[u8], limits: &ParseLimits, sink: &mut dyn PageSink) -> Result<Outline, ParseProblem> {
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| ParseProblem::damaged("it has no header of a mail"))?;
    let mut blocks = Blocks::new(sink, limits);
    let subject = message.subject().map(str::to_owned);
    blocks.heading(1, subject.as_deref().unwrap_or("Mail without a subject"));
    if let Some(head) = head(&message) {
        blocks.paragraph(&head);
    }
    body(&message, &mut blocks)?;
    if let Some(line) = attached::line(&names_of_files(&message)) {
        blocks.paragraph(&line);
    }
    let outline = blocks.finish(subject)?;
    attachments(&message, Attachments::of(outline, limits, sink))
}

fn head(message: &Message) -> Option<String> {
    let mut lines = Vec::new();
    for (name, address) in [("From", message.from()), ("To", message.to()), ("Cc", message.cc())] {
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
fn body(message: &Message, blocks: &mut Blocks) -> Result<(), ParseProblem> {
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => blocks.paragraph(text),
            PartType::Html(page) => {
                let markdown = html::whole_body(page, blocks.hidden())?;
                blocks.markdown(&markdown, 1);
            }
            _ => {}
        }
    }
    Ok(())
}

/// How the files are called that the text does not show, as many as are handed out.
fn names_of_files(message: &Message) -> Vec<String> {
    let files = message.attachments().zip(1..).take(attached::MAX_ATTACHMENTS as usize);
    let shown = files.filter(|(part, _)| part.content_id().is_none());
    shown
        .map(|(part, number)| attached::called(name_of(part).as_deref(), number))
        .collect()
}

fn name_of(part: &MessagePart) -> Option<String> {
    match &part.body {
        PartType::Message(inner) => inner.subject().map(|subject| format!("{subject}.eml")),
        _ => part.attachment_name().map(str::to_owned),
    }
}

fn attachments(message: &Message, mut out: Attachments) -> Result<Outline, ParseProblem> {
    let all = message.attachments().count();
    for (part, number) in message.attachments().zip(1..=attached::MAX_ATTACHMENTS) {
        let declared = part.content_type().map(|kind| match &kind.c_subtype {
            Some(subtype) => format!("{}/{subtype}", kind.c_type),
            None => kind.c_type.to_string(),
        });
        let is_mail = matches!(part.body, PartType::Message(_));
        out.take(&Attached {
            number,
            name: name_of(part),
            declared: if is_mail {
                Some("message/rfc822".to_owned())
            } else {
                declared
            },
            inline: part.content_id().is_some(),
            bytes: match &part.body {
                PartType::Message(inner) => inner.raw_message(),
                _ => part.contents(),
            },
        })?;
    }
    let beyond = all.saturating_sub(attached::MAX_ATTACHMENTS as usize);
    if beyond > 0 {
        out.unread(&format!("{beyond} more"), "the mail has too many attachments");
    }
    Ok(out.outline)
}
