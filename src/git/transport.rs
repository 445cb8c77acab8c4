//! Asking a repository for objects (gitprotocol-v2, gitprotocol-http).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gix_hash::ObjectId;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::GitError;
use super::pkt::{Packet, SideBand};
use crate::net::address::{names_nothing, shown};
use crate::net::{Get, Net, NetError};

/// Size limits in bytes of a pack and of a list of capabilities; and how many references are taken.
const LARGEST_PACK: u64 = 8 << 30;
const LARGEST_GREETING: u64 = 1 << 20;
const MOST_REFS: usize = 200_000;

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repository {
    Http(Url),
    Local(PathBuf),
}

/// Which objects.
pub(super) enum Wanted {
    /// One commit without its history.
    Only(ObjectId),
    /// These with all history.
    All(BTreeSet<ObjectId>),
}

/// A pack inside an answer.
pub(super) type Pack = SideBand<BufReader<File>>;

impl Repository {
    pub(super) fn parse(text: &str) -> Result<Self, GitError> {
        let bare = text.strip_prefix("git+").unwrap_or(text);
        let wrong = |reason: &str| {
            let repository = Url::parse(bare).map_or_else(|_| bare.to_owned(), |url| shown(&url));
            GitError::Repository { repository, reason: reason.to_owned() }
        };
        if bare.starts_with('/') {
            return Ok(Self::Local(bare.into()));
        }
        let url = Url::parse(bare).map_err(|error| wrong(&error.to_string()))?;
        match url.scheme() {
            "http" | "https" if names_nothing(&url) => Err(wrong("the lock's address was made to name nothing")),
            "http" | "https" => Ok(Self::Http(url)),
            "file" => url.to_file_path().map(Self::Local).map_err(|()| wrong("it is no path of this machine")),
            _ => Err(wrong("only https, http, file and local paths are fetched")),
        }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Http(url) => shown(url),
            Self::Local(path) => path.display().to_string(),
        }
    }

    /// Finds out whether the other side speaks our version, and where it wants to be asked.
    pub(super) fn connect<'a>(&'a self, net: &'a Net) -> Result<Session<'a>, GitError> {
        let Self::Http(url) = self else {
            return Ok(Session { repository: self, net, ask: None, shallow: true });
        };
        let protocol = |reason: &str| GitError::Protocol { repository: self.shown(), reason: reason.to_owned() };
        let mut address = url.clone();
        address.set_path(&format!("{}/info/refs", url.path().trim_end_matches('/')));
        address.set_query(Some("service=git-upload-pack"));
        let headers = [("git-protocol", "version=2")];
        let page = net.get(&Get { headers: &headers, ..Get::new(&address, LARGEST_GREETING) });
        let page = match page {
            // Without version 2 the answer lists all references and may be long.
            Err(NetError::TooLarge { .. }) => return Err(protocol("it answered in another version")),
            page => page?.ok_or_else(|| NetError::status(&address, 304))?,
        };
        let lines = lines(&page.bytes).map_err(|error| protocol(&error.to_string()))?;
        let mut lines = lines.iter().filter(|line| !line.is_empty() && !line.starts_with("# service="));
        if lines.next().map(String::as_str) != Some("version 2") {
            return Err(protocol("it answered in another version"));
        }
        let capabilities: Vec<_> = lines.collect();
        let fetch = capabilities.iter().find_map(|line| line.strip_prefix("fetch"));
        let fetch = fetch.ok_or_else(|| protocol("it cannot fetch"))?;
        if capabilities.iter().any(|line| line.starts_with("object-format=") && *line != "object-format=sha1") {
            return Err(protocol("its objects are not named by SHA-1"));
        }
        // After a redirect the whole repository is there, not only its greeting.
        let mut ask = page.url;
        let base = ask.path().strip_suffix("/info/refs").map(str::to_owned);
        let base = base.ok_or_else(|| protocol("it redirects to another kind of address"))?;
        ask.set_path(&format!("{base}/git-upload-pack"));
        ask.set_query(None);
        copy_login(url, &mut ask);
        let shallow = fetch.trim_start_matches('=').split(' ').any(|feature| feature == "shallow");
        Ok(Session { repository: self, net, ask: Some(ask), shallow })
    }
}

/// The same login for the same server; `Net` would drop it at any other anyway.
fn copy_login(from: &Url, to: &mut Url) {
    if from.origin() == to.origin() {
        let _ = to.set_username(from.username());
        let _ = to.set_password(from.password());
    }
}

/// A repository that answers.
pub(super) struct Session<'a> {
    repository: &'a Repository,
    net: &'a Net,
    ask: Option<Url>,
    shallow: bool,
}

