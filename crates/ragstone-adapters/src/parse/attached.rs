//! Attachments of a mail: written to the sink as files, each to become a document of its own.
//!
//! Invariant: an attachment that cannot be read causes a warning and never loses the mail's text.

use ragstone_core::document::{AttachedFile, ParseWarning};

use super::ParseLimits;
use super::detect::detect_format;
use super::error::ParseProblem;
use super::sink::{DocumentOutline, PageSink};

/// Most attachments written for one mail.
pub(super) const MAX_ATTACHMENTS: u32 = 100;
/// Longest attachment name in characters; of a longer one the end is kept.
const MAX_NAME: usize = 120;

/// One attachment of a mail.
pub(super) struct MailAttachment<'a> {
    /// Number of the attachment within its mail, from 1.
    pub(super) number: u32,
    /// File name, if the mail gives one.
    pub(super) name: Option<String>,
    /// Media type that the mail declares for it.
    pub(super) declared: Option<String>,
    /// Whether the mail's text shows the attachment inline, such as a picture.
    pub(super) inline: bool,
    /// Content of the attachment.
    pub(super) bytes: &'a [u8],
}

/// Writes the attachments of one mail to the sink, after its pages.
pub(super) struct AttachmentWriter<'a> {
    sink: &'a mut dyn PageSink,
    /// Bytes that may still be written: the parts of a crafted file can share their bytes.
    left: u64,
    /// Outline of the mail; lists the attachments, and takes a warning for each that cannot be read.
    pub(super) outline: DocumentOutline,
}

impl<'a> AttachmentWriter<'a> {
    /// Creates a writer for the mail with this outline.
    pub(super) fn new(outline: DocumentOutline, limits: &ParseLimits, sink: &'a mut dyn PageSink) -> Self {
        Self {
            sink,
            left: limits.max_bytes,
            outline,
        }
    }

    /// Writes one attachment, or adds a warning if it cannot be read.
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
            // A picture inside the mail's text is not a document, so there is no warning.
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

    /// Adds a warning that the attachment `name` was not read, with the reason.
    pub(super) fn warn_unread(&mut self, name: &str, why: &str) {
        self.outline.warnings.push(ParseWarning {
            code: "attachment_not_read".to_owned(),
            detail: format!("{name}: {why}"),
            pages: Vec::new(),
        });
    }
}

/// The line of the mail's own text that lists its attachments; `None` if it has none.
pub(super) fn describe_attachments(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("Attachments: {}", names.join(", ")))
}

/// The attachment's name on one line; a numbered name if the mail gives none.
pub(super) fn attachment_name(name: Option<&str>, number: u32) -> String {
    let kept: Vec<char> = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let name: String = kept[kept.len().saturating_sub(MAX_NAME)..].iter().collect();
    match name.trim() {
        "" => format!("attachment {number}"),
        name => name.to_owned(),
    }
}
