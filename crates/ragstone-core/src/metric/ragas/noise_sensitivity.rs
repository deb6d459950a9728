//! Noise sensitivity: the share of the answer's statements that are wrong although a context supports them.
//!
//! A context is *relevant* if it supports a statement of the reference; a statement of the answer is *wrong* if the
//! reference does not support it. Lower is better. NaN if the answer has no statements.

use super::judge::JudgeClient;
use super::{MetricParameters, RagasError, RagasSample, mean_or_nan};

/// Which statements the contexts and the reference support.
struct StatementSupport {
    /// Whether each context is relevant.
    relevant: Vec<bool>,
    /// Whether each context supports each statement of the answer.
    answer: Vec<Vec<bool>>,
    /// Whether the reference supports each statement of the answer.
    right: Vec<bool>,
}

pub(super) async fn score_noise_sensitivity(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    parameters: &MetricParameters,
) -> Result<f64, RagasError> {
    let of_relevant = match parameters.mode.as_deref().unwrap_or("relevant") {
        "relevant" => true,
        "irrelevant" => false,
        mode => {
            let value = mode.to_owned();
            return Err(RagasError::Parameter { name: "mode", value });
        }
    };
    let support = judge_support(asking, sample).await?;
    let statements = 0..support.right.len();
    Ok(mean_or_nan(statements.map(|statement| {
        f64::from(u8::from(support.is_misled_statement(statement, of_relevant)))
    })))
}

async fn judge_support(asking: JudgeClient<'_>, sample: &RagasSample) -> Result<StatementSupport, RagasError> {
    let (question, reference) = (sample.require_user_input()?, sample.require_reference()?);
    let contexts = sample.require_contexts(asking.api)?;
    let gold = asking.extract_statements(question, reference).await?;
    let answer = asking.extract_statements(question, sample.require_response()?).await?;
    if gold.is_empty() || contexts.is_empty() {
        return Err(RagasError::Unscorable(
            "the reference has no statements, or nothing was retrieved",
        ));
    }
    let mut support = StatementSupport {
        relevant: Vec::new(),
        answer: Vec::new(),
        right: Vec::new(),
    };
    for context in contexts {
        let of_gold = asking.check_entailment(context, &gold).await?;
        support.relevant.push(of_gold.contains(&true));
        support.answer.push(asking.check_entailment(context, &answer).await?);
    }
    support.right = asking.check_entailment(reference, &answer).await?;
    let even = |verdicts: &Vec<bool>| verdicts.len() == support.right.len();
    match support.answer.iter().all(even) {
        true => Ok(support),
        false => Err(RagasError::Unscorable(
            "the judge gave verdicts on other statements than it was asked about",
        )),
    }
}

impl StatementSupport {
    /// Whether a statement is wrong and is supported by relevant contexts, or by irrelevant contexts only.
    fn is_misled_statement(&self, statement: usize, of_relevant: bool) -> bool {
        let supports = |relevant: bool| {
            let contexts = self.relevant.iter().zip(&self.answer);
            contexts
                .filter(|(is, _)| **is == relevant)
                .any(|(_, answer)| answer[statement])
        };
        let misled = match of_relevant {
            true => supports(true),
            false => supports(false) && !supports(true),
        };
        !self.right[statement] && misled
    }
}
