//! `host.ip` of the semantic conventions.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Nodes of a cluster can have hundreds.
const MAX_ADDRESSES: usize = 32;

/// Addresses of this network namespace: of interfaces that are up and not the
/// loopback. `None` of them if the kernel cannot be asked.
pub(super) fn addresses() -> Arc<[String]> {
    let all = match getifaddrs() {
        Ok(all) => all,
        Err(error) => {
            tracing::debug!(%error, "the host's addresses cannot be read");
            return Arc::default();
        }
    };
    let up = all.filter(|interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    texts(up.filter_map(|interface| {
        let address = interface.address?;
        let ipv4 = || Some(IpAddr::V4(address.as_sockaddr_in()?.ip()));
        let ipv6 = || Some(IpAddr::V6(address.as_sockaddr_in6()?.ip()));
        ipv4().or_else(ipv6)
    }))
}

/// Each once, in the order of interfaces, those that are good for one link only
/// last. `Display` writes IPv4 with dots and IPv6 by RFC 5952.
fn texts(addresses: impl Iterator<Item = IpAddr>) -> Arc<[String]> {
    let mut seen = BTreeSet::new();
    let (links, others): (Vec<_>, Vec<_>) = addresses
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .filter(|address| seen.insert(*address))
        .partition(is_of_one_link);
    let all = others.iter().chain(&links).take(MAX_ADDRESSES);
    all.map(IpAddr::to_string).collect()
}

fn is_of_one_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => Ipv4Addr::is_link_local(address),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_conventions_want() {
        let given = [
            "fe80:0:0:0:abc2:4a28:737a:609e",
            "127.0.0.53",
            "192.168.1.140",
            "169.254.7.1",
            "::1",
            "2001:0DB8:0:0:1:0:0:1",
            "192.168.1.140",
            "::",
            "::ffff:10.0.0.1",
        ];
        let found = texts(given.iter().map(|text| text.parse().unwrap()));
        let expected = [
            "192.168.1.140",
            "2001:db8::1:0:0:1",
            "::ffff:10.0.0.1",
            "fe80::abc2:4a28:737a:609e",
            "169.254.7.1",
        ];
        assert_eq!(*found, expected.map(str::to_owned));
    }

    #[test]
    fn there_are_not_too_many() {
        let many = (0..1000).map(|number| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + number)));
        assert_eq!(texts(many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn the_kernel_is_asked() {
        let found = addresses();
        let fib = std::fs::read_to_string("/proc/self/net/fib_trie").unwrap();
        for text in found.iter() {
            match text.parse().unwrap() {
                IpAddr::V4(_) => assert!(fib.contains(text), "{text}"),
                IpAddr::V6(address) => {
                    let digits = format!("{:032x}", address.to_bits());
                    let all = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap();
                    assert!(all.contains(&digits), "{text}");
                }
            }
        }
    }
}
