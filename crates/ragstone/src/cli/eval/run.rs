//! `eval run`: asks a set of questions, measures the results, and compares them with an earlier run.
//!
//! The outcome of each question is stored at once, so that an interrupted run can be continued. A run counts only when
//! every question has an outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use futures::{FutureExt, StreamExt, stream};
use ragstone_core::evaluate::{
    EvaluationQuestion, ModelJudge, QuestionOutcome, RunFingerprint, judge_answer, measure_outcome,
};
use ragstone_core::metric::ragas::RagasMetric;
use serde::Deserialize;
use serde_json::json;

use super::asked::QuestionRunner;
use super::kept::{OutcomesByQuestion, SavedRun, post_evaluation};
use super::report::EvalReport;
use super::set;
use crate::cli::client::ApiClient;
use crate::cli::output::{CommandOutput, print_message};
use crate::cli::progress::{fetch_before_question, progress_bar};
use crate::cli::search::SearchArguments;
use crate::cli::{CommandContext, PartialFailureError, UsageError};
use crate::wiring;

/// Name of a run without a given name; the next such run replaces it.
const UNNAMED: &str = "last";
/// Most missing documents that are listed by name.
const NAMED_DOCUMENTS: usize = 5;
/// Most failed questions that are listed.
const NAMED_FAILURES: usize = 5;

/// Asks a set of questions and measures what comes of them
///
/// A set is a file of JSON lines `{id, question, reference?, documents?: [uri], pages?: [n], answerable?, caller?,
/// forbidden?: [uri], draft?}`, or a BEIR folder. A caller `{user?, departments?, groups?, tenant?, role?}` is who asks, and
/// forbidden is what must not be shown then; without one you ask. Drafts are left out. What is measured follows from what the set knows; a judge (setting eval.judge_model) adds RAGAS's metrics.
/// The same command goes on with a run that broke off. Exit code 1 if a question failed or, if asked for, on a
/// regression; 2 if the baseline is incomparable, of another corpus or set, or no document that the set judges is in the
/// library. Metrics that begin with returned_ look at the passages that a request gets which names no limit
/// (MAX_RETRIEVAL_RESULTS); the others at the best hundred.
#[derive(Debug, Args)]
pub struct EvalRunCommand {
    /// The set of questions
    set: PathBuf,
    /// Keep the run under this name [default: last]
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Compare with this run
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Exit with 1 if a metric became worse by more than chance explains
    #[arg(long, requires = "baseline")]
    fail_on_regression: bool,
    /// Questions at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Measure search alone
    #[arg(long)]
    search_only: bool,
    /// Which judgments of a BEIR folder
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    #[command(flatten)]
    narrowing: SearchArguments,
}

/// Names of relevant documents of a set that the library lacks.
#[derive(Deserialize)]
struct MissingDocumentNames {
    missing: BTreeSet<String>,
}

/// State of a run.
struct EvalRunner<'a> {
    door: &'a ApiClient,
    name: &'a str,
    asking: QuestionRunner,
    judge: Option<(ModelJudge, Vec<RagasMetric>)>,
}

