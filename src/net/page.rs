//! A whole answer in memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use url::Url;

use super::address::shown;
use super::exchange::{Answer, Ask};
use super::retry::Tries;
use super::{Net, NetError};

/// The longest that a whole answer in memory may take.
const LONGEST: Duration = Duration::from_mins(10);

/// What to get into memory.
#[derive(Clone, Debug)]
pub struct Get<'a> {
    /// From where.
    pub url: &'a Url,
    /// The `Accept` header.
    pub accept: Option<&'a str>,
    /// Size limit in bytes, after decompression.
    pub limit: u64,
    /// Whether the server may compress the answer on its way.
    pub compressed: bool,
    /// The `ETag` of what is here already.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` of what is here already.
    pub last_modified: Option<&'a str>,
    /// Other headers.
    pub headers: &'a [(&'static str, &'a str)],
}

impl<'a> Get<'a> {
    /// Plain bytes from `url`, at most `limit`.
    pub fn new(url: &'a Url, limit: u64) -> Self {
        Self { url, accept: None, limit, compressed: false, etag: None, last_modified: None, headers: &[] }
    }

    fn headers(&self) -> HeaderMap {
        let encoding = if self.compressed { "gzip" } else { "identity" };
        let wanted = [
            (ACCEPT, self.accept),
            (ACCEPT_ENCODING, Some(encoding)),
            (IF_NONE_MATCH, self.etag),
            (IF_MODIFIED_SINCE, self.last_modified),
        ];
        let value = |(name, text): (HeaderName, Option<&str>)| Some((name, HeaderValue::from_str(text?).ok()?));
        let other = self.headers.iter().map(|(name, text)| (HeaderName::from_static(name), Some(*text)));
        wanted.into_iter().chain(other).filter_map(value).collect()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// The body, decompressed.
    pub bytes: Vec<u8>,
    /// Where it came from in the end, after redirects.
    pub url: Url,
    /// Its media type.
    pub content_type: Option<String>,
    /// For the next time.
    pub etag: Option<String>,
    /// For the next time.
    pub last_modified: Option<String>,
}

impl Page {
    /// The body as a text.
    pub fn text(self) -> Result<String, NetError> {
        String::from_utf8(self.bytes).map_err(|_| NetError::NotText { address: shown(&self.url) })
    }
}

impl Net {
    /// Gets a whole answer, with retries; `None` where it was not modified.
    pub(crate) async fn page(&self, get: &Get<'_>) -> Result<Option<Page>, NetError> {
        let ask = Ask { method: Method::GET, url: get.url, headers: get.headers(), body: None };
        self.collect(&ask, get.limit).await
    }

    /// Posts a body and writes the answer into `out`, with retries: only for requests that change nothing.
    /// `progress` is told how many bytes there are.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: u64,
        out: &mut File,
        progress: &dyn Fn(u64),
    ) -> Result<(), NetError> {
        let ask = Ask { method: Method::POST, url, headers, body: Some(body) };
        let mut tries = Tries::new(&self.config);
        loop {
            match self.post_once(&ask, limit, out, progress, &mut tries).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.pause(error).await?,
            }
        }
    }

    async fn post_once(
        &self,
        ask: &Ask<'_>,
        limit: u64,
        out: &mut File,
        progress: &dyn Fn(u64),
        tries: &mut Tries<'_>,
    ) -> Result<(), NetError> {
        let local = |error: io::Error| NetError::local("the answer", &error);
        out.set_len(0).and_then(|()| out.rewind()).map_err(local)?;
        let mut answer = self.exchange(ask).await?;
        let status = answer.response.status().as_u16();
        if status != 200 {
            tries.heed(answer.response.headers());
            return Err(NetError::status(&answer.url, status));
        }
        let mut size = 0_u64;
        while let Some(chunk) = answer.response.chunk().await.map_err(|error| NetError::of(&error, &answer.url))? {
            size = size.saturating_add(chunk.len() as u64);
            if size > limit {
                return Err(NetError::TooLarge { address: shown(&answer.url), limit });
            }
            out.write_all(&chunk).map_err(local)?;
            progress(size);
        }
        Ok(())
    }

    async fn collect(&self, ask: &Ask<'_>, limit: u64) -> Result<Option<Page>, NetError> {
        let mut tries = Tries::new(&self.config);
        loop {
            let attempt = tokio::time::timeout(LONGEST, self.collect_once(ask, limit, &mut tries)).await;
            let error = match attempt {
                Ok(Ok(page)) => return Ok(page),
                Ok(Err(error)) => error,
                Err(_) => NetError::Timeout { address: shown(ask.url), reason: format!("{LONGEST:?}") },
            };
            tries.pause(error).await?;
        }
    }

    async fn collect_once(&self, ask: &Ask<'_>, limit: u64, tries: &mut Tries<'_>) -> Result<Option<Page>, NetError> {
        let mut answer = self.exchange(ask).await?;
        let status = answer.response.status().as_u16();
        match status {
            200 => {}
            304 => return Ok(None),
            _ => {
                tries.heed(answer.response.headers());
                return Err(NetError::status(&answer.url, status));
            }
        }
        let body = body(&mut answer, limit).await?;
        let headers = answer.response.headers();
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = match header(CONTENT_ENCODING).as_deref() {
            Some("gzip" | "x-gzip") if asked_for_gzip(ask) => gunzip(&body, limit, &answer.url)?,
            _ => body,
        };
        Ok(Some(Page {
            bytes,
            content_type: header(CONTENT_TYPE),
            etag: header(ETAG),
            last_modified: header(LAST_MODIFIED),
            url: answer.url,
        }))
    }
}

fn asked_for_gzip(ask: &Ask<'_>) -> bool {
    ask.headers.get(ACCEPT_ENCODING).is_some_and(|value| value == "gzip")
}

async fn body(answer: &mut Answer, limit: u64) -> Result<Vec<u8>, NetError> {
    let too_large = || NetError::TooLarge { address: shown(&answer.url), limit };
    let announced = answer.response.content_length().unwrap_or(0);
    if announced > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.response.chunk().await.map_err(|error| NetError::of(&error, &answer.url))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn gunzip(bytes: &[u8], limit: u64, url: &Url) -> Result<Vec<u8>, NetError> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(limit.saturating_add(1));
    reader.read_to_end(&mut plain).map_err(|error| NetError::broken(url, error.to_string()))?;
    if plain.len() as u64 > limit {
        return Err(NetError::TooLarge { address: shown(url), limit });
    }
    Ok(plain)
}
