//! Decides when the evidence is too weak to answer from.
//!
//! A threshold does not carry over between corpora (recipe, "Caveats"), so it is measured on the corpus itself: it is
//! searched for off-topic questions that few libraries answer, and the strength they reach is that of chance.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::{ConfidenceScores, Library, LibraryError, SearchRequest};
use crate::access::Scope;
use crate::id::TenantId;
use crate::metric::refusal::{CurvePoint, refusal_curve};
use crate::seam::EmbedError;

/// With fewer chunks than this, chance cannot be measured, and a fixed threshold is used.
const FEWEST_CHUNKS: u64 = 50;
/// Fixed threshold of small libraries with vectors.
const CAUTIOUS: f64 = 0.8;
/// Fixed threshold of small libraries without vectors.
const CAUTIOUS_LEXICAL: f64 = 0.3;
/// How far the threshold lies above chance, with both legs. Chosen on SQuAD2's articles, four at a time left out: 0.45
/// to 0.50 keeps 96 to 98 % of the answerable questions and refuses 91 to 94 % of those about left-out articles.
const ABOVE_CHANCE: f64 = 0.48;
/// The same without vectors, where S reaches 1 instead of 2.6: in that proportion, not measured.
const ABOVE_CHANCE_LEXICAL: f64 = 0.18;
/// Largest automatic threshold: a library about everything answers some of the off-topic questions.
const MAX_THRESHOLD: f64 = 1.4;
/// Questions of many fields that few libraries answer, one per line.
const OFF_TOPIC: &str = include_str!("off_topic.txt");

/// A threshold and the state of the library it was found on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ThresholdCalibration {
    threshold: f64,
    chunks: u64,
    dense: bool,
    /// Digest of the embedder it was found with; `None` without vectors, and in records from before it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedder: Option<String>,
}

/// The threshold that was chosen, and what other thresholds would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// Strength below which nothing is answered; valid until the library has doubled.
    pub threshold: f64,
    /// Published chunks when it was found.
    pub chunks: u64,
    /// Whether it was found with vectors.
    pub dense: bool,
    /// Number of questions with an answer that were used.
    pub answerable: usize,
    /// Number of questions without an answer that were used, the built-in ones included.
    pub unanswerable: usize,
    /// The effect of each threshold, in ascending order.
    pub curve: Vec<CurvePoint>,
}

/// The constants with or without vectors: S reaches 2.6 with vectors and 1 without.
struct ThresholdScale {
    cautious: f64,
    above_chance: f64,
}

impl ThresholdScale {
    fn for_vectors(dense: bool) -> Self {
        match dense {
            true => Self {
                cautious: CAUTIOUS,
                above_chance: ABOVE_CHANCE,
            },
            false => Self {
                cautious: CAUTIOUS_LEXICAL,
                above_chance: ABOVE_CHANCE_LEXICAL,
            },
        }
    }
}

impl ConfidenceScores {
    /// Strength of the evidence: S of the best passage, computed from its parts.
    pub fn strength(&self) -> f64 {
        self.fused + self.gate * self.maxsim.unwrap_or(0.0)
    }
}

impl Library {
    /// Whether this evidence is too weak to answer from. A threshold that was found with vectors does not apply to a
    /// question without one, and the other way round; the fixed one is used then.
    pub(super) fn has_insufficient_evidence(&self, tenant: &TenantId, evidence: &ConfidenceScores) -> bool {
        let thresholds = self.thresholds.read().unwrap_or_else(PoisonError::into_inner);
        let found = thresholds.get(tenant).filter(|found| found.dense == evidence.dense);
        let cautious = || ThresholdScale::for_vectors(evidence.dense).cautious;
        evidence.strength() < found.map_or_else(cautious, |found| found.threshold)
    }

    /// Finds the threshold of the scope's tenant anew if its library has doubled or shrunk since the last time, gained
    /// or lost vectors, or has another embedder. The scope must see the whole library. Returns whether a new threshold
    /// was found.
    pub async fn calibrate_threshold(&self, scope: &Scope) -> Result<bool, LibraryError> {
        let tenant = scope.tenant();
        let known = self.catalogue.get_setting(&calibration_key(tenant)).await?;
        let known: Option<ThresholdCalibration> = known.and_then(|json| serde_json::from_str(&json).ok());
        let chunks = self.catalogue.term_statistics(tenant, &[]).await?.documents;
        let embedder = self.embedder_digest();
        let dense = embedder.is_some();
        let fits = |known: &ThresholdCalibration| {
            let by_it = known.embedder.is_none() || known.embedder == embedder;
            by_it && known.dense == dense && (known.chunks..known.chunks.max(1) * 2).contains(&chunks)
        };
        if let Some(known) = known.filter(fits) {
            self.set_threshold(tenant, known);
            return Ok(false);
        }
        let threshold = self.automatic_threshold(scope, chunks, dense).await?;
        self.save_calibration(
            tenant,
            ThresholdCalibration {
                threshold,
                chunks,
                dense,
                embedder,
            },
        )
        .await?;
        Ok(true)
    }

