//! Cryptography behind `crypto.subtle`: pure functions of bytes, over the RustCrypto crates.
//!
//! Keys live in JavaScript as bytes: secret keys as they are, private keys as PKCS#8, public keys as SPKI. All
//! randomness comes from the call's generator.

mod cipher;
mod ec;
mod ed25519;
mod hash;
mod rsa;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_chacha::ChaCha12Rng;
use serde_json::{Value as Json, json};

use crate::host::{Args, HostError, HostResult, HostValue, unknown};
use hash::Hash;

/// Algorithms with a key pair. The RSA schemes share their keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn parse(name: &str) -> Result<Self, HostError> {
        match name {
            "RSA" => Ok(Kind::Rsa),
            "P-256" => Ok(Kind::P256),
            "P-384" => Ok(Kind::P384),
            "Ed25519" => Ok(Kind::Ed25519),
            _ => Err(unknown(name)),
        }
    }
}

/// Which half of a pair a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Private,
    Public,
}

impl Half {
    fn parse(name: &str) -> Result<Self, HostError> {
        match name {
            "private" => Ok(Half::Private),
            "public" => Ok(Half::Public),
            _ => Err(unknown(name)),
        }
    }
}

pub(crate) fn call(name: &str, args: Args<'_>, rng: &mut ChaCha12Rng) -> HostResult {
    let bytes = match name {
        // (hash, data)
        "digest" => hash::digest(Hash::parse(args.string(0)?)?, args.bytes(1)?),
        // (hash, key, data)
        "hmac" => hash::hmac(
            Hash::parse(args.string(0)?)?,
            args.bytes(1)?,
            args.bytes(2)?,
        ),
        // (hash, password, salt, iterations, length)
        "pbkdf2" => hash::pbkdf2(
            Hash::parse(args.string(0)?)?,
            args.bytes(1)?,
            args.bytes(2)?,
            args.number(3)? as u32,
            length(args, 4)?,
        )?,
        // (hash, key, salt, info, length)
        "hkdf" => hash::hkdf(
            Hash::parse(args.string(0)?)?,
            args.bytes(1)?,
            args.bytes(2)?,
            args.bytes(3)?,
            length(args, 4)?,
        )?,
        // (mode, key, initialisation vector or counter, data, additional data, counter length in bits)
        "encrypt" | "decrypt" => cipher::apply(
            args.string(0)?,
            name == "encrypt",
            args.bytes(1)?,
            args.bytes(2)?,
            args.bytes(3)?,
            args.bytes(4)?,
            args.number(5)? as u32,
        )?,
        // (kind, half, format, data: bytes or JSON text) -> the key in canonical form
        "import" => return import(args).map(HostValue::Bytes),
        // (kind, half, format, key) -> bytes or JSON text
        "export" => return export(args),
        // (kind, private key) -> public key
        "public" => public(Kind::parse(args.string(0)?)?, args.bytes(1)?)?,
        // (kind, bits) -> private key
        "generate" => match Kind::parse(args.string(0)?)? {
            Kind::Rsa => rsa::generate(length(args, 1)?, rng)?,
            Kind::P256 => ec::p256::generate(rng)?,
            Kind::P384 => ec::p384::generate(rng)?,
            Kind::Ed25519 => ed25519::generate(rng)?,
        },
        // (scheme, hash, private key, data, salt length)
        "sign" => {
            let (key, data) = (args.bytes(2)?, args.bytes(3)?);
            match args.string(0)? {
                "P-256" => ec::p256::sign(Hash::parse(args.string(1)?)?, key, data)?,
                "P-384" => ec::p384::sign(Hash::parse(args.string(1)?)?, key, data)?,
                "Ed25519" => ed25519::sign(key, data)?,
                scheme => {
                    let hash = Hash::parse(args.string(1)?)?;
                    rsa::sign(scheme, hash, key, data, length(args, 4)?, rng)?
                }
            }
        }
        // (scheme, hash, public key, data, signature, salt length) -> whether it is right
        "verify" => {
            let (key, data, signature) = (args.bytes(2)?, args.bytes(3)?, args.bytes(4)?);
            let valid = match args.string(0)? {
                "P-256" => ec::p256::verify(Hash::parse(args.string(1)?)?, key, data, signature)?,
                "P-384" => ec::p384::verify(Hash::parse(args.string(1)?)?, key, data, signature)?,
                "Ed25519" => ed25519::verify(key, data, signature)?,
                scheme => {
                    let hash = Hash::parse(args.string(1)?)?;
                    rsa::verify(scheme, hash, key, data, signature, length(args, 5)?)?
                }
            };
            return Ok(HostValue::Bool(valid));
        }
        // (curve, private key, public key) -> shared secret
        "agree" => match Kind::parse(args.string(0)?)? {
            Kind::P256 => ec::p256::agree(args.bytes(1)?, args.bytes(2)?)?,
            Kind::P384 => ec::p384::agree(args.bytes(1)?, args.bytes(2)?)?,
            Kind::Rsa | Kind::Ed25519 => return Err(unknown(args.string(0)?)),
        },
        // (hash, key, data, label)
        "oaepEncrypt" | "oaepDecrypt" => rsa::oaep(
            name == "oaepEncrypt",
            Hash::parse(args.string(0)?)?,
            args.bytes(1)?,
            args.bytes(2)?,
            args.bytes(3)?,
            rng,
        )?,
        // (half, key) -> {"modulusLength": bits, "publicExponent": base64url}
        "rsaInfo" => {
            let half = Half::parse(args.string(0)?)?;
            return Ok(HostValue::String(
                rsa::info(half, args.bytes(1)?)?.to_string(),
            ));
        }
        _ => return Err(unknown(name)),
    };
    Ok(HostValue::Bytes(bytes))
}

