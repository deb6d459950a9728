//! Where a list goes on: the sort key of its last item, as text that callers need not understand.

use ragstone_core::seam::catalogue::CatalogueError;
use ragstone_core::seam::keys::KeyId;
use uuid::Uuid;

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

/// A list of API keys goes on behind a time and an id of theirs.
pub fn write_key_cursor(at: i64, id: KeyId) -> String {
    format!("{at:016x}{id}")
}

/// What [`write_key_cursor`] wrote.
pub fn read_key_cursor(cursor: &str) -> Result<(i64, String), CatalogueError> {
    let parse = || {
        let (at, id) = cursor.split_at_checked(16)?;
        // Both halves have the same form.
        at.parse::<KeyId>().ok()?;
        let id: KeyId = id.parse().ok()?;
        Some((u64::from_str_radix(at, 16).ok()? as i64, id.to_string()))
    };
    parse().ok_or(CatalogueError::BadCursor)
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
        let good = Key {
            at: 1,
            id: Uuid::nil(),
        }
        .write();
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
