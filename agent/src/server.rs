//! A plain HTTP server for a few modest clients: probes and scrapers. Others
//! who can connect must not be able to lock these out or to make the agent
//! grow.
//!
//! A connection is one request and one answer, of bounded size and time. There
//! are at most [`MAX_CONNECTIONS`]. A further one replaces a connection of the
//! address that has the most: its oldest that still waits for a request, else
//! its oldest. So a client that opens many closes its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};

/// Maximum number of open connections of one listener.
const MAX_CONNECTIONS: usize = 64;
/// Time limit from the connection to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit from the connection to the end of the answer.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of a request's head, and size of the read buffer: hyper's minimum.
const MAX_HEAD_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// Connections that wait to be accepted: tokio's default.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed because descriptors or memory ran out.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds the address, so that an address in use fails the start. `[::]` means
/// both families, or IPv4 alone if there is no IPv6.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() != Ipv6Addr::UNSPECIFIED {
        return TcpListener::bind(address).await;
    }
    match bind_both(address) {
        Err(error) if is_without_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Binds both families, whatever the sysctl `net.ipv6.bindv6only` says.
fn bind_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the kernel (`ipv6.disable=1`) or this network has no IPv6.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// Answers until the runtime ends.
pub async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    let mut clients = Clients::default();
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next_with_id() => {
                clients.forget(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    clients.make_room();
                    let has_asked = Arc::<AtomicBool>::default();
                    let connection = serve_one(stream, router.clone(), Arc::clone(&has_asked));
                    clients.open.push(HttpClient {
                        address: peer.ip().to_canonical(),
                        has_asked,
                        task: connections.spawn(connection),
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn serve_one(stream: TcpStream, router: Router, has_asked: Arc<AtomicBool>) {
    let service = Asked {
        service: TowerToHyperService::new(router),
        has_asked,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Errors on a connection are the client's concern.
    drop(tokio::time::timeout(WHOLE_TIMEOUT, connection).await);
}

/// Notes that the request's head has arrived.
struct Asked<S> {
    service: S,
    has_asked: Arc<AtomicBool>,
}

impl<S> Service<hyper::Request<Incoming>> for Asked<S>
where
    S: Service<hyper::Request<Incoming>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: hyper::Request<Incoming>) -> S::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Clients {
    open: Vec<HttpClient>,
}

struct HttpClient {
    address: IpAddr,
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Clients {
    fn forget(&mut self, id: Id) {
        self.open.retain(|client| client.task.id() != id);
    }

    /// Closes a connection if the limit is reached.
    fn make_room(&mut self) {
        if self.open.len() < MAX_CONNECTIONS {
            return;
        }
        let open = self.open.iter().map(|client| {
            let has_asked = client.has_asked.load(Ordering::Relaxed);
            (client.address, has_asked)
        });
        let open: Vec<_> = open.collect();
        if let Some(at) = place_to_give(&open) {
            self.open.remove(at).task.abort();
        }
    }
}

/// Index of the connection to close for a new one. Each is an address and
/// whether its request has come, oldest first.
fn place_to_give(open: &[(IpAddr, bool)]) -> Option<usize> {
    let of = |address: IpAddr| open.iter().filter(move |client| client.0 == address);
    let most = open.iter().map(|client| of(client.0).count()).max()?;
    let candidates = open.iter().enumerate();
    let mut candidates = candidates.filter(|(_, client)| of(client.0).count() == most);
    let oldest = candidates.clone().next()?.0;
    let waiting = candidates.find(|(_, client)| !client.1);
    Some(waiting.map_or(oldest, |(at, _)| at))
}

#[cfg(test)]
mod tests;
