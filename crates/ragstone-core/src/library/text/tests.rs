//! What is written is what is read, and damage is named.

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::document::{ParseWarning, SectionSpan};

fn outline() -> DocumentOutline {
    DocumentOutline {
        title: Some("A title".into()),
        sections: vec![SectionSpan {
            path: "A > B".into(),
            range: 0..2,
        }],
        warnings: vec![ParseWarning {
            code: "w".into(),
            detail: "d".into(),
            pages: vec![1],
        }],
        attachments: Vec::new(),
    }
}

async fn write<'a>(blobs: &'a InMemory, key: &Path, pages: &[&str]) -> StoredText<'a> {
    let mut writer = TextWriter::new(blobs, key.clone()).unwrap();
    for (number, page) in (1..).zip(pages) {
        writer.write_page(Some(number), page).await.unwrap();
    }
    assert_eq!(writer.is_blank(), pages.concat().trim().is_empty());
    writer.finish("p1", "text/plain".into(), outline()).await.unwrap()
}

async fn check(pages: &[&str]) {
    let (blobs, key, whole) = (InMemory::new(), Path::from("t/d/1/text"), pages.concat());
    let written = write(&blobs, &key, pages).await;
    let opened = StoredText::open_text(&blobs, key).await.unwrap();
    let copied = StoredText::open_text(&blobs, opened.key.clone()).await.unwrap();
    let copied = copied.copy_to(Path::from("t/d/2/text")).await.unwrap();
    for stored in [written, opened, copied] {
        assert_eq!((stored.parser_fingerprint(), stored.media_type()), ("p1", "text/plain"));
        assert_eq!((stored.outline(), stored.pages().len()), (&outline(), pages.len()));
        let mut reader = stored.range_reader();
        for (page, span) in pages.iter().zip(stored.pages()) {
            let text = reader.read_range(&span.range).await.unwrap();
            assert_eq!(text.as_deref(), Some(*page));
        }
        let all = stored.read_range(&(0..whole.len())).await.unwrap();
        assert_eq!(all.as_deref(), Some(whole.as_str()));
        assert_eq!(stored.read_range(&(0..whole.len() + 1)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_was_written_is_read_whole_and_in_ranges() {
    let long = "Ünïcödé text. ".repeat(20_000);
    let full = "x".repeat(FRAME_BYTES);
    let many = vec!["A page of some words. "; 10_000];
    check(&["one", "two", ""]).await;
    check(&["before", &long, "after"]).await;
    check(&[&full, &full, "a"]).await;
    check(&["", ""]).await;
    check(&[]).await;
    check(&many).await;
}

#[tokio::test]
async fn pages_share_frames_and_begin_them() {
    let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
    let long = "x".repeat(FRAME_BYTES + 1);
    let stored = write(&blobs, &key, &["one", "two", &long, "three"]).await;
    let frames: Vec<_> = stored.head.frames.iter().map(|frame| frame.text.clone()).collect();
    let end = 6 + FRAME_BYTES;
    assert_eq!(frames, [0..6, 6..end, end..end + 6]);
}

#[tokio::test]
async fn a_text_that_is_not_finished_leaves_nothing() {
    let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
    let mut writer = TextWriter::new(&blobs, key.clone()).unwrap();
    writer.write_page(None, &"text ".repeat(FRAME_BYTES)).await.unwrap();
    writer.abort().await;
    assert!(blobs.head(&key).await.is_err());
}

#[tokio::test]
async fn a_damaged_object_is_named() {
    let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
    for bytes in [
        &b""[..],
        b"RST",
        b"....RST1",
        b"\xff\xff\xff\xffRST2",
        b"\x05\0\0\0RST2",
        b"[]\x02\0\0\0RST2",
    ] {
        blobs.put(&key, PutPayload::from(bytes.to_vec())).await.unwrap();
        assert!(StoredText::open_text(&blobs, key.clone()).await.is_err(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_frame_is_never_text() {
    const TEXT: &str = "The lamp stands on the table.";
    let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
    let length = write(&blobs, &key, &[TEXT]).await.head.frames[0].stored.end;
    let whole = blobs.get(&key).await.unwrap().bytes().await.unwrap();
    for at in 0..length as usize {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        blobs.put(&key, PutPayload::from(bytes)).await.unwrap();
        let stored = StoredText::open_text(&blobs, key.clone()).await.unwrap();
        // A few bits of a frame say nothing.
        if let Ok(read) = stored.read_range(&stored.pages()[0].range).await {
            assert_eq!(read.as_deref(), Some(TEXT), "bit in byte {at}");
        }
    }
}
