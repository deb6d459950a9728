//! What the server and its parser processes say to each other over a pipe.
//!
//! A frame is one byte for its kind, four bytes for its length (little-endian), and that many bytes. Text and files travel
//! as they are, everything else as JSON, one page after the other, so that neither side holds more than it wants to.

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

/// Longest text, or part of a file, in one frame, in bytes.
pub(super) const MAX_TEXT: usize = 256 * 1024;
/// Longest message in one frame, in bytes; an outline of 20,000 sections fits.
const MAX_MESSAGE: usize = 64 << 20;
const HEAD: usize = 5;
const KIND_TEXT: u8 = b't';
const KIND_BYTES: u8 = b'b';
const KIND_MESSAGE: u8 = b'm';

/// One document to parse.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ParserProcessRequest {
    /// The worker opens the file itself.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) declared: Option<String>,
    pub(super) limits: ParseLimits,
    /// Processor seconds for this document.
    pub(super) cpu_seconds: u64,
    /// Address space of the process, in bytes.
    pub(super) memory_bytes: u64,
}

/// What a worker says besides text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(super) enum ParserProcessMessage {
    /// It is up; said once.
    Ready { isolation: ProcessIsolation },
    /// The text since the last such message is that of one page.
    Page { page: Option<u32> },
    /// A file that came in the document; frames of bytes follow.
    Attachment { file: AttachedFile },
    /// The document is complete.
    Done {
        media_type: String,
        outline: DocumentOutline,
    },
    /// The document failed; the worker goes on.
    Failed { problem: ParseProblem },
}

/// A frame as received by the server.
#[derive(Debug)]
pub(super) enum PipeFrame {
    Text(Vec<u8>),
    /// Of the file that was announced last.
    Bytes(Vec<u8>),
    Message(ParserProcessMessage),
}

/// Writes a message (the blocking side).
pub(super) fn write_message(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_frame(out, KIND_MESSAGE, &encode_message(message)?)
}

/// Writes text in pieces that stay below the limit.
pub(super) fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    text.as_bytes()
        .chunks(MAX_TEXT)
        .try_for_each(|piece| write_frame(out, KIND_TEXT, piece))
}

/// Writes the bytes of a file in pieces that stay below the limit.
pub(super) fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes
        .chunks(MAX_TEXT)
        .try_for_each(|piece| write_frame(out, KIND_BYTES, piece))
}

fn write_frame(out: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    out.write_all(&encode_head(kind, payload.len()))?;
    out.write_all(payload)
}

/// The bytes of a frame that holds a message.
pub(super) fn message_frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    write_message(&mut frame, message)?;
    Ok(frame)
}

/// Reads a message (the blocking side); `None` when the other side has closed the pipe.
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

/// Reads a frame (the server's side).
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
