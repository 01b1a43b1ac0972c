//! Digests, and what is built directly on them: HMAC, PBKDF2, HKDF.

use ::hmac::{KeyInit, Mac, SimpleHmac};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use super::operation_error;
use crate::host::{HostError, unknown};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn parse(name: &str) -> Result<Self, HostError> {
        match name {
            "SHA-1" => Ok(Hash::Sha1),
            "SHA-256" => Ok(Hash::Sha256),
            "SHA-384" => Ok(Hash::Sha384),
            "SHA-512" => Ok(Hash::Sha512),
            _ => Err(unknown(name)),
        }
    }
}

/// Evaluates an expression with the type of the hash under a name.
macro_rules! with_hash {
    ($hash:expr, $D:ident => $body:expr) => {
        match $hash {
            $crate::crypto::hash::Hash::Sha1 => {
                type $D = ::sha1::Sha1;
                $body
            }
            $crate::crypto::hash::Hash::Sha256 => {
                type $D = ::sha2::Sha256;
                $body
            }
            $crate::crypto::hash::Hash::Sha384 => {
                type $D = ::sha2::Sha384;
                $body
            }
            $crate::crypto::hash::Hash::Sha512 => {
                type $D = ::sha2::Sha512;
                $body
            }
        }
    };
}
pub(super) use with_hash;

pub(super) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha1 => Sha1::digest(data).to_vec(),
        Hash::Sha256 => Sha256::digest(data).to_vec(),
        Hash::Sha384 => Sha384::digest(data).to_vec(),
        Hash::Sha512 => Sha512::digest(data).to_vec(),
    }
}

pub(super) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    with_hash!(hash, D => {
        let mut mac = SimpleHmac::<D>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    })
}

/// Rounds of one PBKDF2 call, over all blocks of its output: about a second. A host call cannot be interrupted.
const PBKDF2_ROUNDS_MAX: u64 = 4_000_000;

pub(super) fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Result<Vec<u8>, HostError> {
    let block = digest(hash, b"").len();
    let rounds = u64::from(iterations) * length.div_ceil(block) as u64;
    if rounds > PBKDF2_ROUNDS_MAX {
        return Err(operation_error(format!(
            "PBKDF2 would take {rounds} rounds, the limit is {PBKDF2_ROUNDS_MAX}"
        )));
    }
    let mut key = vec![0; length];
    with_hash!(hash, D => ::pbkdf2::pbkdf2_hmac::<D>(password, salt, iterations, &mut key));
    Ok(key)
}

pub(super) fn hkdf(
    hash: Hash,
    key: &[u8],
    salt: &[u8],
    info: &[u8],
    length: usize,
) -> Result<Vec<u8>, HostError> {
    let mut derived = vec![0; length];
    with_hash!(hash, D => ::hkdf::Hkdf::<D>::new(Some(salt), key).expand(info, &mut derived))
        .map_err(operation_error)?;
    Ok(derived)
}
