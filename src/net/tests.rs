use std::fs;
use std::sync::Mutex as Mutexed;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::server::{Reply, Server};
use super::*;
use crate::explain::{ExitCode, Explain};
use crate::report::{Event, Silent};

fn config() -> NetConfig {
    NetConfig { retry_pause: Duration::from_millis(1), read_timeout: Duration::from_secs(5), ..NetConfig::default() }
}

fn net() -> Net {
    Net::new(config(), &Silent).unwrap()
}

fn cache() -> (tempfile::TempDir, Cache) {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    (root, cache)
}

/// Bytes that are not the same everywhere.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

fn request(url: Url, body: &[u8]) -> Request {
    let expected = FileId { name: "demo-1.whl".into(), size: Some(body.len() as u64), sha256: Sha256::of(body) };
    Request { urls: vec![url], expected }
}

fn leftovers(cache: &Cache) -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "only counted")]
    let files = |name: &str| fs::read_dir(cache.root().join(name)).unwrap().map(|entry| entry.unwrap().path());
    files("partial").chain(files("tmp").filter(|path| !path.ends_with(".guard"))).collect()
}

#[test]
fn downloads_once_and_hashes() {
    let server = Server::start(|_| Reply::ok(bytes(300_000)));
    let ((_root, cache), net) = (cache(), net());
    let request = request(server.url("/f"), &bytes(300_000));
    for _ in 0..2 {
        let path = net.download(&request, &cache, &Silent).unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes(300_000));
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!(server.asked()[0].header("accept-encoding"), Some("identity"));
    assert!(server.asked()[0].header("user-agent").unwrap().starts_with("akb/"));
    assert_eq!(leftovers(&cache), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_hash_keeps_nothing_and_says_all() {
    let server = Server::start(|_| Reply::ok("evil!"));
    let (_root, cache) = cache();
    let mut address = server.url("/f?token=secret");
    address.set_username("me").unwrap();
    address.set_password(Some("secret")).unwrap();
    let request = request(address, b"good!");
    let error = net().download(&request, &cache, &Silent).unwrap_err();
    let (text, hint) = (error.to_string(), error.hint().unwrap());
    for part in
        ["demo-1.whl", &Sha256::of(b"good!").to_string(), &Sha256::of(b"evil!").to_string(), "127.0.0.1", "/f?…"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!format!("{text}{hint}{error:?}").contains("secret"), "{text} {hint}");
    assert_eq!(error.exit_code(), ExitCode::Integrity);
    assert_eq!(cache.file(&request.expected.sha256), None);
    assert_eq!(cache.file(&Sha256::of(b"evil!")), None);
    assert_eq!(leftovers(&cache), Vec::<PathBuf>::new());
    assert_eq!(server.asked().len(), 1, "a wrong hash is not worth another try");
}

#[test]
fn goes_on_where_an_answer_broke_off() {
    let body = bytes(400_000);
    let server = Server::start(move |asked| {
        let reply = Reply::ranged(asked, &body).with("ETag", "\"v1\"");
        let rest = body.len() - asked.range().unwrap_or(0);
        if rest > 150_000 { reply.cut(150_000) } else { reply }
    });
    let (_root, cache) = cache();
    net().download(&request(server.url("/f"), &bytes(400_000)), &cache, &Silent).unwrap();
    let ranges: Vec<_> = server.asked().iter().map(super::server::Asked::range).collect();
    assert_eq!(ranges, [None, Some(150_000), Some(300_000)]);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn goes_on_with_what_another_run_left() {
    let (_root, cache) = cache();
    let body = bytes(400_000);
    let server = Server::start(|asked| match asked.range() {
        None => Reply::ok(bytes(400_000)).cut(100_000),
        Some(_) => Reply::status(503),
    });
    let wanted = request(server.url("/f"), &body);
    let error = net().download(&wanted, &cache, &Silent).unwrap_err();
    assert!(matches!(error, NetError::Status { status: 503, .. }), "{error}");
    assert_eq!(leftovers(&cache).len(), 1);

    let server = Server::start(|asked| Reply::ranged(asked, &bytes(400_000)));
    net().download(&request(server.url("/f"), &body), &cache, &Silent).unwrap();
    assert_eq!(server.asked()[0].range(), Some(100_000));
    assert_eq!(leftovers(&cache), Vec::<PathBuf>::new());
}

#[test]
fn starts_over_where_what_was_left_is_wrong() {
    let (_root, cache) = cache();
    let body = bytes(1000);
    // Too long, the right length with the wrong bytes, and a wrong beginning.
    for left in [vec![1; 5000], vec![1; 1000], vec![1; 10]] {
        let wanted = Sha256::of(&body);
        let mut partial = cache.partial(&wanted).unwrap().unwrap();
        std::io::Write::write_all(&mut partial.file, &left).unwrap();
        drop(partial);
        let server = Server::start(|asked| Reply::ranged(asked, &bytes(1000)));
        let path = net().download(&request(server.url("/f"), &body), &cache, &Silent).unwrap();
        assert_eq!(fs::read(&path).unwrap(), body);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn copes_with_servers_that_know_no_ranges() {
    for odd in [Reply::ok(bytes(1000)), Reply::status(416), Reply::status(206).with("Content-Range", "bytes 3-9/10")] {
        let (_root, cache) = cache();
        let tries = AtomicUsize::new(0);
        let server = Server::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok(bytes(1000)).cut(500),
            1 => odd.clone(),
            _ => Reply::ok(bytes(1000)),
        });
        net().download(&request(server.url("/f"), &bytes(1000)), &cache, &Silent).unwrap();
    }
}

#[test]
fn tries_again_what_is_worth_it() {
    for (status, tries) in [(503, 3), (429, 3), (408, 3), (404, 1), (403, 1), (400, 1)] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Reply::status(status).with("Retry-After", "0"),
            _ => Reply::ok("x"),
        });
        let (_root, cache) = cache();
        let result = net().download(&request(server.url("/f"), b"x"), &cache, &Silent);
        assert_eq!(server.asked().len(), tries, "{status}");
        assert_eq!(result.is_ok(), tries > 1, "{status}");
        assert_eq!(leftovers(&cache), Vec::<PathBuf>::new());
    }
}

