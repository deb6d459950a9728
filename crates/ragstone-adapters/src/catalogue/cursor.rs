//! Where a list goes on: the sort key of its last item, as text that callers need not understand.

use std::convert::Infallible;

use ragstone_core::seam::catalogue::{CatalogueError, Page, PageRequest};
use ragstone_core::seam::feedback::Feedback;
use ragstone_core::seam::keys::{Key as ApiKey, KeyId};
use ragstone_core::seam::source::SourceRecord;
use uuid::Uuid;

use super::value::{Damaged, nanoseconds};

/// A key that a list is sorted by: a time, then an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The item's id.
    pub id: Uuid,
}

impl Key {
    /// The key as a cursor.
    pub fn write(self) -> String {
        format!("{:016x}{}", self.at, self.id.as_simple())
    }

    /// The key of a cursor that [`Self::write`] made.
    pub fn read(cursor: &str) -> Result<Self, CatalogueError> {
        let parse = || {
            let (at, id) = cursor.split_at_checked(16)?;
            let digits = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            (id.len() == 32 && cursor.chars().all(digits)).then_some(())?;
            Some(Self {
                at: u64::from_str_radix(at, 16).ok()? as i64,
                id: Uuid::try_parse(id).ok()?,
            })
        };
        parse().ok_or(CatalogueError::BadCursor)
    }
}

/// A page of `items` in order, one more than `limit` if there are further ones; the list goes on behind the `cursor` of the
/// last one shown.
pub fn page_of<T, E>(
    mut items: Vec<T>,
    limit: usize,
    cursor: impl FnOnce(&T) -> Result<String, E>,
) -> Result<Page<T>, E> {
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    Ok(Page {
        next_cursor: last.map(cursor).transpose()?,
        items,
    })
}

/// What the API keys of a page stand behind: a time and an id of theirs.
pub fn begin_of_keys(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((i64::MIN, String::new()));
    };
    let parse = || {
        let (at, id) = cursor.split_at_checked(16)?;
        // Both halves have the same form.
        at.parse::<KeyId>().ok()?;
        let id: KeyId = id.parse().ok()?;
        Some((u64::from_str_radix(at, 16).ok()? as i64, id.to_string()))
    };
    parse().ok_or(CatalogueError::BadCursor)
}

/// A page of API keys, of `items` in order: one more than `limit` if there are further ones.
pub fn page_of_keys(items: Vec<ApiKey>, limit: usize) -> Result<Page<ApiKey>, Damaged> {
    page_of(items, limit, |key| {
        Ok(format!("{:016x}{}", nanoseconds(key.created_at)?, key.id))
    })
}

/// What the feedback of a page stands behind: a time, and the trace of an answer, empty at the beginning.
pub fn begin_of_feedback(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((i64::MIN, String::new()));
    };
    let key = Key::read(cursor)?;
    Ok((key.at, key.id.to_string()))
}

/// A page of feedback, of `items` in order: one more than `limit` if there are further ones.
pub fn page_of_feedback(items: Vec<Feedback>, limit: usize) -> Result<Page<Feedback>, Damaged> {
    page_of(items, limit, |feedback| {
        let key = Key {
            at: nanoseconds(feedback.rated_at)?,
            id: feedback.answer.trace_id.0,
        };
        Ok(key.write())
    })
}

/// What the sources of a page stand behind: a tenant and a name. Names hold no space.
pub fn begin_of_sources(page: &PageRequest) -> Result<(String, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((String::new(), String::new()));
    };
    let (tenant, name) = cursor.split_once(' ').ok_or(CatalogueError::BadCursor)?;
    Ok((tenant.to_owned(), name.to_owned()))
}

/// A page of sources, of `items` in order: one more than `limit` if there are further ones.
pub fn page_of_sources(items: Vec<SourceRecord>, limit: usize) -> Page<SourceRecord> {
    let cursor = |source: &SourceRecord| Ok::<_, Infallible>(format!("{} {}", source.tenant, source.name));
    let Ok(page) = page_of(items, limit, cursor);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for at in [0, 1, -5, i64::MAX, i64::MIN] {
            let key = Key {
                at,
                id: Uuid::from_u128(7),
            };
            assert_eq!(Key::read(&key.write()).unwrap(), key);
        }
        let good = Key { at: 1, id: Uuid::nil() }.write();
        for bad in [
            "",
            "x",
            "é",
            &good[1..],
            &format!("{good}0"),
            &good.replace('1', "+"),
            &"é".repeat(24),
        ] {
            assert!(Key::read(bad).is_err(), "{bad:?}");
        }
    }
}
