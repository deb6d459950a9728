//! `eval collect`: makes a set of the answers that users rated.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::lines;
use crate::cli::CommandContext;
use crate::cli::client::ApiClient;
use crate::wiring::ModelFetch;

/// Makes a set of the answers that their askers said something of
///
/// A correct answer is the reference; else an answer with thumbs up is, and its citations are the gold documents. What
/// is only called wrong is a draft: nobody has said what is right. Each question is asked as whoever asked it.
#[derive(Debug, Args)]
pub struct EvalCollectCommand {
    /// Write a fresh file in place of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only answers with this thumb
    #[arg(long, value_enum)]
    rating: Option<RatingArgument>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum RatingArgument {
    Up,
    Down,
}

impl EvalCollectCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let listed = lines::fetch_all_items(&door, "/api/v1/feedback?", "feedback").await;
        door.close().await;
        let wanted = self.rating.map(|thumb| match thumb {
            RatingArgument::Up => "up",
            RatingArgument::Down => "down",
        });
        let listed = listed?;
        let meant = listed
            .iter()
            .filter(|given| wanted.is_none_or(|wanted| given["rating"] == wanted));
        let questions: Vec<Value> = meant.map(feedback_question).collect();
        lines::write_lines(&questions, self.out.as_ref(), context.output)
    }
}

/// Builds a line of the set.
fn feedback_question(given: &Value) -> Value {
    let mut line = json!({
        "id": given["trace_id"], "question": given["question"], "caller": feedback_caller(given),
        "feedback": { "rating": given["rating"], "comment": given["comment"], "at": given["rated_at"] },
    });
    let is_good = given["rating"] == "up" && given["answered"] == true;
    match &given["correct_answer"] {
        Value::String(correct) => line["reference"] = json!(correct),
        _ if is_good => {
            line["reference"] = given["answer"].clone();
            add_cited_documents(given, &mut line);
        }
        // A refusal that was rated right means that there is no answer.
        _ if given["rating"] == "up" => line["answerable"] = json!(false),
        _ => line["draft"] = json!(true),
    }
    line
}

fn add_cited_documents(given: &Value, line: &mut Value) {
    let places = given["citations"].as_array().into_iter().flatten();
    let (mut documents, mut pages): (Vec<&Value>, Vec<&Value>) = (Vec::new(), Vec::new());
    for place in places {
        if !documents.contains(&&place["uri"]) {
            documents.push(&place["uri"]);
        }
        if place["page"].is_number() && !pages.contains(&&place["page"]) {
            pages.push(&place["page"]);
        }
    }
    if !documents.is_empty() {
        line["documents"] = json!(documents);
    }
    // A set does not say which page belongs to which document, so pages are kept only with a single document.
    if !pages.is_empty() && documents.len() == 1 {
        line["pages"] = json!(pages);
    }
}

fn feedback_caller(given: &Value) -> Value {
    let Some(readers) = given["readers"].as_array() else {
        return json!({ "role": "admin" });
    };
    let held = |kind: &str| -> Vec<&str> {
        let named = readers.iter().filter_map(|reader| reader.as_str()?.split_once(':'));
        named.filter(|(of, _)| *of == kind).map(|(_, name)| name).collect()
    };
    let mut caller = json!({});
    for (field, names) in [("departments", held("dept")), ("groups", held("group"))] {
        if !names.is_empty() {
            caller[field] = json!(names);
        }
    }
    if let Some(user) = held("user").first() {
        caller["user"] = json!(user);
    }
    caller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_decides_what_is_known() {
        let given = |more: Value| {
            let mut given = json!({
                "trace_id": "t", "question": "q", "answer": "a", "answered": true, "rating": "up", "comment": null,
                "correct_answer": null, "rated_at": "2024-01-01T00:00:00Z",
                "readers": ["dept:lab", "everyone", "user:ann"],
                "citations": [{"uri": "x", "page": 2}, {"uri": "x", "page": null}],
            });
            given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            feedback_question(&given)
        };
        let good = given(json!({}));
        assert_eq!(good["caller"], json!({"departments": ["lab"], "user": "ann"}));
        assert_eq!(
            (&good["reference"], &good["documents"], &good["pages"]),
            (&json!("a"), &json!(["x"]), &json!([2]))
        );
        assert!(good.get("draft").is_none());
        let corrected = given(json!({"rating": "down", "correct_answer": "b"}));
        assert_eq!(
            (&corrected["reference"], corrected.get("documents")),
            (&json!("b"), None)
        );
        let refused = given(json!({"answered": false, "citations": []}));
        assert_eq!(
            (&refused["answerable"], refused.get("reference")),
            (&json!(false), None)
        );
        let wrong = given(json!({"rating": "down", "readers": null}));
        assert_eq!(
            (&wrong["draft"], &wrong["caller"]),
            (&json!(true), &json!({"role": "admin"}))
        );
        let lines = format!("{good}\n");
        assert_eq!(ragstone_core::evaluate::parse_jsonl(&lines).unwrap().len(), 1);
    }
}
