//! Refuses pages whose content would cost the engine time quadratic in the page's size.
//!
//! The engine compares each text of a page with the others, and searches all open marks at each new one.
//!
//! Invariant: one pass over the bytes, before the engine executes them.

use memchr::memmem;
use xberg_native_pdf::document::PdfDocument;
use xberg_native_pdf::error::Error as EngineError;

/// Most operators on a page that show text. A drawing that places each letter by itself has several thousand.
const MAX_SHOWN: usize = 30_000;
/// Deepest nesting of marked content (`BMC`, `BDC`).
const MAX_MARKS: usize = 1_000;

/// Refuses page `number` (from 1) if its content exceeds the limits.
pub(super) fn check_content(document: &PdfDocument, number: u32) -> Result<(), EngineError> {
    let Ok(content) = document.get_page_content_data(number as usize - 1) else {
        // The engine reports the error itself when it reads the page.
        return Ok(());
    };
    let refused = |detail: String| Err(EngineError::InvalidPdf(format!("page {number} {detail}")));
    let shown = count_operators(&content, b"Tj") + count_operators(&content, b"TJ");
    if shown > MAX_SHOWN {
        return refused(format!("shows more than {MAX_SHOWN} texts"));
    }
    if max_mark_depth(&content) > MAX_MARKS {
        return refused(format!("has more than {MAX_MARKS} marks within one another"));
    }
    Ok(())
}

fn count_operators(content: &[u8], name: &[u8]) -> usize {
    memmem::find_iter(content, name).count()
}

/// Deepest nesting of marked content in a page's content.
fn max_mark_depth(content: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for at in memchr::memchr_iter(b'C', content) {
        match &content[at.saturating_sub(2)..at] {
            b"BM" | b"BD" => open += 1,
            b"EM" => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_counted_where_they_are_open() {
        for (content, expected) in [
            ("/P BMC /P <</MCID 1>> BDC EMC EMC /P BMC EMC", 2),
            ("EMC EMC /P BMC", 1),
            ("C MC", 0),
        ] {
            assert_eq!(max_mark_depth(content.as_bytes()), expected, "{content}");
        }
    }
}
