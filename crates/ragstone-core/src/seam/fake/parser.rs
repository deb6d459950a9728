//! A parser of plain text whose form feeds part pages.

use async_trait::async_trait;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::document::{JobError, Outline};
use crate::seam::parser::{PageReceiver, ParseFailure, ParseRequest, Parsed, Parser};

/// Text as it is; bytes that are not UTF-8 fail for good, as a damaged file does.
#[derive(Debug, Default)]
pub struct TextParser;

/// A text whose parsing never ends.
pub const ENDLESS: &str = "a text without end";
/// A text whose parser dies of it, which may pass and does not.
pub const DEADLY: &str = "a text that ends its parser";

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
        pages: &mut dyn PageReceiver,
    ) -> Result<Parsed, ParseFailure> {
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
        let text = std::str::from_utf8(&bytes).map_err(damaged)?;
        if text == ENDLESS {
            std::future::pending::<()>().await;
        }
        if text == DEADLY {
            return Err(ParseFailure {
                may_pass: true,
                ..failure("parser_died", request.name.clone())
            });
        }
        for (number, page) in (1..).zip(text.split_inclusive('\x0c')) {
            let taken = pages.page(Some(number), page).await;
            taken.map_err(|error| failure("not_taken", error.to_string()))?;
        }
        Ok(Parsed {
            media_type: "text/plain".into(),
            outline: Outline::default(),
        })
    }
}
