//! Where posts may go: not into the networks that only this machine reaches. An agent chooses its own webhook, so that every
//! address that its name stands for is looked at, and the connection goes to one of those and no other.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use axum::http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Whether anybody on the internet could be at that address.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().or_else(|| embedded(ip)) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_unspecified()
        || a == 0
        // Shared by providers, benchmarks, protocol assignments, reserved.
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || a >= 240)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    !(ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || (segments[0] & 0xffc0) == 0xfec0
        || (segments[0] == 0x2001 && segments[1] == 0xdb8)
        || (segments[0] == 0x2001 && segments[1] < 0x200)
        || (segments[0] == 0x100 && segments[1..4] == [0, 0, 0]))
}

/// The IPv4 address that translators would make of it: NAT64, 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0x64, 0xff9b, _, _, _, _, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        // Of old, an IPv4 address behind zeros.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        _ => None,
    }
}

/// What is wrong with a URL, as far as its text tells.
pub(super) fn check(uri: &Uri, private: bool) -> Result<(), String> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("the webhook is no http or https URL".to_owned());
    }
    let authority = uri.authority().ok_or("the webhook's URL names no host")?;
    if authority.as_str().contains('@') {
        return Err("the webhook's URL holds a name or password".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) if !private && !is_public(ip) => Err(forbidden()),
        _ => Ok(()),
    }
}

fn forbidden() -> String {
    "the webhook is at a private, loopback or link-local address, and GATEWAY_WEBHOOK_PRIVATE doesn't allow that".to_owned()
}

/// Resolves names, and refuses those that stand for any address they may not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    pub(super) private: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<vec::IntoIter<SocketAddr>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private = self.private;
        Box::pin(async move {
            // The port is the connector's to set.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !private && found.iter().any(|addr| !is_public(addr.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, forbidden()));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet() {
        for public in
            ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::",
            "::127.0.0.1",
            "100::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn urls_are_of_the_web_and_say_no_secret() {
        let check = |text: &str, private| super::check(&text.parse().unwrap(), private);
        for good in
            ["https://agent.example/messages", "http://93.184.216.34:8080/x", "http://[2606:4700::1]/"]
        {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        for bad in [
            "http://127.0.0.1:9002/messages",
            "http://[::1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://u:p@agent.example/",
            "ftp://agent.example/",
            "/messages",
        ] {
            assert!(check(bad, false).is_err(), "{bad}");
        }
        assert_eq!(check("http://127.0.0.1:9002/messages", true), Ok(()));
    }
}
