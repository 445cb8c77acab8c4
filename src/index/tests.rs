use std::io::Write as _;

use super::*;
use crate::net::NetConfig;
use crate::net::server::{Reply, Server};
use crate::report::Silent;

struct Bench {
    net: Net,
    cache: Cache,
    _root: tempfile::TempDir,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let config = NetConfig { retry_pause: std::time::Duration::from_millis(1), ..NetConfig::default() };
    Bench { net: Net::new(config, &Silent).unwrap(), cache: Cache::open(root.path()).unwrap(), _root: root }
}

fn indexes(servers: &[&Server]) -> Indexes {
    Indexes::only(servers.iter().map(|server| Index { name: None, url: server.url("/simple") }).collect())
}

const HTML: &str = "<a href='../../f/demo-1.whl'>demo-1.whl</a>";

#[test]
fn asks_by_the_normalised_name_and_accepts_both_forms() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/simple/my-demo/" => Reply::ok(HTML).with("Content-Type", "text/html; charset=utf-8"),
        _ => Reply::ok(r#"{"files":[{"filename":"d.whl","url":"d.whl"}]}"#)
            .with("Content-Type", "application/vnd.pypi.simple.v1+json"),
    });
    let bench = bench();
    let indexes = indexes(&[&server]);
    let client = IndexClient::new(&bench.net, &indexes, &bench.cache, false);
    for spelling in ["My_Demo", "my.demo", "my--demo"] {
        let listing = client.listing(spelling).unwrap();
        assert_eq!(listing.files[0].url, server.url("/f/demo-1.whl"));
    }
    assert_eq!(client.listing("other").unwrap().files[0].url, server.url("/simple/other/d.whl"));
    assert_eq!(server.paths(), ["/simple/my-demo/", "/simple/other/"], "each page once");
    assert!(server.asked()[0].header("accept").unwrap().contains("simple.v1+json"));
    for odd in ["../x", "", "a b"] {
        assert!(matches!(client.listing(odd), Err(IndexError::Name { .. })), "{odd}");
    }
}

#[test]
fn revalidates_pages_and_uses_them_offline() {
    let server = Server::start(|asked| match asked.header("if-none-match") {
        Some("\"1\"") => Reply::status(304),
        _ => Reply::ok(HTML).with("ETag", "\"1\""),
    });
    let bench = bench();
    let indexes = indexes(&[&server]);
    let listing = |offline| IndexClient::new(&bench.net, &indexes, &bench.cache, offline).listing("demo");
    assert!(matches!(listing(true), Err(IndexError::Offline { .. })));
    for offline in [false, false, true] {
        assert_eq!(listing(offline).unwrap().files.len(), 1);
    }
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn the_first_index_that_has_a_project_wins() {
    let first = Server::start(|asked| if asked.path.contains("demo") { Reply::ok(HTML) } else { Reply::status(404) });
    let second = Server::start(|_| Reply::ok("<a href='evil-9.whl'>"));
    let bench = bench();
    let indexes = indexes(&[&first, &second]);
    let client = IndexClient::new(&bench.net, &indexes, &bench.cache, false);
    assert_eq!(client.listing("demo").unwrap().files[0].name, "demo-1.whl");
    assert_eq!(second.asked().len(), 0);
    assert_eq!(client.listing("other").unwrap().files[0].name, "evil-9.whl");
}

#[test]
fn an_index_that_refuses_hides_none_behind_it() {
    let first = Server::start(|_| Reply::status(403));
    let second = Server::start(|_| Reply::ok("<a href='evil-9.whl'>"));
    let bench = bench();
    let indexes = indexes(&[&first, &second]);
    let error = IndexClient::new(&bench.net, &indexes, &bench.cache, false).listing("demo").unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(second.asked().len(), 0);
}

#[test]
fn tells_where_it_asked() {
    let server = Server::start(|_| Reply::status(404));
    let bench = bench();
    let indexes = indexes(&[&server]);
    let error = IndexClient::new(&bench.net, &indexes, &bench.cache, false).listing("demo").unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(error.hint().unwrap().contains("--index"));
}

fn wheel(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn listed(server: &Server, body: &[u8], metadata: Option<MetadataFile>) -> ListedFile {
    ListedFile {
        name: "demo-1.whl".into(),
        url: server.url("/f/demo-1.whl"),
        sha256: Some(Sha256::of(body)),
        size: None,
        requires_python: None,
        yanked: None,
        metadata,
    }
}

#[test]
fn takes_metadata_alone_where_it_can() {
    let server = Server::start(|_| Reply::ok("Name: demo\n"));
    let bench = bench();
    let indexes = Indexes::default();
    let client = IndexClient::new(&bench.net, &indexes, &bench.cache, false);
    let promised = |text: &str| Some(MetadataFile { sha256: Some(Sha256::of(text.as_bytes())) });
    let wrong = client.metadata(&listed(&server, b"w", promised("Name: other\n")), &Silent).unwrap_err();
    assert_eq!(wrong.exit_code(), ExitCode::Integrity);
    let right = listed(&server, b"w", promised("Name: demo\n"));
    for _ in 0..2 {
        assert_eq!(client.metadata(&right, &Silent).unwrap(), "Name: demo\n");
    }
    assert_eq!(server.paths(), ["/f/demo-1.whl.metadata", "/f/demo-1.whl.metadata"]);
}

#[test]
fn takes_metadata_out_of_the_wheel_elsewhere() {
    let good =
        wheel(&[("demo/a.py", ""), ("demo/x.dist-info/METADATA", "no"), ("demo-1.dist-info/METADATA", "Name: demo\n")]);
    let two = wheel(&[("a.dist-info/METADATA", ""), ("b.dist-info/METADATA", "")]);
    let bench = bench();
    let indexes = Indexes::default();
    let client = IndexClient::new(&bench.net, &indexes, &bench.cache, false);
    for (body, result) in
        [(good, Some("Name: demo\n")), (two, None), (wheel(&[("a", "")]), None), (b"no zip".to_vec(), None)]
    {
        let file = body.clone();
        let server = Server::start(move |_| Reply::ok(file.clone()));
        let text = client.metadata(&listed(&server, &body, None), &Silent);
        assert_eq!(text.as_ref().ok().map(String::as_str), result, "{text:?}");
        assert_eq!(server.paths(), ["/f/demo-1.whl"]);
    }
}
