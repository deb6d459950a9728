//! Result of the ingestion of each document, and the summary.

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::print_message;

/// Result of one document.
#[derive(Debug, Clone, Serialize)]
pub struct IngestedDocument {
    /// URI of the document.
    pub uri: String,
    /// Id of the document; `None` if it was refused.
    pub document_id: Option<String>,
    /// Status at the end of the command.
    pub status: IngestStatus,
    /// Number of its published chunks; 0 if it failed.
    pub chunks: u64,
    /// Why it failed; `None` unless it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// Status of an ingested document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IngestStatus {
    /// The document is published and can be found.
    Published,
    /// The same version was published already.
    Unchanged,
    /// The document was refused, or its job failed.
    Failed,
    /// The command did not wait for the end.
    Pending,
}

impl IngestedDocument {
    pub(super) fn from_failure(uri: String, code: &str, detail: String) -> Self {
        let error = serde_json::json!({ "code": code, "detail": detail });
        Self {
            uri,
            document_id: None,
            status: IngestStatus::Failed,
            chunks: 0,
            error: Some(error),
        }
    }

    /// The failure as text, with its hint if it has one.
    fn describe_failure(&self) -> String {
        let text = |key: &str| {
            self.error
                .as_ref()
                .and_then(|error| error[key].as_str())
                .unwrap_or_default()
        };
        match text("hint") {
            "" => text("detail").to_owned(),
            hint => format!("{}; hint: {hint}", text("detail")),
        }
    }
}

/// Counts and failures of all documents.
#[derive(Debug, Default)]
pub struct IngestSummary {
    published: usize,
    unchanged: usize,
    pub(super) pending: usize,
    chunks: u64,
    pub(super) failed: Vec<IngestedDocument>,
}

impl IngestSummary {
    pub(super) fn count_document(&mut self, document: IngestedDocument) {
        match document.status {
            IngestStatus::Published => {
                self.published += 1;
                self.chunks += document.chunks;
            }
            IngestStatus::Unchanged => self.unchanged += 1,
            IngestStatus::Pending => self.pending += 1,
            IngestStatus::Failed => self.failed.push(document),
        }
    }

    /// Whether any document failed.
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Prints the counts, and every failure with its reason.
    pub fn show_summary(&self) {
        for document in &self.failed {
            print_message(&format!("failed: {}: {}", document.uri, document.describe_failure()));
        }
        let mut parts = vec![format!("{} published ({} chunks)", self.published, self.chunks)];
        for (count, word) in [
            (self.unchanged, "unchanged"),
            (self.pending, "on their way"),
            (self.failed.len(), "failed"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        print_message(&parts.join(", "));
    }
}
