//! The `auth` object of an envelope or a register request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SCHEME;
use super::claims::{Claims, signing_bytes};
use super::key::{SecretKey, verify};

/// Claims and the signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Map<String, Value>")]
pub struct AuthBlock {
    /// [`SCHEME`].
    pub scheme: String,
    /// The signer's key, base64url without padding. Compared as text, so another spelling is another key.
    pub public_key: String,
    /// What is signed.
    pub claims: Claims,
    /// Over [`signing_bytes`] of the claims, base64url without padding.
    pub signature: String,
}

impl AuthBlock {
    /// Signs `claims`.
    #[must_use]
    pub fn sign(key: &SecretKey, claims: Claims) -> Self {
        let signature = key.sign(&signing_bytes(&claims));
        Self { scheme: SCHEME.to_owned(), public_key: key.public_key(), claims, signature }
    }

    /// Whether the signature is that of `public_key` over the claims. Says nothing about whose key it is.
    #[must_use]
    pub fn verifies(&self) -> bool {
        verify(&self.public_key, &signing_bytes(&self.claims), &self.signature)
    }

    /// The block as the envelope carries it.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let claims = self.claims.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        [
            ("scheme", self.scheme.as_str().into()),
            ("public_key", self.public_key.as_str().into()),
            ("claims", Value::Object(claims.collect())),
            ("signature", self.signature.as_str().into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Never fails, as in the original: what is missing or of the wrong type ends up empty, and the checks name it.
impl From<Map<String, Value>> for AuthBlock {
    fn from(map: Map<String, Value>) -> Self {
        Self::from(&map)
    }
}

impl From<&Map<String, Value>> for AuthBlock {
    fn from(map: &Map<String, Value>) -> Self {
        let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let claims = map.get("claims").and_then(Value::as_object);
        Self {
            scheme: text("scheme"),
            public_key: text("public_key"),
            claims: claims
                .map(|claims| claims.iter().map(|(name, value)| (name.clone(), python_str(value))).collect())
                .unwrap_or_default(),
            signature: text("signature"),
        }
    }
}

/// Python's `str()`, which the original's verifier applies to every claim. Lists and objects, which no signer
/// makes, become JSON.
fn python_str(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
