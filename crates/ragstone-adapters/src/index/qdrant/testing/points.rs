//! The server's points.

use std::cmp::Reverse;
use std::collections::HashSet;

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    BatchResult, CountPoints, CountResponse, CountResult, CreateFieldIndexCollection, DeletePoints, Filter, GetPoints,
    GetResponse, PayloadSchemaInfo, PointId, PointStruct, PointsOperationResponse, PointsSelector, QueryBatchPoints,
    QueryBatchResponse, QueryPoints, RetrievedPoint, ScoredPoint, ScrollPoints, ScrollResponse, SetPayloadPoints,
    UpdateMode, UpdateResult, UpdateStatus, UpsertPoints, query, vector, vector_input, vectors::VectorsOptions,
};
use tonic::{Request, Response, Status};

use super::answer::{retrieved, selected};
use super::evaluate::{Stored, passes, score};
use super::{Collection, Fault, TestServer, Traffic, not_called};

fn wrong(what: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("Wrong input: {what}"))
}

fn updated(fault: Option<Fault>, wait: Option<bool>) -> Result<Response<PointsOperationResponse>, Status> {
    let status = match fault {
        Some(Fault::Lost) => return Err(Status::unavailable("the connection broke")),
        Some(Fault::Late) => UpdateStatus::WaitTimeout,
        _ if wait == Some(true) => UpdateStatus::Completed,
        _ => UpdateStatus::Acknowledged,
    };
    let result = UpdateResult {
        operation_id: Some(0),
        status: status.into(),
    };
    Ok(Response::new(PointsOperationResponse {
        result: Some(result),
        ..PointsOperationResponse::default()
    }))
}

fn uuid(id: Option<&PointId>) -> Result<String, Status> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Uuid(uuid)) => Ok(uuid.clone()),
        _ => Err(wrong("not a UUID")),
    }
}

fn read(collection: &Collection, point: PointStruct) -> Result<Stored, Status> {
    let mut stored = Stored {
        id: uuid(point.id.as_ref())?,
        payload: point.payload,
        ..Stored::default()
    };
    let Some(VectorsOptions::Vectors(named)) = point.vectors.and_then(|vectors| vectors.vectors_options) else {
        return Err(wrong("vectors without names"));
    };
    for (name, vector) in named.vectors {
        match (name.as_str(), vector.vector) {
            ("dense", Some(vector::Vector::Dense(vector))) => {
                check_length(collection, vector.data.len())?;
                stored.dense = Some(vector.data);
            }
            ("lexical", Some(vector::Vector::Sparse(vector))) => {
                check_sparse(&vector.indices)?;
                stored.sparse = Some(vector);
            }
            _ => return Err(wrong(format!("Not existing vector name error: {name}"))),
        }
    }
    Ok(stored)
}

fn check_length(collection: &Collection, length: usize) -> Result<(), Status> {
    let config = collection.definition.vectors_config.as_ref();
    let Some(Config::ParamsMap(spaces)) = config.and_then(|config| config.config.as_ref()) else {
        return Err(wrong("Not existing vector name error: dense"));
    };
    match spaces.map["dense"].size as usize {
        expected if expected == length => Ok(()),
        expected => Err(wrong(format!(
            "Vector dimension error: expected dim: {expected}, got {length}"
        ))),
    }
}

fn check_sparse(indices: &[u32]) -> Result<(), Status> {
    match indices.iter().collect::<HashSet<_>>().len() {
        0 => Err(wrong("a sparse vector must not be empty")),
        unique if unique < indices.len() => Err(wrong("indices must be unique")),
        _ => Ok(()),
    }
}

fn filter_of(selector: Option<PointsSelector>) -> Filter {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Filter(filter)) => filter,
        other => panic!("the adapter does not use {other:?}"),
    }
}

/// Equal scores come in an order that is no one's.
fn nearest(collection: &Collection, query: &QueryPoints) -> Result<Vec<ScoredPoint>, Status> {
    let Some(query::Variant::Nearest(input)) = query.query.as_ref().and_then(|query| query.variant.as_ref()) else {
        return Err(wrong("the adapter asks for the nearest"));
    };
    let input = input.variant.as_ref().ok_or_else(|| wrong("no vector"))?;
    match (query.using.as_deref(), input) {
        (Some("dense"), vector_input::Variant::Dense(vector)) => check_length(collection, vector.data.len())?,
        (Some("lexical"), vector_input::Variant::Sparse(vector)) => check_sparse(&vector.indices)?,
        other => return Err(wrong(format!("Not existing vector name error: {other:?}"))),
    }
    let filter = query.filter.clone().unwrap_or_default();
    let points = collection.points.values().filter(|point| passes(point, &filter));
    let mut scored: Vec<(f32, &Stored)> = points.filter_map(|point| Some((score(point, input)?, point))).collect();
    scored.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| Reverse(&a.1.id).cmp(&Reverse(&b.1.id)))
    });
    scored.truncate(query.limit.unwrap_or(10) as usize);
    let answer = scored.into_iter().map(|(score, point)| ScoredPoint {
        id: Some(point.id.as_str().into()),
        payload: selected(&point.payload, query.with_payload.as_ref()),
        score,
        ..ScoredPoint::default()
    });
    Ok(answer.collect())
}

/// Whether it is left to the graph which points are compared.
fn is_walk(query: &QueryPoints) -> bool {
    let params = query.params.as_ref();
    let exact = params.is_some_and(|params| params.exact == Some(true));
    query.using.as_deref() == Some("dense") && !exact
}

fn given(point: RetrievedPoint, traffic: &mut Traffic) -> RetrievedPoint {
    traffic.count_point(&point.payload, point.vectors.as_ref());
    point
}