impl EvalRunCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let questions = self.read_accepted_questions()?;
        let body = self.narrowing.request_body()?;
        let judge = match self.search_only {
            true => None,
            false => wiring::build_judge(&context.settings).await?,
        };
        let metrics = context.settings.eval.metrics.iter();
        let metrics: Vec<RagasMetric> = metrics.filter_map(|name| RagasMetric::from_name(name)).collect();
        let judged_by = judge
            .as_ref()
            .map(|_| format!("{} {metrics:?}", context.settings.eval.judge_model));
        let door = ApiClient::connect(&context.settings, fetch_before_question()).await?;
        let bench = EvalRunner {
            door: &door,
            name: self.save.as_deref().unwrap_or(UNNAMED),
            asking: QuestionRunner {
                body,
                search_only: self.search_only,
            },
            judge: judge.map(|judge| (judge, metrics)),
        };
        let done = self
            .run_questions(&bench, &questions, judged_by.unwrap_or_default())
            .await;
        door.close().await;
        let report = done?;
        report.show_report(context.output)?;
        self.check_regressions(&report, context.output)
    }

    /// The questions of the set that are not drafts.
    fn read_accepted_questions(&self) -> anyhow::Result<Vec<EvaluationQuestion>> {
        let mut questions = set::read_question_set(&self.set, &self.split)?;
        let all = questions.len();
        questions.retain(|question| !question.draft);
        let hint = format!("hint: ragstone eval accept {}", self.set.display());
        match (all - questions.len(), questions.is_empty()) {
            (0, _) => {}
            (drafts, true) => {
                return Err(UsageError(format!("all {drafts} questions of the set are drafts; {hint}")).into());
            }
            (drafts, false) => print_message(&format!("{drafts} drafts are left out; {hint}")),
        }
        Ok(questions)
    }

    async fn run_questions(
        &self,
        bench: &EvalRunner<'_>,
        questions: &[EvaluationQuestion],
        judge: String,
    ) -> anyhow::Result<EvalReport> {
        let missing = bench.check_missing_documents(questions).await?;
        let fingerprint = bench.build_fingerprint(questions, judge).await?;
        let baseline = match &self.baseline {
            Some(name) => Some(SavedRun::fetch_run(bench.door, name).await?),
            None => None,
        };
        let changed = match &baseline {
            Some(baseline) => Some(baseline.check_comparable(&fingerprint)?),
            None => None,
        };
        let outcomes = bench.ask_all(questions, &fingerprint, self.concurrency.into()).await?;
        let mut report = EvalReport::from_outcomes(bench.name, &outcomes);
        report.missing_documents = missing;
        if let (Some(baseline), Some(changed)) = (baseline, changed) {
            baseline.add_comparison(&mut report, &outcomes, changed);
        }
        Ok(report)
    }

    fn check_regressions(&self, report: &EvalReport, output: CommandOutput) -> anyhow::Result<()> {
        let worse = report.list_regressions();
        if worse.is_empty() {
            return Ok(());
        }
        if !output.json || self.fail_on_regression {
            print_message(&format!("regression: {}", worse.join(", ")));
        }
        match self.fail_on_regression {
            true => Err(PartialFailureError.into()),
            false => Ok(()),
        }
    }
}