    /// Finds the threshold of the scope's tenant from questions that its library answers and questions that it does
    /// not, the built-in off-topic ones included: the one that is right about most of both kinds, equally weighted.
    /// Without answerable questions the automatic threshold is used. Valid until the library has doubled.
    pub async fn calibrate_with_questions(
        &self,
        scope: &Scope,
        answerable: &[String],
        unanswerable: &[String],
    ) -> Result<CalibrationReport, LibraryError> {
        let tenant = scope.tenant();
        let chunks = self.catalogue.term_statistics(tenant, &[]).await?.documents;
        let embedder = self.embedder_digest();
        let dense = embedder.is_some();
        let mut without_answer: Vec<&str> = unanswerable.iter().map(String::as_str).collect();
        for question in off_topic_questions() {
            without_answer.push(question);
        }
        let reached = self
            .evidence_strengths(scope, answerable.iter().map(String::as_str), dense)
            .await?;
        let chance = self
            .evidence_strengths(scope, without_answer.into_iter(), dense)
            .await?;
        let curve = refusal_curve(&reached, &chance);
        let threshold = match reached.is_empty() {
            true => self.automatic_threshold(scope, chunks, dense).await?,
            false => best_threshold(&curve),
        };
        self.save_calibration(
            tenant,
            ThresholdCalibration {
                threshold,
                chunks,
                dense,
                embedder,
            },
        )
        .await?;
        Ok(CalibrationReport {
            threshold,
            chunks,
            dense,
            answerable: reached.len(),
            unanswerable: chance.len(),
            curve,
        })
    }

    /// The threshold that was found for a tenant; `None` while the fixed one applies.
    pub fn current_threshold(&self, tenant: &TenantId) -> Option<f64> {
        let thresholds = self.thresholds.read().unwrap_or_else(PoisonError::into_inner);
        thresholds.get(tenant).map(|found| found.threshold)
    }

    /// Digest of the active embedder; `None` without one.
    fn embedder_digest(&self) -> Option<String> {
        self.active_embedder()
            .map(|in_use| in_use.embedder.fingerprint().digest())
    }

    async fn automatic_threshold(&self, scope: &Scope, chunks: u64, dense: bool) -> Result<f64, LibraryError> {
        let scale = ThresholdScale::for_vectors(dense);
        Ok(match chunks < FEWEST_CHUNKS {
            true => scale.cautious,
            false => (self.chance_strength(scope, dense).await? + scale.above_chance).min(MAX_THRESHOLD),
        })
    }

    async fn save_calibration(&self, tenant: &TenantId, found: ThresholdCalibration) -> Result<(), LibraryError> {
        let json = serde_json::to_string(&found).expect("a struct of numbers serialises");
        self.catalogue.set_setting(&calibration_key(tenant), &json).await?;
        self.set_threshold(tenant, found);
        Ok(())
    }

    /// The median strength of the off-topic questions; fails if one of them gets no vector and should.
    async fn chance_strength(&self, scope: &Scope, dense: bool) -> Result<f64, LibraryError> {
        let reached = self.evidence_strengths(scope, off_topic_questions(), dense).await?;
        Ok(reached[reached.len() / 2])
    }

    /// Strength of the evidence for each question, in ascending order; fails if one gets no vector and should.
    async fn evidence_strengths(
        &self,
        scope: &Scope,
        questions: impl Iterator<Item = &str> + Send,
        dense: bool,
    ) -> Result<Vec<f64>, LibraryError> {
        let mut reached = Vec::new();
        for question in questions {
            let found = self.search(scope, &SearchRequest::new(question, 1)).await?;
            if dense && !found.evidence.dense {
                let detail = "a question of the calibration got no vector".to_owned();
                return Err(EmbedError::Broken { detail }.into());
            }
            reached.push(found.evidence.strength());
        }
        reached.sort_by(f64::total_cmp);
        Ok(reached)
    }

    fn set_threshold(&self, tenant: &TenantId, found: ThresholdCalibration) {
        self.thresholds
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), found);
    }
}

fn off_topic_questions() -> impl Iterator<Item = &'static str> {
    OFF_TOPIC.lines().filter(|line| !line.trim().is_empty())
}

fn calibration_key(tenant: &TenantId) -> String {
    format!("calibration:{tenant}")
}

/// The threshold that is right about most of both kinds; of several equal ones the middle one, of two the lower.
fn best_threshold(curve: &[CurvePoint]) -> f64 {
    let right = |point: &CurvePoint| point.answered.unwrap_or(0.0) + point.refused.unwrap_or(0.0);
    let most = curve.iter().map(right).fold(0.0, f64::max);
    let best: Vec<f64> = curve
        .iter()
        .filter(|point| right(point) >= most - 1e-12)
        .map(|point| point.threshold)
        .collect();
    best[(best.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lies_where_most_are_right() {
        let check = |reached: &[f64], chance: &[f64], answered: f64, refused: f64| {
            let curve = refusal_curve(reached, chance);
            let threshold = best_threshold(&curve);
            let point = curve.iter().find(|point| point.threshold == threshold).unwrap();
            assert_eq!(
                (point.answered, point.refused),
                (Some(answered), Some(refused)),
                "{point:?}"
            );
        };
        check(&[1.0, 2.0], &[0.1, 0.2], 1.0, 1.0);
        check(&[0.15, 1.0, 2.0, 3.0], &[0.1, 0.2], 0.75, 1.0);
        check(&[1.0], &[1.0], 1.0, 0.0);
    }
}
