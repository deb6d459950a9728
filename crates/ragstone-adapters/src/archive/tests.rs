//! Round trips; refusal of truncated and changed archives; resumption of interrupted ones.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use ragstone_core::id::ContentHash;
use ragstone_core::seam::catalogue::StatisticsDelta;
use ragstone_core::seam::contract::{Sample, acl};
use ragstone_core::seam::portable::{ExportedChunk, ExportedContent, ExportedVersion};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::*;

const CHUNKS: u32 = 5;

fn packed(uri: &str) -> ExportedVersion {
    let acl = acl("a", &[&["group:g"], &["user:ü"]]);
    let chunk = Sample::new(1, 8).point(&acl, uri, 1, 0);
    ExportedVersion {
        id: chunk.chunk.document_id,
        collection: chunk.collection,
        source: Default::default(),
        uri: uri.into(),
        name: "a.txt".into(),
        given_title: None,
        title: "A".into(),
        declared_media_type: None,
        media_type: "text/plain".into(),
        version: 3,
        content_hash: ContentHash::of_bytes(uri.as_bytes()),
        bytes: uri.len() as u64,
        pages: None,
        chunks: CHUNKS,
        acl,
        acl_revision: 2,
        metadata: Default::default(),
        department_id: None,
        source_url: None,
        warnings: Vec::new(),
        pipeline: "p".into(),
        statistics: StatisticsDelta::default(),
        generation: Generation(7),
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
    }
}

fn chunks(uri: &str) -> Vec<ExportedChunk> {
    let (acl, mut sample) = (packed(uri).acl, Sample::new(5, 8));
    let points = (0..CHUNKS).map(|n| sample.point(&acl, uri, 7, n));
    points.map(ExportedChunk::from).collect()
}

fn header() -> ArchiveHeader {
    ArchiveHeader::new("test", None)
}

fn put(archive: &mut ArchiveWriter, uri: &str) {
    let packed = packed(uri);
    let mut document = archive.begin_document();
    document.begin_original(packed.bytes).unwrap();
    document.append_bytes(uri.as_bytes()).unwrap();
    document.begin_text(700).unwrap();
    document.append_bytes(&[7; 700]).unwrap();
    for some in chunks(uri).chunks(3) {
        let lines: Vec<u8> = some.iter().flat_map(|chunk| encode_line(chunk).unwrap()).collect();
        document.write_chunks(&lines).unwrap();
    }
    document.finish(&packed).unwrap();
}

fn begin(path: &Path) -> (ArchiveWriter, Vec<VersionStamp>) {
    ArchiveWriter::open(path, &header(), |_| true).unwrap()
}

fn end(archive: ArchiveWriter) -> ArchiveTotals {
    archive
        .finish(&[json!({"name": "s"})], &json!({"k": "v"}), &[json!({"q": 1})])
        .unwrap()
}

fn written(folder: &Path) -> (PathBuf, ArchiveTotals) {
    let path = folder.join("library.tar");
    let (mut archive, marks) = begin(&path);
    assert!(marks.is_empty());
    ["one", "two"].iter().for_each(|uri| put(&mut archive, uri));
    (path, end(archive))
}

async fn holds(path: &Path, uris: &[&str]) {
    let archive = ArchiveReader::open(path, |_| {}).unwrap();
    assert_eq!(archive.len(), uris.len());
    for (n, id) in (0..archive.len()).map(|n| (n, archive.document_id(n))) {
        let uri = uris.iter().find(|uri| packed(uri).id == id).unwrap();
        let document = archive.read_document(n).unwrap();
        assert_eq!(document.packed, packed(uri));
        let original: Vec<_> = document.read_original().try_collect().await.unwrap();
        assert_eq!(original.concat(), uri.as_bytes());
        let text: Vec<_> = document.read_text().try_collect().await.unwrap();
        assert_eq!(text.concat(), [7; 700]);
        let read: Vec<Vec<ExportedChunk>> = document.read_chunks().try_collect().await.unwrap();
        assert_eq!(read.concat(), chunks(uri));
    }
    assert_eq!(archive.parse_sources::<Value>().unwrap(), [json!({"name": "s"})]);
    assert_eq!(archive.parse_settings::<Value>().unwrap(), json!({"k": "v"}));
    assert_eq!(archive.parse_questions::<Value>().unwrap(), [json!({"q": 1})]);
}

