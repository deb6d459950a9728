//! Page cursors: the sort key of a page's last item, as text that is opaque to callers.

use std::convert::Infallible;

use ragstone_core::seam::catalogue::{CatalogueError, ListPage, PageRequest};
use ragstone_core::seam::feedback::RatedAnswer;
use ragstone_core::seam::keys::{KeyId, KeyRecord as ApiKey};
use ragstone_core::seam::source::SourceRecord;
use uuid::Uuid;

use super::value::{DamagedValue, to_nanoseconds};

/// Sort key of a list: a time, then an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorKey {
    /// Nanoseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Id of the item.
    pub id: Uuid,
}

impl CursorKey {
    /// Encodes the key as a cursor.
    pub fn encode_cursor(self) -> String {
        format!("{:016x}{}", self.at, self.id.as_simple())
    }

    /// Parses a cursor that [`Self::encode_cursor`] made.
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

/// Builds a page of `items` in order, which has one more than `limit` if there are further ones. The next page starts
/// after the `cursor` of the last item of this page.
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

/// Position after which a page of API keys starts: time and id of a key.
pub fn parse_key_cursor(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((i64::MIN, String::new()));
    };
    let parse = || {
        let (at, id) = cursor.split_at_checked(16)?;
        // The time has the form of a key id (16 hexadecimal digits), so the same parser validates it.
        at.parse::<KeyId>().ok()?;
        let id: KeyId = id.parse().ok()?;
        Some((u64::from_str_radix(at, 16).ok()? as i64, id.to_string()))
    };
    parse().ok_or(CatalogueError::BadCursor)
}

/// Builds a page of API keys from `items` in order, which has one more than `limit` if there are further ones.
pub fn build_key_page(items: Vec<ApiKey>, limit: usize) -> Result<ListPage<ApiKey>, DamagedValue> {
    build_page(items, limit, |key| {
        Ok(format!("{:016x}{}", to_nanoseconds(key.created_at)?, key.id))
    })
}

/// Position after which a page of feedback starts: a time and a trace id, empty for the first page.
pub fn parse_feedback_cursor(page: &PageRequest) -> Result<(i64, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((i64::MIN, String::new()));
    };
    let key = CursorKey::parse_cursor(cursor)?;
    Ok((key.at, key.id.to_string()))
}

/// Builds a page of feedback from `items` in order, which has one more than `limit` if there are further ones.
pub fn build_feedback_page(items: Vec<RatedAnswer>, limit: usize) -> Result<ListPage<RatedAnswer>, DamagedValue> {
    build_page(items, limit, |feedback| {
        let key = CursorKey {
            at: to_nanoseconds(feedback.rated_at)?,
            id: feedback.answer.trace_id.0,
        };
        Ok(key.encode_cursor())
    })
}

/// Position after which a page of sources starts: tenant and name. Names contain no space.
pub fn parse_source_cursor(page: &PageRequest) -> Result<(String, String), CatalogueError> {
    let Some(cursor) = &page.cursor else {
        return Ok((String::new(), String::new()));
    };
    let (tenant, name) = cursor.split_once(' ').ok_or(CatalogueError::BadCursor)?;
    Ok((tenant.to_owned(), name.to_owned()))
}

/// Builds a page of sources from `items` in order, which has one more than `limit` if there are further ones.
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
