//! The quality gate: the old and the new model answer the same questions.

use std::sync::{Arc, RwLock};

use anyhow::{Context, bail};
use object_store::ObjectStore;
use ragstone_core::access::Scope;
use ragstone_core::evaluate::{EvaluationQuestion, OutcomePassage, QuestionOutcome, measure_outcome};
use ragstone_core::library::{ActiveEmbedder, Library, SearchRequest};
use ragstone_core::seam::Catalogue;

use super::record::{GateComparison, QualityGate};
use super::sides::IndexSide;
use crate::operator;

/// Passages to search for, enough for ten distinct documents.
const SEARCHED: usize = 100;

impl QualityGate {
    /// Checks that the questions have labels for the metric.
    pub fn check_gate(&self) -> anyhow::Result<()> {
        if !(self.ratio.is_finite() && self.ratio >= 0.0) {
            bail!("the ratio of --gate is {}, not a number from 0", self.ratio);
        }
        let nothing = QuestionOutcome::default();
        let measured = |question: &&EvaluationQuestion| measure_outcome(question, &nothing).contains_key(&self.metric);
        if self
            .questions
            .iter()
            .filter(|question| !question.draft)
            .any(|question| measured(&question))
        {
            return Ok(());
        }
        bail!(
            "no question of the set says anything of {}; hint: `documents` of a question are what ndcg_10, recall_10, \
             mrr_10 and hit_5 measure, `pages` what page_hit_5 does",
            self.metric
        )
    }
}

/// Measures both models on the questions of the gate.
pub async fn compare_models(
    catalogue: &Arc<dyn Catalogue>,
    blobs: &Arc<dyn ObjectStore>,
    (old, new): (&IndexSide, &IndexSide),
    gate: &QualityGate,
) -> anyhow::Result<GateComparison> {
    let library = |side: &IndexSide| {
        let in_use = ActiveEmbedder {
            embedder: side.embedder()?,
            index: side.index.clone(),
        };
        let slot = Arc::new(RwLock::new(Some(in_use)));
        anyhow::Ok(Library::new(catalogue.clone(), side.index.clone(), blobs.clone(), slot))
    };
    let (old, new) = (library(old)?, library(new)?);
    let (mut of_old, mut of_new, mut asked) = (0.0, 0.0, 0);
    for question in gate.questions.iter().filter(|question| !question.draft) {
        let scores = (
            score_question(&old, question, &gate.metric).await?,
            score_question(&new, question, &gate.metric).await?,
        );
        if let (Some(one), Some(other)) = scores {
            (of_old, of_new, asked) = (of_old + one, of_new + other, asked + 1);
        }
    }
    let mean = |sum: f64| sum / f64::from(asked.max(1));
    Ok(GateComparison {
        metric: gate.metric.clone(),
        questions: asked as usize,
        old: mean(of_old),
        new: mean(of_new),
        ratio: gate.ratio,
    })
}

/// Metric of a search for one question; an error if the search used words alone.
async fn score_question(library: &Library, question: &EvaluationQuestion, metric: &str) -> anyhow::Result<Option<f64>> {
    let request = SearchRequest::new(&question.question, SEARCHED);
    let found = library
        .search(&question_scope(question)?, &request)
        .await
        .with_context(|| format!("question {}", question.id))?;
    if let Some(notice) = found.notices.first() {
        bail!("question {}: {}", question.id, notice.detail);
    }
    let shown = found.passages.iter().map(|passage| OutcomePassage {
        uri: passage.uri.clone(),
        page: passage.chunk.page,
        text: String::new(),
    });
    let outcome = QuestionOutcome {
        found: shown.collect(),
        ..QuestionOutcome::default()
    };
    Ok(measure_outcome(question, &outcome).get(metric).copied().flatten())
}

/// Scope of the local operator in the question's tenant. Both sides are searched with it, not with the caller's scope.
fn question_scope(question: &EvaluationQuestion) -> anyhow::Result<Scope> {
    let tenant = question.caller.as_ref().and_then(|caller| caller.tenant.as_deref());
    Ok(match tenant {
        Some(tenant) => operator::operator_principal_of(tenant.parse().context("the caller's tenant")?).scope(),
        None => operator::operator_principal().scope(),
    })
}
