//! The collection: created if it is missing, refused if it belongs to another library or spec.
//!
//! Invariant: the spec is in the collection's metadata, written by the request that creates the collection, so there
//! is no collection of ours without its spec.

use std::collections::HashMap;

use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    BoolIndexParams, CollectionInfo, CountPoints, CreateCollection, CreateFieldIndexCollection, Distance, FieldType,
    IntegerIndexParams, KeywordIndexParams, PayloadIndexParams, QuantizationConfig, QuantizationType,
    ScalarQuantization, SparseIndexConfig, SparseVectorConfig, SparseVectorParams, VectorParams, VectorParamsMap,
    VectorsConfig,
};
use ragstone_core::seam::index::{IndexError, IndexSpec};
use tonic::Code;

use super::error::{damaged_error, index_error, response_code};
use super::options::QdrantOptions;
use super::payload::{ACL_SETS, COLLECTION, DENSE, DOCUMENT, GENERATION, LEXICAL, LIVE, ORDINAL, TENANT, TERMS};
use super::server::QdrantClient;
use crate::index::fit::mismatch_error;

/// Oldest server version that stores points without overwriting them (`insert_only`).
const OLDEST_VERSION: (u64, u64) = (1, 17);
/// Metadata key of the collection that holds the spec as JSON.
const SPEC: &str = "ragstone_spec";
/// Metadata key of the collection that holds the library's id.
const LIBRARY: &str = "ragstone_library";
/// Quantile of components that quantisation maps to bytes; values beyond are clipped, and rescored by the whole vector
/// anyway.
const QUANTILE: f32 = 0.99;
/// How often a collection that appears or disappears during the check is checked again.
const ATTEMPTS: usize = 3;

/// Creates the collection for `spec`, or checks the existing one.
pub(super) async fn ensure_collection(server: &QdrantClient, spec: &IndexSpec) -> Result<(), IndexError> {
    check_version(server).await?;
    for _ in 0..ATTEMPTS {
        match fetch_collection_info(server).await? {
            None => create_collection(server, spec).await?,
            Some(info) => match parse_stored_spec(server, &info)? {
                held if held == *spec => return create_indexes(server, &info).await,
                held => drop_if_empty(server, &held, spec).await?,
            },
        }
    }
    Err(IndexError::Unavailable {
        detail: format!("collection {} is being made by others", server.options.collection),
    })
}

/// Spec of the collection, if it exists.
pub(super) async fn read_spec(server: &QdrantClient) -> Result<Option<IndexSpec>, IndexError> {
    let info = fetch_collection_info(server).await?;
    info.map(|info| parse_stored_spec(server, &info)).transpose()
}

/// Number of stored points; 0 while there is no collection.
pub(super) async fn count_points(server: &QdrantClient) -> Result<u64, IndexError> {
    let request = CountPoints {
        collection_name: server.collection_name(),
        exact: Some(true),
        ..CountPoints::default()
    };
    let answer = server.with_retry(server.options.read_retries, |client| {
        let request = request.clone();
        async move { client.count(request).await }
    });
    match answer.await {
        Ok(answer) => Ok(answer.result.map_or(0, |result| result.count)),
        Err(error) if response_code(&error) == Some(Code::NotFound) => Ok(0),
        Err(error) => Err(index_error("counting points", &error)),
    }
}

/// Version that the server reports.
pub(super) async fn fetch_version(server: &QdrantClient) -> Result<String, IndexError> {
    let health = server.send_read(
        "asking for the version",
        |client| async move { client.health_check().await },
    );
    Ok(health.await?.version)
}

async fn check_version(server: &QdrantClient) -> Result<(), IndexError> {
    let version = fetch_version(server).await?;
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    let known = parts.next().flatten().zip(parts.next().flatten());
    match known {
        Some(known) if known < OLDEST_VERSION => {
            let (major, minor) = OLDEST_VERSION;
            Err(mismatch_error(format!(
                "Qdrant is {version}; {major}.{minor} or later is needed"
            )))
        }
        // A custom build without a version number is accepted; its operator is responsible.
        _ => Ok(()),
    }
}

async fn fetch_collection_info(server: &QdrantClient) -> Result<Option<CollectionInfo>, IndexError> {
    let answer = server.with_retry(server.options.read_retries, |client| {
        let name = server.collection_name();
        async move { client.collection_info(name).await }
    });
    match answer.await {
        Ok(answer) => Ok(answer.result),
        Err(error) if response_code(&error) == Some(Code::NotFound) => Ok(None),
        Err(error) => Err(index_error("reading the collection", &error)),
    }
}

fn parse_stored_spec(server: &QdrantClient, info: &CollectionInfo) -> Result<IndexSpec, IndexError> {
    let name = &server.options.collection;
    let metadata = |key: &str| {
        let value = info.config.as_ref()?.metadata.get(key)?;
        match value.kind.as_ref()? {
            Kind::StringValue(text) => Some(text),
            _ => None,
        }
    };
    let (ours, marked) = (server.options.library.as_ref(), metadata(LIBRARY));
    if ours.is_some() && marked.is_some() && ours != marked {
        return Err(mismatch_error(format!(
            "collection {name} is another library's; hint: give each a collection of its own"
        )));
    }
    match metadata(SPEC) {
        Some(json) => {
            serde_json::from_str(json).map_err(|error| damaged_error(format!("the spec of collection {name}: {error}")))
        }
        None => Err(mismatch_error(format!("collection {name} was not made by Ragstone"))),
    }
}

