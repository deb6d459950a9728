//! Answer metrics judged by a chat model.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use super::outcome::Outcome;
use super::set::Question;
use crate::metric::ragas::{
    Api, Call, Judge, JudgeFailure, Kind, Metric, Parameters, Sample, fits, prompt, schema, score,
};
use crate::seam::chat::{ChatEvent, ChatRequest, FinishReason, Message, MessageRole};
use crate::seam::embedder::TextKind;
use crate::seam::{ChatModel, Embedder};

/// How often a judge is asked for a reply that can be read, before it is asked to repair its last one.
const TRIES: usize = 3;
/// RAGAS's temperature for judgements.
const TEMPERATURE: f32 = 0.01;
/// RAGAS's temperature where several different replies are wanted.
const VARIED: f32 = 0.3;

/// A chat model as a judge, with an embedder for the metrics that compare meanings.
pub struct ModelJudge {
    /// Who judges.
    pub model: Arc<dyn ChatModel>,
    /// Who compares; without one those metrics have no score.
    pub embedder: Option<Arc<dyn Embedder>>,
}

impl ModelJudge {
    fn request(call: &Call) -> ChatRequest {
        let temperature = match call.kind {
            Kind::QuestionFromAnswer => VARIED,
            _ => TEMPERATURE,
        };
        ChatRequest {
            messages: vec![Message {
                role: MessageRole::User,
                content: prompt(call),
            }],
            question: String::new(),
            passages: [].into(),
            model: None,
            temperature: Some(temperature),
            max_tokens: None,
            reply_schema: Some(schema(call.kind)),
        }
    }

    async fn once(&self, call: &Call) -> Result<String, JudgeFailure> {
        let failed = |error: crate::seam::ChatError| JudgeFailure(error.to_string());
        let mut events = self.model.stream(Self::request(call)).await.map_err(failed)?;
        let mut reply = String::new();
        while let Some(event) = events.next().await {
            match event.map_err(failed)? {
                ChatEvent::Delta(text) => reply.push_str(&text),
                ChatEvent::End(FinishReason::Filtered) => {
                    return Err(JudgeFailure("the judge's service withheld its reply".into()));
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}

#[async_trait]
impl Judge for ModelJudge {
    /// The first reply that can be read, or the last one.
    async fn reply(&self, call: &Call, _: usize) -> Result<String, JudgeFailure> {
        let mut reply = self.once(call).await?;
        for _ in 1..TRIES {
            if fits(call.kind, &reply) {
                break;
            }
            reply = self.once(call).await?;
        }
        Ok(reply)
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeFailure> {
        let Some(embedder) = &self.embedder else {
            return Err(JudgeFailure("no embedder is there to compare meanings".into()));
        };
        let embedded = embedder.embed(texts, TextKind::Passage).await;
        let embedded = embedded.map_err(|error| JudgeFailure(error.to_string()))?;
        let wide = |vector: Vec<f32>| vector.into_iter().map(f64::from).collect();
        Ok(embedded.into_iter().map(|embedding| wide(embedding.vector)).collect())
    }
}

/// Adds to an outcome what a judge says by `metrics`, as RAGAS's published figures are computed. What has no reference
/// answer, or was not answered, is not judged by metrics that need one; a metric that gives NaN or fails has no score.
pub async fn judge(metrics: &[Metric], question: &Question, outcome: &mut Outcome, judge: &dyn Judge) {
    let sample = Sample {
        user_input: Some(question.question.clone()),
        response: outcome.answered.then(|| outcome.answer.clone()),
        reference: question.references.first().cloned(),
        retrieved_contexts: Some(outcome.shown.iter().map(|shown| shown.text.clone()).collect()),
        ..Sample::default()
    };
    for metric in metrics.iter().copied().filter(|metric| applies(*metric, &sample)) {
        let scored = score(metric, Api::Legacy, &sample, &Parameters::default(), judge).await;
        if let Err(error) = &scored {
            outcome.unjudged.push((metric.name().into(), error.to_string()));
        }
        let finite = scored.ok().filter(|score| score.is_finite());
        outcome.scores.insert(metric.name().into(), finite);
    }
}

fn applies(metric: Metric, sample: &Sample) -> bool {
    let (response, reference) = (sample.response.is_some(), sample.reference.is_some());
    match metric {
        Metric::Faithfulness | Metric::AnswerRelevancy | Metric::ContextPrecisionWithoutReference => response,
        Metric::ContextPrecisionWithReference | Metric::ContextRecall => reference,
        Metric::AnswerCorrectness
        | Metric::FactualCorrectness
        | Metric::NoiseSensitivity
        | Metric::SemanticSimilarity => response && reference,
        Metric::IdBasedContextPrecision | Metric::IdBasedContextRecall => false,
    }
}
