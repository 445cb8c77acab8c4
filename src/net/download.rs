//! A file of known hash into the cache.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use tokio::time::Instant;
use url::Url;

use super::address::shown;
use super::exchange::{Answer, Ask};
use super::retry::Tries;
use super::{Net, NetError, Request};
use crate::cache::{Cache, Partial};
use crate::digest::{Hasher, Sha256};
use crate::plan::FileId;
use crate::report::{Event, Reporter, Stage};

/// How long a file that another process downloads is left alone before the next look.
const OTHERS_PAUSE: Duration = Duration::from_millis(50);
/// Bytes between two progress events.
const STEP: u64 = 128 << 10;
/// A server that gives less than this, on average over a minute and more, holds the build up on purpose.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 10;

impl Net {
    /// Gets a file from the cache or from the first address that has it.
    pub(crate) async fn fetch(
        &self,
        request: &Request,
        cache: &Cache,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, NetError> {
        let file = &request.expected;
        let item = file.name.as_str();
        let (path, cached) = match claim(cache, &file.sha256).await? {
            Claim::There(path) => {
                reporter.event(&Event::ItemStarted { stage: Stage::Fetch, item, size: file.size });
                (path, true)
            }
            Claim::Ours(partial) => (self.fill(request, partial, cache, reporter).await?, false),
        };
        reporter.event(&Event::ItemFinished { stage: Stage::Fetch, item, cached });
        Ok(path)
    }

    /// Tries the addresses one after the other. Of their errors the gravest is told.
    async fn fill(
        &self,
        request: &Request,
        partial: Partial,
        cache: &Cache,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, NetError> {
        let file = &request.expected;
        let mut worst = NetError::NoAddress { file: file.name.clone(), sha256: file.sha256 };
        let mut download = Download::resume(partial, file, self.config.largest_file)?;
        for url in &request.urls {
            match self.whole_from(url, &mut download, reporter).await {
                Ok(()) => return download.keep(cache).await,
                Err(error @ NetError::Cache { .. }) => return Err(error),
                Err(error) if worst.is_integrity() && !error.is_integrity() => {}
                Err(error) => worst = error,
            }
        }
        if worst.is_integrity() || matches!(worst, NetError::TooLarge { .. }) || download.size() == 0 {
            download.partial.discard();
        }
        Err(worst)
    }

    /// Downloads from one address, with retries, until the hash is right.
    async fn whole_from(
        &self,
        url: &Url,
        download: &mut Download<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), NetError> {
        let mut tries = Tries::new(&self.config);
        let mut etag = None;
        // Bytes of an earlier run or address are worth one more try if they turn out to be wrong.
        let mut inherited = download.size() > 0;
        loop {
            let before = download.size();
            let result = if download.is_whole() {
                Ok(())
            } else {
                self.stream(url, download, &mut etag, &mut tries, reporter).await
            };
            match result.and_then(|()| download.check(url)) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_integrity() => {
                    download.restart()?;
                    if !std::mem::take(&mut inherited) {
                        return Err(error);
                    }
                }
                Err(error) => {
                    if download.size() > before.saturating_add(STEP) {
                        tries.progressed();
                    }
                    tries.pause(error).await?;
                }
            }
        }
    }

    async fn stream(
        &self,
        url: &Url,
        download: &mut Download<'_>,
        etag: &mut Option<HeaderValue>,
        tries: &mut Tries<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), NetError> {
        let headers = range_headers(download.size(), etag.as_ref());
        let mut answer = self.exchange(&Ask { method: Method::GET, url, headers, body: None }).await?;
        let status = answer.response.status().as_u16();
        match status {
            200 => download.restart()?,
            206 if range_start(&answer) == Some(download.size()) => {}
            206 | 416 if download.size() > 0 => {
                download.restart()?;
                return Err(NetError::broken(&answer.url, "the server gave another range than it was asked for"));
            }
            _ => {
                tries.heed(answer.response.headers());
                return Err(NetError::status(&answer.url, status));
            }
        }
        // A weak tag does not promise the same bytes.
        *etag = answer.response.headers().get(ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
        download.check_announced(&answer)?;
        if !std::mem::replace(&mut download.announced, true) {
            let (item, size) = (download.file.name.as_str(), download.file.size);
            let size = size.or(answer.response.content_length());
            reporter.event(&Event::ItemStarted { stage: Stage::Fetch, item, size });
        }
        let (started, offset, mut told) = (Instant::now(), download.size(), download.size());
        while let Some(chunk) = answer.response.chunk().await.map_err(|error| NetError::of(&error, &answer.url))? {
            download.write(&chunk, &answer.url)?;
            if download.size() - told >= STEP {
                told = download.size();
                let item = &download.file.name;
                reporter.event(&Event::ItemProgress { stage: Stage::Fetch, item, done: Some(told), doing: None });
            }
            check_pace(started.elapsed(), download.size() - offset, &answer.url)?;
        }
        match download.file.size {
            Some(size) if download.size() < size => {
                let reason = format!("{} of {size} bytes", download.size());
                Err(NetError::broken(&answer.url, reason))
            }
            _ => Ok(()),
        }
    }
}

enum Claim {
    There(PathBuf),
    Ours(Partial),
}

/// Waits until the file is there or until it is ours to download.
async fn claim(cache: &Cache, sha256: &Sha256) -> Result<Claim, NetError> {
    loop {
        if let Some(path) = cache.file(sha256) {
            return Ok(Claim::There(path));
        }
        if let Some(partial) = cache.partial(sha256)? {
            // Whoever held it may have finished between the two looks.
            return Ok(match cache.file(sha256) {
                Some(path) => {
                    partial.discard();
                    Claim::There(path)
                }
                None => Claim::Ours(partial),
            });
        }
        tokio::time::sleep(OTHERS_PAUSE).await;
    }
}

/// A file that grows, and the hash of what it holds.
struct Download<'a> {
    file: &'a FileId,
    partial: Partial,
    hasher: Hasher<io::Sink>,
    written: u64,
    limit: u64,
    /// Whether the reporter knows of it: only once bytes come, not while it waits among others.
    announced: bool,
}

impl<'a> Download<'a> {
    /// Goes on with what an earlier run left, which must be hashed again.
    fn resume(mut partial: Partial, file: &'a FileId, largest: u64) -> Result<Self, NetError> {
        let limit = file.size.unwrap_or(largest);
        let mut hasher = Hasher::new(io::sink());
        let written =
            rehash(&mut partial.file, &mut hasher, limit).map_err(|error| NetError::local(&file.name, &error))?;
        let mut download = Self { file, partial, hasher, written, limit, announced: false };
        if download.written > limit {
            download.restart()?;
        }
        Ok(download)
    }

