//! What the agent's own tests share with the tests that run its binary. Nothing here depends on the
//! agent.

#![allow(
    missing_docs,
    reason = "only tests read them, and names say most of it"
)]

pub mod certificates;
pub mod collector;
pub mod http;
mod otlp_grpc;
mod otlp_http;
pub mod otlp_json;
pub mod proxy;
mod seen;
pub mod semconv;
pub mod span;

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// A free loopback address that neither another call nor the kernel hands out: the port is below
/// those of outgoing connections (net.ipv4.ip_local_port_range).
///
/// # Errors
///
/// When all of its ports are taken.
pub fn free_address() -> Result<SocketAddr> {
    const PORTS: Range<u16> = 10_000..32_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Programs that run at the same time start at different ports.
    let begin = std::process::id().wrapping_mul(101);
    for _ in PORTS {
        let step = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(begin.wrapping_add(step) % u32::from(PORTS.end - PORTS.start))?;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORTS.start + offset)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}
