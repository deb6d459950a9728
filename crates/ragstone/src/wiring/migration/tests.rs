//! Changes the model while documents are added, removed and change their readers, and while questions are asked; with
//! migrations that are interrupted, refused, rolled back and finished.

mod house;

use ragstone_core::ingest::UploadSharing;
use ragstone_core::ingest::fsck::RepairOptions;

use super::record::{QualityGate, TargetModel};
use house::{House, NEW, OLD};

/// Documents before anything begins.
const BEFORE: usize = 12;

fn to(model: &str) -> TargetModel {
    house::target(model)
}

fn gate(ratio: f64) -> QualityGate {
    let question = |n: usize| {
        let line = serde_json::json!({
            "id": n, "question": house::question(n), "documents": [format!("doc-{n}")],
        });
        ragstone_core::evaluate::parse_jsonl(&line.to_string())
            .unwrap()
            .remove(0)
    };
    let questions = (0..BEFORE).map(question).collect();
    QualityGate {
        metric: "ndcg_10".into(),
        ratio,
        questions,
    }
}

#[tokio::test]
async fn a_change_under_load_ends_as_a_library_of_the_new_model() {
    let house = House::begin(OLD).await;
    for n in 0..BEFORE {
        house.put(n, "everyone").await;
    }
    house.migration.begin_migration(to(NEW), None).await.unwrap();
    let load = async {
        for n in BEFORE..2 * BEFORE {
            house.put(n, "everyone").await;
            house.remove(n - BEFORE / 2).await;
            house.put(n - BEFORE, "user:ada").await;
            house.answers(n).await;
        }
    };
    tokio::join!(load, house.until("switched"));
    for n in 0..2 * BEFORE {
        house.answers(n).await;
    }
    house.is_sound().await;
    let fresh = House::begin(NEW).await;
    fresh.take_over(&house).await;
    assert_eq!(house.everything_found().await, fresh.everything_found().await);
    // What made the chunks keeps its name: the same bytes again are no work.
    assert!(!house.put(2 * BEFORE - 1, "everyone").await, "nothing to do");
}

#[tokio::test]
async fn it_goes_on_where_a_process_ended() {
    let house = House::begin(OLD).await;
    for n in 0..BEFORE {
        house.put(n, "everyone").await;
    }
    house.models.allow(NEW, 40);
    house.migration.begin_migration(to(NEW), None).await.unwrap();
    house.until_trouble().await;
    let status = house.migration.current_status().await.unwrap();
    assert_eq!(
        (status.state, status.answers.as_deref()),
        ("filling", Some("openai:old"))
    );
    assert!(status.done > 0 && status.done < status.total, "{status:?}");
    house.answers(1).await;
    // Whatever is written meanwhile waits for both.
    assert!(!house.put(BEFORE, "everyone").await, "the new model is away");
    let done = status.done;
    let house = house.end_and_open(OLD).await;
    house.models.allow(NEW, u64::MAX);
    house.answers(1).await;
    house.until("switched").await;
    assert!(
        house.models.asked(NEW) <= status.total - done + 1,
        "what was there is not made again"
    );
    house.work().await;
    for n in 0..BEFORE {
        house.answers(n).await;
    }
    house.is_sound().await;
}

#[tokio::test]
async fn a_gate_lets_no_worse_model_answer() {
    let house = House::begin(OLD).await;
    for n in 0..BEFORE {
        house.put(n, "everyone").await;
    }
    let migration = &house.migration;
    // No model can be twice as good as one that finds everything.
    migration.begin_migration(to(NEW), Some(gate(2.0))).await.unwrap();
    house.until("refused").await;
    let status = migration.current_status().await.unwrap();
    assert_eq!(status.answers.as_deref(), Some("openai:old"));
    let compared = status.compared.unwrap();
    assert_eq!((compared.questions, compared.old), (BEFORE, 1.0), "{compared:?}");
    house.answers(3).await;
    house.is_sound().await;
    assert!(migration.finish_migration().await.is_err(), "it does not answer");
    migration.begin_migration(to(NEW), Some(gate(0.5))).await.unwrap();
    house.until("switched").await;
    assert!(
        migration
            .current_status()
            .await
            .unwrap()
            .compared
            .unwrap()
            .passes_gate()
    );
    let unmeasured = QualityGate {
        metric: "page_hit_5".into(),
        ..gate(1.0)
    };
    let refused = migration.begin_migration(to("another"), Some(unmeasured)).await;
    assert!(refused.unwrap_err().to_string().contains("page_hit_5"));
}

