//! Answer metrics that a chat model judges.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use super::outcome::QuestionOutcome;
use super::set::EvaluationQuestion;
use crate::metric::ragas::{
    Judge, JudgeCall, JudgeCallKind, JudgeError, MetricParameters, RagasApi, RagasMetric, RagasSample,
    build_judge_prompt, is_readable_reply, judge_reply_schema, score_sample,
};
use crate::seam::chat::{ChatEvent, ChatMessage, ChatRequest, FinishReason, MessageRole};
use crate::seam::embedder::TextKind;
use crate::seam::{ChatModel, Embedder};

/// How often the judge is asked until its reply can be parsed; then it is asked to repair the last reply.
const TRIES: usize = 3;
/// RAGAS's temperature for judgments.
const TEMPERATURE: f32 = 0.01;
/// RAGAS's temperature for calls that should give varied replies.
const VARIED_TEMPERATURE: f32 = 0.3;

/// A chat model as judge, and an embedder for metrics of similarity.
pub struct ModelJudge {
    /// The model that judges.
    pub model: Arc<dyn ChatModel>,
    /// Embedder for similarity metrics; without it they have no score.
    pub embedder: Option<Arc<dyn Embedder>>,
}

impl ModelJudge {
    fn build_request(call: &JudgeCall) -> ChatRequest {
        let temperature = match call.kind {
            JudgeCallKind::QuestionFromAnswer => VARIED_TEMPERATURE,
            _ => TEMPERATURE,
        };
        ChatRequest {
            messages: vec![ChatMessage {
                role: MessageRole::User,
                content: build_judge_prompt(call),
            }],
            question: String::new(),
            passages: [].into(),
            model: None,
            temperature: Some(temperature),
            max_tokens: None,
            reply_schema: Some(judge_reply_schema(call.kind)),
        }
    }

    async fn ask_once(&self, call: &JudgeCall) -> Result<String, JudgeError> {
        let failed = |error: crate::seam::ChatError| JudgeError(error.to_string());
        let mut events = self
            .model
            .stream_reply(Self::build_request(call))
            .await
            .map_err(failed)?;
        let mut reply = String::new();
        while let Some(event) = events.next().await {
            match event.map_err(failed)? {
                ChatEvent::Delta(text) => reply.push_str(&text),
                ChatEvent::End(FinishReason::Filtered) => {
                    return Err(JudgeError("the judge's service withheld its reply".into()));
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}

#[async_trait]
impl Judge for ModelJudge {
    /// Returns the first reply that can be parsed, else the last one.
    async fn reply_to_call(&self, call: &JudgeCall, _: usize) -> Result<String, JudgeError> {
        let mut reply = self.ask_once(call).await?;
        for _ in 1..TRIES {
            if is_readable_reply(call.kind, &reply) {
                break;
            }
            reply = self.ask_once(call).await?;
        }
        Ok(reply)
    }

    async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeError> {
        let Some(embedder) = &self.embedder else {
            return Err(JudgeError("no embedder is there to compare meanings".into()));
        };
        let embedded = embedder.embed_texts(texts, TextKind::Passage).await;
        let embedded = embedded.map_err(|error| JudgeError(error.to_string()))?;
        let wide = |vector: Vec<f32>| vector.into_iter().map(f64::from).collect();
        Ok(embedded.into_iter().map(|embedding| wide(embedding.vector)).collect())
    }
}

/// Adds the judged `metrics` to an outcome, computed as RAGAS's published figures are. A metric that needs an answer or
/// a reference is skipped if there is none; one that gives NaN or fails gets no score.
pub async fn judge_answer(
    metrics: &[RagasMetric],
    question: &EvaluationQuestion,
    outcome: &mut QuestionOutcome,
    judge: &dyn Judge,
) {
    let sample = RagasSample {
        user_input: Some(question.question.clone()),
        response: outcome.answered.then(|| outcome.answer.clone()),
        reference: question.references.first().cloned(),
        retrieved_contexts: Some(outcome.shown.iter().map(|shown| shown.text.clone()).collect()),
        ..RagasSample::default()
    };
    for metric in metrics.iter().copied().filter(|metric| is_applicable(*metric, &sample)) {
        let scored = score_sample(metric, RagasApi::Legacy, &sample, &MetricParameters::default(), judge).await;
        if let Err(error) = &scored {
            outcome.unjudged.push((metric.name().into(), error.to_string()));
        }
        let finite = scored.ok().filter(|score| score.is_finite());
        outcome.scores.insert(metric.name().into(), finite);
    }
}

fn is_applicable(metric: RagasMetric, sample: &RagasSample) -> bool {
    let (response, reference) = (sample.response.is_some(), sample.reference.is_some());
    match metric {
        RagasMetric::Faithfulness | RagasMetric::AnswerRelevancy | RagasMetric::ContextPrecisionWithoutReference => {
            response
        }
        RagasMetric::ContextPrecisionWithReference | RagasMetric::ContextRecall => reference,
        RagasMetric::AnswerCorrectness
        | RagasMetric::FactualCorrectness
        | RagasMetric::NoiseSensitivity
        | RagasMetric::SemanticSimilarity => response && reference,
        RagasMetric::IdBasedContextPrecision | RagasMetric::IdBasedContextRecall => false,
    }
}
