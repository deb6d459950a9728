//! Both sides answer the same questions.

use std::sync::{Arc, RwLock};

use anyhow::{Context, bail};
use object_store::ObjectStore;
use ragstone_core::access::Scope;
use ragstone_core::evaluate::{Outcome, Question, Shown, measure};
use ragstone_core::library::{InUse, Library, SearchRequest};
use ragstone_core::seam::Catalogue;

use super::record::{Compared, Gate};
use super::sides::Side;
use crate::operator;

/// Passages that are searched for: enough for ten distinct documents.
const SEARCHED: usize = 100;

impl Gate {
    /// Whether the questions say anything of the metric.
    pub fn check(&self) -> anyhow::Result<()> {
        if !(self.ratio.is_finite() && self.ratio >= 0.0) {
            bail!("the ratio of --gate is {}, not a number from 0", self.ratio);
        }
        let nothing = Outcome::default();
        let measured = |question: &&Question| measure(question, &nothing).contains_key(&self.metric);
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

/// Asks the questions of both.
pub async fn compare(
    catalogue: &Arc<dyn Catalogue>,
    blobs: &Arc<dyn ObjectStore>,
    (old, new): (&Side, &Side),
    gate: &Gate,
) -> anyhow::Result<Compared> {
    let library = |side: &Side| {
        let in_use = InUse {
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
            score(&old, question, &gate.metric).await?,
            score(&new, question, &gate.metric).await?,
        );
        if let (Some(one), Some(other)) = scores {
            (of_old, of_new, asked) = (of_old + one, of_new + other, asked + 1);
        }
    }
    let mean = |sum: f64| sum / f64::from(asked.max(1));
    Ok(Compared {
        metric: gate.metric.clone(),
        questions: asked as usize,
        old: mean(of_old),
        new: mean(of_new),
        ratio: gate.ratio,
    })
}

/// What a search for one question is worth; an error where it goes by words alone.
async fn score(library: &Library, question: &Question, metric: &str) -> anyhow::Result<Option<f64>> {
    let request = SearchRequest::new(&question.question, SEARCHED);
    let found = library
        .search(&scope(question)?, &request)
        .await
        .with_context(|| format!("question {}", question.id))?;
    if let Some(notice) = found.notices.first() {
        bail!("question {}: {}", question.id, notice.detail);
    }
    let shown = found.passages.iter().map(|passage| Shown {
        uri: passage.uri.clone(),
        page: passage.chunk.page,
        text: String::new(),
    });
    let outcome = Outcome {
        found: shown.collect(),
        ..Outcome::default()
    };
    Ok(measure(question, &outcome).get(metric).copied().flatten())
}

/// The operator of the caller's tenant: both sides find as much, whoever asks.
fn scope(question: &Question) -> anyhow::Result<Scope> {
    let tenant = question.caller.as_ref().and_then(|caller| caller.tenant.as_deref());
    Ok(match tenant {
        Some(tenant) => operator::of(tenant.parse().context("the caller's tenant")?).scope(),
        None => operator::principal().scope(),
    })
}
