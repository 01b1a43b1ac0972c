//! Ed25519 signatures (RFC 8032) and keys (RFC 8037, RFC 8410).

use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::Rng;
use serde_json::{Value as Json, json};

use super::{Half, Jwk, data_error, jwk_field, operation_error};
use crate::host::HostError;

type Result<T> = std::result::Result<T, HostError>;

fn secret(key: &[u8]) -> Result<SigningKey> {
    SigningKey::from_pkcs8_der(key).map_err(data_error)
}

fn point(key: &[u8]) -> Result<VerifyingKey> {
    VerifyingKey::from_public_key_der(key).map_err(data_error)
}

/// PKCS#8 without the public half, as other implementations write it.
fn private_bytes(key: &SigningKey) -> Result<Vec<u8>> {
    let pair = KeypairBytes {
        secret_key: key.to_bytes(),
        public_key: None,
    };
    let document = pair.to_pkcs8_der().map_err(operation_error)?;
    Ok(document.as_bytes().to_vec())
}

fn public_bytes(key: &VerifyingKey) -> Result<Vec<u8>> {
    let document = key.to_public_key_der().map_err(operation_error)?;
    Ok(document.into_vec())
}

pub(super) fn generate(rng: &mut ChaCha12Rng) -> Result<Vec<u8>> {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    private_bytes(&SigningKey::from_bytes(&seed))
}

pub(super) fn public(key: &[u8]) -> Result<Vec<u8>> {
    public_bytes(&secret(key)?.verifying_key())
}

pub(super) fn normalize(half: Half, key: &[u8]) -> Result<Vec<u8>> {
    match half {
        Half::Private => private_bytes(&secret(key)?),
        Half::Public => public_bytes(&point(key)?),
    }
}

pub(super) fn from_raw(key: &[u8]) -> Result<Vec<u8>> {
    let bytes = key.try_into().map_err(data_error)?;
    public_bytes(&VerifyingKey::from_bytes(&bytes).map_err(data_error)?)
}

pub(super) fn to_raw(key: &[u8]) -> Result<Vec<u8>> {
    Ok(point(key)?.to_bytes().to_vec())
}

pub(super) fn from_jwk(half: Half, jwk: Jwk<'_>) -> Result<Vec<u8>> {
    jwk.expect("kty", "OKP")?;
    jwk.expect("crv", "Ed25519")?;
    let public = jwk.bytes("x")?;
    if half == Half::Public {
        return from_raw(&public);
    }
    let seed = jwk
        .bytes("d")?
        .try_into()
        .map_err(|_| data_error("the private key does not have 32 bytes"))?;
    let key = SigningKey::from_bytes(&seed);
    if key.verifying_key().as_bytes().as_slice() != public {
        return Err(data_error(
            "the two halves of the key do not belong together",
        ));
    }
    private_bytes(&key)
}

pub(super) fn to_jwk(half: Half, key: &[u8]) -> Result<Json> {
    let (public, d) = match half {
        Half::Private => {
            let secret = secret(key)?;
            (secret.verifying_key(), Some(secret.to_bytes()))
        }
        Half::Public => (point(key)?, None),
    };
    let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": jwk_field(public.as_bytes())});
    if let Some(d) = d {
        jwk["d"] = jwk_field(&d);
    }
    Ok(jwk)
}

pub(super) fn sign(key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    Ok(secret(key)?.sign(data).to_bytes().to_vec())
}

pub(super) fn verify(key: &[u8], data: &[u8], signature: &[u8]) -> Result<bool> {
    let key = point(key)?;
    Ok(
        Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(data, &signature).is_ok()),
    )
}
