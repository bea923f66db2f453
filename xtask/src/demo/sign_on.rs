//! Single sign-on in the demo: a real OpenID provider with two people, and what puts it before a host.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use test_openid::Provider;

use super::certificates::{Authority, write_private};
use crate::shell::{Outcome, target};

/// The host that has the policy. Browsers take names below `localhost` for this machine (RFC 6761 section 6.3).
pub(super) const HOST: &str = "staff.localhost";

/// What [`write()`] fills in.
const MANIFESTS: &str = include_str!("sign_on.yaml");

/// Starts the provider for the host at this port of ours, and writes the manifests that name it.
pub(super) fn start(authority: &Authority, manifests: &Path, own_port: u16) -> Outcome<Provider> {
    let (certificate, key) = authority.issue(&["localhost"])?;
    let files = target().join("demo");
    let (certificate_file, key_file) = (files.join("provider.pem"), files.join("provider.key"));
    fs::write(&certificate_file, certificate)?;
    write_private(&key_file, &key)?;
    let provider = Provider::start(&certificate_file, &key_file, 0)?;
    let secret = secret()?;
    let here = format!("https://{HOST}:{own_port}/.penstock");
    provider.command(&json!({
        "users": {
            "alice": {"name": "Alice", "email": "alice@example.com", "email_verified": true, "groups": ["staff"]},
            "bob": {"name": "Bob", "email": "bob@example.com", "email_verified": true, "groups": ["guests"]},
        },
        "client": {
            "client_id": "demo",
            "client_secret": secret,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "redirect_uris": [format!("{here}/callback")],
            "post_logout_redirect_uris": [format!("{here}/signed-out")],
            "backchannel_logout_uri": format!("{here}/backchannel-logout"),
        },
    }))?;
    write(manifests, provider.issuer(), &secret, &authority.pem())?;
    Ok(provider)
}

fn write(manifests: &Path, issuer: &str, secret: &str, authority: &str) -> Outcome {
    let text = MANIFESTS
        .replace("ISSUER", issuer)
        .replace("SECRET", &STANDARD.encode(secret))
        .replace("AUTHORITY", &STANDARD.encode(authority));
    write_private(manifests, &text)
}

/// A client secret: 32 random bytes.
fn secret() -> Outcome<String> {
    let mut bytes = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
