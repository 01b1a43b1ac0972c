//! RSA signatures (PKCS#1 v1.5, PSS) and encryption (OAEP), RFC 8017.

use rand_chacha::ChaCha12Rng;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use serde_json::{Value as Json, json};

use super::hash::{self, Hash, with_hash};
use super::{Half, Jwk, data_error, jwk_field, operation_error};
use crate::host::{HostError, unknown};

type Result<T> = std::result::Result<T, HostError>;

/// Bits of the largest modulus that is generated here: larger ones take seconds.
const GENERATED_BITS_MAX: usize = 4096;

fn private(key: &[u8]) -> Result<RsaPrivateKey> {
    RsaPrivateKey::from_pkcs8_der(key).map_err(data_error)
}

fn public_key(key: &[u8]) -> Result<RsaPublicKey> {
    RsaPublicKey::from_public_key_der(key).map_err(data_error)
}

fn private_bytes(key: &RsaPrivateKey) -> Result<Vec<u8>> {
    let document = key.to_pkcs8_der().map_err(operation_error)?;
    Ok(document.as_bytes().to_vec())
}

fn public_bytes(key: &RsaPublicKey) -> Result<Vec<u8>> {
    let document = key.to_public_key_der().map_err(operation_error)?;
    Ok(document.into_vec())
}

pub(super) fn generate(bits: usize, rng: &mut ChaCha12Rng) -> Result<Vec<u8>> {
    if bits > GENERATED_BITS_MAX {
        return Err(operation_error(format!(
            "RSA keys of more than {GENERATED_BITS_MAX} bits are not generated"
        )));
    }
    private_bytes(&RsaPrivateKey::new(rng, bits).map_err(operation_error)?)
}

pub(super) fn public(key: &[u8]) -> Result<Vec<u8>> {
    public_bytes(&private(key)?.to_public_key())
}

pub(super) fn normalize(half: Half, key: &[u8]) -> Result<Vec<u8>> {
    match half {
        Half::Private => private_bytes(&private(key)?),
        Half::Public => public_bytes(&public_key(key)?),
    }
}

pub(super) fn from_jwk(half: Half, jwk: Jwk<'_>) -> Result<Vec<u8>> {
    jwk.expect("kty", "RSA")?;
    let number = |field| {
        jwk.bytes(field)
            .map(|bytes| BoxedUint::from_be_slice_vartime(&bytes))
    };
    let (n, e) = (number("n")?, number("e")?);
    if half == Half::Public {
        return public_bytes(&RsaPublicKey::new(n, e).map_err(data_error)?);
    }
    let primes = vec![number("p")?, number("q")?];
    let key = RsaPrivateKey::from_components(n, e, number("d")?, primes).map_err(data_error)?;
    private_bytes(&key)
}

pub(super) fn to_jwk(half: Half, key: &[u8]) -> Result<Json> {
    let field = |number: &BoxedUint| jwk_field(&number.to_be_bytes_trimmed_vartime());
    let of_public = |key: &RsaPublicKey| json!({"kty": "RSA", "n": jwk_field(&key.n_bytes()), "e": jwk_field(&key.e_bytes())});
    if half == Half::Public {
        return Ok(of_public(&public_key(key)?));
    }
    let key = private(key)?;
    let mut jwk = of_public(&key.to_public_key());
    jwk["d"] = field(key.d());
    let [p, q] = key.primes() else {
        return Err(operation_error("the key has more than two primes"));
    };
    jwk["p"] = field(p);
    jwk["q"] = field(q);
    let (Some(dp), Some(dq), Some(qi)) = (key.dp(), key.dq(), key.crt_coefficient()) else {
        return Err(operation_error(
            "the key is not suited for the Chinese remainder theorem",
        ));
    };
    jwk["dp"] = field(dp);
    jwk["dq"] = field(dq);
    jwk["qi"] = field(&qi);
    Ok(jwk)
}

pub(super) fn info(half: Half, key: &[u8]) -> Result<Json> {
    let key = match half {
        Half::Private => private(key)?.to_public_key(),
        Half::Public => public_key(key)?,
    };
    Ok(json!({
        "modulusLength": key.n().as_ref().bits_vartime(),
        "publicExponent": jwk_field(&key.e_bytes()),
    }))
}

pub(super) fn sign(
    scheme: &str,
    hash: Hash,
    key: &[u8],
    data: &[u8],
    salt_bytes: usize,
    rng: &mut ChaCha12Rng,
) -> Result<Vec<u8>> {
    let key = private(key)?;
    let digest = hash::digest(hash, data);
    match scheme {
        "RSASSA-PKCS1-v1_5" => {
            with_hash!(hash, D => key.sign_with_rng(rng, Pkcs1v15Sign::new::<D>(), &digest))
        }
        "RSA-PSS" => {
            with_hash!(hash, D => key.sign_with_rng(rng, Pss::<D>::new_with_salt(salt_bytes), &digest))
        }
        _ => return Err(unknown(scheme)),
    }
    .map_err(operation_error)
}

pub(super) fn verify(
    scheme: &str,
    hash: Hash,
    key: &[u8],
    data: &[u8],
    signature: &[u8],
    salt_bytes: usize,
) -> Result<bool> {
    let key = public_key(key)?;
    let digest = hash::digest(hash, data);
    let result = match scheme {
        "RSASSA-PKCS1-v1_5" => {
            with_hash!(hash, D => key.verify(Pkcs1v15Sign::new::<D>(), &digest, signature))
        }
        "RSA-PSS" => {
            with_hash!(hash, D => key.verify(Pss::<D>::new_with_salt(salt_bytes), &digest, signature))
        }
        _ => return Err(unknown(scheme)),
    };
    Ok(result.is_ok())
}

pub(super) fn oaep(
    encrypt: bool,
    hash: Hash,
    key: &[u8],
    data: &[u8],
    label: &[u8],
    rng: &mut ChaCha12Rng,
) -> Result<Vec<u8>> {
    with_hash!(hash, D => {
        let padding = Oaep::<D>::new_with_label(label);
        if encrypt {
            public_key(key)?.encrypt(rng, padding, data)
        } else {
            private(key)?.decrypt_blinded(rng, padding, data)
        }
    })
    .map_err(operation_error)
}
