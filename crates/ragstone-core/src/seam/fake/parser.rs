//! A parser of plain text: form feeds separate pages, and a text may contain attached files, like a mail.

use async_trait::async_trait;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::document::{AttachedFile, DocumentOutline, JobError};
use crate::seam::parser::{DocumentParser, PageReceiver, ParseFailure, ParseOutput, ParseRequest, ParseRetry};

/// Text as it is; bytes that are not UTF-8 fail for good, as a damaged file does.
#[derive(Debug, Default)]
pub struct TextParser;

/// Begins a file in a text: its name up to the end of the line, then its bytes.
pub const FILE: char = '\x1e';
/// Begins a file in a file in a text.
pub const INNER_FILE: char = '\x1f';
/// A text whose parsing never ends.
pub const ENDLESS: &str = "a text without end";
/// A text whose parser runs out of time, every time.
pub const SLOW: &str = "a text that takes all the time there is";
/// A text whose parser dies of it, which may pass and does not.
pub const DEADLY: &str = "a text that ends its parser";

fn failure(code: &str, detail: String) -> ParseFailure {
    ParseFailure {
        error: JobError {
            code: code.into(),
            detail,
            hint: "send text".into(),
        },
        retry: ParseRetry::Never,
    }
}

#[async_trait]
impl DocumentParser for TextParser {
    fn fingerprint(&self) -> &str {
        "text/1"
    }

    async fn parse_document(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseFailure> {
        let lost = |error: object_store::Error| ParseFailure {
            retry: ParseRetry::Usual,
            ..failure("blob_lost", error.to_string())
        };
        let bytes = blobs
            .get(&request.blob)
            .await
            .map_err(lost)?
            .bytes()
            .await
            .map_err(lost)?;
        let damaged = |_| failure("damaged", format!("{} is not text", request.name));
        let text = std::str::from_utf8(&bytes).map_err(damaged)?;
        if text == ENDLESS {
            std::future::pending::<()>().await;
        }
        if text == SLOW {
            return Err(ParseFailure {
                retry: ParseRetry::Once,
                ..failure("parse_timed_out", request.name.clone())
            });
        }
        if text == DEADLY {
            return Err(ParseFailure {
                retry: ParseRetry::Usual,
                ..failure("parser_died", request.name.clone())
            });
        }
        let mut parts = text.split(FILE);
        let text = parts.next().unwrap_or_default();
        for (number, page) in (1..).zip(text.split_inclusive('\x0c')) {
            let taken = pages.receive_page(Some(number), page).await;
            taken.map_err(|error| failure("not_taken", error.to_string()))?;
        }
        let mut outline = DocumentOutline::default();
        for (number, part) in (1..).zip(parts) {
            let (name, inner) = part.split_once('\n').unwrap_or((part, ""));
            let inner = inner.replace(INNER_FILE, &FILE.to_string());
            let file = AttachedFile {
                number,
                name: name.into(),
                media_type: None,
                bytes: inner.len() as u64,
            };
            let half = inner.len() / 2;
            let taken = async {
                pages.receive_attachment(&file).await?;
                pages.receive_attachment_bytes(&inner.as_bytes()[..half]).await?;
                pages.receive_attachment_bytes(&inner.as_bytes()[half..]).await
            };
            taken.await.map_err(|error| failure("not_taken", error.to_string()))?;
            outline.attachments.push(file);
        }
        Ok(ParseOutput {
            media_type: "text/plain".into(),
            outline,
        })
    }
}
