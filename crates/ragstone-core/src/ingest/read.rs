//! A version's text read back from the store: page by page, as chunks in batches.
//!
//! Invariant: a page is read once for all of its chunks and let go with the last of them; the chunks are those of
//! [`crate::split::split_document`] over the whole text, because none of them crosses a page, but for chunks that are
//! longer than what the embedder reads: those are cut again.

use std::ops::Range;
use std::sync::Arc;

use async_stream::try_stream;
use futures::{Stream, TryStreamExt, pin_mut};

use super::{Ingestor, Pipeline, Trouble};
use crate::document::{PageSpan, Stage};
use crate::library::text::{StoredText, TextError};
use crate::seam::catalogue::Claim;
use crate::split::{Segment, split_page_to_fit};

/// A segment with its place in the document.
#[derive(Debug)]
pub(super) struct Numbered {
    pub ordinal: u32,
    pub segment: Segment,
    pub page: Arc<PageText>,
}

/// The text of a page.
#[derive(Debug)]
pub(super) struct PageText {
    /// Where it begins in the document's text.
    start: usize,
    pub text: String,
}

impl Numbered {
    /// Where the segment stands within its page.
    pub fn within(&self) -> Range<usize> {
        let (range, start) = (&self.segment.range, self.page.start);
        range.start - start..range.end - start
    }
}

impl Ingestor {
    /// How many chunks the text has. Splitting costs so little beside embedding that it is done twice: the ledger then
    /// knows the end before the first batch, and nobody has to hold all chunks.
    pub(super) async fn count(
        &self,
        claim: &Claim,
        pipeline: &Pipeline,
        text: &StoredText<'_>,
    ) -> Result<u32, Trouble> {
        let total = text.pages().len() as u64;
        self.note(&claim.lease, Stage::Split, 0, total).await?;
        let (pages, mut chunks) = (pages(text), 0_u32);
        pin_mut!(pages);
        while let Some((span, page)) = pages.try_next().await? {
            let segments = segments(pipeline, text, (span, &page.text));
            chunks = chunks.saturating_add(segments.len() as u32);
        }
        self.note(&claim.lease, Stage::Split, total, total).await?;
        Ok(chunks)
    }

    /// All chunks in their order; a batch ends by number and by bytes.
    pub(super) fn batches<'a>(
        &self,
        pipeline: &'a Pipeline,
        text: &'a StoredText<'_>,
    ) -> impl Stream<Item = Result<Vec<Numbered>, TextError>> + 'a {
        let (most_chunks, most_bytes) = (self.settings.batch_chunks, self.settings.batch_bytes);
        try_stream! {
            let (mut batch, mut bytes, mut ordinal) = (Vec::new(), 0, 0);
            for await read in pages(text) {
                let (span, page) = read?;
                for segment in segments(pipeline, text, (span, &page.text)) {
                    let is_full = batch.len() >= most_chunks || bytes + segment.text.len() > most_bytes;
                    if is_full && !batch.is_empty() {
                        bytes = 0;
                        yield std::mem::take(&mut batch);
                    }
                    bytes += segment.text.len();
                    let page = page.clone();
                    batch.push(Numbered { ordinal, segment, page });
                    ordinal += 1;
                }
            }
            if !batch.is_empty() {
                yield batch;
            }
        }
    }
}

/// The chunks of a page, none of them longer than what the pipeline's embedder reads.
fn segments(pipeline: &Pipeline, text: &StoredText<'_>, (span, page): (&PageSpan, &str)) -> Vec<Segment> {
    let split = pipeline.split_for(text.media_type());
    let fits = |chunk: &str| pipeline.embedder().is_none_or(|embedder| embedder.fits(chunk));
    split_page_to_fit(page, span, &text.outline().sections, &split, &fits)
}

/// The pages of a text, one after the other.
fn pages<'a>(text: &'a StoredText<'_>) -> impl Stream<Item = Result<(&'a PageSpan, Arc<PageText>), TextError>> + 'a {
    try_stream! {
        let mut reader = text.reader();
        for span in text.pages() {
            let read = reader.read(&span.range).await?;
            let page = PageText {
                start: span.range.start,
                text: read.ok_or_else(|| text.damaged())?,
            };
            yield (span, Arc::new(page));
        }
    }
}
