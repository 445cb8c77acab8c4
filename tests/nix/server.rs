//! A server of files on this machine: an index, a mirror.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Serves as long as the test runs.
pub(crate) struct Server {
    address: String,
}

impl Server {
    /// Bytes by path, such as `/simple/x/`.
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = Arc::new(files);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&files);
                std::thread::spawn(move || answer(stream, &files));
            }
        });
        Self { address }
    }

    /// An index of one project with one file.
    pub(crate) fn index(project: &str, file: &str, bytes: &[u8]) -> Self {
        let page = format!("<!DOCTYPE html><html><body><a href=\"/files/{file}\">{file}</a></body></html>");
        Self::new(BTreeMap::from([
            (format!("/simple/{project}/"), page.into_bytes()),
            (format!("/files/{file}"), bytes.to_vec()),
        ]))
    }

    /// The address of `path`.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let path = first.split(' ').nth(1)?;
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    let (status, body) = files.get(path).map_or(("404 Not Found", &b""[..]), |body| ("200 OK", body));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    if !first.starts_with("HEAD") {
        stream.write_all(body).ok()?;
    }
    stream.flush().ok()
}