#[test]
fn gives_up_after_so_many_tries() {
    let server = Server::start(|_| Reply::status(502));
    let error = net().get_text(&server.url("/"), None, 10).unwrap_err();
    assert_eq!(server.asked().len(), 5);
    assert!(error.to_string().ends_with("answered 502 (bad gateway)"), "{error}");
}

#[test]
fn tries_the_next_address() {
    let server = Server::start(|asked| if asked.path == "/good" { Reply::ok("x") } else { Reply::status(404) });
    let (_root, cache) = cache();
    let mut request = request(server.url("/bad"), b"x");
    request.urls.push(server.url("/good"));
    net().download(&request, &cache, &Silent).unwrap();
    assert_eq!(server.paths(), ["/bad", "/good"]);
}

#[test]
fn refuses_other_sizes_without_reading_them() {
    let server = Server::start(|_| Reply::ok(bytes(100_000)).cut(0).slow(Duration::from_mins(1)));
    let (_root, cache) = cache();
    let error = net().download(&request(server.url("/f"), b"x"), &cache, &Silent).unwrap_err();
    assert!(matches!(error, NetError::WrongSize { expected: 1, found: 100_000, .. }), "{error}");

    let mut unknown = request(server.url("/f"), b"x");
    unknown.expected.size = None;
    let net = Net::new(NetConfig { largest_file: 1000, ..config() }, &Silent).unwrap();
    let error = net.download(&unknown, &cache, &Silent).unwrap_err();
    assert!(matches!(error, NetError::TooLarge { limit: 1000, .. }), "{error}");
    assert_eq!(leftovers(&cache), Vec::<PathBuf>::new());
}

