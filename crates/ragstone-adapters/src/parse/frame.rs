//! Protocol between the server and its parser processes, over a pipe.
//!
//! A frame is one byte for its kind, four bytes for its length (little-endian), and that many bytes. Text and files are
//! sent raw, everything else as JSON, one page after the other, so that neither side has to buffer the whole document.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use ragstone_core::document::AttachedFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::ParseLimits;
use super::error::ParseProblem;
use super::isolate::ProcessIsolation;
use super::sink::DocumentOutline;

/// Most bytes of text, or of a part of a file, in one frame.
pub(super) const MAX_TEXT: usize = 256 * 1024;
/// Most bytes of a message in one frame; an outline of 20,000 sections fits.
const MAX_MESSAGE: usize = 64 << 20;
const HEAD: usize = 5;
const KIND_TEXT: u8 = b't';
const KIND_BYTES: u8 = b'b';
const KIND_MESSAGE: u8 = b'm';

/// Request of the server to parse one document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParserProcessRequest {
    /// Path of the file, which the worker opens itself.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) declared: Option<String>,
    pub(super) limits: ParseLimits,
    /// Limit on the processor time for this document, in seconds.
    pub(super) cpu_seconds: u64,
    /// Limit on the address space of the process, in bytes.
    pub(super) memory_bytes: u64,
}

/// Messages of a worker, besides text and file contents.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(super) enum ParserProcessMessage {
    /// The process has started; sent once, as the first message.
    Ready { isolation: ProcessIsolation },
    /// Ends a page: its text is that of all text frames since the last such message.
    Page { page: Option<u32> },
    /// Announces a file contained in the document; its bytes follow in frames.
    Attachment { file: AttachedFile },
    /// The document is complete.
    Done {
        media_type: String,
        outline: DocumentOutline,
    },
    /// Parsing failed; the worker stays ready for the next document.
    Failed { problem: ParseProblem },
}

/// A frame as received by the server.
#[derive(Debug)]
pub(super) enum PipeFrame {
    Text(Vec<u8>),
    /// Part of the file that was announced last.
    Bytes(Vec<u8>),
    Message(ParserProcessMessage),
}

/// Writes a message; blocking, used by the parser process.
pub(super) fn write_message(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_frame(out, KIND_MESSAGE, &encode_message(message)?)
}

/// Writes text, split into frames within the size limit; blocking.
pub(super) fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    text.as_bytes()
        .chunks(MAX_TEXT)
        .try_for_each(|piece| write_frame(out, KIND_TEXT, piece))
}

/// Writes the bytes of a file, split into frames within the size limit; blocking.
pub(super) fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes
        .chunks(MAX_TEXT)
        .try_for_each(|piece| write_frame(out, KIND_BYTES, piece))
}

fn write_frame(out: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    out.write_all(&encode_head(kind, payload.len()))?;
    out.write_all(payload)
}

/// Encodes a message as a complete frame.
pub(super) fn message_frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    write_message(&mut frame, message)?;
    Ok(frame)
}

/// Reads a message; blocking, used by the parser process. `None` if the other side has closed the pipe.
pub(super) fn read_message<M: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<M>> {
    let mut head = [0; HEAD];
    if let Err(error) = input.read_exact(&mut head) {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let (kind, length) = parse_head(head)?;
    if kind != KIND_MESSAGE {
        return Err(invalid_data("a frame of an unexpected kind"));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    decode_message(&payload).map(Some)
}

/// Reads the next frame; used by the server.
pub(super) async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> io::Result<PipeFrame> {
    let mut head = [0; HEAD];
    input.read_exact(&mut head).await?;
    let (kind, length) = parse_head(head)?;
    let mut payload = vec![0; length];
    input.read_exact(&mut payload).await?;
    match kind {
        KIND_TEXT => Ok(PipeFrame::Text(payload)),
        KIND_BYTES => Ok(PipeFrame::Bytes(payload)),
        _ => decode_message(&payload).map(PipeFrame::Message),
    }
}

fn encode_head(kind: u8, length: usize) -> [u8; HEAD] {
    let length = u32::try_from(length)
        .expect("both limits are below 4 GiB")
        .to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

fn parse_head(head: [u8; HEAD]) -> io::Result<(u8, usize)> {
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match head[0] {
        kind @ (KIND_TEXT | KIND_BYTES) if length <= MAX_TEXT => Ok((kind, length)),
        KIND_MESSAGE if length <= MAX_MESSAGE => Ok((KIND_MESSAGE, length)),
        _ => Err(invalid_data("what stands on the pipe is no frame")),
    }
}

fn encode_message(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let payload = serde_json::to_vec(message)?;
    if payload.len() > MAX_MESSAGE {
        Err(invalid_data("the message is too long"))
    } else {
        Ok(payload)
    }
}

fn decode_message<M: DeserializeOwned>(payload: &[u8]) -> io::Result<M> {
    Ok(serde_json::from_slice(payload)?)
}

fn invalid_data(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
