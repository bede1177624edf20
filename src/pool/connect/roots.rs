//! Roots and settings of TLS: versions 1.2 and 1.3, verified, with session resumption.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version};
use rustls_native_certs::CertificateResult;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::{Error, Http2, Kind, TlsConfig};

/// The settings of all sessions of a pool.
#[derive(Debug)]
pub(super) struct TlsSettings {
    pub(super) origins: Arc<ClientConfig>,
    /// With proxies: the same trust, HTTP/1.1 alone, and no client certificate, which is the origins' to see.
    pub(super) proxies: Arc<ClientConfig>,
}

impl TlsSettings {
    /// Reads files: call it where blocking is allowed.
    pub(super) fn of(tls: &TlsConfig, http2: Http2) -> Result<Self, Error> {
        let mut origins = client_config(tls)?;
        let mut proxies = origins.clone();
        proxies.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session of a proxy is not one of an origin of the same name.
        proxies.resumption = Resumption::default();
        origins.alpn_protocols = match http2 {
            Http2::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Http2::Never => vec![b"http/1.1".to_vec()],
            Http2::PriorKnowledge => vec![b"h2".to_vec()],
        };
        if let Some(identity) = &tls.identity {
            origins.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity.certified_key()));
        }
        Ok(Self { origins: Arc::new(origins), proxies: Arc::new(proxies) })
    }
}

fn client_config(tls: &TlsConfig) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] =
        if tls.require_tls13 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| Error::with(Kind::Tls, error))?;
    Ok(if tls.verify {
        builder.with_root_certificates(roots(tls)?).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeAny::of(&provider)))
            .with_no_client_auth()
    })
}

/// The certificates of a PEM text; None where it has none, or a broken one.
pub(super) fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty())
}

/// What is wrong with a text of certificates to trust, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootsError {
    /// No PEM, or none with a certificate.
    NoCertificate,
    /// What the certificate of this number, from 1, holds is none.
    Undecodable(usize),
}

/// The certificates of a PEM text, as roots.
///
/// # Errors
/// A text without certificates, or with one that cannot be read.
pub fn roots_of(pem: &str) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    let found = certificates(pem).ok_or(RootsError::NoCertificate)?;
    for (at, certificate) in found.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| RootsError::Undecodable(at + 1))?;
    }
    Ok(roots)
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("must be PEM text with at least one certificate, and is not"),
            Self::Undecodable(number) => {
                write!(f, "must hold certificates alone, and number {number} in it cannot be decoded as one")
            }
        }
    }
}

impl std::error::Error for RootsError {}

fn roots(tls: &TlsConfig) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let system = system_roots(tls);
    for error in &system.errors {
        tracing::warn!(target: "trunkline::tls", %error, "some of the system's roots could not be read");
    }
    // A root of the system that webpki does not understand is no reason to distrust the others.
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &tls.extra_ca_file {
        match std::fs::read_to_string(path).ok().as_deref().and_then(certificates) {
            Some(extra) => {
                roots.add_parsable_certificates(extra);
            }
            None => tracing::warn!(target: "trunkline::tls", path = %path.display(), "no certificates in it"),
        }
    }
    for pem in &tls.ca {
        roots.extend(roots_of(pem).map_err(|error| Error::with(Kind::Tls, error))?.roots);
    }
    // No handshake could end well, and all that it would say is that the issuer is unknown.
    if roots.is_empty() { Err(Error::with(Kind::Tls, NoRoots)) } else { Ok(roots) }
}

/// As in a slim image of a container.
#[derive(Debug)]
struct NoRoots;

impl fmt::Display for NoRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "there are no certificates to trust: this system has none (install its package ca-certificates, or set \
             NODE_EXTRA_CA_CERTS or pool.tls.ca)",
        )
    }
}

impl std::error::Error for NoRoots {}

/// From the given places or the platform's own. On Unix the places are named here rather than looked up by
/// `load_native_certs`, which asks the environment: reading it from this thread would race with JavaScript's writes.
fn system_roots(tls: &TlsConfig) -> CertificateResult {
    if tls.system_ca_file.is_some() || tls.system_ca_dir.is_some() {
        return rustls_native_certs::load_certs_from_paths(
            tls.system_ca_file.as_deref(),
            tls.system_ca_dir.as_deref(),
        );
    }
    if cfg!(any(target_os = "macos", windows)) {
        return rustls_native_certs::load_native_certs();
    }
    /// Where distributions keep the bundle (the list of Go's crypto/x509 and of openssl-probe).
    const BUNDLES: [&str; 7] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/share/certs/ca-root-nss.crt",
    ];
    match BUNDLES.iter().map(Path::new).find(|path| path.exists()) {
        Some(bundle) => rustls_native_certs::load_certs_from_paths(Some(bundle), None),
        None => CertificateResult::default(),
    }
}

/// Takes any certificate; signatures are still checked. Development only.
#[derive(Debug)]
struct TakeAny(WebPkiSupportedAlgorithms);

impl TakeAny {
    fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_certificates_is_told_as_such_and_what_to_do() {
        let bare = TlsConfig { system_ca_file: Some("/nothing/here.crt".into()), ..TlsConfig::default() };
        let error = TlsSettings::of(&bare, Http2::Auto).expect_err("there is nothing to trust");
        assert!(error.to_string().contains("install its package ca-certificates"), "{error}");
        // Who takes any certificate needs none.
        assert!(TlsSettings::of(&TlsConfig { verify: false, ..bare }, Http2::Auto).is_ok());
    }
}
