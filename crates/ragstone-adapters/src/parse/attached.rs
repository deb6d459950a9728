//! What is attached to a mail: handed out as files, to be documents of their own.
//!
//! Invariant: an attachment that cannot be read is told, and never costs the mail its text.

use ragstone_core::document::{AttachedFile, ParseWarning};

use super::ParseLimits;
use super::detect::detect_format;
use super::error::ParseProblem;
use super::sink::{DocumentOutline, PageSink};

/// Attachments of one mail that are handed out.
pub(super) const MAX_ATTACHMENTS: u32 = 100;
/// Characters of a file name that are kept, the last ones.
const MAX_NAME: usize = 120;

/// A file in a mail.
pub(super) struct MailAttachment<'a> {
    /// Counts the mail's attachments, from 1.
    pub(super) number: u32,
    /// Its name, if the mail says one.
    pub(super) name: Option<String>,
    /// The media type that the mail gives it.
    pub(super) declared: Option<String>,
    /// Whether the mail's text shows it, as it does its pictures.
    pub(super) inline: bool,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
}

/// Hands out the attachments of one mail, once its pages are.
pub(super) struct AttachmentWriter<'a> {
    sink: &'a mut dyn PageSink,
    /// Bytes that may still be handed out: parts of a crafted file can share theirs.
    left: u64,
    /// Where they are named, and told if they cannot be read.
    pub(super) outline: DocumentOutline,
}

impl<'a> AttachmentWriter<'a> {
    /// Of the mail with this outline.
    pub(super) fn new(outline: DocumentOutline, limits: &ParseLimits, sink: &'a mut dyn PageSink) -> Self {
        Self {
            sink,
            left: limits.max_bytes,
            outline,
        }
    }

    /// Hands out one.
    pub(super) fn write_attachment(&mut self, one: &MailAttachment) -> Result<(), ParseProblem> {
        let name = attachment_name(one.name.as_deref(), one.number);
        if one.number > MAX_ATTACHMENTS {
            self.warn_unread(&name, "the mail has too many attachments");
            return Ok(());
        }
        let bytes = one.bytes.len() as u64;
        if bytes > self.left {
            self.warn_unread(&name, "the attachments are larger than parse.max_bytes in all");
            return Ok(());
        }
        let format = match one.bytes {
            [] => Err(ParseProblem::Empty),
            bytes => detect_format(bytes, &name, one.declared.as_deref()),
        };
        match format {
            Ok(_) => {}
            // A picture in the text of a mail is no document.
            Err(ParseProblem::Unsupported { .. }) if one.inline => return Ok(()),
            Err(problem) => {
                self.warn_unread(&name, &problem.to_string());
                return Ok(());
            }
        }
        let file = AttachedFile {
            number: one.number,
            name,
            media_type: one.declared.clone(),
            bytes,
        };
        self.left -= bytes;
        self.sink.write_attachment(&file, one.bytes)?;
        self.outline.attachments.push(file);
        Ok(())
    }

    /// Tells that one is not read.
    pub(super) fn warn_unread(&mut self, name: &str, why: &str) {
        self.outline.warnings.push(ParseWarning {
            code: "attachment_not_read".to_owned(),
            detail: format!("{name}: {why}"),
            pages: Vec::new(),
        });
    }
}

/// The line that names the attachments in the mail's own text.
pub(super) fn describe_attachments(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("Attachments: {}", names.join(", ")))
}

/// A name of one line, or one that counts.
pub(super) fn attachment_name(name: Option<&str>, number: u32) -> String {
    let kept: Vec<char> = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let name: String = kept[kept.len().saturating_sub(MAX_NAME)..].iter().collect();
    match name.trim() {
        "" => format!("attachment {number}"),
        name => name.to_owned(),
    }
}
