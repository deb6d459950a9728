//! When the evidence is too thin to answer from.
//!
//! A threshold does not carry over between corpora (recipe, "Caveats"), so it is found on the corpus itself: questions
//! that no library answers are asked of it, and what they reach is what chance reaches.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::{Evidence, Library, LibraryError, SearchRequest};
use crate::access::Scope;
use crate::id::TenantId;
use crate::seam::EmbedError;

/// Below this many chunks chance cannot be told, and a fixed threshold holds.
const FEWEST_CHUNKS: u64 = 50;
/// The threshold of small libraries with vectors.
const CAUTIOUS: f64 = 0.8;
/// The same without vectors.
const CAUTIOUS_LEXICAL: f64 = 0.3;
/// How far above chance an answerable question reaches, with both legs. Chosen on SQuAD2's articles, four at a time left
/// out: 0.45 to 0.50 keeps 96 to 98 % of the answerable questions and refuses 91 to 94 % of those about left-out articles.
const ABOVE_CHANCE: f64 = 0.48;
/// The same without vectors, where S reaches 1 instead of 2.6: in that proportion, not measured.
const ABOVE_CHANCE_LEXICAL: f64 = 0.18;
/// No threshold is higher: a library about everything answers some of the off-topic questions.
const HIGHEST: f64 = 1.4;
/// Questions of many fields that few libraries answer, one a line.
const OFF_TOPIC: &str = include_str!("off_topic.txt");

/// A threshold and the library it was found on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Calibration {
    threshold: f64,
    chunks: u64,
    dense: bool,
}

/// S reaches 2.6 with vectors and 1 without, so that each has its own constants.
struct Scale {
    cautious: f64,
    above_chance: f64,
}

impl Scale {
    fn of(dense: bool) -> Self {
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

impl Evidence {
    /// How strong the evidence is: S of the best passage, by its parts.
    pub fn strength(&self) -> f64 {
        self.fused + self.gate * self.maxsim.unwrap_or(0.0)
    }
}

impl Library {
    /// Whether a question that reached this much should be answered at all. Where its vector could not be had, the
    /// threshold that was found with vectors says nothing.
    pub(super) fn is_thin(&self, tenant: &TenantId, evidence: &Evidence) -> bool {
        let thresholds = self.thresholds.read().unwrap_or_else(PoisonError::into_inner);
        let found = thresholds
            .get(tenant)
            .filter(|found| found.dense == evidence.dense);
        let cautious = || Scale::of(evidence.dense).cautious;
        evidence.strength() < found.map_or_else(cautious, |found| found.threshold)
    }

    /// Finds the threshold of the scope's tenant, if its library has doubled since it was found last, or became dense.
    /// The scope must see the whole library. Says whether anything was done.
    pub async fn calibrate(&self, scope: &Scope) -> Result<bool, LibraryError> {
        let (tenant, key) = (scope.tenant(), format!("calibration:{}", scope.tenant()));
        let known = self.catalogue.setting(&key).await?;
        let known: Option<Calibration> = known.and_then(|json| serde_json::from_str(&json).ok());
        let chunks = self.catalogue.term_statistics(tenant, &[]).await?.documents;
        let dense = self.embedder().is_some();
        let fits = |known: &Calibration| {
            known.dense == dense && (known.chunks..known.chunks.max(1) * 2).contains(&chunks)
        };
        if let Some(known) = known.filter(fits) {
            self.set_threshold(tenant, known);
            return Ok(false);
        }
        let scale = Scale::of(dense);
        let threshold = match chunks < FEWEST_CHUNKS {
            true => scale.cautious,
            false => (self.chance(scope, dense).await? + scale.above_chance).min(HIGHEST),
        };
        let found = Calibration {
            threshold,
            chunks,
            dense,
        };
        let json = serde_json::to_string(&found).expect("a struct of numbers serialises");
        self.catalogue.set_setting(&key, &json).await?;
        self.set_threshold(tenant, found);
        Ok(true)
    }

    /// The strength of the middle one of the off-topic questions; an error where one of them gets no vector and should.
    async fn chance(&self, scope: &Scope, dense: bool) -> Result<f64, LibraryError> {
        let mut reached = Vec::new();
        for question in OFF_TOPIC.lines().filter(|line| !line.trim().is_empty()) {
            let found = self.search(scope, &SearchRequest::new(question, 1)).await?;
            if dense && !found.evidence.dense {
                let detail = "an off-topic question got no vector".to_owned();
                return Err(EmbedError::Broken { detail }.into());
            }
            reached.push(found.evidence.strength());
        }
        reached.sort_by(f64::total_cmp);
        Ok(reached[reached.len() / 2])
    }

    fn set_threshold(&self, tenant: &TenantId, found: Calibration) {
        self.thresholds
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), found);
    }
}