/// A length in bytes or bits, as far as it makes sense in memory.
fn length(args: Args<'_>, index: usize) -> Result<usize, HostError> {
    const LENGTH_MAX: f64 = (1 << 24) as f64;
    let length = args.number(index)?;
    if (0.0..=LENGTH_MAX).contains(&length) {
        Ok(length as usize)
    } else {
        Err(operation_error(format!(
            "a length of {length} is out of range"
        )))
    }
}

fn import(args: Args<'_>) -> Result<Vec<u8>, HostError> {
    let kind = Kind::parse(args.string(0)?)?;
    let half = Half::parse(args.string(1)?)?;
    match args.string(2)? {
        "jwk" => {
            let jwk = serde_json::from_str(args.string(3)?).map_err(data_error)?;
            let jwk = Jwk(&jwk);
            match kind {
                Kind::Rsa => rsa::from_jwk(half, jwk),
                Kind::P256 => ec::p256::from_jwk(half, jwk),
                Kind::P384 => ec::p384::from_jwk(half, jwk),
                Kind::Ed25519 => ed25519::from_jwk(half, jwk),
            }
        }
        "raw" => match kind {
            Kind::P256 => ec::p256::from_raw(args.bytes(3)?),
            Kind::P384 => ec::p384::from_raw(args.bytes(3)?),
            Kind::Ed25519 => ed25519::from_raw(args.bytes(3)?),
            Kind::Rsa => Err(data_error("RSA keys have no raw format")),
        },
        // PKCS#8 or SPKI: read and written again, which checks it.
        _ => match kind {
            Kind::Rsa => rsa::normalize(half, args.bytes(3)?),
            Kind::P256 => ec::p256::normalize(half, args.bytes(3)?),
            Kind::P384 => ec::p384::normalize(half, args.bytes(3)?),
            Kind::Ed25519 => ed25519::normalize(half, args.bytes(3)?),
        },
    }
}

fn export(args: Args<'_>) -> HostResult {
    let kind = Kind::parse(args.string(0)?)?;
    let half = Half::parse(args.string(1)?)?;
    let key = args.bytes(3)?;
    match args.string(2)? {
        "jwk" => {
            let jwk = match kind {
                Kind::Rsa => rsa::to_jwk(half, key)?,
                Kind::P256 => ec::p256::to_jwk(half, key)?,
                Kind::P384 => ec::p384::to_jwk(half, key)?,
                Kind::Ed25519 => ed25519::to_jwk(half, key)?,
            };
            Ok(HostValue::String(jwk.to_string()))
        }
        "raw" => match kind {
            Kind::P256 => ec::p256::to_raw(key),
            Kind::P384 => ec::p384::to_raw(key),
            Kind::Ed25519 => ed25519::to_raw(key),
            Kind::Rsa => Err(data_error("RSA keys have no raw format")),
        }
        .map(HostValue::Bytes),
        _ => Ok(HostValue::Bytes(key.to_vec())),
    }
}

fn public(kind: Kind, key: &[u8]) -> Result<Vec<u8>, HostError> {
    match kind {
        Kind::Rsa => rsa::public(key),
        Kind::P256 => ec::p256::public(key),
        Kind::P384 => ec::p384::public(key),
        Kind::Ed25519 => ed25519::public(key),
    }
}

/// A JSON Web Key (RFC 7517).
#[derive(Clone, Copy)]
struct Jwk<'a>(&'a Json);

impl Jwk<'_> {
    /// A field of base64url-encoded bytes.
    fn bytes(self, field: &str) -> Result<Vec<u8>, HostError> {
        self.0[field]
            .as_str()
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or_else(|| data_error(format!("the JWK's field '{field}' is missing or malformed")))
    }

    fn expect(self, field: &str, value: &str) -> Result<(), HostError> {
        if self.0[field] == value {
            Ok(())
        } else {
            Err(data_error(format!(
                "the JWK's field '{field}' is not '{value}'"
            )))
        }
    }
}

/// Bytes as a field of a JWK.
fn jwk_field(bytes: &[u8]) -> Json {
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

/// A key or its encoding is not right.
fn data_error(reason: impl std::fmt::Display) -> HostError {
    HostError::new("DataError", format!("Invalid keyData: {reason}"))
}

/// The operation cannot be done with these inputs.
fn operation_error(reason: impl std::fmt::Display) -> HostError {
    HostError::new("OperationError", format!("The operation failed: {reason}"))
}
