//! What is attached to a mail, in the mail's own text: a section each, named as the file is.
//!
//! Invariant: an attachment that cannot be read is told, and never costs the mail its text.

use ragstone_core::document::ParseWarning;

use super::ParseLimits;
use super::blocks::Blocks;
use super::error::ParseProblem;
use super::sink::Gathered;

/// Attachments of one mail that are read.
const MAX_ATTACHMENTS: usize = 100;
/// A mail in a mail in a mail is read, what is attached to that one is not.
const MAX_DEPTH: usize = 3;

/// A file in a mail.
pub(super) struct Attached {
    /// Its name, or one that counts it.
    pub(super) name: String,
    /// The media type that the mail gives it.
    pub(super) declared: Option<String>,
    /// Whether the mail's text shows it, as it does its pictures.
    pub(super) inline: bool,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// Writes the text of each, and tells which could not be read.
pub(super) fn write(
    all: Vec<Attached>,
    limits: &ParseLimits,
    depth: usize,
    blocks: &mut Blocks,
) -> Result<Vec<ParseWarning>, ParseProblem> {
    let mut warnings = Vec::new();
    let beyond = all.len().saturating_sub(MAX_ATTACHMENTS);
    for one in all.into_iter().take(MAX_ATTACHMENTS) {
        if one.bytes.is_empty() {
            continue;
        }
        let name = one.name;
        if depth + 1 >= MAX_DEPTH {
            warnings.push(unread(&name, "mails in mails are not read any deeper"));
            continue;
        }
        let mut gathered = Gathered::new(limits.max_text_bytes);
        let read = super::parse_at(
            one.bytes,
            &name,
            one.declared.as_deref(),
            limits,
            depth + 1,
            &mut gathered,
        );
        match read {
            Ok((format, outline)) => {
                let document = gathered.finish(format.media_type(), outline);
                blocks.heading(2, &name);
                blocks.markdown(&document.text, 2);
                blocks.check()?;
                warnings.extend(document.warnings.into_iter().map(|warning| ParseWarning {
                    detail: format!("{name}: {}", warning.detail),
                    pages: Vec::new(),
                    ..warning
                }));
            }
            // A picture in the text of a mail is no document.
            Err(ParseProblem::Unsupported { .. }) if one.inline => {}
            Err(problem) => warnings.push(unread(&name, &problem.to_string())),
        }
    }
    if beyond > 0 {
        warnings.push(unread(
            &format!("{beyond} more"),
            "a mail has too many attachments",
        ));
    }
    Ok(warnings)
}

fn unread(name: &str, why: &str) -> ParseWarning {
    ParseWarning {
        code: "attachment_not_read".to_owned(),
        detail: format!("{name}: {why}"),
        pages: Vec::new(),
    }
}
