//! stub
use super::*;
/// stub
pub fn split(_text: &str, _settings: &SplitSettings) -> Vec<Piece> {
    Vec::new()
}