#[test]
fn gives_up_on_silence() {
    let server = Server::start(|_| Reply::ok("x").slow(Duration::from_mins(1)));
    let net = Net::new(NetConfig { read_timeout: Duration::from_millis(50), retries: 1, ..config() }, &Silent).unwrap();
    let error = net.get_text(&server.url("/"), None, 10).unwrap_err();
    assert!(matches!(error, NetError::Timeout { .. } | NetError::Connect { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Network);
}

#[test]
fn nobody_there_is_found_out_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let (_root, cache) = cache();
    let net = Net::new(NetConfig { retry_pause: Duration::from_millis(100), retries: 2, ..config() }, &Silent).unwrap();
    let requests: Vec<_> = (0..100_u8).map(|at| request(url.clone(), &[at])).collect();
    let started = tokio::time::Instant::now();
    let failures = net.download_all(&requests, &cache, &Silent).unwrap_err();
    assert_eq!(failures.0.len(), 100);
    assert!(started.elapsed() < Duration::from_secs(10), "each of them waited");
    assert!(failures.hint().unwrap().contains("HTTPS_PROXY"));
}

#[test]
fn names_are_resolved_without_the_c_library() {
    let server = Server::start(|_| Reply::ok("here"));
    assert_eq!(net().get_text(&server.other_url("/"), None, 10).unwrap(), "here");
    let error = net().get_text(&Url::parse("http://no.such.name.invalid/").unwrap(), None, 10).unwrap_err();
    assert!(matches!(error, NetError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("no.such.name.invalid"), "{error}");
}

#[test]
fn a_login_does_not_follow_to_another_host() {
    let server = Server::start(|_| Reply::ok("x"));
    let elsewhere = server.other_url("/2").to_string();
    let first = Server::start(move |asked| match asked.path.as_str() {
        "/1" => Reply::status(302).with("Location", "/same"),
        _ => Reply::status(307).with("Location", &elsewhere.replace("://", "://their:choice@")),
    });
    let mut url = first.url("/1");
    url.set_username("me").unwrap();
    url.set_password(Some("secret")).unwrap();
    let net = net();
    net.get_text(&url, None, 10).unwrap();
    // Basic authentication of `me:secret`.
    assert_eq!(first.asked()[0].header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(first.asked()[1].header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(server.asked()[0].header("authorization"), None);

    // What was trusted goes to its own origin, with any path, and to no other.
    let bare = net.trust(&url);
    assert_eq!(bare, first.url("/1"));
    net.get_text(&bare, None, 10).unwrap();
    assert_eq!(first.asked()[2].header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(server.asked()[1].header("authorization"), None);
}

#[test]
fn uses_netrc_and_tells_how() {
    let server = Server::start(|asked| match asked.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => Reply::ok("x"),
        _ => Reply::status(401),
    });
    let error = net().get_text(&server.url("/"), None, 10).unwrap_err();
    assert!(error.hint().unwrap().contains("machine 127.0.0.1 login"), "{:?}", error.hint());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "machine 127.0.0.1 login me password secret").unwrap();
    let net = Net::new(NetConfig { netrc: Some(file.path().to_owned()), ..config() }, &Silent).unwrap();
    net.get_text(&server.url("/"), None, 10).unwrap();
}

#[test]
fn follows_redirects_within_reason() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/loop" => Reply::status(302).with("Location", "/loop"),
        "/odd" => Reply::status(302).with("Location", "file:///etc/passwd"),
        _ => Reply::status(301).with("Location", "http://["),
    });
    let net = net();
    let error = |path| net.get_text(&server.url(path), None, 10).unwrap_err();
    assert!(matches!(error("/loop"), NetError::Redirects { limit: 10, .. }));
    assert!(matches!(error("/odd"), NetError::Redirect { .. }));
    assert!(matches!(error("/broken"), NetError::Redirect { .. }));
    let file = net.get_text(&Url::parse("file:///etc/passwd").unwrap(), None, 10).unwrap_err();
    assert!(matches!(file, NetError::Address { .. }), "{file}");
}

