//! Whose pages may open a WebSocket: browsers don't ask first, they only say where the page is from.

use agentnet_proto::ErrorCode;
use axum::http::{HeaderMap, Uri, header};

use super::Problem;
use crate::config::Origins;

/// Refuses pages of foreign origins. Programs other than browsers name none, and are let in.
pub(crate) fn check_origin(headers: &HeaderMap, uri: &Uri, allowed: &Origins) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    if allowed.allows(origin) || is_own(origin, headers, uri) {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::Forbidden,
        "pages of this origin may not open WebSockets here; GATEWAY_CORS_ORIGINS names those that may",
    ))
}

/// Whether the page came from this gateway itself.
fn is_own(origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| uri.authority().map(|authority| authority.as_str()));
    match (origin.authority(), host) {
        (Some(own), Some(host)) => own.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "gateway.example:8000".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let list = Origins::List(vec!["https://app.example".to_owned()]);
        check_origin(&headers, &Uri::from_static("/chat"), &list).is_ok()
    }

    #[test]
    fn only_own_and_named_pages() {
        assert!(allowed(None));
        assert!(allowed(Some("http://gateway.example:8000")));
        assert!(allowed(Some("https://app.example")));
        for foreign in [
            "https://evil.example",
            "null",
            "http://gateway.example",
            "http://gateway.example:8000.evil.example",
        ] {
            assert!(!allowed(Some(foreign)), "{foreign}");
        }
    }
}
