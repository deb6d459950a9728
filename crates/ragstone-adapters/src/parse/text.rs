//! Plain text: the encoding is detected, the words stay as they are.

use encoding_rs::{Encoding, WINDOWS_1252};

use super::error::ParseProblem;
use super::hidden::HiddenTextReport;
use super::normalise::normalise_text;
use super::sink::{DocumentOutline, PageSink};

/// Writes a text file to the sink as one page without a number.
pub(super) fn parse_text(bytes: &[u8], sink: &mut dyn PageSink) -> Result<DocumentOutline, ParseProblem> {
    let mut hidden = HiddenTextReport::default();
    emit_text(
        &normalise_text(&hidden.strip_hidden_characters(&decode_text(bytes, None)?, None)),
        sink,
    )?;
    Ok(DocumentOutline {
        warnings: hidden.build_warnings(),
        ..DocumentOutline::default()
    })
}

/// Writes the whole text of a format without pages; fails with `NoText` if it is only white space.
pub(super) fn emit_text(text: &str, sink: &mut dyn PageSink) -> Result<(), ParseProblem> {
    if text.trim().is_empty() {
        return Err(ParseProblem::NoText { pages: 0 });
    }
    sink.write_page(None, text)
}

/// Decodes a file's text: by its byte order mark, then as UTF-8 if it is valid, then as `declared`, then as
/// Windows-1252, in which every byte string is valid and which contains Latin-1.
pub(super) fn decode_text(bytes: &[u8], declared: Option<&'static Encoding>) -> Result<String, ParseProblem> {
    let text = if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        encoding.decode_without_bom_handling(&bytes[mark..]).0
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        text.into()
    } else {
        declared.unwrap_or(WINDOWS_1252).decode_without_bom_handling(bytes).0
    };
    if text.contains('\0') {
        return Err(ParseProblem::Unsupported {
            media_type: "application/octet-stream".to_owned(),
        });
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::sink::DocumentCollector;
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<String, ParseProblem> {
        let mut gathered = DocumentCollector::new(1000);
        let outline = parse_text(bytes, &mut gathered)?;
        Ok(gathered.finish("text/plain", outline).text)
    }

    #[test]
    fn encodings_are_recognised() {
        for (bytes, expected) in [
            ("naïve – 中文".as_bytes(), "naïve – 中文"),
            (b"\xef\xbb\xbfplain\r\nlines", "plain\nlines"),
            (b"\xff\xfec\0a\0f\0\xe9\0", "café"),
            (b"\xfe\xff\0c\0a\0f\0\xe9", "café"),
            (b"caf\xe9 \x80 \x93x\x94", "café € “x”"),
        ] {
            assert_eq!(parsed(bytes), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn what_is_not_text_is_refused() {
        assert_eq!(parsed(b" \r\n\t ").map_err(|problem| problem.code()), Err("no_text"));
        assert_eq!(
            parsed(b"abc\0def").map_err(|problem| problem.code()),
            Err("unsupported_media_type")
        );
        assert_eq!(
            parsed(&[b'a'; 1001]).map_err(|problem| problem.code()),
            Err("too_much_text")
        );
    }
}
