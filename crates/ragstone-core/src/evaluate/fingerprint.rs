//! Fingerprint of a run, so that a changed corpus is detected and not blamed on the product.

use serde::{Deserialize, Serialize};

use super::set::EvaluationQuestion;

/// What a run was made of; each part is a digest or a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFingerprint {
    /// Digest of the published documents: URIs, collections and bytes.
    pub corpus: String,
    /// Digest of the questions with everything known about their answers.
    pub set: String,
    /// Settings that affect retrieval and answers.
    pub settings: String,
    /// Identity of the embedder.
    pub embedder: String,
    /// Identity of the chat model that answers.
    pub model: String,
    /// Digest of the prompt around passages and question.
    pub prompt: String,
    /// Identity of the judge and its metrics; empty without a judge.
    pub judge: String,
}

/// Two runs cannot be compared, because this part differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} is another one")]
pub struct IncomparableRunsError(pub &'static str);

impl RunFingerprint {
    /// Digest of a set; it depends on the order of the questions.
    pub fn digest_questions(questions: &[EvaluationQuestion]) -> String {
        let json = serde_json::to_vec(questions).expect("structs of strings and numbers serialise");
        blake3::hash(&json).to_hex()[..16].to_owned()
    }

    /// The parts that differ, apart from corpus and set: a comparison shows their effect.
    ///
    /// # Errors
    /// [`IncomparableRunsError`] if corpus or set differ.
    pub fn changed_parts(&self, other: &Self) -> Result<Vec<&'static str>, IncomparableRunsError> {
        if self.corpus != other.corpus {
            return Err(IncomparableRunsError("corpus"));
        }
        if self.set != other.set {
            return Err(IncomparableRunsError("set"));
        }
        let parts = [
            ("settings", &self.settings, &other.settings),
            ("embedder", &self.embedder, &other.embedder),
            ("model", &self.model, &other.model),
            ("prompt", &self.prompt, &other.prompt),
            ("judge", &self.judge, &other.judge),
        ];
        let differing = parts.into_iter().filter(|(_, one, another)| one != another);
        Ok(differing.map(|(name, ..)| name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_corpus_or_set_is_no_base() {
        let one = RunFingerprint {
            corpus: "c".into(),
            set: "s".into(),
            model: "m".into(),
            ..RunFingerprint::default()
        };
        let with = |change: fn(&mut RunFingerprint)| {
            let mut other = one.clone();
            change(&mut other);
            one.changed_parts(&other)
        };
        assert_eq!(with(|_| {}), Ok(vec![]));
        assert_eq!(with(|other| other.model = "n".into()), Ok(vec!["model"]));
        assert_eq!(
            with(|other| other.corpus = "d".into()),
            Err(IncomparableRunsError("corpus"))
        );
        assert_eq!(with(|other| other.set = "t".into()), Err(IncomparableRunsError("set")));
        let question = EvaluationQuestion {
            id: "1".into(),
            ..EvaluationQuestion::default()
        };
        assert_ne!(
            RunFingerprint::digest_questions(&[]),
            RunFingerprint::digest_questions(&[question])
        );
    }
}
