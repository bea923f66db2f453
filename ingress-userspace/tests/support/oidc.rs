//! A real OpenID provider: npm's certified `oidc-provider`, over TLS on loopback, which a test can command.
//!
//! ```ignore
//! let authority = Authority::new();
//! let Some(provider) = OidcProvider::start("name_of_the_test", &authority) else { return };
//! provider.client(&json!({"client_id": "site", "client_secret": "secret", "redirect_uris": [CALLBACK]}));
//! provider.command(&json!({"users": {"bob": {"groups": ["staff"]}}, "accessTokenLifetime": 60}));
//! ```
//!
//! What can be commanded is listed in `testing/openid/provider/server.js`.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use test_openid::{Error, Provider};

use super::authority::{Authority, KeyKind};

/// A running provider. Dropping it kills the process and waits for its end.
pub(crate) struct OidcProvider {
    provider: Provider,
    _files: tempfile::TempDir,
}

impl OidcProvider {
    /// The provider at `https://localhost:PORT`, with a certificate of an authority. None if there is no npm: the test is then
    /// reported as skipped, except in CI, where it fails.
    #[track_caller]
    pub(crate) fn start(test: &str, authority: &Authority) -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let pair = authority.issue(&["localhost", "127.0.0.1"], KeyKind::Ecdsa);
        let (certificate, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
        fs::write(&certificate, pair.chain_pem()).unwrap();
        fs::write(&key, &pair.key).unwrap();
        match Provider::start(&certificate, &key, 0) {
            Ok(provider) => Some(Self { provider, _files: files }),
            Err(missing @ Error::NotInstalled(_)) => {
                assert!(std::env::var_os("CI").is_none(), "CI does not accept a skipped test: {missing}");
                // Directly to standard error: libtest hides what a passing test prints.
                std::io::stderr().write_all(format!("SKIPPED: {test}: {missing}\n").as_bytes()).unwrap();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The issuer, which is also where it is reached.
    pub(crate) fn issuer(&self) -> &str {
        self.provider.issuer()
    }

    /// `localhost:PORT`, and its address.
    pub(crate) fn authority(&self) -> (&str, SocketAddr) {
        let authority = self.issuer().strip_prefix("https://").unwrap();
        let port = authority.rsplit(':').next().unwrap().parse().unwrap();
        (authority, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Does what `server.js` lists; returns the state afterwards.
    #[track_caller]
    pub(crate) fn command(&self, what: &Value) -> Value {
        self.provider.command(what).unwrap()
    }

    /// Adds or replaces a client (RFC 7591 metadata), with the grants of a site unless it says others.
    #[track_caller]
    pub(crate) fn client(&self, metadata: &Value) {
        let mut client =
            json!({"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]});
        for (name, value) in metadata.as_object().unwrap() {
            client[name] = value.clone();
        }
        self.command(&json!({ "client": client }));
    }

    /// How many requests for a path came since the counts were reset.
    #[track_caller]
    pub(crate) fn requests(&self, path: &str) -> u64 {
        self.command(&json!({}))["counts"]["requests"][path].as_u64().unwrap_or_default()
    }

    /// How many tokens were granted, by `grant_type`.
    #[track_caller]
    pub(crate) fn grants(&self, grant_type: &str) -> u64 {
        self.command(&json!({}))["counts"]["grants"][grant_type].as_u64().unwrap_or_default()
    }

    /// A JWT signed by the provider's current key, with this header (beside `alg` and `kid`) and these claims.
    #[track_caller]
    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        let answer = self.command(&json!({"sign": {"header": header, "payload": payload}}));
        answer["token"].as_str().unwrap().to_owned()
    }

    /// The provider's clock, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.command(&json!({}))["now"].as_i64().unwrap()
    }
}