async fn drop_if_empty(server: &QdrantClient, held: &IndexSpec, wanted: &IndexSpec) -> Result<(), IndexError> {
    let name = server.collection_name();
    if count_points(server).await? > 0 {
        return Err(mismatch_error(format!(
            "collection {name} holds points of {held:?}, not of {wanted:?}"
        )));
    }
    server
        .send_write("dropping the empty collection", |client| {
            let name = name.clone();
            async move { client.delete_collection(name).await }
        })
        .await?;
    Ok(())
}

async fn create_collection(server: &QdrantClient, spec: &IndexSpec) -> Result<(), IndexError> {
    let request = build_definition(server, spec)?;
    let answer = server.with_retry(server.options.write_retries, |client| {
        let request = request.clone();
        async move { client.create_collection(request).await }
    });
    match answer.await {
        Ok(_) => Ok(()),
        // Another process was faster, or an attempt that seemed lost was not; the existing spec is checked next.
        Err(error) if response_code(&error) == Some(Code::AlreadyExists) => Ok(()),
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        Err(error) => Err(index_error("making the collection", &error)),
    }
}

#[expect(deprecated, reason = "older servers know no other way to say it")]
fn build_definition(server: &QdrantClient, spec: &IndexSpec) -> Result<CreateCollection, IndexError> {
    let options = &server.options;
    let json = serde_json::to_string(spec).map_err(|error| mismatch_error(error.to_string()))?;
    let library = options
        .library
        .iter()
        .map(|library| (LIBRARY.to_owned(), library.as_str().into()));
    let marks = std::iter::once((SPEC.to_owned(), json.into())).chain(library);
    Ok(CreateCollection {
        collection_name: server.collection_name(),
        shard_number: options.shards,
        replication_factor: options.replicas,
        write_consistency_factor: options.write_consistency,
        on_disk_payload: Some(options.payload_on_disk),
        vectors_config: spec.dimensions.map(|size| dense_vector_config(size, options)),
        sparse_vectors_config: Some(lexical_vector_config(options.vectors_on_disk)),
        metadata: marks.collect(),
        ..CreateCollection::default()
    })
}

/// Vectors of unit length, whose dot product is their cosine.
#[expect(deprecated, reason = "older servers know no other way to say it")]
fn dense_vector_config(size: usize, options: &QdrantOptions) -> VectorsConfig {
    let bytes = ScalarQuantization {
        r#type: QuantizationType::Int8.into(),
        quantile: Some(QUANTILE),
        always_ram: Some(true),
        ..ScalarQuantization::default()
    };
    let quantized = QuantizationConfig {
        quantization: Some(Quantization::Scalar(bytes)),
    };
    let params = VectorParams {
        size: size as u64,
        distance: Distance::Dot.into(),
        on_disk: Some(options.vectors_on_disk || options.quantized),
        quantization_config: options.quantized.then_some(quantized),
        ..VectorParams::default()
    };
    VectorsConfig {
        config: Some(Config::ParamsMap(VectorParamsMap {
            map: HashMap::from([(DENSE.to_owned(), params)]),
        })),
    }
}

/// Without Qdrant's own idf: the query contains it.
#[expect(deprecated, reason = "older servers know no other way to say it")]
fn lexical_vector_config(on_disk: bool) -> SparseVectorConfig {
    let index = SparseIndexConfig {
        on_disk: Some(on_disk),
        ..SparseIndexConfig::default()
    };
    let params = SparseVectorParams {
        index: Some(index),
        modifier: None,
    };
    SparseVectorConfig {
        map: HashMap::from([(LEXICAL.to_owned(), params)]),
    }
}

async fn create_indexes(server: &QdrantClient, info: &CollectionInfo) -> Result<(), IndexError> {
    for (field, field_type, params) in payload_indexes() {
        if info.payload_schema.contains_key(field) {
            continue;
        }
        let request = CreateFieldIndexCollection {
            collection_name: server.collection_name(),
            wait: Some(true),
            field_name: field.to_owned(),
            field_type: Some(field_type.into()),
            field_index_params: Some(PayloadIndexParams {
                index_params: Some(params),
            }),
            ..CreateFieldIndexCollection::default()
        };
        let answer = server.send_change("making a payload index", |client| {
            let request = request.clone();
            async move { client.create_field_index(request).await }
        });
        answer.await?;
    }
    Ok(())
}

/// Payload fields that conditions use. Those that are part of every search are indexed for the graph as well.
fn payload_indexes() -> Vec<(&'static str, FieldType, IndexParams)> {
    let keyword = |field, is_tenant: bool, in_graph: bool| {
        let params = KeywordIndexParams {
            is_tenant: is_tenant.then_some(true),
            enable_hnsw: Some(in_graph),
            ..KeywordIndexParams::default()
        };
        (field, FieldType::Keyword, IndexParams::KeywordIndexParams(params))
    };
    let ordinal = IntegerIndexParams {
        lookup: Some(false),
        range: Some(true),
        enable_hnsw: Some(false),
        ..IntegerIndexParams::default()
    };
    let mut indexes = vec![
        keyword(TENANT, true, true),
        keyword(COLLECTION, false, true),
        keyword(DOCUMENT, false, false),
        keyword(GENERATION, false, false),
        keyword(TERMS, false, false),
        (ORDINAL, FieldType::Integer, IndexParams::IntegerIndexParams(ordinal)),
        (
            LIVE,
            FieldType::Bool,
            IndexParams::BoolIndexParams(BoolIndexParams::default()),
        ),
    ];
    indexes.extend(ACL_SETS.map(|field| keyword(field, false, true)));
    indexes
}
