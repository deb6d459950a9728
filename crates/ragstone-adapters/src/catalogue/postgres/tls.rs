//! TLS connections to the server.
//!
//! Invariant: a certificate is always verified; a URL that does not request TLS is not encrypted.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;

/// A connector that trusts the PEM certificates in `authorities`, or else the machine's root certificates.
pub fn build_connector(authorities: Option<&[u8]>) -> Result<MakeRustlsConnect, PostgresError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| certificate_error(&error))?;
                roots.add(certificate).map_err(|error| certificate_error(&error))?;
            }
        }
        None => {
            // A machine often has some certificates that cannot be parsed; they are skipped.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(PostgresError::Tls("there is no certificate to trust".into()));
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| certificate_error(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn certificate_error(error: &dyn std::fmt::Display) -> PostgresError {
    PostgresError::Tls(format!("the certificates to trust: {error}"))
}
