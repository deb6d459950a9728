//! Pages of lists, limited in bytes as well as in items.
//!
//! Invariant: a page has at least one item, and more only within both limits; a page that ends early has a cursor for
//! the next one, so no item is skipped and no list fails because of its size.

use std::io::{self, Write};

use ragstone_core::seam::catalogue::{ListPage, PageRequest};
use serde::Serialize;

use super::problem::ApiProblem;

/// Items fetched from the store at once: they are in memory before their JSON size is known.
const FETCH_BATCH: usize = 50;

/// Fills a page from `fetch`, up to `most_bytes` of JSON. Returns the items and the cursor of the next page, `None` at
/// the end.
pub(super) async fn fill_page<T, B: Serialize, Found>(
    request: PageRequest,
    most_bytes: usize,
    fetch: impl Fn(PageRequest) -> Found,
    body: impl Fn(T) -> B,
) -> Result<(Vec<B>, Option<String>), ApiProblem>
where
    Found: Future<Output = Result<ListPage<T>, ApiProblem>>,
{
    let PageRequest { mut cursor, limit } = request;
    let (mut filled, mut bytes) = (Vec::new(), 0);
    loop {
        let step = PageRequest {
            cursor: cursor.clone(),
            limit: FETCH_BATCH.min(limit - filled.len()),
        };
        let found = fetch(step).await?;
        let count = found.items.len();
        for (taken, item) in found.items.into_iter().enumerate() {
            let item = body(item);
            bytes += json_length(&item);
            if bytes > most_bytes && !filled.is_empty() {
                let next = match taken {
                    0 => cursor,
                    // Only the store knows the cursor after an item, so the items taken are fetched again to get it.
                    taken => fetch(PageRequest { cursor, limit: taken }).await?.next_cursor,
                };
                return Ok((filled, next));
            }
            filled.push(item);
        }
        cursor = found.next_cursor;
        if cursor.is_none() || count == 0 || filled.len() >= limit {
            return Ok((filled, cursor));
        }
    }
}

/// Length of a value as JSON, in bytes.
pub(super) fn json_length(value: &impl Serialize) -> usize {
    let mut counted = ByteCounter(0);
    // An error is ignored: it appears again when the page is serialised.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

struct ByteCounter(usize);

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::HttpSettings;
    use crate::http::test_app::TestApp;

    const DOCUMENTS: &str = "/api/v1/documents";

    /// Numbers below `count`; a cursor is the next one.
    async fn page(count: usize, request: PageRequest) -> Result<ListPage<usize>, ApiProblem> {
        assert!(request.limit <= FETCH_BATCH);
        let start = request.cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let end = count.min(start + request.limit);
        Ok(ListPage {
            items: (start..end).collect(),
            next_cursor: (end < count).then(|| end.to_string()),
        })
    }

    /// Pages of at most `limit` items of ten bytes each, and `most` bytes.
    async fn lengths(count: usize, limit: usize, most: usize) -> Vec<usize> {
        let (mut all, mut lengths, mut cursor) = (Vec::new(), Vec::new(), None);
        loop {
            let request = PageRequest { cursor, limit };
            let item = |n: usize| format!("{n:08}");
            let filled = fill_page(request, most, |step| page(count, step), item).await;
            let (items, next) = filled.unwrap();
            lengths.push(items.len());
            all.extend(items);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (0..count).map(|n| format!("{n:08}")).collect();
        assert_eq!(all, expected);
        lengths
    }

    #[tokio::test]
    async fn a_page_ends_at_its_items_or_its_bytes_and_the_next_goes_on() {
        assert_eq!(lengths(7, 3, 1_000).await, [3, 3, 1]);
        assert_eq!(lengths(7, 100, 35).await, [3, 3, 1]);
        assert_eq!(lengths(200, 130, 10_000).await, [130, 70]);
        assert_eq!(lengths(200, 1_000, 520).await, [52, 52, 52, 44]);
        assert_eq!(lengths(100, 1_000, 500).await, [50, 50], "at the end of a step");
        assert_eq!(
            lengths(3, 100, 1).await,
            [1, 1, 1],
            "an item that is larger than a page"
        );
        assert_eq!(lengths(0, 10, 10).await, [0]);
    }

    #[tokio::test]
    async fn a_page_of_a_list_ends_at_its_bytes_and_the_next_goes_on() {
        let app = TestApp::with(HttpSettings {
            list_bytes: 65_536,
            ..HttpSettings::default()
        });
        let note = "n".repeat(20_000);
        for n in 0..8 {
            let document = json!({"uri": format!("doc-{n}"), "text": note, "metadata": {"note": note}});
            assert_eq!(app.post(DOCUMENTS, &document).send().await.status, 202);
        }
        app.work().await;
        let (mut uris, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
        while pages == 0 || !cursor.is_null() {
            let after = cursor
                .as_str()
                .map(|cursor| format!("&cursor={cursor}"))
                .unwrap_or_default();
            let answer = app.get(&format!("{DOCUMENTS}?limit=100{after}")).send().await;
            assert_eq!(answer.status, 200);
            assert!(answer.text().len() < 70_000, "{}", answer.text().len());
            let page = answer.json();
            let documents = page["documents"].as_array().unwrap();
            uris.extend(
                documents
                    .iter()
                    .map(|document| document["uri"].as_str().unwrap().to_owned()),
            );
            cursor = page["next_cursor"].clone();
            pages += 1;
        }
        let all: Vec<_> = (0..8).map(|n| format!("doc-{n}")).collect();
        assert_eq!((uris, pages), (all, 3));
        let long = json!({"uri": "long", "text": "n".repeat(90_000)});
        let id = app.post(DOCUMENTS, &long).send().await.json()["document"]["id"].clone();
        app.work().await;
        let path = format!("{DOCUMENTS}/{}", id.as_str().unwrap());
        let (mut ordinals, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app
                .get(&format!("{path}/chunks?limit=1000{cursor}"))
                .send()
                .await
                .json();
            let chunks = page["chunks"].as_array().unwrap();
            assert!(chunks.len() < 100);
            ordinals.extend(chunks.iter().map(|chunk| chunk["ordinal"].as_u64().unwrap()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let count = app.get(&path).send().await.json()["chunks"].as_u64().unwrap();
        assert!(
            count > 100 && ordinals == (0..count).collect::<Vec<_>>(),
            "{ordinals:?} of {count}"
        );
    }
}