#[tokio::test]
async fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, totals) = written(folder.path());
    holds(&path, &["one", "two"]).await;
    assert_eq!(ArchiveReader::open(&path, |_| {}).unwrap().totals, totals);
    assert_eq!((totals.documents, totals.chunks), (2, 10));
    assert_eq!(totals.bytes, std::fs::metadata(&path).unwrap().len());
    let again = ArchiveWriter::open(&path, &header(), |_| true);
    assert!(
        matches!(again, Err(ArchiveError::Unusable(_))),
        "nothing is overwritten"
    );
}

#[test]
fn every_change_and_every_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        let path = folder.path().join("other.tar");
        std::fs::write(&path, bytes).unwrap();
        ArchiveReader::open(&path, |_| {}).unwrap_err()
    };
    for at in (0..bytes.len()).step_by(37) {
        let mut other = bytes.clone();
        other[at] ^= 0x10;
        let error = check(&other);
        assert!(!error.to_string().is_empty(), "{at}");
        assert!(matches!(check(&bytes[..at]), ArchiveError::Truncated { .. }), "{at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(check(&longer), ArchiveError::Changed { .. }));
    let told = check(&bytes[..bytes.len() / 2]).to_string();
    assert!(told.contains(&format!("at byte {}", bytes.len() / 2)), "{told}");
    let mut other = bytes;
    let original = 1_024 + 512;
    other[original] ^= 1;
    let told = check(&other).to_string();
    assert!(told.contains("documents/00000001/original, at byte 1536"), "{told}");
}

#[test]
fn what_is_no_archive_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    let check = |bytes: &[u8], word: &str| {
        std::fs::write(&path, bytes).unwrap();
        let told = ArchiveReader::open(&path, |_| {}).unwrap_err().to_string();
        assert!(told.contains(word), "{told}");
    };
    check(&[b'x'; 4_096], "no archive");
    check(b"", "cut off at byte 0");
    let newer = br#"{"format":"ragstone-archive","version":2}"#;
    let mut file = tar::encode_header(HEADER, newer.len() as u64).to_vec();
    file.extend(newer);
    file.resize(file.len() + tar::padding_bytes(newer.len() as u64) + tar::ENDING, 0);
    check(&file, "layout 2, this program reads 1");
}

#[tokio::test]
async fn what_broke_off_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (path, totals) = written(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let part = folder.path().join("again.tar.part");
    let again = folder.path().join("again.tar");
    for length in (0..whole.len()).step_by(1_000) {
        std::fs::write(&part, &whole[..length]).unwrap();
        let (mut archive, marks) = begin(&again);
        for uri in ["one", "two"] {
            if marks.iter().all(|mark| mark.id != packed(uri).id) {
                put(&mut archive, uri);
            }
        }
        assert_eq!(end(archive), totals, "{length}");
        holds(&again, &["one", "two"]).await;
        std::fs::remove_file(&again).unwrap();
    }
    // What the library does not have any more is cut off, with what follows it.
    std::fs::write(&part, &whole).unwrap();
    let (archive, marks) = ArchiveWriter::open(&again, &header(), |mark| mark.id != packed("one").id).unwrap();
    assert!(marks.is_empty() && archive.bytes_written() == 1_024, "{marks:?}");
    drop(archive);
    // Another header is another library's, or another model's.
    std::fs::write(&part, &whole).unwrap();
    let (archive, marks) = ArchiveWriter::open(&again, &ArchiveHeader::new("other", None), |_| true).unwrap();
    assert!(marks.is_empty() && archive.bytes_written() == 1_024);
}

#[tokio::test]
async fn a_document_that_changed_counts_once_and_one_that_was_left_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.tar");
    let (mut archive, _) = begin(&path);
    put(&mut archive, "one");
    put(&mut archive, "gone");
    archive.withdraw_document(packed("one").id);
    archive.withdraw_document(packed("gone").id);
    put(&mut archive, "one");
    let mut left = archive.begin_document();
    left.begin_original(2_000).unwrap();
    left.append_bytes(b"some of it").unwrap();
    left.abandon_document().unwrap();
    put(&mut archive, "two");
    let totals = end(archive);
    assert_eq!(totals.documents, 2);
    holds(&path, &["one", "two"]).await;
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written(folder.path());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
