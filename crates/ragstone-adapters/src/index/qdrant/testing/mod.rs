//! Test server that speaks Qdrant's protocol over a real socket, scans every point, and fails on request.

mod answer;
mod collections;
mod evaluate;
mod points;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::{Qdrant, QdrantServer};
use qdrant_client::qdrant::{CreateCollection, HealthCheckReply, HealthCheckRequest, PayloadSchemaInfo};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use evaluate::Stored;

/// Largest request, as in Qdrant's own settings.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the server says so.
    Unavailable,
    /// The work is done and its answer lost.
    Lost,
    /// The work is left for later.
    Late,
    /// No answer ever comes.
    Silent,
    /// The server is out of order.
    Refused,
}

/// A collection.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    /// What it was made with.
    pub definition: CreateCollection,
    /// Payload fields that have an index.
    pub indexes: HashMap<String, PayloadSchemaInfo>,
    /// By id.
    pub points: BTreeMap<String, Stored>,
}

/// What the server gave back since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Queries, those of a batch one by one.
    pub queries: usize,
    /// Points, each time one was given.
    pub points: usize,
    /// Points that came with a part of their payload.
    pub payloads: usize,
    /// Vectors.
    pub vectors: usize,
    /// Bytes of payloads and vectors, without what the protocol adds.
    pub bytes: usize,
}

/// What the server holds and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    /// By name.
    pub collections: HashMap<String, Collection>,
    /// The next calls of a name fail like this.
    pub faults: HashMap<&'static str, VecDeque<Fault>>,
    /// The names of the calls that came.
    pub calls: Vec<&'static str>,
    /// What they were given.
    pub traffic: Traffic,
    /// How many queries left it to the graph which points are compared.
    pub walks: usize,
    /// What it says it is.
    pub version: String,
    /// What every request must bring.
    pub api_key: Option<String>,
}

/// A running server; it ends with the last handle's runtime.
#[derive(Debug, Clone)]
pub struct TestServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl TestServer {
    /// Starts an empty server on a free port.
    pub async fn start() -> Self {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let state = State {
            version: "1.20.0".into(),
            ..State::default()
        };
        let server = Self {
            state: Arc::new(Mutex::new(state)),
            address: incoming.local_addr().expect("a bound address"),
        };
        let router = tonic::transport::Server::builder()
            .add_service(PointsServer::new(server.clone()).max_decoding_message_size(MAX_REQUEST_BYTES))
            .add_service(CollectionsServer::new(server.clone()))
            .add_service(QdrantServer::new(server.clone()));
        tokio::spawn(router.serve_with_incoming(incoming));
        server
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it holds, for as long as the guard lives.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next calls of `name` fail.
    pub fn fail(&self, name: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry(name).or_default().extend(faults);
    }

    /// Returns the calls since the last time, and clears them.
    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state().calls)
    }

    /// Returns the traffic since the last time, and clears it.
    pub fn traffic(&self) -> Traffic {
        std::mem::take(&mut self.state().traffic)
    }

    /// Notes a call, checks its key, and fails it if that was asked for.
    pub async fn enter<T>(&self, name: &'static str, request: Request<T>) -> Result<(T, Option<Fault>), Status> {
        let fault = {
            let mut state = self.state();
            state.calls.push(name);
            let key = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
            if state.api_key.is_some() && state.api_key.as_deref() != key {
                return Err(Status::unauthenticated("Must provide an API key"));
            }
            state.faults.get_mut(name).and_then(VecDeque::pop_front)
        };
        match fault {
            Some(Fault::Unavailable) => Err(Status::unavailable("the server starts")),
            Some(Fault::Refused) => Err(Status::invalid_argument("the server is out of order")),
            Some(Fault::Silent) => std::future::pending().await,
            other => Ok((request.into_inner(), other)),
        }
    }

    /// The collection, for as long as the closure runs.
    pub fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Collection, &mut Traffic) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let state = &mut *self.state();
        match state.collections.get_mut(name) {
            Some(collection) => work(collection, &mut state.traffic),
            None => Err(Status::not_found(format!(
                "Not found: Collection `{name}` doesn't exist!"
            ))),
        }
    }
}

#[tonic::async_trait]
impl Qdrant for TestServer {
    async fn health_check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckReply>, Status> {
        self.enter("health_check", request).await?;
        Ok(Response::new(HealthCheckReply {
            title: "qdrant".into(),
            version: self.state().version.clone(),
            commit: None,
        }))
    }
}

/// Calls that the adapter does not make, in the form that `async_trait` gives them.
macro_rules! not_called {
    ($($name:ident($request:ident) -> $response:ident;)*) => {$(
        fn $name<'a, 'b>(
            &'a self,
            _: tonic::Request<qdrant_client::qdrant::$request>,
        ) -> std::pin::Pin<Box<dyn Future<
            Output = Result<tonic::Response<qdrant_client::qdrant::$response>, tonic::Status>
        > + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(tonic::Status::unimplemented(stringify!($name))) })
        }
    )*};
}
pub(crate) use not_called;
