//! What proves to an agent that a post comes from here and is new: `Agentnet-Webhook-Signature: t=<seconds>,v1=<hex>`, the
//! HMAC-SHA256 of `<seconds>.<body>` under the secret that registering answered.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header.
pub(super) const HEADER: &str = "agentnet-webhook-signature";

/// Its value.
pub(super) fn signature(secret: &str, seconds: i64, body: &[u8]) -> String {
    // An HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_others() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let signed = signature("whsec_test", 1_700_000_000, br#"{"a":1}"#);
        let expected = "t=1700000000,v1=38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";
        assert_eq!(signed, expected);
        assert_ne!(signed, signature("whsec_test", 1_700_000_001, br#"{"a":1}"#));
        assert_ne!(signed, signature("whsec_other", 1_700_000_000, br#"{"a":1}"#));
    }
}
