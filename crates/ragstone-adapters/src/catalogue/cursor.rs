//! Where a list goes on: the sort key of its last item, as text that callers need not understand.

use std::convert::Infallible;

use ragstone_core::seam::catalogue::{CatalogueError, ListPage, PageRequest};
use ragstone_core::seam::feedback::RatedAnswer;
use ragstone_core::seam::keys::{KeyId, KeyRecord as ApiKey};
use ragstone_core::seam::source::SourceRecord;
use uuid::Uuid;

use super::value::{DamagedValue, to_nanoseconds};

/// A key that a list is sorted by: a time, then an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorKey {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The item's id.
    pub id: Uuid,
}

impl CursorKey {
    /// The key as a cursor.
    pub fn encode_cursor(self) -> String {
        format!("{:016x}{}", self.at, self.id.as_simple())
    }

    /// The key of a cursor that [`Self::encode_cursor`] made.
    pub fn parse_cursor(cursor: &str) -> Result<Self, CatalogueError> {
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
pub fn build_page<T, E>(
    mut items: Vec<T>,
    limit: usize,
    cursor: impl FnOnce(&T) -> Result<String, E>,
) -> Result<ListPage<T>, E> {
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    Ok(ListPage {
        next_cursor: last.map(cursor).transpose()?,
        items,
    })
}

/// What the API keys of a page stand behind: a time and an id of theirs.
pub fn parse_key_cursor(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
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
pub fn build_key_page(items: Vec<ApiKey>, limit: usize) -> Result<ListPage<ApiKey>, DamagedValue> {
    build_page(items, limit, |key| {
        Ok(format!("{:016x}{}", to_nanoseconds(key.created_at)?, key.id))
    })
}

/// What the feedback of a page stands behind: a time, and the trace of an answer, empty at the beginning.
pub fn parse_feedback_cursor(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((i64::MIN, String::new()));
    };
    let key = CursorKey::parse_cursor(cursor)?;
    Ok((key.at, key.id.to_string()))
}

/// A page of feedback, of `items` in order: one more than `limit` if there are further ones.
pub fn build_feedback_page(items: Vec<RatedAnswer>, limit: usize) -> Result<ListPage<RatedAnswer>, DamagedValue> {
    build_page(items, limit, |feedback| {
        let key = CursorKey {
            at: to_nanoseconds(feedback.rated_at)?,
            id: feedback.answer.trace_id.0,
        };
        Ok(key.encode_cursor())
    })
}

/// What the sources of a page stand behind: a tenant and a name. Names hold no space.
pub fn parse_source_cursor(page: &PageRequest) -> Result<(String, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((String::new(), String::new()));
    };
    let (tenant, name) = cursor.split_once(' ').ok_or(CatalogueError::BadCursor)?;
    Ok((tenant.to_owned(), name.to_owned()))
}

/// A page of sources, of `items` in order: one more than `limit` if there are further ones.
pub fn build_source_page(items: Vec<SourceRecord>, limit: usize) -> ListPage<SourceRecord> {
    let cursor = |source: &SourceRecord| Ok::<_, Infallible>(format!("{} {}", source.tenant, source.name));
    let Ok(page) = build_page(items, limit, cursor);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for at in [0, 1, -5, i64::MAX, i64::MIN] {
            let key = CursorKey {
                at,
                id: Uuid::from_u128(7),
            };
            assert_eq!(CursorKey::parse_cursor(&key.encode_cursor()).unwrap(), key);
        }
        let good = CursorKey { at: 1, id: Uuid::nil() }.encode_cursor();
        for bad in [
            "",
            "x",
            "é",
            &good[1..],
            &format!("{good}0"),
            &good.replace('1', "+"),
            &"é".repeat(24),
        ] {
            assert!(CursorKey::parse_cursor(bad).is_err(), "{bad:?}");
        }
    }
}
