//! What every blob store must do for the product, over a folder and over a real S3 service (`moto_server`).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tempfile::TempDir;

use super::s3::{S3Options, open_bucket};

/// The least that S3 takes as a part.
const PART: usize = 5 << 20;

/// Runs the suite over a store that is empty.
async fn blob_contract(store: &dyn ObjectStore) {
    what_is_put_is_got(store).await;
    keys_are_listed_as_they_were_given(store).await;
    parts_are_a_blob_only_when_complete(store).await;
    a_copy_stands_alone(store).await;
    only_the_first_creates(store).await;
}

async fn put(store: &dyn ObjectStore, key: &str, text: &str) {
    let put = store.put(&Key::from(key), PutPayload::from(text.to_owned())).await;
    put.unwrap();
}

async fn get(store: &dyn ObjectStore, key: &str) -> Option<Vec<u8>> {
    match store.get(&Key::from(key)).await {
        Ok(found) => Some(found.bytes().await.unwrap().to_vec()),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{key}: {error}"),
    }
}

async fn keys(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    let listed: Vec<_> = store.list(Some(&Key::from(prefix))).try_collect().await.unwrap();
    let mut keys: Vec<_> = listed.into_iter().map(|blob| blob.location.to_string()).collect();
    keys.sort_unstable();
    keys
}

async fn what_is_put_is_got(store: &dyn ObjectStore) {
    assert_eq!(get(store, "a/b").await, None);
    put(store, "a/b", "first").await;
    put(store, "a/b", "second").await;
    assert_eq!(get(store, "a/b").await.as_deref(), Some(&b"second"[..]));
    let part = store.get_range(&Key::from("a/b"), 1..4).await.unwrap();
    assert_eq!(&part[..], b"eco");
    assert_eq!(store.head(&Key::from("a/b")).await.unwrap().size, 6);
    store.delete(&Key::from("a/b")).await.unwrap();
    assert_eq!(get(store, "a/b").await, None);
    let again = store.delete(&Key::from("a/b")).await;
    assert!(matches!(again, Ok(()) | Err(Error::NotFound { .. })), "{again:?}");
}

async fn keys_are_listed_as_they_were_given(store: &dyn ObjectStore) {
    let given = ["t/Straße/1", "t/x@y.z/2", "t/a b/3"].map(Key::from);
    for key in &given {
        store.put(key, PutPayload::from("x")).await.unwrap();
    }
    put(store, "other/1", "x").await;
    let mut expected = given.map(|key| key.to_string());
    expected.sort_unstable();
    assert_eq!(keys(store, "t").await, expected);
}

async fn parts_are_a_blob_only_when_complete(store: &dyn ObjectStore) {
    let key = Key::from("p/whole");
    let mut upload = store.put_multipart(&key).await.unwrap();
    upload.put_part(vec![1; PART].into()).await.unwrap();
    upload.put_part(vec![2; 7].into()).await.unwrap();
    assert_eq!(keys(store, "p").await, [""; 0]);
    upload.complete().await.unwrap();
    let whole = get(store, "p/whole").await.unwrap();
    assert_eq!((whole.len(), whole[0], whole[PART]), (PART + 7, 1, 2));
    let mut upload = store.put_multipart(&Key::from("p/half")).await.unwrap();
    upload.put_part(vec![1; PART].into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(keys(store, "p").await, ["p/whole"]);
}

async fn a_copy_stands_alone(store: &dyn ObjectStore) {
    put(store, "c/1", "text").await;
    store.copy(&Key::from("c/1"), &Key::from("c/2")).await.unwrap();
    put(store, "c/1", "changed").await;
    assert_eq!(get(store, "c/2").await.as_deref(), Some(&b"text"[..]));
    let missing = store.copy(&Key::from("c/none"), &Key::from("c/3")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn only_the_first_creates(store: &dyn ObjectStore) {
    let at = Key::from("owner");
    let first = store
        .put_opts(&at, PutPayload::from("first"), PutMode::Create.into())
        .await;
    first.unwrap();
    let second = store
        .put_opts(&at, PutPayload::from("second"), PutMode::Create.into())
        .await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(get(store, "owner").await.as_deref(), Some(&b"first"[..]));
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    blob_contract(&store.with_automatic_cleanup(true)).await;
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let Some(service) = Service::start() else { return };
    for (name, prefix) in [("one", ""), ("two", "some/prefix")] {
        service.make(name);
        let options = S3Options {
            prefix: prefix.into(),
            ..service.options(name)
        };
        blob_contract(open_bucket(&options).unwrap().as_ref()).await;
    }
}

#[tokio::test]
async fn what_a_bucket_refuses_names_no_secret() {
    let options = S3Options {
        bucket: "none".into(),
        endpoint: "http://127.0.0.1:1".into(),
        access_key_id: "hidden".into(),
        secret_access_key: "hidden".into(),
        ..S3Options::default()
    };
    assert!(!format!("{options:?}").contains("hidden"));
    let store = open_bucket(&options).unwrap();
    assert!(!store.to_string().contains("hidden"));
    let refused = store.head(&Key::from("x")).await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hidden"));
}

/// A service of our own, in the memory of its process.
struct Service {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Service {
    /// None, said aloud, where there is no program.
    fn start() -> Option<Self> {
        let Some(program) = ragstone_testkit::find_program("moto_server") else {
            ragstone_testkit::skip_test("blobs over S3", "pip install 'moto[s3,server]'");
            return None;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Self {
            process,
            port,
            _folder: folder,
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Some(service)
    }

    fn make(&self, name: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let host = format!("127.0.0.1:{}", self.port);
        write!(
            stream,
            "PUT /{name} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }

    fn options(&self, name: &str) -> S3Options {
        S3Options {
            bucket: name.into(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "us-east-1".into(),
            access_key_id: "key".into(),
            secret_access_key: "secret".into(),
            ..S3Options::default()
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
