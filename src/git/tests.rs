use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::net::NetConfig;
use crate::net::server::{Asked, Reply, Server};
use crate::report::Silent;

/// A bare repository that the `git` of this machine fills and serves.
struct Origin {
    root: tempfile::TempDir,
}

impl Origin {
    fn new() -> Self {
        let origin = Self { root: tempfile::tempdir().unwrap() };
        origin.git(&["init", "-q", "--bare", "demo.git"], "");
        origin
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("demo.git")
    }

    fn git(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(self.root.path())
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "e")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn inside(&self, arguments: &[&str], input: &str) -> String {
        self.git(&[&["--git-dir", "demo.git"], arguments].concat(), input)
    }

    fn blob(&self, text: &str) -> String {
        self.inside(&["hash-object", "-w", "--stdin"], text)
    }

    /// A commit of a tree that is given by lines as `git ls-tree` prints them; `main` names it.
    fn commit(&self, tree: &str, parents: &[&str]) -> String {
        let tree = self.inside(&["mktree", "--missing"], tree);
        let parents: Vec<_> = parents.iter().flat_map(|parent| ["-p", parent]).collect();
        let commit = self.inside(&[&["commit-tree", "-m", "m"], &parents[..], &[&tree]].concat(), "");
        self.inside(&["update-ref", "refs/heads/main", &commit], "");
        commit
    }

    /// A usual tree, with history before it.
    fn usual(&self) -> (String, String) {
        let (file, tool, link) = (self.blob("text\n"), self.blob("#!/bin/sh\n"), self.blob("../top.txt"));
        let inner = self.inside(&["mktree"], &format!("120000 blob {link}\tlink\n100755 blob {tool}\ttool\n"));
        let first = self.commit(&format!("100644 blob {}\told.txt\n", self.blob("old\n")), &[]);
        let second = self.commit(&format!("040000 tree {inner}\tsub\n100644 blob {file}\ttop.txt\n"), &[&first]);
        (first, second)
    }

