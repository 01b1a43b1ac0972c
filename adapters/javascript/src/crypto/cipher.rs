//! AES in the modes GCM, CBC and CTR.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::consts::{U12, U16};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{AesGcm, Nonce};

use super::{data_error, operation_error};
use crate::host::{HostError, unknown};

/// Evaluates an expression with the cipher for the key's length under a name.
macro_rules! with_aes {
    ($key:expr, $Aes:ident => $body:expr) => {
        match $key.len() {
            16 => {
                type $Aes = Aes128;
                $body
            }
            24 => {
                type $Aes = Aes192;
                $body
            }
            32 => {
                type $Aes = Aes256;
                $body
            }
            length => Err(data_error(format!("AES keys do not have {length} bytes"))),
        }
    };
}

/// Encrypts or decrypts.
///
/// `iv` is the nonce, the initialisation vector or the counter block; `additional` belongs to GCM alone,
/// `counter_bits` to CTR alone.
pub(super) fn apply(
    mode: &str,
    encrypt: bool,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
    additional: &[u8],
    counter_bits: u32,
) -> Result<Vec<u8>, HostError> {
    match mode {
        "AES-GCM" => with_aes!(key, Aes => match iv.len() {
            12 => gcm::<AesGcm<Aes, U12>>(encrypt, key, iv, data, additional),
            16 => gcm::<AesGcm<Aes, U16>>(encrypt, key, iv, data, additional),
            _ => Err(HostError::unsupported("AES-GCM with an iv of other than 12 or 16 bytes", "SubtleCrypto")),
        }),
        "AES-CBC" => with_aes!(key, Aes => if encrypt {
            cbc::Encryptor::<Aes>::new_from_slices(key, iv)
                .map(|cipher| cipher.encrypt_padded_vec::<Pkcs7>(data))
                .map_err(operation_error)
        } else {
            cbc::Decryptor::<Aes>::new_from_slices(key, iv)
                .map_err(operation_error)?
                .decrypt_padded_vec::<Pkcs7>(data)
                .map_err(operation_error)
        }),
        "AES-CTR" => with_aes!(key, Aes => match counter_bits {
            32 => stream::<ctr::Ctr32BE<Aes>>(key, iv, data),
            64 => stream::<ctr::Ctr64BE<Aes>>(key, iv, data),
            128 => stream::<ctr::Ctr128BE<Aes>>(key, iv, data),
            _ => Err(HostError::unsupported("AES-CTR with a counter of other than 32, 64 or 128 bits", "SubtleCrypto")),
        }),
        _ => Err(unknown(mode)),
    }
}

fn gcm<C: KeyInit + Aead>(
    encrypt: bool,
    key: &[u8],
    nonce: &[u8],
    msg: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, HostError> {
    let cipher = C::new_from_slice(key).map_err(data_error)?;
    let nonce = Nonce::try_from(nonce).map_err(operation_error)?;
    let payload = Payload { msg, aad };
    let result = if encrypt {
        cipher.encrypt(&nonce, payload)
    } else {
        cipher.decrypt(&nonce, payload)
    };
    result.map_err(operation_error)
}

fn stream<C: KeyIvInit + StreamCipher>(
    key: &[u8],
    counter: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, HostError> {
    let mut cipher = C::new_from_slices(key, counter).map_err(operation_error)?;
    let mut output = data.to_vec();
    cipher
        .try_apply_keystream(&mut output)
        .map_err(operation_error)?;
    Ok(output)
}
