//! The order in which the spans of one page are read.

use xberg_native_pdf::error::Error as EngineError;
use xberg_native_pdf::layout::TextSpan;
use xberg_native_pdf::pipeline::{ReadingOrderContext, ReadingOrderStrategy, XYCutStrategy};

/// Which order to read a page in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By columns where the page has columns or a table, else from top to bottom.
    Chosen,
    /// Rows from top to bottom.
    TopToBottom,
    /// Columns one after the other.
    ByColumns,
}

/// Puts spans, given from top to bottom, in reading order.
pub(super) fn arrange(spans: Vec<TextSpan>, order: Order) -> Result<Vec<TextSpan>, EngineError> {
    match order {
        Order::TopToBottom => Ok(spans),
        Order::ByColumns => by_columns(spans),
        Order::Chosen if has_columns(&spans) => by_columns(spans),
        Order::Chosen => Ok(spans),
    }
}

fn by_columns(spans: Vec<TextSpan>) -> Result<Vec<TextSpan>, EngineError> {
    let ordered = XYCutStrategy::new().apply(spans, &ReadingOrderContext::new())?;
    Ok(ordered.into_iter().map(|ordered| ordered.span).collect())
}

fn has_columns(spans: &[TextSpan]) -> bool {
    spans.len() > 100
}
