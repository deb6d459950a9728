//! Electronic books (EPUB): the chapters of the spine, in their order, as one text.

use std::collections::HashSet;
use std::io::{self, Cursor, Write};

use rbook::Epub;

use super::ParseLimits;
use super::archive;
use super::blocks::BlockWriter;
use super::error::ParseProblem;
use super::html;
use super::sink::{DocumentOutline, PageSink};
use super::text;

/// Most bytes of all chapters, unpacked: markup is several times as long as its text.
const CHAPTER_BYTES: usize = 128 << 20;

/// Most bytes, unpacked, of the markup members that the reader of the package loads.
const MARKUP_BYTES: u64 = 64 << 20;

/// Writes a book to the sink as one page without a number.
pub(super) fn parse_epub(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    archive::check_members(&bytes, "", b"", MARKUP_BYTES)?;
    let book = Epub::read(Cursor::new(bytes)).map_err(ParseProblem::damaged)?;
    let title = book.metadata().title().map(|title| title.value().to_owned());
    let mut blocks = BlockWriter::new(sink, limits);
    let mut room = CHAPTER_BYTES;
    let mut read = HashSet::new();
    for entry in book.spine().iter() {
        // The spine lists each chapter once (EPUB 3.3, 5.7.2); repeats would only inflate the text.
        if !read.insert(entry.idref().to_owned()) {
            continue;
        }
        let Some(resource) = entry.resource() else {
            return Err(ParseProblem::damaged(
                "its order of reading names a chapter that is not in it",
            ));
        };
        let mut chapter = BoundedBuffer {
            bytes: Vec::new(),
            room,
        };
        let copied = book.copy_resource(resource, &mut chapter);
        if chapter.bytes.len() >= room {
            return Err(ParseProblem::UnpacksTooLarge {
                limit: CHAPTER_BYTES as u64,
            });
        }
        copied.map_err(ParseProblem::damaged)?;
        room -= chapter.bytes.len();
        let page = text::decode_text(&chapter.bytes, None).map_err(|_| ParseProblem::Encrypted)?;
        if !page.contains('<') {
            return Err(ParseProblem::Encrypted);
        }
        let markdown = html::body_to_markdown(&page, blocks.hidden_text())?;
        blocks.write_markdown(&markdown, 0);
        blocks.check_text_limit()?;
    }
    blocks.finish(title)
}

/// Buffer that accepts up to `room` bytes and then fails.
struct BoundedBuffer {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for BoundedBuffer {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let taken = more.len().min(self.room - self.bytes.len());
        self.bytes.extend_from_slice(&more[..taken]);
        match taken < more.len() {
            true => Err(io::Error::other("it is longer than the limit")),
            false => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
