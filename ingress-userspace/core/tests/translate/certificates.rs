//! Certificates and keys by name, made when they are first asked for: no key lies in the repository.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, RsaKeySize, date_time_ymd};

/// 2026-01-01T00:00:00Z: the time at which the tests take place.
pub(crate) const NOW: i64 = 1_767_225_600;

static MADE: LazyLock<Mutex<BTreeMap<String, (String, String)>>> = LazyLock::new(Mutex::default);

/// The chain and the key of a name, as PEM. Names with hosts (`self:a.example.com,*.b.com`) make a self-signed leaf.
pub(crate) fn pem(name: &str) -> (String, String) {
    let mut made = MADE.lock().unwrap();
    if let Some(pair) = made.get(name) {
        return pair.clone();
    }
    let pair = make(name);
    made.insert(name.to_owned(), pair.clone());
    pair
}

struct Authority {
    pem: String,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        Self { pem: params.self_signed(&key).unwrap().pem(), params, key }
    }

    /// An authority below this one; with `key`, a second certificate for the same authority.
    fn below(&self, name: &str, key: Option<KeyPair>) -> Self {
        let (params, key) = (Self::params(name), key.unwrap_or_else(|| KeyPair::generate().unwrap()));
        Self { pem: params.signed_by(&key, &self.issuer()).unwrap().pem(), params, key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn leaf(&self, key: &KeyPair) -> String {
        leaf_params(&["a.example.com", "*.w.example.com"]).signed_by(key, &self.issuer()).unwrap().pem()
    }
}

fn leaf_params(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn self_signed(hosts: &[&str], key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = leaf_params(hosts);
    change(&mut params);
    params.self_signed(key).unwrap().pem()
}

fn make(name: &str) -> (String, String) {
    let key = match name {
        "rsa" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        "ed25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        "p384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        _ => KeyPair::generate().unwrap(),
    };
    let own = ["a.example.com"];
    let chain = match name.split_once(':') {
        Some(("self", hosts)) => {
            let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
            self_signed(&hosts, &key, |_| {})
        }
        _ => match name {
            "rsa" | "ed25519" | "p384" => self_signed(&own, &key, |_| {}),
            "expired" => self_signed(&own, &key, |params| params.not_after = date_time_ymd(2025, 6, 1)),
            "future" => self_signed(&own, &key, |params| params.not_before = date_time_ymd(2027, 1, 1)),
            "short" => self_signed(&own, &key, |params| params.not_after = date_time_ymd(2026, 2, 1)),
            _ => chain(name, &key),
        },
    };
    (chain, key.serialize_pem())
}

fn chain(name: &str, key: &KeyPair) -> String {
    let root = Authority::root("Root");
    let middle = root.below("Intermediate", None);
    let leaf = middle.leaf(key);
    let other = Authority::root("Other");
    match name {
        "chain" => [leaf, middle.pem].concat(),
        "chain-with-root" => [leaf, middle.pem, root.pem].concat(),
        "chain-reversed" => [root.pem, middle.pem, leaf].concat(),
        "chain-scrambled" => [middle.pem, leaf, root.pem].concat(),
        "chain-doubled" => [leaf.clone(), middle.pem.clone(), leaf, middle.pem].concat(),
        "chain-stray" => [leaf, middle.pem, other.pem].concat(),
        "chain-gap" => [leaf, root.pem].concat(),
        "chain-two-leaves" => [middle.leaf(key), leaf].concat(),
        "chain-ambiguous" => {
            // Two certificates for the intermediate's name and key: a cross-signature.
            let again = KeyPair::from_pem(&middle.key.serialize_pem()).unwrap();
            let cross = other.below("Intermediate", Some(again));
            [cross.pem, leaf, middle.pem, root.pem].concat()
        }
        other => panic!("no certificate is called {other:?}"),
    }
}
