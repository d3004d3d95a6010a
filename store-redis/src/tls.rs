//! Encryption.

/// Has rustls use ring, where the program has not chosen a provider itself.
pub(crate) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have chosen one meanwhile, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