    fn size(&self) -> u64 {
        self.written
    }

    fn is_whole(&self) -> bool {
        self.file.size == Some(self.written)
    }

    fn restart(&mut self) -> Result<(), NetError> {
        self.hasher = Hasher::new(io::sink());
        self.written = 0;
        let out = &mut self.partial.file;
        let emptied = out.set_len(0).and_then(|()| out.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(|error| NetError::local(&self.file.name, &error))
    }

    fn write(&mut self, chunk: &[u8], url: &Url) -> Result<(), NetError> {
        let after = self.written.saturating_add(chunk.len() as u64);
        if after > self.limit {
            return Err(self.too_large(after, url));
        }
        self.partial.file.write_all(chunk).map_err(|error| NetError::local(&self.file.name, &error))?;
        self.hasher.write_all(chunk).map_err(|error| NetError::local(&self.file.name, &error))?;
        self.written = after;
        Ok(())
    }

    /// Refuses early what announces another size.
    fn check_announced(&self, answer: &Answer) -> Result<(), NetError> {
        let Some(rest) = answer.response.content_length() else { return Ok(()) };
        let found = self.written.saturating_add(rest);
        let wrong = match self.file.size {
            Some(size) => found != size,
            None => found > self.limit,
        };
        if wrong { Err(self.too_large(found, &answer.url)) } else { Ok(()) }
    }

    fn too_large(&self, found: u64, url: &Url) -> NetError {
        let (file, address) = (self.file.name.clone(), shown(url));
        match self.file.size {
            Some(expected) => NetError::WrongSize { file, expected, found, address },
            None => NetError::TooLarge { address, limit: self.limit },
        }
    }

    fn check(&mut self, url: &Url) -> Result<(), NetError> {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(io::sink()));
        let (_, found, _) = hasher.finish();
        if found == self.file.sha256 {
            return Ok(());
        }
        let (file, expected, address) = (self.file.name.clone(), self.file.sha256, shown(url));
        Err(NetError::WrongHash { file, expected, found, address })
    }

    /// Into the cache, on another thread: syncing waits for the disk.
    async fn keep(self, cache: &Cache) -> Result<PathBuf, NetError> {
        let (cache, partial, sha256) = (cache.clone(), self.partial, self.file.sha256);
        let kept = tokio::task::spawn_blocking(move || cache.insert_partial(partial, &sha256)).await;
        Ok(kept.map_err(|error| NetError::Client { reason: error.to_string() })??)
    }
}

fn rehash(file: &mut File, hasher: &mut Hasher<io::Sink>, limit: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut BufReader::with_capacity(1 << 17, &*file).take(limit.saturating_add(1)), hasher)
}

fn range_headers(offset: u64, etag: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if offset > 0
        && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
    {
        headers.insert(RANGE, range);
        if let Some(etag) = etag {
            headers.insert(IF_RANGE, etag.clone());
        }
    }
    headers
}

/// The first byte of a partial answer: `Content-Range: bytes 5-9/10`.
fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

fn check_pace(elapsed: Duration, bytes: u64, url: &Url) -> Result<(), NetError> {
    let seconds = elapsed.as_secs();
    if seconds < 60 || bytes / seconds >= SLOWEST_BYTES_PER_SECOND {
        return Ok(());
    }
    Err(NetError::Timeout { address: shown(url), reason: format!("{bytes} bytes in {seconds} seconds") })
}