impl EvalRunner<'_> {
    async fn build_fingerprint(
        &self,
        questions: &[EvaluationQuestion],
        judge: String,
    ) -> anyhow::Result<RunFingerprint> {
        let found = self.door.get_json("/operator/v1/evaluations/fingerprint").await?;
        let found: RunFingerprint = serde_json::from_value(found)?;
        let (settings, body, search_only) = (&found.settings, &self.asking.body, self.asking.search_only);
        Ok(RunFingerprint {
            settings: format!("{settings} {body} search_only={search_only}"),
            set: RunFingerprint::digest_questions(questions),
            judge,
            ..found
        })
    }

    /// Number of relevant documents of the set that are not in the library. It is a usage error if the library has none
    /// of them: every retrieval measure would be 0 and mean nothing.
    async fn check_missing_documents(&self, questions: &[EvaluationQuestion]) -> anyhow::Result<usize> {
        let (mut own, mut of_tenants) = (BTreeSet::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
        for question in questions {
            let tenant = question.caller.as_ref().and_then(|caller| caller.tenant.as_deref());
            let relevant = question.judgments.iter().filter(|(_, gain)| **gain > 0);
            let names = match tenant {
                Some(tenant) => of_tenants.entry(tenant).or_default(),
                None => &mut own,
            };
            names.extend(relevant.map(|(name, _)| name.as_str()));
        }
        let judged = own.len() + of_tenants.values().map(BTreeSet::len).sum::<usize>();
        if judged == 0 {
            return Ok(0);
        }
        let wanted = json!({ "names": own, "names_of_tenants": of_tenants });
        let found: MissingDocumentNames = serde_json::from_value(post_evaluation(self.door, "missing", wanted).await?)?;
        let missing = found.missing.len();
        let mut named: Vec<String> = found.missing.into_iter().take(NAMED_DOCUMENTS).collect();
        if missing > named.len() {
            named.push("...".into());
        }
        let named = named.join(", ");
        match missing {
            0 => {}
            all if all == judged => {
                let detail = format!("none of the {judged} documents that the set judges is in the library: {named}");
                return Err(UsageError(format!(
                    "{detail}; hint: ingest them, or name their library with --data"
                ))
                .into());
            }
            some => print_message(&format!(
                "warning: {some} of the {judged} documents that the set judges are not in the library: {named}"
            )),
        }
        Ok(missing)
    }

    /// Asks all questions that have no outcome yet, and returns all outcomes.
    async fn ask_all(
        &self,
        questions: &[EvaluationQuestion],
        fingerprint: &RunFingerprint,
        concurrency: usize,
    ) -> anyhow::Result<OutcomesByQuestion> {
        let begin = json!({ "name": self.name, "fingerprint": fingerprint });
        let mut outcomes: OutcomesByQuestion =
            serde_json::from_value(post_evaluation(self.door, "begin", begin).await?)?;
        outcomes.retain(|id, _| questions.iter().any(|question| question.id == *id));
        if !outcomes.is_empty() {
            print_message(&format!(
                "going on with {}: {} questions are known",
                self.name,
                outcomes.len()
            ));
        }
        let open: Vec<&EvaluationQuestion> = questions
            .iter()
            .filter(|question| !outcomes.contains_key(&question.id))
            .collect();
        let bar = progress_bar(open.len() as u64, "{bar:30} {pos}/{len} questions, {eta} left");
        let mut failures = Vec::new();
        let open: Vec<_> = open
            .into_iter()
            .map(|question| self.evaluate_with_question(question).boxed())
            .collect();
        let mut asked = stream::iter(open).buffer_unordered(concurrency);
        while let Some((question, outcome)) = asked.next().await {
            match outcome {
                Ok(outcome) => {
                    outcomes.insert(question.id.clone(), outcome);
                }
                Err(error) => failures.push(format!("{}: {error:#}", question.id)),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.finish_run(&failures, questions.len()).await?;
        Ok(outcomes)
    }

    async fn evaluate_with_question<'q>(
        &self,
        question: &'q EvaluationQuestion,
    ) -> (&'q EvaluationQuestion, anyhow::Result<QuestionOutcome>) {
        (question, self.evaluate_question(question).await)
    }

    /// Asks and measures a question; its outcome is recorded before it counts.
    async fn evaluate_question(&self, question: &EvaluationQuestion) -> anyhow::Result<QuestionOutcome> {
        let mut outcome = self.asking.ask_question(self.door, question).await?;
        outcome.scores = measure_outcome(question, &outcome);
        if self.asking.search_only {
            outcome.scores.retain(|name, _| !ABOUT_ANSWERS.contains(&name.as_str()));
        }
        if let Some((by, metrics)) = &self.judge {
            judge_answer(metrics, question, &mut outcome, by).await;
        }
        let record = json!({ "name": self.name, "question": question.id, "outcome": outcome });
        post_evaluation(self.door, "record", record).await?;
        Ok(outcome)
    }

    async fn finish_run(&self, failures: &[String], of: usize) -> anyhow::Result<()> {
        for failure in failures.iter().take(NAMED_FAILURES) {
            print_message(&format!("question {failure}"));
        }
        if !failures.is_empty() {
            anyhow::bail!(
                "{} of {of} questions failed; hint: the same command goes on with them",
                failures.len()
            );
        }
        post_evaluation(self.door, "finish", json!({ "name": self.name }))
            .await
            .map(drop)
    }
}

/// Metrics that are removed if nothing was answered.
const ABOUT_ANSWERS: [&str; 7] = [
    "refusal_accuracy",
    "answered",
    "refused",
    "token_f1",
    "contains_gold",
    "ask_ms",
    "first_token_ms",
];
