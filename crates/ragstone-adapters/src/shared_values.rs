//! Interning of values that many rows share, so that each is held in memory once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// Invariant: equal values share one allocation; values without another user are dropped before the pool doubles.
#[derive(Debug)]
pub struct SharedPool<T> {
    values: HashSet<Arc<T>>,
    /// Number of values left after the last removal of unused ones.
    live: usize,
}

impl<T> Default for SharedPool<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            live: 0,
        }
    }
}

impl<T: Eq + Hash> SharedPool<T> {
    /// Returns the shared copy of an equal value, inserting `value` if there is none.
    pub fn intern_value(&mut self, value: T) -> Arc<T> {
        if let Some(held) = self.values.get(&value) {
            return held.clone();
        }
        if self.values.len() > 2 * self.live {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.live = self.values.len().max(1);
        }
        let value = Arc::new(value);
        self.values.insert(value.clone());
        value
    }

    /// Number of values in the pool.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// Parsed forms of texts, each parsed once while many rows are read.
#[derive(Debug)]
pub struct ParsedTexts<T>(HashMap<String, Arc<T>>);

impl<T> Default for ParsedTexts<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ParsedTexts<T> {
    /// Returns the parsed form of `text`; calls `read` the first time the text is met.
    pub fn get_or_parse<E>(&mut self, text: &str, read: impl FnOnce(&str) -> Result<Arc<T>, E>) -> Result<Arc<T>, E> {
        if let Some(meant) = self.0.get(text) {
            return Ok(meant.clone());
        }
        let meant = read(text)?;
        self.0.insert(text.to_owned(), meant.clone());
        Ok(meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut pool = SharedPool::default();
        let kept: Vec<_> = (0..10).map(|n| pool.intern_value(n)).collect();
        assert!(Arc::ptr_eq(&kept[3], &pool.intern_value(3)));
        for n in 10..1_000 {
            drop(pool.intern_value(n));
        }
        assert!(pool.values.len() <= 2 * (kept.len() + 1), "{}", pool.values.len());
        assert!(Arc::ptr_eq(&kept[9], &pool.intern_value(9)));
    }

    #[test]
    fn a_text_is_read_once() {
        let mut texts = ParsedTexts::default();
        let mut reads = 0;
        for text in ["1", "2", "1", "x", "x"] {
            let number = texts.get_or_parse(text, |text| {
                reads += 1;
                text.parse::<u32>().map(Arc::new)
            });
            assert_eq!(number.is_ok(), text != "x");
        }
        assert_eq!(reads, 4, "and again what could not be read");
    }
}
