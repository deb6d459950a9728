//! A real PostgreSQL server for tests, in a temporary folder, reached by a socket in it.
//!
//! Invariant: the server ends with the last handle to it, and with this process however that ends: a shell holds it,
//! and stops it when the pipe from here closes. Each catalogue has a schema of its own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::catalogue::postgres::PostgresOptions;

/// Names a server that is there already; what the tests make in it they drop.
const GIVEN: &str = "RAGSTONE_TEST_POSTGRES_URL";
/// Between two looks whether the server answers.
const LOOK_EACH: Duration = Duration::from_millis(20);
/// Looks before it counts as broken.
const LOOKS: usize = 3_000;

/// A server; one that was started ends with its last handle.
pub struct Server {
    url: String,
    schemas: AtomicUsize,
    run: String,
    started: Option<Started>,
}

struct Started {
    folder: TempDir,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    shell: Option<Child>,
    /// Further options of the server.
    options: Vec<String>,
}

/// The server that the running tests share; none, said aloud, where there is none.
pub async fn server() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(match ragstone_testkit::read_variable(GIVEN) {
        Some(url) => Server::of(url, None),
        None => own_server().await?,
    });
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// A server that nobody else uses, to be stopped and started.
pub async fn own_server() -> Option<Server> {
    let mut server = made()?;
    server.start().await;
    Some(server)
}

/// One that speaks TLS too, and where it does so: at this port of `localhost`. Its certificate is in `tls`, signed by
/// `ca.pem` beside it.
pub async fn tls_server() -> Option<(Server, u16)> {
    let mut server = made()?;
    let started = server.started.as_mut().expect("it is ours");
    for (name, text) in [
        ("server.pem", include_str!("tls/server.pem")),
        ("server.key", include_str!("tls/server.key")),
    ] {
        let file = started.folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
        if let Some((user, group)) = started.owner {
            chown(&file, Some(user), Some(group)).expect("root may give files away");
        }
    }
    // Free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    started.options = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "ssl=on".to_owned(),
        "ssl_cert_file=../server.pem".to_owned(),
        "ssl_key_file=../server.key".to_owned(),
    ]
    .into();
    server.url = format!("{} port={port}", server.url);
    server.start().await;
    Some((server, port))
}

fn made() -> Option<Server> {
    let Some(programs) = ragstone_testkit::find_postgresql() else {
        ragstone_testkit::skip_installed_test(
            "the PostgreSQL catalogue",
            &format!("apt-get install postgresql, or {GIVEN}=postgresql://…"),
        );
        return None;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let owner = ragstone_testkit::unprivileged_user();
    if let Some((user, group)) = owner {
        chown(folder.path(), Some(user), Some(group)).expect("root may give folders away");
    }
    let started = Started {
        programs,
        owner,
        shell: None,
        options: Vec::new(),
        folder,
    };
    started.make();
    let url = format!("host={} user=test dbname=postgres", started.folder.path().display());
    Some(Server::of(url, Some(started)))
}

impl Server {
    fn of(url: String, started: Option<Started>) -> Self {
        Self {
            url,
            schemas: AtomicUsize::new(0),
            run: Uuid::new_v4().simple().to_string(),
            started,
        }
    }

    /// Options for a schema that is new and empty.
    pub async fn fresh(&self) -> PostgresOptions {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        let schema = format!("ragstone_{}_{number}", self.run);
        let (client, _task) = self.connect().await.expect("the server answers");
        let create = format!("create schema {schema}");
        client.batch_execute(&create).await.expect("a schema is made");
        let mut options = PostgresOptions::new(&self.url, Uuid::new_v4()).expect("a good url");
        options.config.options(format!("-c search_path={schema}"));
        options
    }

    /// Starts what [`Self::stop`] stopped, and waits until it answers.
    pub async fn start(&mut self) {
        let started = self.started.as_mut().expect("it is ours");
        started.shell = Some(started.run());
        for _ in 0..LOOKS {
            if self.connect().await.is_ok() {
                return;
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
        panic!("the server does not answer: {:?}", self.log());
    }

    /// Ends it as a crash would: every connection is cut.
    pub fn stop(&mut self) {
        self.started.as_mut().expect("it is ours").stop();
    }

    fn log(&self) -> Option<String> {
        let log = self.started.as_ref()?.folder.path().join("log");
        std::fs::read_to_string(log).ok()
    }

    async fn connect(&self) -> Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error> {
        let config: Config = self.url.parse().expect("a good url");
        let (client, connection) = config.connect(NoTls).await?;
        Ok((client, tokio::spawn(async { drop(connection.await) })))
    }
}

impl Started {
    /// A program of the server's, or one with a path.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn make(&self) {
        let made = self
            .command("initdb")
            .args([
                "-D",
                "data",
                "-U",
                "test",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn run(&self) -> Child {
        // The last word is the folder's: a socket there and no port anywhere.
        let script =
            "program=$0; folder=$1; shift
            \"$program\" -D data -k \"$folder\" -c listen_addresses= -c fsync=off -c max_connections=300 \"$@\" >>log 2>&1 &
            server=$!; read -r _; kill -QUIT $server; wait $server";
        self.command("/bin/sh")
            .args(["-c", script])
            .args([self.programs.join("postgres"), self.folder.path().to_owned()])
            .args(self.options.iter().flat_map(|option| ["-c", option.as_str()]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell runs")
    }

    fn stop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            drop(shell.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(started) = &mut self.started {
            return started.stop();
        }
        let (url, run, schemas) = (self.url.clone(), self.run.clone(), *self.schemas.get_mut());
        // A runtime cannot wait inside of the test's own.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let config: Config = url.parse().expect("a good url");
                let Ok((client, connection)) = config.connect(NoTls).await else {
                    return;
                };
                tokio::spawn(connection);
                for number in 0..schemas {
                    let dropped = format!("drop schema if exists ragstone_{run}_{number} cascade");
                    drop(client.batch_execute(&dropped).await);
                }
            });
        });
        drop(cleaned.join());
    }
}