#[test]
fn goes_through_proxies_but_not_to_exceptions() {
    let proxy = Server::start(|_| Reply::ok("proxied"));
    let address = proxy.url("/").to_string().replace("://", "://me:secret@");
    let proxies = config::Proxies { http: Some(address), none: Some("127.0.0.1".into()), ..Default::default() };
    let net = Net::new(NetConfig { proxies, ..config() }, &Silent).unwrap();
    let far = Url::parse("http://far.invalid/page").unwrap();
    assert_eq!(net.get_text(&far, None, 10).unwrap(), "proxied");
    assert_eq!(proxy.asked()[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    let direct = Server::start(|_| Reply::ok("direct"));
    assert_eq!(net.get_text(&direct.url("/"), None, 10).unwrap(), "direct");

    let proxies = config::Proxies { all: Some("socks5://me:secret@h:1".into()), ..Default::default() };
    let net = Net::new(NetConfig { proxies, ..config() }, &Silent).unwrap();
    let error = net.get_text(&far, None, 10).unwrap_err();
    assert!(error.to_string().contains("ALL_PROXY") && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn unpacks_pages_within_their_limit() {
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, body).unwrap();
        encoder.finish().unwrap()
    };
    let (small, bomb) = (gzip(b"text"), gzip(&vec![0; 1 << 20]));
    let server = Server::start(move |asked| {
        let body = if asked.path == "/bomb" { bomb.clone() } else { small.clone() };
        Reply::ok(body).with("Content-Encoding", "gzip").with("ETag", "\"e\"").with("Content-Type", "text/html")
    });
    let net = net();
    let get = |path, limit| net.get(&Get { compressed: true, ..Get::new(&server.url(path), limit) });
    let page = get("/", 100).unwrap().unwrap();
    assert_eq!((page.etag.as_deref(), page.content_type.as_deref()), (Some("\"e\""), Some("text/html")));
    assert_eq!(page.text().unwrap(), "text");
    assert!(matches!(get("/bomb", 100_000), Err(NetError::TooLarge { limit: 100_000, .. })));
    assert!(matches!(get("/", 3), Err(NetError::TooLarge { .. })));
}

#[test]
fn asks_whether_a_page_changed() {
    let server = Server::start(|asked| match asked.header("if-none-match") {
        Some("\"v1\"") => Reply::status(304),
        _ => Reply::ok("new"),
    });
    let net = net();
    let url = server.url("/");
    assert!(net.get(&Get { etag: Some("\"v1\""), ..Get::new(&url, 10) }).unwrap().is_none());
    assert!(net.get(&Get { etag: Some("\"v0\""), ..Get::new(&url, 10) }).unwrap().is_some());
}

#[test]
fn two_runs_share_one_download() {
    let server = Server::start(|_| Reply::ok(bytes(1000)).slow(Duration::from_millis(300)));
    let (root, _) = cache();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = Cache::open(root.path()).unwrap();
                net().download(&request(server.url("/f"), &bytes(1000)), &cache, &Silent).unwrap();
            });
        }
    });
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_batch_names_all_that_failed() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/evil" => Reply::ok("evil"),
        "/gone" => Reply::status(410),
        path => Reply::ok(path.to_owned()),
    });
    let (_root, cache) = cache();
    let named = |path: &str| {
        let mut request = request(server.url(path), path.as_bytes());
        request.expected.name = path.into();
        request.expected.size = None;
        request
    };
    let requests = ["/gone", "/a", "/evil", "/b"].map(named);
    let failures = net().download_all(&requests, &cache, &Silent).unwrap_err();
    assert_eq!(failures.0.len(), 2);
    assert!(failures.0[0].1.to_string().contains("wrong hash of /evil"), "{failures}");
    assert_eq!(failures.exit_code(), ExitCode::Integrity);
    assert!(cache.file(&Sha256::of(b"/a")).is_some(), "what is good is kept");
    let paths = net().download_all(&[named("/a"), named("/b")], &cache, &Silent).unwrap();
    assert_eq!(paths.len(), 2);
}

#[test]
fn tells_of_progress() {
    #[derive(Default)]
    struct Log(Mutexed<Vec<String>>);
    impl Reporter for Log {
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned());
        }
    }
    let server = Server::start(|_| Reply::ok(bytes(400_000)));
    let (_root, cache) = cache();
    let log = Log::default();
    net().download(&request(server.url("/f"), &bytes(400_000)), &cache, &log).unwrap();
    let events = log.0.into_inner().unwrap();
    assert_eq!(events.first().unwrap(), "item-started");
    assert_eq!(events.last().unwrap(), "item-finished");
    assert!(events.len() >= 4, "{events:?}");
}
