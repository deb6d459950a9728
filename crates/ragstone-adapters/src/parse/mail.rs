//! Mails (RFC 5322): sender, recipients and text, and each attachment as a file.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::ParseLimits;
use super::attached::{self, AttachmentWriter, MailAttachment};
use super::blocks::BlockWriter;
use super::error::ParseProblem;
use super::html;
use super::sink::{DocumentOutline, PageSink};

/// Writes a mail to the sink as one page without a number, then its attachments.
pub(super) fn parse_mail(
    bytes: &[u8],
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| ParseProblem::damaged("it has no header of a mail"))?;
    let mut blocks = BlockWriter::new(sink, limits);
    let subject = message.subject().map(str::to_owned);
    blocks.write_heading(1, subject.as_deref().unwrap_or("Mail without a subject"));
    if let Some(head) = format_header(&message) {
        blocks.write_paragraph(&head);
    }
    write_body(&message, &mut blocks)?;
    if let Some(line) = attached::describe_attachments(&attachment_names(&message)) {
        blocks.write_paragraph(&line);
    }
    let outline = blocks.finish(subject)?;
    write_attachments(&message, AttachmentWriter::new(outline, limits, sink))
}

fn format_header(message: &Message) -> Option<String> {
    let mut lines = Vec::new();
    for (name, address) in [("From", message.from()), ("To", message.to()), ("Cc", message.cc())] {
        if let Some(names) = address.map(format_addresses).filter(|names| !names.is_empty()) {
            lines.push(format!("{name}: {names}"));
        }
    }
    lines.extend(message.date().map(|date| format!("Date: {}", date.to_rfc3339())));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn format_addresses(address: &Address) -> String {
    let one = |addr: &mail_parser::Addr| match (addr.name(), addr.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    address.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Writes the plain text if there is one, as the sender meant it to be read; otherwise the HTML part.
fn write_body(message: &Message, blocks: &mut BlockWriter) -> Result<(), ParseProblem> {
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => blocks.write_paragraph(text),
            PartType::Html(page) => {
                let markdown = html::body_to_markdown(page, blocks.hidden_text())?;
                blocks.write_markdown(&markdown, 1);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names of the attachments that the text does not show, as many as are written.
fn attachment_names(message: &Message) -> Vec<String> {
    let files = message.attachments().zip(1..).take(attached::MAX_ATTACHMENTS as usize);
    let shown = files.filter(|(part, _)| part.content_id().is_none());
    shown
        .map(|(part, number)| attached::attachment_name(part_name(part).as_deref(), number))
        .collect()
}

fn part_name(part: &MessagePart) -> Option<String> {
    match &part.body {
        PartType::Message(inner) => inner.subject().map(|subject| format!("{subject}.eml")),
        _ => part.attachment_name().map(str::to_owned),
    }
}

fn write_attachments(message: &Message, mut out: AttachmentWriter) -> Result<DocumentOutline, ParseProblem> {
    let all = message.attachments().count();
    for (part, number) in message.attachments().zip(1..=attached::MAX_ATTACHMENTS) {
        let declared = part.content_type().map(|kind| match &kind.c_subtype {
            Some(subtype) => format!("{}/{subtype}", kind.c_type),
            None => kind.c_type.to_string(),
        });
        let is_mail = matches!(part.body, PartType::Message(_));
        out.write_attachment(&MailAttachment {
            number,
            name: part_name(part),
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
        out.warn_unread(&format!("{beyond} more"), "the mail has too many attachments");
    }
    Ok(out.outline)
}
