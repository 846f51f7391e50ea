//! A plain HTTP GET, enough for health checks, metrics and other programs' APIs.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Response {
    pub status: u16,
    pub body: String,
}

pub async fn get(address: SocketAddr, path: &str) -> Result<Response> {
    get_as(address, path, "*/*").await
}

/// Like [`get`], with this in the header `Accept`.
pub async fn get_as(address: SocketAddr, path: &str, accept: &str) -> Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0, because an HTTP/1.1 answer could come in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n").context("no end of headers")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    Ok(Response {
        status,
        body: body.to_owned(),
    })
}
