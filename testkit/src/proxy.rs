//! A TCP proxy in front of a collector, which breaks connections on demand.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to connections, including those already open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes are forwarded.
    Open,
    /// Connections are reset, as when the collector's process is killed.
    Reset,
    /// Nothing is forwarded.
    Stalled,
    /// Connections are reset this many bytes into the first response, when the collector already
    /// has the spans.
    ResetInResponse { after: usize },
}

/// A running proxy. It stops when dropped.
pub struct TcpProxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Number of connections reset so far.
    resets: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    pub async fn start(upstream: SocketAddr) -> Result<TcpProxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mode = watch::Sender::new(Mode::Open);
        let (counter, resets) = watch::channel(0);
        let of_connections = mode.subscribe();
        let task = tokio::spawn(async move {
            // Dropped with the task, which ends all connections.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (mode, counter) = (of_connections.clone(), counter.clone());
                connections.spawn(async move {
                    // An error ends this connection only, whichever side caused it.
                    if matches!(carry(client, upstream, mode).await, Ok(End::Reset)) {
                        counter.send_modify(|resets| *resets += 1);
                    }
                });
            }
        });
        Ok(TcpProxy {
            address,
            mode,
            resets,
            task,
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until `more` further connections have been reset.
    pub async fn wait_for_resets(&self, more: u64, bound: Duration) -> Result<()> {
        let mut resets = self.resets.clone();
        let goal = *resets.borrow_and_update() + more;
        let reached = tokio::time::timeout(bound, resets.wait_for(|resets| *resets >= goal)).await;
        reached.with_context(|| format!("not {more} connections were reset"))??;
        Ok(())
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum End {
    Closed,
    Reset,
}

async fn carry(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut mode: watch::Receiver<Mode>,
) -> Result<End> {
    let mut server = TcpStream::connect(upstream).await?;
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    // Bytes still to be sent to the client before the reset.
    let mut left = None;
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Reset => {
                client.set_zero_linger()?;
                return Ok(End::Reset);
            }
            Mode::Stalled => {
                mode.changed().await?;
                continue;
            }
            Mode::Open | Mode::ResetInResponse { .. } => {}
        }
        tokio::select! {
            changed = mode.changed() => changed?,
            read = client.read(&mut up) => match read? {
                0 => return Ok(End::Closed),
                n => server.write_all(up.get(..n).unwrap_or_default()).await?,
            },
            read = server.read(&mut down) => {
                let n = read?;
                let bytes = down.get(..n).unwrap_or_default();
                if let Mode::ResetInResponse { after } = now && left.is_none() {
                    left = headers(bytes).map(|at| at + after);
                }
                let sent = left.map_or(n, |left| left.min(n));
                client.write_all(bytes.get(..sent).unwrap_or_default()).await?;
                left = left.map(|left| left - sent);
                if left == Some(0) {
                    client.set_zero_linger()?;
                    return Ok(End::Reset);
                }
                if n == 0 {
                    return Ok(End::Closed);
                }
            }
        }
    }
}

/// Offset of the response: of its status line in HTTP/1.1, of the first HEADERS frame in HTTP/2, if
/// `bytes` starts with whole frames (RFC 9113, sections 4.1 and 6.2).
fn headers(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"HTTP/1") {
        return Some(0);
    }
    const HEAD: usize = 9;
    const HEADERS: u8 = 1;
    let mut at = 0;
    while let Some(&[a, b, c, kind, ..]) = bytes.get(at..at + HEAD) {
        if kind == HEADERS {
            return Some(at);
        }
        at += HEAD + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_response_behind_other_frames() {
        let frame = |kind: u8, len: u8| {
            let mut frame = vec![0, 0, len, kind, 0, 0, 0, 0, 1];
            frame.extend(vec![7; usize::from(len)]);
            frame
        };
        let settings = frame(4, 12);
        assert_eq!(headers(&settings), None);
        assert_eq!(headers(&[settings, frame(1, 10)].concat()), Some(21));
        assert_eq!(headers(&[]), None);
        assert_eq!(headers(b"HTTP/1.1 200 OK\r\n"), Some(0));
    }
}
