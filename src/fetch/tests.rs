use std::time::Duration;

use super::*;
use crate::index::Index;
use crate::net::NetConfig;
use crate::net::server::{Asked, Reply, Server};
use crate::report::Silent;

struct Bench {
    net: Net,
    cache: Cache,
    _root: tempfile::TempDir,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let config = NetConfig { retry_pause: Duration::from_millis(1), ..NetConfig::default() };
    Bench { net: Net::new(config, &Silent).unwrap(), cache: Cache::open(root.path()).unwrap(), _root: root }
}

impl Bench {
    fn fetch(
        &self,
        wants: &[Want],
        indexes: &[&Server],
        offline: bool,
    ) -> Result<BTreeMap<Sha256, PathBuf>, FetchError> {
        let indexes = indexes.iter().map(|server| Index { name: None, url: server.url("/simple") }).collect();
        fetch(wants, &self.net, &Indexes::only(indexes), &self.cache, offline, &Silent)
    }
}

/// A wanted file whose content is its name.
fn want(name: &str, url: Option<Url>) -> Want {
    let file = FileId { name: name.into(), size: None, sha256: Sha256::of(name.as_bytes()) };
    let project = name.split('-').next().unwrap().to_owned();
    Want { file, project, url: url.map(Into::into), index: None }
}

/// An index of projects with one file each, and those files.
fn index(asked: &Asked) -> Reply {
    let parts: Vec<_> = asked.path.split('/').skip(1).collect();
    match parts[..] {
        ["simple", project, ""] => {
            let name = format!("{project}-1.whl");
            Reply::ok(format!("<a href='/files/{name}#{}'>", Sha256::of(name.as_bytes()).to_string().replace(':', "=")))
        }
        ["files", name] => Reply::ok(name),
        _ => Reply::status(404),
    }
}

#[test]
fn finds_files_by_name_and_hash() {
    let (bench, server) = (bench(), Server::start(index));
    let wants: Vec<_> = (0..50).map(|at| want(&format!("p{at}-1.whl"), None)).collect();
    let paths = bench.fetch(&wants, &[&server], false).unwrap();
    assert_eq!(paths.len(), 50);
    for want in &wants {
        assert_eq!(std::fs::read_to_string(&paths[&want.file.sha256]).unwrap(), want.file.name);
    }
    assert_eq!(server.asked().len(), 100);
    assert_eq!(bench.fetch(&wants, &[], true).unwrap(), paths);
}

#[test]
fn prefers_the_address_of_the_lock_and_copes_without_it() {
    let (bench, server) = (bench(), Server::start(index));
    let wants = [
        want("a-1.whl", Some(server.url("/files/a-1.whl"))),
        want("b-1.whl", Some(server.url("/gone/b-1.whl"))),
        want("c-1.whl", Some(Url::parse("https://files.invalid/c-1.whl").unwrap())),
    ];
    bench.fetch(&wants, &[&server], false).unwrap();
    let paths = server.paths();
    assert!(!paths.contains(&"/simple/a/".to_owned()));
    assert!(paths.contains(&"/gone/b-1.whl".to_owned()) && paths.contains(&"/simple/b/".to_owned()));
    assert!(paths.contains(&"/simple/c/".to_owned()));
}

#[test]
fn wrong_bytes_at_the_address_of_the_lock_end_the_search() {
    let (bench, server) =
        (bench(), Server::start(|asked| if asked.path == "/x" { Reply::ok("evil") } else { index(asked) }));
    let error = bench.fetch(&[want("a-1.whl", Some(server.url("/x")))], &[&server], false).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Integrity);
    assert_eq!(server.paths(), ["/x"]);
}

#[test]
fn looks_into_every_index_for_a_known_hash() {
    let bench = bench();
    let refusing = Server::start(|_| Reply::status(403));
    let other = Server::start(|_| Reply::ok("<a href='/files/a-1.whl#sha256=00'><a href='b-1.whl'>"));
    let right = Server::start(index);
    let mut named = want("c-1.whl", None);
    named.index = Some(right.url("/simple/").into());
    bench.fetch(&[want("a-1.whl", None)], &[&refusing, &right], false).unwrap();
    bench.fetch(&[want("b-1.whl", None)], &[&right, &other], false).unwrap();
    bench.fetch(&[named], &[], false).unwrap();
}

#[test]
fn tells_of_another_hash_before_it_downloads() {
    let bench = bench();
    let server = Server::start(|_| Reply::ok(format!("<a href='a-1.whl#sha256={}'>", Sha256::of(b"other").hex())));
    let error = bench.fetch(&[want("a-1.whl", None)], &[&server], false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the index has another hash for a-1.whl"), "{text}");
    assert!(text.contains(&Sha256::of(b"other").to_string()) && text.contains(&Sha256::of(b"a-1.whl").to_string()));
    assert_eq!(error.exit_code(), ExitCode::Integrity);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn asks_anew_where_a_kept_page_leads_nowhere() {
    let bench = bench();
    let moved = std::sync::atomic::AtomicBool::new(false);
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/simple/a/" if moved.load(std::sync::atomic::Ordering::SeqCst) => Reply::ok("<a href='/new/a-1.whl'>"),
        "/simple/a/" => Reply::ok("<a href='/old/a-1.whl'>"),
        "/old/a-1.whl" => {
            moved.store(true, std::sync::atomic::Ordering::SeqCst);
            Reply::status(404)
        }
        _ => Reply::ok("a-1.whl"),
    });
    let wants = [want("a-1.whl", None)];
    assert!(bench.fetch(&wants, &[&server], false).is_err());
    bench.fetch(&wants, &[&server], false).unwrap();
    assert_eq!(server.paths(), ["/simple/a/", "/old/a-1.whl", "/old/a-1.whl", "/simple/a/", "/new/a-1.whl"]);
}

#[test]
fn names_all_that_is_missing() {
    let bench = bench();
    let wants = [want("b-1.whl", None), want("a-1.whl", None)];
    let error = bench.fetch(&wants, &[], true).unwrap_err();
    let FetchError::Offline(files) = &error else { panic!("{error}") };
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a-1.whl", "b-1.whl"]);
    assert!(error.hint().unwrap().contains("without --offline"));

    let server = Server::start(|_| Reply::status(404));
    let error = bench.fetch(&wants, &[&server], false).unwrap_err().to_string();
    for part in ["2 files", "a-1.whl", "b-1.whl", "asked: http://127.0.0.1"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn copies_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    std::fs::write(&from, "x").unwrap();
    let out = folder.path().join("out");
    let files = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), from.clone())).collect();
    assert!(copy(&files(&["a.whl", "../b.whl"]), &out).is_err());
    assert!(!out.exists());
    copy(&files(&["a.whl", "b.whl"]), &out).unwrap();
    assert_eq!(std::fs::read(out.join("b.whl")).unwrap(), b"x");
    assert_eq!(std::fs::metadata(out.join("b.whl")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(copy(&files(&["c.whl"]), &out).is_err());
    assert!(!out.join("c.whl").exists());
    #[expect(clippy::disallowed_methods, reason = "only counted")]
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2);
}
