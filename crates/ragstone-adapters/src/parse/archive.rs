//! Zip archives: what is in them, told from their directory, and members unpacked up to a limit.

use std::io::{Cursor, Read};

use super::error::ParseProblem;

/// Signature and size of the record that ends an archive's directory (APPNOTE 4.3.16).
const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
/// The same of an entry in the directory (4.3.12).
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
/// A comment may follow the end record, of at most 64 KiB.
const END_WITHIN: usize = END_SIZE + 65_535;
/// Entries looked at to tell what an archive is.
const MAX_ENTRIES: usize = 20_000;

/// What an archive's directory says of one member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path.
    pub(super) name: String,
    /// Whether it needs a password.
    pub(super) encrypted: bool,
}

/// The members of an archive; none if it has no directory, as a file that was cut off has not.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    let tail = bytes.len().saturating_sub(END_WITHIN);
    let end = tail
        + bytes[tail..]
            .windows(END.len())
            .rposition(|window| window == END)?;
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
        members.push(Member {
            name: String::from_utf8_lossy(raw).into_owned(),
            encrypted: u16_at(bytes, at + 8)? & 1 == 1,
        });
        at += ENTRY_SIZE + name + extra + comment;
    }
    Some(members)
}

/// A member, unpacked; none if there is no such one.
#[cfg(feature = "office")]
pub(super) fn unpack(bytes: &[u8], name: &str, limit: u64) -> Result<Option<Vec<u8>>, ParseProblem> {
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

/// Whether a member in a folder holds these bytes; what cannot be unpacked does not.
#[cfg(feature = "office")]
pub(super) fn any_member_has(bytes: &[u8], folder: &str, wanted: &[u8], limit: u64) -> bool {
    let names = members(bytes)
        .unwrap_or_default()
        .into_iter()
        .map(|member| member.name);
    let mut parts = names.filter(|name| name.starts_with(folder) && name.ends_with(".xml"));
    parts.any(|name| {
        let part = unpack(bytes, &name, limit).ok().flatten().unwrap_or_default();
        part.windows(wanted.len()).any(|window| window == wanted)
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
