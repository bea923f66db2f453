//! The clients of external services: one for all that the public authorities vouch for, and one for each set of other authorities.

use std::sync::{Arc, Mutex, PoisonError};

use super::client::{HttpClient, HyperClient, Schemes, TrustError};

/// The most sets of other authorities whose clients are kept; the one that was not used for the longest time goes first. A client that is
/// made anew only has to connect again.
const MAX: usize = 32;

/// A client, and the authorities (PEM) that it trusts.
type Trusting = (Box<[u8]>, Arc<dyn HttpClient>);

/// The clients of external services.
pub struct ExternalClients {
    public: Arc<dyn HttpClient>,
    /// The one that was used last is at the end.
    others: Mutex<Vec<Trusting>>,
}

impl ExternalClients {
    /// No connections yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new() -> Result<Self, TrustError> {
        Ok(Self { public: client(None)?, others: Mutex::default() })
    }

    /// The client that trusts these authorities (PEM), or the public ones.
    pub(super) fn client(&self, authorities: Option<&[u8]>) -> Result<Arc<dyn HttpClient>, TrustError> {
        let Some(pem) = authorities else { return Ok(Arc::clone(&self.public)) };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = others.iter().position(|(own, _)| **own == *pem).map(|at| others.remove(at));
        let entry = match known {
            Some(entry) => entry,
            None => (pem.into(), client(Some(pem))?),
        };
        if others.len() >= MAX {
            others.remove(0);
        }
        let client = Arc::clone(&entry.1);
        others.push(entry);
        Ok(client)
    }
}

fn client(authorities: Option<&[u8]>) -> Result<Arc<dyn HttpClient>, TrustError> {
    Ok(Arc::new(HyperClient::new(authorities, Schemes::HttpToo)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn each_set_of_authorities_has_a_client_and_their_number_is_bounded() {
        let clients = ExternalClients::new().unwrap();
        let (one, two) = (authority("one"), authority("two"));
        let client = |pem: &str| clients.client(Some(pem.as_bytes())).unwrap();
        let first = client(&one);
        assert!(Arc::ptr_eq(&first, &client(&one)));
        assert!(!Arc::ptr_eq(&first, &client(&two)));
        assert!(!Arc::ptr_eq(&first, &clients.client(None).unwrap()));
        for number in 0..MAX {
            client(&authority(&number.to_string()));
        }
        assert_eq!(clients.others.lock().unwrap().len(), MAX);
        assert!(!Arc::ptr_eq(&first, &client(&one)), "it was forgotten");
        assert!(clients.client(Some(b"nothing")).is_err());
    }
}
