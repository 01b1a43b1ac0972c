//! ECDSA and ECDH on the curves P-256 and P-384. Signatures are deterministic (RFC 6979): they need no randomness.

macro_rules! curve {
    ($module:ident, $name:literal, $field_bytes:literal) => {
        pub(in crate::crypto) mod $module {
            use ::$module::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
            use ::$module::ecdsa::{Signature, SigningKey, VerifyingKey};
            use ::$module::elliptic_curve::Generate;
            use ::$module::pkcs8::{
                DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey,
            };
            use ::$module::{PublicKey, SecretKey};
            use rand_chacha::ChaCha12Rng;
            use serde_json::{Value as Json, json};

            use crate::crypto::hash::{self, Hash};
            use crate::crypto::{Half, Jwk, data_error, jwk_field, operation_error};
            use crate::host::HostError;

            type Result<T> = std::result::Result<T, HostError>;

            fn secret(key: &[u8]) -> Result<SecretKey> {
                SecretKey::from_pkcs8_der(key).map_err(data_error)
            }

            fn point(key: &[u8]) -> Result<PublicKey> {
                PublicKey::from_public_key_der(key).map_err(data_error)
            }

            fn private_bytes(key: &SecretKey) -> Result<Vec<u8>> {
                let document = key.to_pkcs8_der().map_err(operation_error)?;
                Ok(document.as_bytes().to_vec())
            }

            fn public_bytes(key: &PublicKey) -> Result<Vec<u8>> {
                let document = key.to_public_key_der().map_err(operation_error)?;
                Ok(document.into_vec())
            }

            pub(in crate::crypto) fn generate(rng: &mut ChaCha12Rng) -> Result<Vec<u8>> {
                private_bytes(&SecretKey::generate_from_rng(rng))
            }

            pub(in crate::crypto) fn public(key: &[u8]) -> Result<Vec<u8>> {
                public_bytes(&secret(key)?.public_key())
            }

            pub(in crate::crypto) fn normalize(half: Half, key: &[u8]) -> Result<Vec<u8>> {
                match half {
                    Half::Private => private_bytes(&secret(key)?),
                    Half::Public => public_bytes(&point(key)?),
                }
            }

            pub(in crate::crypto) fn from_raw(key: &[u8]) -> Result<Vec<u8>> {
                public_bytes(&PublicKey::from_sec1_bytes(key).map_err(data_error)?)
            }

            /// The uncompressed point.
            pub(in crate::crypto) fn to_raw(key: &[u8]) -> Result<Vec<u8>> {
                Ok(point(key)?.to_sec1_bytes().into_vec())
            }

            pub(in crate::crypto) fn from_jwk(half: Half, jwk: Jwk<'_>) -> Result<Vec<u8>> {
                jwk.expect("kty", "EC")?;
                jwk.expect("crv", $name)?;
                let point = [vec![4], jwk.bytes("x")?, jwk.bytes("y")?].concat();
                let public = PublicKey::from_sec1_bytes(&point).map_err(data_error)?;
                if half == Half::Public {
                    return public_bytes(&public);
                }
                let secret = SecretKey::from_slice(&jwk.bytes("d")?).map_err(data_error)?;
                if secret.public_key() != public {
                    return Err(data_error("the two halves of the key do not belong together"));
                }
                private_bytes(&secret)
            }

            pub(in crate::crypto) fn to_jwk(half: Half, key: &[u8]) -> Result<Json> {
                let (public, d) = match half {
                    Half::Private => {
                        let secret = secret(key)?;
                        (secret.public_key(), Some(secret.to_bytes()))
                    }
                    Half::Public => (point(key)?, None),
                };
                let point = public.to_sec1_bytes();
                let (x, y) = point[1..].split_at($field_bytes);
                let mut jwk = json!({"kty": "EC", "crv": $name, "x": jwk_field(x), "y": jwk_field(y)});
                if let Some(d) = d {
                    jwk["d"] = jwk_field(&d);
                }
                Ok(jwk)
            }

            pub(in crate::crypto) fn sign(hash: Hash, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
                let key = SigningKey::from(secret(key)?);
                let signature: Signature =
                    key.sign_prehash(&hash::digest(hash, data)).map_err(operation_error)?;
                Ok(signature.to_bytes().to_vec())
            }

            pub(in crate::crypto) fn verify(
                hash: Hash,
                key: &[u8],
                data: &[u8],
                signature: &[u8],
            ) -> Result<bool> {
                let key = VerifyingKey::from(point(key)?);
                Ok(Signature::from_slice(signature).is_ok_and(|signature| {
                    key.verify_prehash(&hash::digest(hash, data), &signature).is_ok()
                }))
            }

            pub(in crate::crypto) fn agree(private: &[u8], public: &[u8]) -> Result<Vec<u8>> {
                let shared = secret(private)?.diffie_hellman(&point(public)?);
                Ok(shared.raw_secret_bytes().to_vec())
            }
        }
    };
}

curve!(p256, "P-256", 32);
curve!(p384, "P-384", 48);
