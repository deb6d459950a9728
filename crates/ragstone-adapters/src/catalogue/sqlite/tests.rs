//! The contract over a database in memory and over a file, and what only SQLite could get wrong.

use std::sync::Arc;

use ragstone_core::rank::TermId;
use ragstone_core::seam::catalogue::{Begun, Catalogue, StatisticsDelta};
use ragstone_core::seam::contract::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use ragstone_core::seam::contract::{acl, caller, catalogue_contract, tenant};

use super::SqliteCatalogue;
use crate::sqlite::Database;

#[tokio::test]
async fn in_memory_keeps_the_contract() {
    let make = || async {
        let catalogue = SqliteCatalogue::open(Database::in_memory().unwrap()).unwrap();
        Arc::new(catalogue) as Arc<dyn Catalogue>
    };
    catalogue_contract(make).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::sync::atomic::AtomicUsize::new(0);
    let make = || async {
        let file = files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let database = Database::open(&folder.path().join(format!("{file}.db"))).unwrap();
        Arc::new(SqliteCatalogue::open(database).unwrap()) as Arc<dyn Catalogue>
    };
    catalogue_contract(make).await;
}

/// More publishes than are folded at once, so that the sums come from totals and changes both.
#[tokio::test]
async fn statistics_are_the_same_after_folding_and_opening_again() {
    const PUBLISHES: u32 = 700;
    let database = Database::in_memory().unwrap();
    let catalogue = SqliteCatalogue::open(database.clone()).unwrap();
    let open = acl("a", &[&["everyone"]]);
    let scope = caller("a", &[]);
    let mut expected = 0;
    for n in 0..PUBLISHES {
        let new = version(&open, &format!("{}", n % 300), &n.to_string());
        let begun = catalogue.begin(&scope, new, job_id(n.into()), at(n.into())).await;
        assert!(matches!(begun.unwrap(), Begun::Started(..)));
        let claim = catalogue
            .claim(WORKER, LEASE, moment(n.into()))
            .await
            .unwrap()
            .unwrap();
        let statistics = StatisticsDelta {
            chunks: 2,
            terms: vec![(TermId(1), 1), (TermId(n), 2)],
            pieces: vec![(n % 5, 1)],
        };
        let flipped = catalogue
            .publish(&claim.lease, made("t", statistics), at(n.into()))
            .await;
        expected += i64::from(flipped.unwrap().replaced.is_none());
    }
    let again = SqliteCatalogue::open(database).unwrap();
    for catalogue in [&catalogue, &again] {
        let found = catalogue
            .term_statistics(&tenant("a"), &[TermId(1), TermId(650), TermId(2)])
            .await
            .unwrap();
        assert_eq!(found.documents as i64, 2 * expected);
        assert_eq!(found.df[&TermId(1)] as i64, expected);
        assert_eq!(found.df[&TermId(650)], 2);
        assert!(!found.df.contains_key(&TermId(2)), "replaced");
        let pieces = catalogue
            .piece_frequencies(&tenant("a"), &[0, 1, 2, 3, 4, 5])
            .await
            .unwrap();
        assert_eq!(pieces.iter().sum::<u64>() as i64, expected);
    }
}
