//! Judge calls that several metrics share: extraction of statements, and verdicts on statements.

use serde_json::json;

use super::judge::{JudgeCallKind, JudgeClient};
use super::reply::{StatementList, StatementVerdicts};
use super::{RagasApi, RagasError};

impl JudgeClient<'_> {
    /// The statements of `answer`, each understandable on its own.
    pub(super) async fn extract_statements(&self, question: &str, answer: &str) -> Result<Vec<String>, RagasError> {
        let input = json!({ "question": question, "answer": answer });
        Ok(self
            .request_reply::<StatementList>(JudgeCallKind::Statements, input)
            .await?
            .0)
    }

    /// The claims of a text, at RAGAS's default granularity.
    pub(super) async fn extract_claims(&self, text: &str) -> Result<Vec<String>, RagasError> {
        let input = match self.api {
            RagasApi::Legacy => json!({ "response": text }),
            RagasApi::Collections => json!({ "response": text, "atomicity": "low", "coverage": "low" }),
        };
        Ok(self
            .request_reply::<StatementList>(JudgeCallKind::Claims, input)
            .await?
            .0)
    }

    /// Whether each statement follows from the context, as many verdicts as the judge returns. Without statements, no
    /// call.
    pub(super) async fn check_entailment(&self, context: &str, statements: &[String]) -> Result<Vec<bool>, RagasError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let input = json!({ "context": context, "statements": statements });
        let verdicts = self
            .request_reply::<StatementVerdicts>(JudgeCallKind::Nli, input)
            .await?
            .0;
        Ok(verdicts.into_iter().map(|verdict| verdict != 0).collect())
    }
}

/// Number of true verdicts.
pub(super) fn count_true(verdicts: &[bool]) -> usize {
    verdicts.iter().filter(|holds| **holds).count()
}