impl Session<'_> {
    /// Gets a pack with what is wanted.
    pub(super) fn pack(&self, wanted: &Wanted, scratch: &Path, progress: &dyn Fn(u64)) -> Result<Pack, GitError> {
        let mut request = head("fetch");
        request.push_str(&Packet::line("no-progress"));
        request.push_str(&Packet::line("ofs-delta"));
        match wanted {
            Wanted::Only(commit) => {
                if self.shallow {
                    request.push_str(&Packet::line("deepen 1"));
                }
                request.push_str(&Packet::line(&format!("want {commit}")));
            }
            Wanted::All(ids) => request.extend(ids.iter().map(|id| Packet::line(&format!("want {id}")))),
        }
        request.push_str(&Packet::line("done"));
        request.push_str("0000");
        let mut answer = BufReader::new(self.ask(request, scratch, progress)?);
        loop {
            let packet = Packet::read(&mut answer).map_err(|error| self.protocol(&error))?;
            let text = packet.as_ref().and_then(Packet::text);
            match text.as_deref() {
                Some("packfile") => return Ok(SideBand::new(answer)),
                Some(line) if line.starts_with("ERR ") => return Err(self.refused(&line[4..])),
                _ if packet.is_none() => return Err(self.refused("it sent no objects")),
                _ => {}
            }
        }
    }

    /// The objects that branches and tags name.
    pub(super) fn refs(&self, scratch: &Path) -> Result<BTreeSet<ObjectId>, GitError> {
        let prefixes = ["refs/heads/", "refs/tags/"].map(|prefix| Packet::line(&format!("ref-prefix {prefix}")));
        let request = format!("{}{}0000", head("ls-refs"), prefixes.concat());
        let mut answer = BufReader::new(self.ask(request, scratch, &|_| {})?);
        let mut ids = BTreeSet::new();
        while let Some(packet) = Packet::read(&mut answer).map_err(|error| self.protocol(&error))? {
            let Some(line) = packet.text() else { break };
            if let Some(reason) = line.strip_prefix("ERR ") {
                return Err(self.refused(reason));
            }
            ids.extend(line.split(' ').next().and_then(|id| ObjectId::from_hex(id.as_bytes()).ok()));
            if ids.len() > MOST_REFS {
                return Err(self.refused("it has too many branches and tags"));
            }
        }
        if ids.is_empty() { Err(self.refused("it has no branches and tags")) } else { Ok(ids) }
    }

    fn ask(&self, request: String, scratch: &Path, progress: &dyn Fn(u64)) -> Result<File, GitError> {
        let local = |error: io::Error| NetError::local("the objects", &error);
        let mut answer = tempfile::tempfile_in(scratch).map_err(local)?;
        match (&self.ask, self.repository) {
            (Some(url), _) => {
                let post = self.net.post(url, headers(), request.into_bytes(), LARGEST_PACK, &mut answer, progress);
                self.net.block_on(post)?;
            }
            (None, Repository::Local(path)) => self.ask_locally(path, &request, &answer)?,
            (None, Repository::Http(_)) => return Err(self.refused("it was not greeted")),
        }
        answer.rewind().map_err(local)?;
        Ok(answer)
    }

    /// The same conversation with the `git` of this machine.
    fn ask_locally(&self, path: &Path, request: &str, answer: &File) -> Result<(), GitError> {
        let wrong = |reason: String| GitError::Repository { repository: self.repository.shown(), reason };
        let without_git =
            |error: io::Error| wrong(format!("a local repository is read by `git`, which cannot be run: {error}"));
        let mut child = Command::new("git")
            .args(["upload-pack", "--stateless-rpc"])
            .arg(path)
            .env("GIT_PROTOCOL", "version=2")
            .stdin(Stdio::piped())
            .stdout(answer.try_clone().map_err(without_git)?)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(without_git)?;
        // A child that fails early closes its end; its own message says why.
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(request.as_bytes()));
        drop(written);
        let output = child.wait_with_output().map_err(without_git)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // Its refusals come as packets too, which tell them apart.
        if answer.metadata().is_ok_and(|metadata| metadata.len() > 0) { Ok(()) } else { Err(wrong(said)) }
    }

    fn refused(&self, reason: &str) -> GitError {
        GitError::Refused { repository: self.repository.shown(), reason: reason.to_owned() }
    }

    fn protocol(&self, error: &io::Error) -> GitError {
        GitError::Protocol { repository: self.repository.shown(), reason: error.to_string() }
    }
}

/// The beginning of a request.
fn head(command: &str) -> String {
    let agent = concat!("agent=akb/", env!("CARGO_PKG_VERSION"));
    let lines = [format!("command={command}"), agent.to_owned(), "object-format=sha1".to_owned()];
    lines.map(|line| Packet::line(&line)).concat() + "0001"
}

fn headers() -> HeaderMap {
    let pairs = [
        (CONTENT_TYPE, "application/x-git-upload-pack-request"),
        (ACCEPT, "application/x-git-upload-pack-result"),
        (HeaderName::from_static("git-protocol"), "version=2"),
    ];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// All packets of a short message as texts.
fn lines(mut bytes: &[u8]) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(packet) = Packet::read(&mut bytes)? {
        lines.extend(packet.text());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        let parse = |text: &str| Repository::parse(text);
        assert_eq!(parse("git+file:///srv/a.git").unwrap(), Repository::Local("/srv/a.git".into()));
        assert_eq!(parse("/srv/a").unwrap(), Repository::Local("/srv/a".into()));
        assert!(matches!(parse("https://me:secret@host.example/a.git"), Ok(Repository::Http(_))));
        for odd in ["ssh://git@host.example/a", "git@host.example:a/b", "relative", "https://me:secret@git.invalid/a"] {
            let error = parse(odd).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(matches!(error, GitError::Repository { .. }));
        }
    }
}
