//! A client certificate with its key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::roots::certificates;

/// A certificate chain and the private key of its first certificate, which belong together. The key is in ring's hands alone, the
/// texts that it came in are overwritten.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// What is wrong with a certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The text of the certificate holds none.
    NoCertificate,
    /// The text of the key holds none.
    NoKey,
    /// A key of a kind that is not spoken, or a broken one.
    BadKey,
    /// The key is not the certificate's.
    Mismatch,
}

impl Identity {
    /// Of PEM texts: a certificate with those that lead to its root, and a private key (PKCS #8, PKCS #1 or SEC 1, not encrypted).
    pub fn of(certificate: &str, key: Zeroizing<String>) -> Result<Self, IdentityError> {
        let chain = certificates(certificate).ok_or(IdentityError::NoCertificate)?;
        let mut der = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::NoKey)?;
        let signing = any_supported_type(&der);
        der.zeroize();
        let made = CertifiedKey::new(chain, signing.map_err(|_| IdentityError::BadKey)?);
        match made.keys_match() {
            Ok(()) => Ok(Self(Arc::new(made))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
            Err(_) => Err(IdentityError::NoCertificate),
        }
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.0.clone()
    }
}

/// The key is that of the certificate: equal certificates have equal keys.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.cert.hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates, …)", self.0.cert.len())
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "must be PEM text with at least one certificate, and is not",
            Self::NoKey => "must be PEM text with a private key that is not encrypted, and is not",
            Self::BadKey => "must be an RSA, ECDSA (P-256, P-384) or Ed25519 key, and is not",
            Self::Mismatch => "is not the key of the certificate",
        })
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.example".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn identity(certificate: &str, key: &str) -> Result<Identity, IdentityError> {
        Identity::of(certificate, Zeroizing::new(key.to_owned()))
    }

    #[test]
    fn a_certificate_and_its_own_key_are_an_identity() {
        let (cert, key) = pair();
        let one = identity(&cert, &key).unwrap();
        assert_eq!(one, identity(&format!("a comment\n{cert}"), &key).unwrap());
        let (other_cert, other_key) = pair();
        assert_ne!(one, identity(&other_cert, &other_key).unwrap());
        assert_eq!(identity(&cert, &other_key).unwrap_err(), IdentityError::Mismatch);
    }

    #[test]
    fn what_is_none_is_refused_and_nothing_of_it_shown() {
        let (cert, key) = pair();
        assert_eq!(identity(&key, &key).unwrap_err(), IdentityError::NoCertificate);
        assert_eq!(identity("", &key).unwrap_err(), IdentityError::NoCertificate);
        assert_eq!(identity(&cert, &cert).unwrap_err(), IdentityError::NoKey);
        assert_eq!(identity(&cert, "secret").unwrap_err(), IdentityError::NoKey);
        let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        assert_eq!(identity(&cert, broken).unwrap_err(), IdentityError::BadKey);
        assert_eq!(format!("{:?}", identity(&cert, &key).unwrap()), "Identity(1 certificates, …)");
    }
}
