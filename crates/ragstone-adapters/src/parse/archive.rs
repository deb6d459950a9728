//! Zip archives: lists the members from the central directory and unpacks members up to a size limit.

use std::io::{Cursor, Read};

#[cfg(any(feature = "office", feature = "epub"))]
use super::complexity::{MarkupLanguage, check_markup};
use super::error::ParseProblem;

/// Signature and size of the end of central directory record (APPNOTE 4.3.16).
const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
/// Signature and size of a central directory entry (APPNOTE 4.3.12).
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
/// How far before the end of the file that record may start: its comment has at most 65,535 bytes.
const END_WITHIN: usize = END_SIZE + 65_535;
/// Most directory entries that are read to detect what an archive is.
const MAX_ENTRIES: usize = 20_000;

/// One member, as the archive's central directory describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ZipMember {
    /// Path of the member inside the archive.
    pub(super) name: String,
    /// Whether the member needs a password to unpack.
    pub(super) encrypted: bool,
}

/// Lists the members of an archive; `None` without a valid central directory, for example in a truncated file.
pub(super) fn list_members(bytes: &[u8]) -> Option<Vec<ZipMember>> {
    let tail = bytes.len().saturating_sub(END_WITHIN);
    let end = tail + bytes[tail..].windows(END.len()).rposition(|window| window == END)?;
    let mut at = u32_at(bytes, end + 16)? as usize;
    let count = u16_at(bytes, end + 10)?;
    let mut members = Vec::new();
    for _ in 0..usize::from(count).min(MAX_ENTRIES) {
        if bytes.get(at..at + ENTRY.len())? != ENTRY {
            return None;
        }
        let length = |offset| u16_at(bytes, at + offset).map(usize::from);
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let raw = bytes.get(at + ENTRY_SIZE..at + ENTRY_SIZE + name)?;
        members.push(ZipMember {
            name: String::from_utf8_lossy(raw).into_owned(),
            encrypted: u16_at(bytes, at + 8)? & 1 == 1,
        });
        at += ENTRY_SIZE + name + extra + comment;
    }
    Some(members)
}

/// Unpacks the member `name`, at most `limit` bytes; `None` if the archive has no such member.
#[cfg(feature = "office")]
pub(super) fn unpack_member(bytes: &[u8], name: &str, limit: u64) -> Result<Option<Vec<u8>>, ParseProblem> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(ParseProblem::damaged)?;
    let member = match archive.by_name(name) {
        Ok(member) => member,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(ParseProblem::damaged(error)),
    };
    let mut unpacked = Vec::new();
    member
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| ParseProblem::damaged(format!("{name}: {error}")))?;
    if unpacked.len() as u64 > limit {
        return Err(ParseProblem::UnpacksTooLarge { limit });
    }
    Ok(Some(unpacked))
}

/// File extensions of members that hold markup.
#[cfg(any(feature = "office", feature = "epub"))]
const MARKUP: [&str; 6] = [".xml", ".rels", ".vml", ".opf", ".ncx", ".xmp"];

/// Scans each markup member once: refuses a member that is too complex, and an archive whose markup unpacks to more
/// than `limit` bytes in total. Returns whether `wanted` occurs in a member within `folder`. Members that cannot be
/// unpacked are left to the format's reader.
#[cfg(any(feature = "office", feature = "epub"))]
pub(super) fn check_members(bytes: &[u8], folder: &str, wanted: &[u8], limit: u64) -> Result<bool, ParseProblem> {
    let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(bytes)) else {
        return Ok(false);
    };
    let wanted = memchr::memmem::Finder::new(wanted);
    let (mut found, mut left) = (false, limit);
    let mut unpacked = Vec::new();
    for index in 0..archive.len() {
        let Ok(member) = archive.by_index(index) else {
            continue;
        };
        let Ok(name) = member.name().map(std::borrow::Cow::into_owned) else {
            continue;
        };
        if !MARKUP.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        unpacked.clear();
        let whole = member.take(left + 1).read_to_end(&mut unpacked).is_ok();
        let length = unpacked.len() as u64;
        left = left
            .checked_sub(length)
            .ok_or(ParseProblem::UnpacksTooLarge { limit })?;
        if !whole {
            continue;
        }
        match unpacked.as_slice() {
            // Packages may hold UTF-16 markup, which its byte order mark identifies.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                let text = super::text::decode_text(&unpacked, None)?;
                check_markup(text.as_bytes(), MarkupLanguage::Xml)?;
            }
            bytes => check_markup(bytes, MarkupLanguage::Xml)?,
        }
        found |= name.starts_with(folder) && wanted.find(&unpacked).is_some();
    }
    Ok(found)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
