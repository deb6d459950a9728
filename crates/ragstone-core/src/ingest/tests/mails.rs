//! Files in a mail: taken in with it, read by whom it is read, and gone with it or when it lost them.

use super::*;
use crate::seam::catalogue::{DocumentFilter, DocumentPatch, PageRequest};

const MAIL: &str = "Dear all, see the files.\x1eplan.txt\nThe harvest begins in June.\x1einner.eml\nFrom within.\x1fdeep.txt\nA secret lies below.";
const SHORTER: &str = "Dear all, see the file.\x1eplan.txt\nThe harvest begins in July.";

async fn uris(house: &House, caller: &Principal) -> Vec<String> {
    let page = PageRequest {
        cursor: None,
        limit: 1_000,
    };
    let filter = DocumentFilter::default();
    let found = house
        .ingestor
        .context
        .stores
        .catalogue
        .list_documents(&caller.scope(), &filter, &page)
        .await
        .unwrap();
    let mut uris: Vec<_> = found.items.into_iter().map(|document| document.uri).collect();
    uris.sort_unstable();
    uris
}

#[tokio::test]
async fn files_in_a_mail_are_documents_of_their_own() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.ingest(&caller, "m.eml", &["everyone"], MAIL).await;
    let expected = [
        "m.eml",
        "m.eml#attachment/1/plan.txt",
        "m.eml#attachment/2/inner.eml",
        "m.eml#attachment/2/inner.eml#attachment/1/deep.txt",
    ];
    assert_eq!(uris(&house, &caller).await, expected);
    assert_eq!(
        finds(&house, &caller, "harvest").await[0],
        "The harvest begins in June."
    );
    assert_eq!(finds(&house, &caller, "secret").await[0], "A secret lies below.");
    let blobs = house.blob_count().await;
    house.ingest(&caller, "m.eml", &["everyone"], MAIL).await;
    assert_eq!(house.blob_count().await, blobs);
    // One file is another one, one is gone with all that was in it.
    house.ingest(&caller, "m.eml", &["everyone"], SHORTER).await;
    assert_eq!(uris(&house, &caller).await, expected[..2]);
    assert_eq!(
        finds(&house, &caller, "harvest").await[0],
        "The harvest begins in July."
    );
    let found = finds(&house, &caller, "secret").await;
    assert!(!found.iter().any(|text| text.contains("secret")), "{found:?}");
}

#[tokio::test]
async fn who_lost_the_mail_lost_its_files_and_who_deletes_it_deletes_them() {
    let (house, caller) = (House::new(), writer("a", &["dept:x", "dept:y"]));
    let id = house.ingest(&caller, "m.eml", &["dept:x"], MAIL).await;
    let (x, y) = (writer("a", &["dept:x"]), writer("a", &["dept:y"]));
    assert!(!finds(&house, &x, "secret").await.is_empty() && finds(&house, &y, "secret").await.is_empty());
    let patch = DocumentPatch {
        acl: Some(crate::access::Acl::any_of(
            caller.tenant().clone(),
            ["dept:y".parse().unwrap()],
        )),
        ..DocumentPatch::default()
    };
    house
        .ingestor
        .uploads()
        .patch_document(&caller, id, patch)
        .await
        .unwrap();
    assert!(finds(&house, &x, "secret").await.is_empty() && !finds(&house, &y, "secret").await.is_empty());
    assert!(uris(&house, &x).await.is_empty());
    house.ingestor.uploads().delete_document(&caller, id).await.unwrap();
    assert!(uris(&house, &caller).await.is_empty(), "before any purge has run");
    house.work().await;
    assert_eq!(house.blob_count().await, 0);
    assert_eq!(house.record_count().await, 0);
}

#[tokio::test]
async fn a_mail_of_very_many_files_gives_as_many_as_the_limit_says() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let inner: String = (0..30).map(|n| format!("\x1fi{n}.txt\nword{n}")).collect();
    let mut mail = format!("All of it.\x1einner.eml\nIn here.{inner}");
    mail.extend((0..150).map(|n| format!("\x1ef{n}.txt\nterm{n}")));
    let id = house.ingest(&caller, "m.eml", &["everyone"], &mail).await;
    let uris = uris(&house, &caller).await;
    let within = uris.iter().filter(|uri| uri.contains("inner.eml#")).count();
    assert_eq!((uris.len(), within), (1 + 100 + 20, 20));
    let told = document(&house, &caller, id).await.unwrap().warnings;
    assert_eq!((told.len(), told[0].code.as_str()), (51, "attachment_not_read"));
}
