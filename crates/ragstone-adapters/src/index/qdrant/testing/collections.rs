//! The server's collections.

use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionInfo, CollectionOperationResponse, CreateCollection, DeleteCollection,
    GetCollectionInfoRequest, GetCollectionInfoResponse,
};
use tonic::{Request, Response, Status};

use super::{Collection, Fault, TestServer, not_called};

fn done(fault: Option<Fault>) -> Result<Response<CollectionOperationResponse>, Status> {
    match fault {
        Some(Fault::Lost) => Err(Status::unavailable("the connection broke")),
        _ => Ok(Response::new(CollectionOperationResponse {
            result: true,
            time: 0.0,
        })),
    }
}

#[tonic::async_trait]
impl Collections for TestServer {
    async fn get(
        &self,
        request: Request<GetCollectionInfoRequest>,
    ) -> Result<Response<GetCollectionInfoResponse>, Status> {
        let (request, _) = self.enter("get_collection", request).await?;
        self.with(&request.collection_name, |collection, _| {
            let config = CollectionConfig {
                metadata: collection.definition.metadata.clone(),
                ..CollectionConfig::default()
            };
            let info = CollectionInfo {
                config: Some(config),
                payload_schema: collection.indexes.clone(),
                points_count: Some(collection.points.len() as u64),
                ..CollectionInfo::default()
            };
            Ok(Response::new(GetCollectionInfoResponse {
                result: Some(info),
                time: 0.0,
            }))
        })
    }

    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let (definition, fault) = self.enter("create_collection", request).await?;
        let name = definition.collection_name.clone();
        let mut state = self.state();
        if state.collections.contains_key(&name) {
            let message = format!("Wrong input: Collection `{name}` already exists!");
            return Err(Status::invalid_argument(message));
        }
        let collection = Collection {
            definition,
            ..Collection::default()
        };
        state.collections.insert(name, collection);
        done(fault)
    }

    async fn delete(
        &self,
        request: Request<DeleteCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let (request, fault) = self.enter("delete_collection", request).await?;
        self.state().collections.remove(&request.collection_name);
        done(fault)
    }

    not_called! {
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        update(UpdateCollection) -> CollectionOperationResponse;
        update_aliases(ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        collection_exists(CollectionExistsRequest) -> CollectionExistsResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}
