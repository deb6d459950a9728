use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server on this machine that counts who comes and answers by path.
async fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let came = Arc::new(AtomicUsize::new(0));
    let counter = came.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
            let to =
                |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let answer = match path.as_str() {
                "/metadata" => to("http://169.254.169.254/latest/meta-data/"),
                "/round" => to("/round"),
                "/file" => to("file:///etc/passwd"),
                "/once" => to("/page"),
                "/packed" => "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".to_owned(),
                "/long" => format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(5_000)),
                "/gone" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                _ => "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, came)
}

/// Answers in turn, the last one for ever.
struct Changing(Mutex<VecDeque<Vec<IpAddr>>>);

impl Changing {
    fn answers(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |ips: &&[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait]
impl HostLookup for Changing {
    async fn lookup_host(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        Ok(match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        })
    }
}

fn options(port: u16) -> GuardOptions {
    GuardOptions {
        ports: vec![80, 443, port],
        max_bytes: 1_000,
        total: Duration::from_secs(20),
        ..GuardOptions::default()
    }
}

fn is_refused(result: &Result<FetchedResource, GuardError>) -> bool {
    matches!(result, Err(GuardError::Refused { .. }))
}

#[tokio::test]
async fn nothing_within_is_reached_in_any_spelling() {
    let (port, came) = server().await;
    let here = Changing::answers(&[&["127.0.0.1"]]);
    let guard = FetchGuard::with_lookup(options(port), here).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "rebound.example",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fc00::1]",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[2001:db8::1]",
        "[ff02::1]",
    ] {
        let fetched = guard.fetch_url(&format!("http://{host}:{port}/")).await;
        assert!(is_refused(&fetched), "{host}: {fetched:?}");
    }
    for url in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "data:text/plain,x",
        "http://user:secret@public.example/",
        "http://public.example:22/",
        "http://public.example@127.0.0.1/",
        "http:///",
        "//127.0.0.1/",
        "not an address",
    ] {
        let fetched = guard.fetch_url(url).await;
        assert!(is_refused(&fetched), "{url}: {fetched:?}");
        assert!(!format!("{fetched:?}").contains("secret"));
    }
    assert_eq!(came.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_allowed_is_reached_and_its_redirects_are_judged() {
    let (port, _) = server().await;
    let ranges = vec!["127.0.0.0/8".parse().unwrap()];
    let allowed = GuardOptions {
        allowed_ranges: ranges,
        ..options(port)
    };
    let guard = FetchGuard::with_lookup(allowed, Changing::answers(&[&["127.0.0.1"]])).unwrap();
    for host in ["127.0.0.1", "2130706433", "wiki.example"] {
        for path in ["page", "once"] {
            let fetched = guard.fetch_url(&format!("http://{host}:{port}/{path}")).await.unwrap();
            assert_eq!(
                (&fetched.bytes[..], fetched.media_type.as_deref()),
                (&b"hello"[..], Some("text/plain"))
            );
            assert_eq!(fetched.url.path(), "/page");
        }
    }
    let base = format!("http://127.0.0.1:{port}");
    for path in ["metadata", "round", "file", "packed"] {
        let fetched = guard.fetch_url(&format!("{base}/{path}")).await;
        assert!(is_refused(&fetched), "{path}: {fetched:?}");
    }
    assert!(matches!(
        guard.fetch_url(&format!("{base}/long")).await,
        Err(GuardError::TooLarge { limit: 1_000, .. })
    ));
    assert!(matches!(
        guard.fetch_url(&format!("{base}/gone")).await,
        Err(GuardError::Status { status: 404, .. })
    ));
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let (port, came) = server().await;
    // Public when it is asked first, this machine when it counts; and both at once.
    let lookup = Changing::answers(&[&["127.0.0.1"]]);
    let guard = FetchGuard::with_lookup(options(port), lookup.clone()).unwrap();
    lookup
        .0
        .lock()
        .unwrap()
        .push_front(vec!["10.0.0.7".parse().unwrap(), "::1".parse().unwrap()]);
    for _ in 0..2 {
        let fetched = guard.fetch_url(&format!("http://rebinding.example:{port}/")).await;
        assert!(is_refused(&fetched), "{fetched:?}");
    }
    assert_eq!(came.load(Ordering::SeqCst), 0);
    let resolver = GuardedResolver {
        lookup: Changing::answers(&[&["127.0.0.1", "93.184.215.14", "169.254.169.254"]]),
        options: Arc::new(options(port)),
    };
    let given: Vec<_> = resolver
        .resolve("mixed.example".parse().unwrap())
        .await
        .unwrap()
        .collect();
    assert_eq!(given, ["93.184.215.14:0".parse().unwrap()]);
}

#[test]
fn a_host_is_allowed_by_name_but_not_to_credentials() {
    let options = GuardOptions {
        allowed_hosts: vec!["wiki.intern".into(), "*.corp.example".into()],
        ..GuardOptions::default()
    };
    for (host, ip, expected) in [
        ("wiki.intern", "10.0.0.1", true),
        ("WIKI.intern.", "10.0.0.1", true),
        ("a.corp.example", "192.168.0.1", true),
        ("corp.example", "192.168.0.1", false),
        ("evilcorp.example", "192.168.0.1", false),
        ("wiki.intern", "169.254.169.254", false),
        ("wiki.intern", "127.0.0.1", false),
        ("other.intern", "10.0.0.1", false),
        ("other.intern", "93.184.215.14", true),
    ] {
        assert_eq!(
            options.admits_address(host, ip.parse().unwrap()),
            expected,
            "{host} {ip}"
        );
    }
}

#[test]
fn ranges_are_read_and_public_addresses_are_known() {
    for (range, ip, expected) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("192.168.1.7", "192.168.1.7", true),
        ("192.168.1.7", "192.168.1.8", false),
        ("fd00::/8", "fd12::1", true),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false),
    ] {
        let range: IpRange = range.parse().unwrap();
        assert_eq!(range.contains(ip.parse().unwrap()), expected, "{range:?} {ip}");
    }
    for wrong in ["10.0.0.0/33", "10.0.0", "x", "::/129", "10.0.0.0/"] {
        assert!(wrong.parse::<IpRange>().is_err(), "{wrong}");
    }
    for (ip, expected) in [
        ("93.184.215.14", true),
        ("8.8.8.8", true),
        ("2606:2800:21f::1", true),
        ("64:ff9b::8.8.8.8", true),
        ("2002:808:808::", true),
        ("172.32.0.1", true),
        ("172.31.255.255", false),
        ("2001::1", false),
        ("3fff::1", false),
        ("4000::1", false),
    ] {
        assert_eq!(is_public(ip.parse().unwrap()), expected, "{ip}");
    }
}
