//! How the vectors stand, in a word or two.

/// How the vectors stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedderState {
    /// Settings want none.
    Off,
    /// The model is on its way.
    Fetching,
    /// There is no model, and why.
    Missing(String),
    /// Documents get their vectors; searched by words until all have them.
    CatchingUp,
    /// The library was embedded by another model.
    Mismatch(String),
    /// In use.
    Ready(String),
}

impl EmbedderState {
    /// A word or two.
    pub fn describe(&self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::Fetching => "fetching".into(),
            Self::Missing(why) => format!("missing: {why}"),
            Self::CatchingUp => "documents are being embedded".into(),
            Self::Mismatch(why) => format!("does not fit: {why}"),
            Self::Ready(model) => model.clone(),
        }
    }
}
