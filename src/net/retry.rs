//! When to try again, and after which pause.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::{NetConfig, NetError};

/// Counts the tries of one request.
pub(super) struct Tries<'a> {
    config: &'a NetConfig,
    failed: u32,
    /// What the server asked for last.
    asked: Option<Duration>,
}

impl<'a> Tries<'a> {
    pub(super) fn new(config: &'a NetConfig) -> Self {
        Self { config, failed: 0, asked: None }
    }

    /// Remembers the pause that an answer asks for, in seconds. (As a date it would need a clock.)
    pub(super) fn heed(&mut self, headers: &HeaderMap) {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        self.asked = seconds.map(Duration::from_secs);
    }

    /// Progress was made: the failures before it no longer count.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Pauses before the next try; gives the error back where there will be none.
    pub(super) async fn pause(&mut self, error: NetError) -> Result<(), NetError> {
        match self.next_pause(&error) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }

    fn next_pause(&mut self, error: &NetError) -> Option<Duration> {
        let asked = self.asked.take();
        if !error.is_worth_retrying() || self.failed >= self.config.retries {
            return None;
        }
        let pause = self.config.retry_pause.saturating_mul(1 << self.failed.min(6));
        self.failed += 1;
        let pause = asked.map_or(pause, |asked| asked.max(pause));
        (pause <= self.config.longest_pause).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> NetError {
        NetError::Status { address: String::new(), host: String::new(), status }
    }

    #[test]
    fn pauses_grow_and_end() {
        let config = NetConfig { retries: 3, retry_pause: Duration::from_secs(1), ..NetConfig::default() };
        let mut tries = Tries::new(&config);
        let pauses: Vec<_> =
            std::iter::from_fn(|| tries.next_pause(&status(503))).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4]);
        tries.progressed();
        assert!(tries.next_pause(&status(503)).is_some());
    }

    #[test]
    fn heeds_the_server_within_reason() {
        let config = NetConfig::default();
        let mut tries = Tries::new(&config);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        tries.heed(&headers);
        assert_eq!(tries.next_pause(&status(429)), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "86400".parse().unwrap());
        tries.heed(&headers);
        assert_eq!(tries.next_pause(&status(429)), None);
    }

    #[test]
    fn retries_only_what_may_change() {
        let config = NetConfig::default();
        for (code, worth) in
            [(400, false), (401, false), (403, false), (404, false), (408, true), (429, true), (502, true)]
        {
            assert_eq!(Tries::new(&config).next_pause(&status(code)).is_some(), worth, "{code}");
        }
    }
}