#[tokio::test]
async fn back_and_given_up_leaves_nothing() {
    let house = House::begin(OLD).await;
    for n in 0..BEFORE {
        house.put(n, "everyone").await;
    }
    let migration = &house.migration;
    assert!(
        migration.roll_back_migration().await.is_err(),
        "nothing is being changed"
    );
    migration.begin_migration(to(NEW), None).await.unwrap();
    house.until("switched").await;
    assert!(migration.abort_migration().await.is_err(), "the new one answers");
    assert!(
        migration.begin_migration(to("another"), None).await.is_err(),
        "one at a time"
    );
    house.put(BEFORE, "everyone").await;
    house.remove(0).await;
    assert_eq!(migration.roll_back_migration().await.unwrap().state, "rolled_back");
    assert!(migration.roll_back_migration().await.is_err(), "it answers already");
    for n in 1..=BEFORE {
        house.answers(n).await;
    }
    house.is_sound().await;
    // Who starts again goes neither forward nor back.
    let house = house.end_and_open(OLD).await;
    house.answers(BEFORE).await;
    assert_eq!(house.migration.current_status().await.unwrap().state, "rolled_back");
    let fresh = House::begin(OLD).await;
    fresh.take_over(&house).await;
    assert_eq!(house.everything_found().await, fresh.everything_found().await);
    assert_eq!(house.migration.abort_migration().await.unwrap().state, "none");
    assert_eq!(house.databases(), ["ragstone.db"]);
    house.put(BEFORE + 1, "everyone").await;
    house.answers(BEFORE + 1).await;
    house.is_sound().await;
}

#[tokio::test]
async fn a_finished_change_is_all_there_is() {
    let house = House::begin(OLD).await;
    for n in 0..BEFORE {
        house.put(n, "everyone").await;
    }
    house.migration.begin_migration(to(NEW), None).await.unwrap();
    house.until("switched").await;
    let refused = house.migration.finish_migration().await.unwrap_err().to_string();
    assert!(refused.contains("embed.model = \"new\""), "{refused}");
    assert!(house.vectors.describe().contains("embed.model = \"new\""));
    let house = house.end_and_open(NEW).await;
    assert_eq!(house.vectors.describe(), "new");
    house.until("switched").await;
    assert_eq!(house.migration.finish_migration().await.unwrap().state, "none");
    assert_eq!(house.databases().len(), 2);
    let house = house.end_and_open(NEW).await;
    for n in 0..BEFORE {
        house.answers(n).await;
    }
    assert!(!house.put(1, "everyone").await, "nothing to do");
    house.is_sound().await;
    // And on to the next one, out of its own database.
    house.migration.begin_migration(to(OLD), None).await.unwrap();
    house.until("switched").await;
    house.answers(2).await;
    house.is_sound().await;
    let house = house.end_and_open(OLD).await;
    house.migration.finish_migration().await.unwrap();
    assert_eq!(house.databases().len(), 2);
    house.answers(2).await;
}

#[tokio::test]
async fn what_cannot_be_changed_is_said() {
    let house = House::begin(OLD).await;
    let same = house.migration.begin_migration(to(OLD), None).await;
    assert!(same.unwrap_err().to_string().contains("already"));
    house.put(0, "everyone").await;
    house.migration.begin_migration(to(NEW), None).await.unwrap();
    house.until("switched").await;
    assert!(house.vectors.rebuild_index().await.is_err(), "two models are kept");
    let report = house
        .ingestor
        .consistency()
        .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
        .await
        .unwrap();
    assert_eq!(report.findings, []);
}
