//! Mails as Outlook saves them (MS-OXMSG): properties are streams of a compound file, named by their tag and type.

use std::io::Cursor;

use encoding_rs::{UTF_16LE, WINDOWS_1252};
use office_oxide::cfb::CfbReader;
use ragstone_core::document::ParseWarning;

use super::ParseLimits;
use super::attached::{self, Attached};
use super::blocks::Blocks;
use super::error::ParseProblem;
use super::html;
use super::sink::{Outline, PageSink};
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
/// Types of properties: UTF-16, the sender's code page, bytes.
const UNICODE: &str = "001F";
const ANSI: &str = "001E";
const BINARY: &str = "0102";
/// Storages of attachments are numbered in eight hexadecimal digits.
const MAX_ATTACHMENTS: u32 = 1_000;

type Compound<'a> = CfbReader<Cursor<&'a [u8]>>;

/// Hands out a mail as one page without a number; `depth` counts the mails that it is attached to.
pub(super) fn parse(
    bytes: &[u8],
    limits: &ParseLimits,
    depth: usize,
    sink: &mut dyn PageSink,
) -> Result<Outline, ParseProblem> {
    let mut file = CfbReader::new(Cursor::new(bytes)).map_err(ParseProblem::damaged)?;
    let mut blocks = Blocks::new(sink, limits);
    let subject = text_of(&mut file, "", SUBJECT);
    blocks.heading(1, subject.as_deref().unwrap_or("Mail without a subject"));
    let sender = text_of(&mut file, "", SENDER_NAME).or_else(|| text_of(&mut file, "", SENDER_ADDRESS));
    let people = [
        ("From", sender),
        ("To", text_of(&mut file, "", DISPLAY_TO)),
        ("Cc", text_of(&mut file, "", DISPLAY_CC)),
    ];
    let named = people
        .into_iter()
        .filter_map(|(name, who)| Some(format!("{name}: {}", who?)));
    blocks.paragraph(&named.collect::<Vec<_>>().join("\n"));
    let has_body = body(&mut file, &mut blocks);
    let attachments = attachments(&mut file);
    if subject.is_none() && !has_body && attachments.is_empty() {
        return Err(ParseProblem::damaged("it holds neither a subject nor a text"));
    }
    let warnings = attached::write(attachments, limits, depth, &mut blocks)?;
    let mut outline = blocks.finish(subject)?;
    outline.warnings.extend(warnings);
    if !file.truncated_streams().is_empty() {
        outline.warnings.push(ParseWarning {
            code: "text_incomplete".to_owned(),
            detail: "the file ends before its text does".to_owned(),
            pages: Vec::new(),
        });
    }
    Ok(outline)
}

/// Whether there is one.
fn body(file: &mut Compound, blocks: &mut Blocks) -> bool {
    if let Some(text) = text_of(file, "", BODY) {
        blocks.paragraph(&text);
        return true;
    }
    let Some(page) = stream(file, "", BODY_HTML, BINARY) else {
        return false;
    };
    let page = text::decode(&page, None).unwrap_or_default();
    let markdown = html::whole_body(&page, blocks.hidden());
    blocks.markdown(&markdown, 1);
    true
}

fn attachments(file: &mut Compound) -> Vec<Attached> {
    let mut all = Vec::new();
    for number in 0..MAX_ATTACHMENTS {
        let storage = format!("__attach_version1.0_#{number:08X}/");
        let name = text_of(file, &storage, ATTACHMENT_LONG_NAME)
            .or_else(|| text_of(file, &storage, ATTACHMENT_NAME));
        let bytes = stream(file, &storage, ATTACHMENT_DATA, BINARY);
        if name.is_none() && bytes.is_none() {
            break;
        }
        all.push(Attached {
            name: name.unwrap_or_else(|| format!("attachment {}", number + 1)),
            declared: text_of(file, &storage, ATTACHMENT_TYPE),
            inline: text_of(file, &storage, ATTACHMENT_CONTENT_ID).is_some(),
            bytes: bytes.unwrap_or_default(),
        });
    }
    all
}

fn text_of(file: &mut Compound, storage: &str, tag: &str) -> Option<String> {
    let text = match stream(file, storage, tag, UNICODE) {
        Some(bytes) => UTF_16LE.decode_without_bom_handling(&bytes).0.into_owned(),
        None => {
            let bytes = stream(file, storage, tag, ANSI)?;
            WINDOWS_1252.decode_without_bom_handling(&bytes).0.into_owned()
        }
    };
    let text = text.trim_end_matches('\0').to_owned();
    (!text.trim().is_empty()).then_some(text)
}

fn stream(file: &mut Compound, storage: &str, tag: &str, kind: &str) -> Option<Vec<u8>> {
    file.open_stream_by_path(&format!("{storage}__substg1.0_{tag}{kind}"))
        .ok()
}