fn integer(point: &Stored, key: &str) -> Option<i64> {
    match point.payload.get(key)?.kind.as_ref()? {
        Kind::IntegerValue(number) => Some(*number),
        _ => None,
    }
}

#[tonic::async_trait]
impl Points for TestServer {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Result<Response<PointsOperationResponse>, Status> {
        let (request, fault) = self.enter("upsert", request).await?;
        self.with(&request.collection_name, |collection, _| {
            let read: Result<Vec<Stored>, Status> = request
                .points
                .iter()
                .map(|point| read(collection, point.clone()))
                .collect();
            for point in read? {
                let insert_only = request.update_mode() == UpdateMode::InsertOnly;
                if !(insert_only && collection.points.contains_key(&point.id)) {
                    collection.points.insert(point.id.clone(), point);
                }
            }
            updated(fault, request.wait)
        })
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Result<Response<PointsOperationResponse>, Status> {
        let (request, fault) = self.enter("delete", request).await?;
        let filter = filter_of(request.points);
        self.with(&request.collection_name, |collection, _| {
            collection.points.retain(|_, point| !passes(point, &filter));
            updated(fault, request.wait)
        })
    }

    async fn get(&self, request: Request<GetPoints>) -> Result<Response<GetResponse>, Status> {
        let (request, _) = self.enter("get", request).await?;
        self.with(&request.collection_name, |collection, traffic| {
            let ids: Result<Vec<String>, Status> = request.ids.iter().map(|id| uuid(Some(id))).collect();
            let found = ids?.into_iter().filter_map(|id| collection.points.get(&id).cloned());
            let give = |point: Stored| {
                let (payload, vectors) = (request.with_payload.as_ref(), request.with_vectors.as_ref());
                given(retrieved(&point, payload, vectors), traffic)
            };
            let result = found.map(give).collect();
            Ok(Response::new(GetResponse {
                result,
                ..GetResponse::default()
            }))
        })
    }

    async fn set_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let (request, fault) = self.enter("set_payload", request).await?;
        let filter = filter_of(request.points_selector);
        self.with(&request.collection_name, |collection, _| {
            for point in collection.points.values_mut().filter(|point| passes(point, &filter)) {
                point.payload.extend(request.payload.clone());
                point
                    .payload
                    .retain(|_, value| !matches!(value.kind, Some(Kind::NullValue(_))));
            }
            updated(fault, request.wait)
        })
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let (request, fault) = self.enter("create_field_index", request).await?;
        self.with(&request.collection_name, |collection, _| {
            let info = PayloadSchemaInfo {
                params: request.field_index_params.clone(),
                ..PayloadSchemaInfo::default()
            };
            collection.indexes.insert(request.field_name.clone(), info);
            updated(fault, request.wait)
        })
    }

    async fn scroll(&self, request: Request<ScrollPoints>) -> Result<Response<ScrollResponse>, Status> {
        let (request, _) = self.enter("scroll", request).await?;
        self.with(&request.collection_name, |collection, traffic| {
            let filter = request.filter.clone().unwrap_or_default();
            let from = request
                .offset
                .as_ref()
                .map(|id| uuid(Some(id)))
                .transpose()?
                .unwrap_or_default();
            let points = collection
                .points
                .values()
                .filter(|point| point.id >= from && passes(point, &filter));
            let mut found: Vec<&Stored> = points.collect();
            if let Some(order) = &request.order_by {
                if !collection.indexes.contains_key(&order.key) {
                    return Err(wrong(format!("No range index for `order_by` key: `{}`", order.key)));
                }
                found.sort_by_key(|point| integer(point, &order.key));
            }
            let limit = request.limit.unwrap_or(10) as usize;
            let next = found.get(limit).filter(|_| request.order_by.is_none());
            let page = found.iter().take(limit);
            Ok(Response::new(ScrollResponse {
                next_page_offset: next.map(|point| point.id.as_str().into()),
                result: page
                    .map(|point| {
                        let (payload, vectors) = (request.with_payload.as_ref(), request.with_vectors.as_ref());
                        given(retrieved(point, payload, vectors), traffic)
                    })
                    .collect(),
                ..ScrollResponse::default()
            }))
        })
    }

    async fn count(&self, request: Request<CountPoints>) -> Result<Response<CountResponse>, Status> {
        let (request, _) = self.enter("count", request).await?;
        self.with(&request.collection_name, |collection, _| {
            let filter = request.filter.clone().unwrap_or_default();
            let count = collection
                .points
                .values()
                .filter(|point| passes(point, &filter))
                .count() as u64;
            Ok(Response::new(CountResponse {
                result: Some(CountResult { count }),
                ..CountResponse::default()
            }))
        })
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Result<Response<QueryBatchResponse>, Status> {
        let (request, _) = self.enter("query_batch", request).await?;
        self.state().walks += request.query_points.iter().filter(|query| is_walk(query)).count();
        self.with(&request.collection_name, |collection, traffic| {
            let answer = |query| {
                let result = nearest(collection, query)?;
                traffic.queries += 1;
                result
                    .iter()
                    .for_each(|found| traffic.count_point(&found.payload, None));
                Ok(BatchResult { result })
            };
            let result: Result<Vec<BatchResult>, Status> = request.query_points.iter().map(answer).collect();
            Ok(Response::new(QueryBatchResponse {
                result: result?,
                ..QueryBatchResponse::default()
            }))
        })
    }

    not_called! {
        update_vectors(UpdatePointVectors) -> PointsOperationResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        query(QueryPoints) -> QueryResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}
