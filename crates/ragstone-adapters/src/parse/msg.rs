//! Mails saved by Outlook (MS-OXMSG): the properties are streams of a compound file, named by their tag and type.

use std::collections::BTreeSet;
use std::io::Cursor;

use encoding_rs::{UTF_16LE, WINDOWS_1252};
use office_oxide::cfb::CfbReader;
use ragstone_core::document::ParseWarning;

use super::ParseLimits;
use super::attached::{self, AttachmentWriter, MailAttachment};
use super::blocks::BlockWriter;
use super::error::ParseProblem;
use super::html;
use super::sink::{DocumentOutline, PageSink};
use super::text;

/// Tags of the properties that are read (MS-OXPROPS).
const SUBJECT: &str = "0037";
const SENDER_NAME: &str = "0C1A";
const SENDER_ADDRESS: &str = "0C1F";
const DISPLAY_TO: &str = "0E04";
const DISPLAY_CC: &str = "0E03";
const BODY: &str = "1000";
const BODY_HTML: &str = "1013";
const ATTACHMENT_DATA: &str = "3701";
const ATTACHMENT_LONG_NAME: &str = "3707";
const ATTACHMENT_NAME: &str = "3704";
const ATTACHMENT_TYPE: &str = "370E";
const ATTACHMENT_CONTENT_ID: &str = "3712";
/// Types of properties: UTF-16, the sender's code page, and bytes.
const UNICODE: &str = "001F";
const ANSI: &str = "001E";
const BINARY: &str = "0102";
/// Prefix of the names of attachment storages; eight hexadecimal digits follow.
const ATTACHMENT_STORAGE: &str = "__attach_version1.0_#";

type CompoundFile<'a> = CfbReader<Cursor<&'a [u8]>>;

/// Writes a mail to the sink as one page without a number, then its attachments.
pub(super) fn parse_msg(
    bytes: &[u8],
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let mut file = CfbReader::new(Cursor::new(bytes)).map_err(ParseProblem::damaged)?;
    let mut blocks = BlockWriter::new(sink, limits);
    let subject = read_text(&mut file, "", SUBJECT);
    blocks.write_heading(1, subject.as_deref().unwrap_or("Mail without a subject"));
    let sender = read_text(&mut file, "", SENDER_NAME).or_else(|| read_text(&mut file, "", SENDER_ADDRESS));
    let people = [
        ("From", sender),
        ("To", read_text(&mut file, "", DISPLAY_TO)),
        ("Cc", read_text(&mut file, "", DISPLAY_CC)),
    ];
    let named = people
        .into_iter()
        .filter_map(|(name, who)| Some(format!("{name}: {}", who?)));
    blocks.write_paragraph(&named.collect::<Vec<_>>().join("\n"));
    let has_body = write_body(&mut file, &mut blocks)?;
    let (files, beyond) = list_attachments(&mut file);
    if subject.is_none() && !has_body && files.is_empty() {
        return Err(ParseProblem::damaged("it holds neither a subject nor a text"));
    }
    let shown = files.iter().filter(|file| !file.inline);
    let names: Vec<_> = shown.map(|file| file.name.clone()).collect();
    if let Some(line) = attached::describe_attachments(&names) {
        blocks.write_paragraph(&line);
    }
    let outline = blocks.finish(subject)?;
    let mut out = AttachmentWriter::new(outline, limits, sink);
    for one in files {
        let bytes = read_stream(&mut file, &one.storage, ATTACHMENT_DATA, BINARY);
        match &bytes {
            // A mail inside this one, stored as a storage, or an object of another program.
            None => out.warn_unread(&one.name, "it is not kept as a file"),
            Some(bytes) => out.write_attachment(&MailAttachment {
                number: one.number,
                name: Some(one.name),
                declared: one.declared,
                inline: one.inline,
                bytes,
            })?,
        }
    }
    if beyond {
        out.warn_unread("further ones", "the mail has too many attachments");
    }
    let mut outline = out.outline;
    if !file.truncated_streams().is_empty() {
        outline.warnings.push(ParseWarning {
            code: "text_incomplete".to_owned(),
            detail: "the file ends before its text does".to_owned(),
            pages: Vec::new(),
        });
    }
    Ok(outline)
}

/// Writes the mail's body; returns whether there is one.
fn write_body(file: &mut CompoundFile, blocks: &mut BlockWriter) -> Result<bool, ParseProblem> {
    if let Some(text) = read_text(file, "", BODY) {
        blocks.write_paragraph(&text);
        return Ok(true);
    }
    let Some(page) = read_stream(file, "", BODY_HTML, BINARY) else {
        return Ok(false);
    };
    let page = text::decode_text(&page, None).unwrap_or_default();
    let markdown = html::body_to_markdown(&page, blocks.hidden_text())?;
    blocks.write_markdown(&markdown, 1);
    Ok(true)
}

/// What is known of an attachment before its bytes are read.
struct MsgAttachment {
    storage: String,
    number: u32,
    name: String,
    declared: Option<String>,
    inline: bool,
}

/// The attachments, as many as are written, and whether there are more.
fn list_attachments(file: &mut CompoundFile) -> (Vec<MsgAttachment>, bool) {
    // A set, because a mail inside this one has storages of the same names.
    let storages: BTreeSet<String> = file
        .entries()
        .iter()
        .filter(|entry| entry.name.starts_with(ATTACHMENT_STORAGE))
        .map(|entry| entry.name.clone())
        .collect();
    let mut all = Vec::new();
    for (name, number) in storages.iter().zip(1..=attached::MAX_ATTACHMENTS) {
        let storage = format!("{name}/");
        let name =
            read_text(file, &storage, ATTACHMENT_LONG_NAME).or_else(|| read_text(file, &storage, ATTACHMENT_NAME));
        if name.is_none() && read_stream(file, &storage, ATTACHMENT_DATA, BINARY).is_none() {
            continue;
        }
        all.push(MsgAttachment {
            number,
            name: attached::attachment_name(name.as_deref(), number),
            declared: read_text(file, &storage, ATTACHMENT_TYPE),
            inline: read_text(file, &storage, ATTACHMENT_CONTENT_ID).is_some(),
            storage,
        });
    }
    let beyond = storages.len() > attached::MAX_ATTACHMENTS as usize;
    (all, beyond)
}

fn read_text(file: &mut CompoundFile, storage: &str, tag: &str) -> Option<String> {
    let text = match read_stream(file, storage, tag, UNICODE) {
        Some(bytes) => UTF_16LE.decode_without_bom_handling(&bytes).0.into_owned(),
        None => {
            let bytes = read_stream(file, storage, tag, ANSI)?;
            WINDOWS_1252.decode_without_bom_handling(&bytes).0.into_owned()
        }
    };
    let text = text.trim_end_matches('\0').to_owned();
    (!text.trim().is_empty()).then_some(text)
}

fn read_stream(file: &mut CompoundFile, storage: &str, tag: &str, kind: &str) -> Option<Vec<u8>> {
    file.open_stream_by_path(&format!("{storage}__substg1.0_{tag}{kind}"))
        .ok()
}
