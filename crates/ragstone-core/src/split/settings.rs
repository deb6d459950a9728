//! The settings of the splitters, and their validation.

use serde::{Deserialize, Serialize};

/// Most separators: each costs one level of recursion.
pub const MAX_SEPARATORS: usize = 256;

/// Version of the splitters' output. Must be raised with every change of that output, also by a newer
/// `text-splitter`, because chunk ids are derived from it.
const REVISION: &str = "split-1";

/// How a text is split into chunks. Sizes are in Unicode code points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitSettings {
    /// The longest chunk; at least 1. A piece that contains no separator may be longer.
    pub chunk_size: usize,
    /// The most of a chunk's end that the next one may repeat. At most `chunk_size`, as in LangChain, and less than
    /// that with [`SplitStrategy::Markdown`].
    pub chunk_overlap: usize,
    /// Where to cut, best first; the empty string cuts between any two characters. An empty list means the default
    /// separators, as in LangChain.
    pub separators: Vec<String>,
    /// What happens to a separator.
    pub keep_separator: KeepSeparator,
    /// Whether white space around a chunk is removed.
    pub strip: bool,
    /// Which splitter is used.
    pub strategy: SplitStrategy,
}

/// What happens to a separator where a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepSeparator {
    /// It begins the piece after it.
    Start,
    /// It ends the piece before it.
    End,
    /// It is removed, and inserted again where pieces are joined.
    None,
}

/// Selects one of the splitters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitStrategy {
    /// By separators, as LangChain's `RecursiveCharacterTextSplitter` does.
    Recursive,
    /// By headings, blocks, sentences; tables and code stay whole where they fit.
    Markdown,
}

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitSettingsError {
    /// `chunk_size` is 0: a chunk could contain nothing.
    #[error("chunk_size must be at least 1, got 0")]
    NoSize,
    /// `chunk_overlap` is too large for `chunk_size`.
    #[error("chunk_overlap must be at most {allowed} for chunk_size {size}, got {overlap}")]
    Overlap {
        /// The `chunk_overlap` that was given.
        overlap: usize,
        /// The `chunk_size` that was given.
        size: usize,
        /// The largest overlap that this strategy allows.
        allowed: usize,
    },
    /// More separators, and so more levels of recursion, than a stack should hold.
    #[error("separators must be at most {MAX_SEPARATORS}, got {0}")]
    TooManySeparators(usize),
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self {
            chunk_size: 800,
            chunk_overlap: 150,
            separators: ["\n\n", "\n", " ", ""].map(String::from).to_vec(),
            keep_separator: KeepSeparator::Start,
            strip: true,
            strategy: SplitStrategy::Recursive,
        }
    }
}

impl SplitSettings {
    /// Checks the settings; the error says which one is wrong and what is allowed.
    pub fn validate(&self) -> Result<(), SplitSettingsError> {
        let (size, overlap) = (self.chunk_size, self.chunk_overlap);
        if size == 0 {
            return Err(SplitSettingsError::NoSize);
        }
        let allowed = match self.strategy {
            SplitStrategy::Recursive => size,
            SplitStrategy::Markdown => size - 1,
        };
        if overlap > allowed {
            return Err(SplitSettingsError::Overlap { overlap, size, allowed });
        }
        if self.separators.len() > MAX_SEPARATORS {
            return Err(SplitSettingsError::TooManySeparators(self.separators.len()));
        }
        Ok(())
    }

    /// A name for the chunks that these settings produce: equal names mean equal chunks of equal text.
    pub fn fingerprint(&self) -> String {
        let settings = serde_json::to_string(self).expect("plain fields always serialise");
        format!("{REVISION}:{settings}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: usize, overlap: usize, strategy: SplitStrategy, expected: Result<(), &str>) {
        let settings = SplitSettings {
            chunk_size: size,
            chunk_overlap: overlap,
            strategy,
            ..Default::default()
        };
        assert_eq!(
            settings.validate().map_err(|error| error.to_string()),
            expected.map_err(String::from)
        );
    }

    #[test]
    fn sizes_and_overlaps() {
        use SplitStrategy::{Markdown, Recursive};
        check(800, 150, Recursive, Ok(()));
        check(800, 150, Markdown, Ok(()));
        check(1, 0, Markdown, Ok(()));
        check(10, 10, Recursive, Ok(()));
        check(0, 0, Recursive, Err("chunk_size must be at least 1, got 0"));
        check(0, 0, Markdown, Err("chunk_size must be at least 1, got 0"));
        check(
            10,
            11,
            Recursive,
            Err("chunk_overlap must be at most 10 for chunk_size 10, got 11"),
        );
        check(
            10,
            10,
            Markdown,
            Err("chunk_overlap must be at most 9 for chunk_size 10, got 10"),
        );
    }

    #[test]
    fn too_many_separators() {
        let separators = vec![String::from(","); MAX_SEPARATORS + 1];
        let error = SplitSettings {
            separators,
            ..Default::default()
        }
        .validate()
        .unwrap_err();
        assert_eq!(error.to_string(), "separators must be at most 256, got 257");
    }

    #[test]
    fn fingerprints_differ_with_any_setting() {
        let base = SplitSettings::default();
        let others = [
            SplitSettings {
                chunk_size: 801,
                ..base.clone()
            },
            SplitSettings {
                chunk_overlap: 151,
                ..base.clone()
            },
            SplitSettings {
                separators: vec![String::from(" ")],
                ..base.clone()
            },
            SplitSettings {
                keep_separator: KeepSeparator::None,
                ..base.clone()
            },
            SplitSettings {
                strip: false,
                ..base.clone()
            },
            SplitSettings {
                strategy: SplitStrategy::Markdown,
                ..base.clone()
            },
        ];
        assert!(others.iter().all(|other| other.fingerprint() != base.fingerprint()));
        assert_eq!(base.fingerprint(), SplitSettings::default().fingerprint());
    }

    #[test]
    fn read_from_json_with_defaults() {
        let settings: SplitSettings = serde_json::from_str(r#"{"chunk_size": 64, "keep_separator": "none"}"#).unwrap();
        assert_eq!((settings.chunk_size, settings.chunk_overlap), (64, 150));
        assert_eq!(settings.keep_separator, KeepSeparator::None);
        assert!(serde_json::from_str::<SplitSettings>(r#"{"size": 64}"#).is_err());
    }
}
