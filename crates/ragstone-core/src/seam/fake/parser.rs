//! A parser of plain text whose form feeds part pages.

use async_trait::async_trait;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::document::{JobError, PageSpan, ParsedDocument};
use crate::seam::parser::{ParseFailure, ParseRequest, Parser};

/// Text as it is; bytes that are not UTF-8 fail for good, as a damaged file does.
#[derive(Debug, Default)]
pub struct TextParser;

fn failure(code: &str, detail: String) -> ParseFailure {
    ParseFailure {
        error: JobError {
            code: code.into(),
            detail,
            hint: "send text".into(),
        },
        may_pass: false,
    }
}

#[async_trait]
impl Parser for TextParser {
    fn fingerprint(&self) -> &str {
        "text/1"
    }

    async fn parse(
        &self,
        blobs: &dyn ObjectStore,
        request: &ParseRequest,
    ) -> Result<ParsedDocument, ParseFailure> {
        let lost = |error: object_store::Error| ParseFailure {
            may_pass: true,
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
        let text = String::from_utf8(bytes.to_vec()).map_err(damaged)?;
        let mut pages = Vec::new();
        let mut start = 0;
        for (number, page) in (1..).zip(text.split_inclusive('\x0c')) {
            pages.push(PageSpan {
                page: Some(number),
                range: start..start + page.len(),
            });
            start += page.len();
        }
        Ok(ParsedDocument {
            media_type: "text/plain".into(),
            text,
            pages,
            ..ParsedDocument::default()
        })
    }
}
