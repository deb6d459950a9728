//! A caller's filter means the same here as in `MetadataFilter::matches`, whatever Qdrant makes of it.

use std::collections::BTreeSet;

use ragstone_core::access::ScopedQuery;
use ragstone_core::document::DocumentMetadata;
use ragstone_core::filter::MetadataFilter;
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::{DIMENSIONS, question, store_visible};
use ragstone_core::seam::contract::{Sample, acl, caller};
use ragstone_core::seam::index::{IndexPoint, IndexQuery, SearchMode};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::index;
use ragstone_adapters::index::qdrant::testing::TestServer;

const KEYS: [&str; 6] = ["lang", "year", "day", "a.b [0]", "q\"uote", "tags"];
const FILTERS: usize = 400;

/// Values as documents hold them: scalars, lists, lists in lists, objects, nothing.
fn value(sample: &mut Sample) -> Value {
    let scalars = [
        json!("en"),
        json!("de"),
        json!(""),
        json!(3),
        json!(3.0),
        json!(-0.0),
        json!(0),
        json!(2.5),
        json!(true),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992_i64),
        json!(u64::MAX),
        json!("2024-05-01"),
        json!("2024-11-30T10:00:00.000Z"),
        json!("3"),
    ];
    let scalar = |sample: &mut Sample| scalars[sample.below(scalars.len() as u64) as usize].clone();
    match sample.below(12) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!([scalar(sample), scalar(sample)]),
        3 => json!([[scalar(sample)], scalar(sample), null]),
        4 => json!({"inner": scalar(sample)}),
        _ => scalar(sample),
    }
}

fn fields(sample: &mut Sample) -> DocumentMetadata {
    let mut fields = DocumentMetadata::new();
    for key in KEYS {
        if sample.below(4) > 0 {
            fields.insert(key.into(), value(sample));
        }
    }
    fields
}

fn filter(sample: &mut Sample, depth: u64) -> Value {
    let kinds = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "prefix"];
    if depth > 0 && sample.below(2) == 0 {
        let parts: Vec<Value> = (0..1 + sample.below(3)).map(|_| filter(sample, depth - 1)).collect();
        let kind = ["and", "or", "not"][sample.below(3) as usize];
        return json!({"type": kind, "filters": parts});
    }
    let kind = kinds[sample.below(kinds.len() as u64) as usize];
    let key = KEYS[sample.below(KEYS.len() as u64) as usize];
    loop {
        let wanted = match kind {
            "in" | "nin" => json!((0..sample.below(4)).map(|_| value(sample)).collect::<Vec<_>>()),
            _ => value(sample),
        };
        let filter = json!({"type": kind, "key": key, "value": wanted});
        if MetadataFilter::from_json(&filter).is_ok() {
            return filter;
        }
    }
}

#[tokio::test]
async fn a_filter_means_what_it_means_everywhere() {
    let server = TestServer::start().await;
    a_filter_means_the_same(&server.url()).await;
}

/// Random filters over random fields, at whatever server.
pub async fn a_filter_means_the_same(url: &str) {
    let index: Arc<dyn VectorIndex> = Arc::new(index(url));
    let mut sample = Sample::new(21, DIMENSIONS);
    let open = acl("a", &[&["everyone"]]);
    let mut points: Vec<IndexPoint> = (0..60).map(|n| sample.point(&open, "x", 1, n)).collect();
    for point in &mut points {
        point.fields = fields(&mut sample);
    }
    // Fields belong to a generation; here each point has its own, so that few points try much.
    store_visible(&index, &points).await;
    let scope = caller("a", &[]);
    let query = IndexQuery {
        mode: SearchMode::Dense,
        depth: points.len(),
        ..question(&mut sample)
    };
    let mut narrowed = 0;
    for _ in 0..FILTERS {
        let filter = MetadataFilter::from_json(&filter(&mut sample, 3)).unwrap();
        let asked = ScopedQuery::for_contract(&scope, None, Some(filter.clone()), query.clone());
        let hits = index.search(&asked).await.unwrap().hits;
        let found: BTreeSet<_> = hits.iter().map(|hit| hit.point).collect();
        let passing = points.iter().filter(|point| filter.matches(&point.fields));
        let expected: BTreeSet<_> = passing.map(|point| point.id).collect();
        assert_eq!(found, expected, "{filter:?}");
        narrowed += usize::from(!expected.is_empty() && expected.len() < points.len());
    }
    assert!(narrowed > FILTERS / 3, "the filters try something: {narrowed}");
}
