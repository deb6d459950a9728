//! What a run was made of, so that a changed corpus is named and not blamed on the product.

use serde::{Deserialize, Serialize};

use super::set::Question;

/// What a run was made of; each part is a digest or a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// The published documents: their URIs, collections and bytes.
    pub corpus: String,
    /// The questions with all that is known of their answers.
    pub set: String,
    /// Settings that decide what is found and answered.
    pub settings: String,
    /// Who embeds.
    pub embedder: String,
    /// Who answers.
    pub model: String,
    /// What is said to the model around passages and question.
    pub prompt: String,
    /// Who judges, and what; empty for nobody.
    pub judge: String,
}

/// Why two runs say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} is another one")]
pub struct Incomparable(pub &'static str);

impl Fingerprint {
    /// The digest of a set, in its order.
    pub fn of_set(questions: &[Question]) -> String {
        let json = serde_json::to_vec(questions).expect("structs of strings and numbers serialise");
        blake3::hash(&json).to_hex()[..16].to_owned()
    }

    /// The parts beside corpus and set that differ, which is what a comparison is about.
    ///
    /// # Errors
    /// [`Incomparable`] if corpus or set differ.
    pub fn changes(&self, other: &Self) -> Result<Vec<&'static str>, Incomparable> {
        if self.corpus != other.corpus {
            return Err(Incomparable("corpus"));
        }
        if self.set != other.set {
            return Err(Incomparable("set"));
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
        let one = Fingerprint {
            corpus: "c".into(),
            set: "s".into(),
            model: "m".into(),
            ..Fingerprint::default()
        };
        let with = |change: fn(&mut Fingerprint)| {
            let mut other = one.clone();
            change(&mut other);
            one.changes(&other)
        };
        assert_eq!(with(|_| {}), Ok(vec![]));
        assert_eq!(with(|other| other.model = "n".into()), Ok(vec!["model"]));
        assert_eq!(with(|other| other.corpus = "d".into()), Err(Incomparable("corpus")));
        assert_eq!(with(|other| other.set = "t".into()), Err(Incomparable("set")));
        let question = Question {
            id: "1".into(),
            ..Question::default()
        };
        assert_ne!(Fingerprint::of_set(&[]), Fingerprint::of_set(&[question]));
    }
}
