//! State of the library's embedder, with a short description.

/// State of the library's embedder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedderState {
    /// The settings want no embedder.
    Off,
    /// The model is being fetched.
    Fetching,
    /// The embedder is unavailable, for this reason.
    Missing(String),
    /// Documents are being embedded; search uses words alone until all have vectors.
    CatchingUp,
    /// The library was embedded by another model; the text says what to do.
    Mismatch(String),
    /// The embedder is in use; the text is the model's name.
    Ready(String),
}

impl EmbedderState {
    /// Short description for people.
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
