//! An issuer: keys that sign, and a server that publishes them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::FutureExt;
use ragstone_core::ingest::TimeProvider;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore};

use crate::config;
use crate::http::auth::VerifiedCaller;
use crate::http::auth::jwt::{TokenError, TokenIssuers};

/// The moment of the tests, in seconds since 1970.
pub const NOW: i64 = 1_800_000_000;
/// An issuer whose keys are at an address of their own.
pub const MAIN: &str = "https://login.example.com/main";

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair of each algorithm.
pub enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// One of two RSA keys that are made for these tests: `a` or `b`.
    pub fn rsa(which: char) -> Self {
        let pem = match which {
            'a' => include_str!("rsa-a.pem"),
            _ => include_str!("rsa-b.pem"),
        };
        let lines: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        Self::Rsa(Box::new(
            RsaKeyPair::from_pkcs8(&STANDARD.decode(lines).unwrap()).unwrap(),
        ))
    }

    /// A fresh key on P-256.
    pub fn p256() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap())
    }

    /// A fresh key of Ed25519.
    pub fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half, as it is published.
    pub fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": encode(public.n), "e": encode(public.e)})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "kid": id, "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        }
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
            Self::P256(pair) => pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }

    /// A token of these texts, whatever they are.
    pub fn seal(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        format!("{signed}.{}", encode(self.sign(signed.as_bytes())))
    }

    /// A token with the usual header.
    pub fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": id});
        self.seal(header.to_string(), claims.to_string())
    }
}

/// Claims that are good, of `issuer`.
pub fn claims_of(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": "ragstone", "sub": "ann", "exp": NOW + 600, "iat": NOW})
}

/// `claims` with these members in place of their own.
pub fn with(mut claims: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(members);
    claims
}

/// `claims` without this member.
pub fn without(mut claims: Value, member: &str) -> Value {
    claims.as_object_mut().unwrap().remove(member).unwrap();
    claims
}

/// What a path of the server answers.
#[derive(Clone)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Vec<u8>,
}

impl Page {
    pub fn json(body: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![(header::CACHE_CONTROL, "max-age=600".into())],
            body: body.to_string().into_bytes(),
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

struct Served {
    pages: Mutex<HashMap<String, Page>>,
    hits: AtomicUsize,
    hit: Notify,
    /// Each answer takes one permit, which is given back.
    gate: Semaphore,
}

/// A server on a free port of this machine.
pub struct Publisher {
    served: Arc<Served>,
    pub base: String,
    task: tokio::task::JoinHandle<()>,
}

impl Publisher {
    pub async fn start() -> Self {
        let served = Arc::new(Served {
            pages: Mutex::default(),
            hits: AtomicUsize::new(0),
            hit: Notify::new(),
            gate: Semaphore::new(100),
        });
        let router = Router::new().fallback(answer).with_state(served.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { served, base, task }
    }

    /// Puts `page` at `path`.
    pub fn put(&self, path: &str, page: Page) {
        self.served.pages.lock().unwrap().insert(path.into(), page);
    }

    /// Publishes this key set at `/keys`.
    pub fn publish(&self, keys: &[Value]) {
        self.put("/keys", Page::json(&json!({ "keys": keys })));
    }

    /// How often it was asked.
    pub fn hits(&self) -> usize {
        self.served.hits.load(Ordering::SeqCst)
    }

    /// Waits until it is asked once more, or was since the last wait.
    pub async fn asked(&self) {
        self.served.hit.notified().await;
    }

    /// Answers nobody until [`Self::open`].
    pub fn close(&self) {
        assert_eq!(self.served.gate.forget_permits(100), 100);
    }

    pub fn open(&self) {
        self.served.gate.add_permits(100);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(served): State<Arc<Served>>, uri: Uri) -> Response {
    served.hits.fetch_add(1, Ordering::SeqCst);
    served.hit.notify_one();
    let _permit = served.gate.acquire().await.unwrap();
    let page = served.pages.lock().unwrap().get(uri.path()).cloned();
    let page = page.unwrap_or_else(|| Page::status(404));
    let status = StatusCode::from_u16(page.status).unwrap();
    (status, axum::response::AppendHeaders(page.headers), page.body).into_response()
}

/// Time that stands still until it is moved.
#[derive(Clone)]
pub struct Hands {
    wall: Arc<AtomicI64>,
    steady: Arc<AtomicU64>,
}

impl Hands {
    pub fn new() -> Self {
        Self {
            wall: Arc::new(AtomicI64::new(NOW)),
            steady: Arc::default(),
        }
    }

    pub fn time(&self) -> TimeProvider {
        let Self { wall, steady } = self.clone();
        TimeProvider {
            wall: Arc::new(move || OffsetDateTime::from_unix_timestamp(wall.load(Ordering::SeqCst)).unwrap()),
            steady: Arc::new(move || Duration::from_secs(steady.load(Ordering::SeqCst))),
            sleep: Arc::new(|time| tokio::time::sleep(time).boxed()),
        }
    }

    /// For tokens.
    pub fn move_wall(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
    }

    /// For keys.
    pub fn move_steady(&self, time: Duration) {
        self.steady.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

/// Settings as they are written, of an issuer whose keys are at `/keys` of `publisher`.
pub fn settings(issuer: &str, publisher: &Publisher, more: Value) -> config::IssuerSettings {
    let keys = format!("{}/keys", publisher.base);
    let own = json!({"issuer": issuer, "audience": "ragstone", "jwks_url": keys});
    serde_json::from_value(with(own, more)).unwrap()
}

/// Issuers of these settings.
pub fn issuers(settings: &[config::IssuerSettings], hands: &Hands) -> TokenIssuers {
    TokenIssuers::new(settings, &hands.time()).unwrap().unwrap()
}

/// A world with the issuer [`MAIN`], whose keys are called `rsa`, `es` and `ed`.
pub struct World {
    pub rsa: Signer,
    pub es: Signer,
    pub ed: Signer,
    pub publisher: Publisher,
    pub hands: Hands,
    pub issuers: Arc<TokenIssuers>,
}

impl World {
    pub async fn new() -> Self {
        Self::meaning(json!({})).await
    }

    /// With these settings on top.
    pub async fn meaning(more: Value) -> Self {
        let (rsa, es, ed) = (Signer::rsa('a'), Signer::p256(), Signer::ed25519());
        let publisher = Publisher::start().await;
        publisher.publish(&[rsa.jwk("rsa"), es.jwk("es"), ed.jwk("ed")]);
        let hands = Hands::new();
        let issuers = Arc::new(issuers(&[settings(MAIN, &publisher, more)], &hands));
        Self {
            rsa,
            es,
            ed,
            publisher,
            hands,
            issuers,
        }
    }

    /// The good token with these claims on top, signed by `ed`.
    pub fn says(&self, members: Value) -> String {
        self.ed.token("ed", &with(claims_of(MAIN), members))
    }

    pub async fn verify(&self, token: &str) -> Result<VerifiedCaller, TokenError> {
        self.issuers.verify_token(token).await
    }

    /// What comes of each of these tokens, each named.
    #[track_caller]
    pub fn check(&self, name: &str, token: &str, expected: Result<(), TokenError>) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let found = self.verify(token).await.map(|_| ());
            assert_eq!(found, expected, "{name}, {place}");
        }
    }
}