    fn serve(&self, change: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Server {
        let root = self.root.path().to_owned();
        Server::start(move |asked| change(asked).unwrap_or_else(|| backend(&root, asked)))
    }
}

/// Runs `git http-backend` (CGI).
fn backend(root: &Path, asked: &Asked) -> Reply {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type").unwrap_or_default())
        .env("GIT_PROTOCOL", asked.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&asked.body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    match head.lines().find_map(|line| line.strip_prefix("Status: ")) {
        Some(status) => Reply::status(status[..3].parse().unwrap()),
        None => Reply::ok(&output[end + 4..]),
    }
}

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

impl Bench {
    fn fetch(&self, repository: &str, revision: &str) -> Result<PathBuf, GitError> {
        fetch(repository, revision, &self.net, &self.cache, false, &Silent)
    }

    /// Fetches from a server, and shows that a failure leaves nothing.
    fn refused(&self, server: &Server, revision: &str) -> GitError {
        let error = self.fetch(server.url("/demo.git").as_str(), revision).unwrap_err();
        #[expect(clippy::disallowed_methods, reason = "only counted")]
        let left = fs::read_dir(self.cache.root().join("folders/git")).unwrap().count();
        assert_eq!(left, 0);
        error
    }
}

fn check_usual(folder: &Path) {
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(fs::read_to_string(folder.join("sub/link")).unwrap(), "text\n");
    assert_eq!((mode("top.txt"), mode("sub/tool")), (0o644, 0o755));
    assert!(folder.join("sub/link").is_symlink());
    assert!(!folder.join("old.txt").exists() && !folder.join(".git").exists());
}

#[test]
fn fetches_one_commit_without_its_history() {
    let (origin, bench) = (Origin::new(), bench());
    let (first, second) = origin.usual();
    let server = origin.serve(|_| None);
    let url = format!("git+{}/", server.url("/demo.git"));
    check_usual(&bench.fetch(&url, &second).unwrap());
    assert_eq!(server.asked().len(), 2);
    assert!(String::from_utf8_lossy(&server.asked()[1].body).contains("deepen 1"));
    bench.fetch(&url, &second).unwrap();
    assert_eq!(server.asked().len(), 2, "the cache has it");
    // No branch ends there.
    let old = bench.fetch(&url, &first).unwrap();
    assert_eq!(fs::read_to_string(old.join("old.txt")).unwrap(), "old\n");
    assert!(fetch(&url, &second, &bench.net, &bench.cache, true, &Silent).is_ok());
}

#[test]
fn fetches_all_where_one_commit_is_refused() {
    let (origin, bench) = (Origin::new(), bench());
    let (first, _) = origin.usual();
    let server = origin.serve(|asked| {
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        text.contains("deepen").then(|| Reply::ok("001fERR upload-pack: not our ref"))
    });
    let old = bench.fetch(server.url("/demo.git").as_str(), &first).unwrap();
    assert_eq!(fs::read_to_string(old.join("old.txt")).unwrap(), "old\n");
    assert_eq!(server.asked().len(), 4);
    let nowhere = bench.fetch(server.url("/demo.git").as_str(), &"1".repeat(40)).unwrap_err();
    assert!(matches!(nowhere, GitError::NoCommit { .. }), "{nowhere}");
}

#[test]
fn reads_local_repositories() {
    let (origin, bench) = (Origin::new(), bench());
    let (_, second) = origin.usual();
    check_usual(&bench.fetch(origin.path().to_str().unwrap(), &second).unwrap());
    let error = bench.fetch("file:///no/such/repository", &"1".repeat(40)).unwrap_err();
    assert!(error.to_string().contains("/no/such/repository"), "{error}");
    assert!(matches!(bench.fetch("/any", "main"), Err(GitError::Revision { .. })));
}

#[test]
fn refuses_other_objects_than_the_named() {
    let (origin, bench) = (Origin::new(), bench());
    let (first, second) = origin.usual();
    let (asked_for, given) = (second.clone(), first);
    let root = origin.root.path().to_owned();
    let server = origin.serve(move |asked| {
        let body = String::from_utf8_lossy(&asked.body).replace(&asked_for, &given).into_bytes();
        Some(backend(&root, &Asked { body, ..asked.clone() }))
    });
    let error = bench.refused(&server, &second);
    assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
}

#[test]
fn refuses_broken_packs_and_other_protocols() {
    let (origin, bench) = (Origin::new(), bench());
    let (_, second) = origin.usual();
    let root = origin.root.path().to_owned();
    let cut = origin.serve(move |asked| {
        (asked.method == "POST").then(|| {
            let config = "000dpackfile\n000c\u{1}PACK\0\0\u{2}0000";
            drop(backend(&root, asked));
            Reply::ok(config)
        })
    });
    let error = bench.refused(&cut, &second);
    assert!(matches!(error, GitError::Objects { .. }), "{error}");
    let root = origin.root.path().to_owned();
    let old = origin.serve(move |asked| {
        let mut asked = asked.clone();
        asked.headers.remove("git-protocol");
        Some(backend(&root, &asked))
    });
    let error = bench.refused(&old, &second);
    assert!(matches!(error, GitError::Protocol { .. }), "{error}");
    let page = Server::start(|_| Reply::ok("<html>"));
    let error = bench.refused(&page, &second);
    assert!(matches!(error, GitError::Protocol { .. }), "{error}");
}

#[test]
fn refuses_trees_that_leave_their_folder() {
    let (origin, bench) = (Origin::new(), bench());
    let server = origin.serve(|_| None);
    let (text, up, absolute) = (origin.blob("x"), origin.blob("../x"), origin.blob("/etc/passwd"));
    let climb = origin.inside(&["mktree"], &format!("120000 blob {}\tup\n", origin.blob("..")));
    let cases = [
        (format!("120000 blob {up}\tl\n"), "leaves the folder"),
        (format!("120000 blob {absolute}\tl\n"), "leaves the folder"),
        (format!("120000 blob {}\tl\n040000 tree {climb}\td\n", origin.blob("d/up/../x/..")), "leaves the folder"),
        (format!("160000 commit {}\tmodule\n", "1".repeat(40)), "submodule"),
        (format!("100644 blob {text}\ttwice\n100644 blob {text}\ttwice\n"), "twice"),
    ];
    for (tree, reason) in cases {
        let commit = origin.commit(&tree, &[]);
        let error = bench.refused(&server, &commit);
        assert!(matches!(error, GitError::Entry { .. }) && error.to_string().contains(reason), "{error}");
    }
    // Names that `git mktree` would not write.
    let blob = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    for name in [".git", "..", ".GIT", "a\\nb"] {
        let raw: Vec<u8> = [b"100644 ", name.replace("\\n", "\n").as_bytes(), b"\0", &blob].concat();
        let file = origin.root.path().join("raw");
        fs::write(&file, raw).unwrap();
        let tree = origin.inside(&["hash-object", "-t", "tree", "--literally", "-w", file.to_str().unwrap()], "");
        let commit = origin.inside(&["commit-tree", "-m", "m", &tree], "");
        let error = bench.fetch(origin.path().to_str().unwrap(), &commit).unwrap_err();
        assert!(matches!(error, GitError::Entry { .. }), "{name}: {error}");
    }
}
