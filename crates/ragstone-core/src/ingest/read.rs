//! A version's text read back from the store: page by page, as chunks in batches.
//!
//! Invariant: a page is read once for all of its chunks and let go with the last of them; the chunks are those of
//! [`crate::split::split_document`] over the whole text, because none of them crosses a page, but for chunks that are
//! longer than what the embedder reads: those are cut again.

use std::ops::Range;
use std::sync::Arc;

use async_stream::try_stream;
use futures::{Stream, TryStreamExt, pin_mut};

use super::documents::DocumentPipeline;
use super::pipeline::IngestPipeline;
use super::trouble::StepError;
use crate::document::{JobStage, PageSpan};
use crate::library::text::{StoredText, TextError};
use crate::seam::catalogue::ClaimedJob;
use crate::split::{SplitChunk, split_page_to_fit};

/// A segment with its place in the document.
#[derive(Debug)]
pub(super) struct NumberedSegment {
    pub ordinal: u32,
    pub segment: SplitChunk,
    pub page: Arc<PageText>,
}

/// The text of a page.
#[derive(Debug)]
pub(super) struct PageText {
    /// Where it begins in the document's text.
    start: usize,
    pub text: String,
}

impl NumberedSegment {
    /// Where the segment stands within its page.
    pub fn range_in_page(&self) -> Range<usize> {
        let (range, start) = (&self.segment.range, self.page.start);
        range.start - start..range.end - start
    }
}

impl DocumentPipeline {
    /// How many chunks the text has. Splitting costs so little beside embedding that it is done twice: the ledger then
    /// knows the end before the first batch, and nobody has to hold all chunks.
    pub(super) async fn count_chunks(
        &self,
        claim: &ClaimedJob,
        pipeline: &IngestPipeline,
        text: &StoredText<'_>,
    ) -> Result<u32, StepError> {
        let total = text.pages().len() as u64;
        self.leases
            .report_progress(&claim.lease, JobStage::Split, 0, total)
            .await?;
        let (pages, mut chunks) = (stream_pages(text), 0_u32);
        pin_mut!(pages);
        while let Some((span, page)) = pages.try_next().await? {
            let segments = split_stored_page(pipeline, text, (span, &page.text));
            chunks = chunks.saturating_add(segments.len() as u32);
        }
        self.leases
            .report_progress(&claim.lease, JobStage::Split, total, total)
            .await?;
        Ok(chunks)
    }

    /// All chunks in their order; a batch ends by number and by bytes.
    pub(super) fn stream_batches<'a>(
        &self,
        pipeline: &'a IngestPipeline,
        text: &'a StoredText<'_>,
    ) -> impl Stream<Item = Result<Vec<NumberedSegment>, TextError>> + 'a {
        let (most_chunks, most_bytes) = (self.context.settings.batch_chunks, self.context.settings.batch_bytes);
        try_stream! {
            let (mut batch, mut bytes, mut ordinal) = (Vec::new(), 0, 0);
            for await read in stream_pages(text) {
                let (span, page) = read?;
                for segment in split_stored_page(pipeline, text, (span, &page.text)) {
                    let is_full = batch.len() >= most_chunks || bytes + segment.text.len() > most_bytes;
                    if is_full && !batch.is_empty() {
                        bytes = 0;
                        yield std::mem::take(&mut batch);
                    }
                    bytes += segment.text.len();
                    let page = page.clone();
                    batch.push(NumberedSegment { ordinal, segment, page });
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
fn split_stored_page(
    pipeline: &IngestPipeline,
    text: &StoredText<'_>,
    (span, page): (&PageSpan, &str),
) -> Vec<SplitChunk> {
    let split = pipeline.split_settings_for(text.media_type());
    let fits = |chunk: &str| {
        pipeline
            .embedder()
            .is_none_or(|embedder| embedder.fits_input_limit(chunk))
    };
    split_page_to_fit(page, span, &text.outline().sections, &split, &fits)
}

/// The pages of a text, one after the other.
fn stream_pages<'a>(
    text: &'a StoredText<'_>,
) -> impl Stream<Item = Result<(&'a PageSpan, Arc<PageText>), TextError>> + 'a {
    try_stream! {
        let mut reader = text.range_reader();
        for span in text.pages() {
            let read = reader.read_range(&span.range).await?;
            let page = PageText {
                start: span.range.start,
                text: read.ok_or_else(|| text.damaged_error())?,
            };
            yield (span, Arc::new(page));
        }
    }
}
