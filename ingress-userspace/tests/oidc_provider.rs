//! The certified `oidc-provider` as identity provider.

mod support;

use serde_json::json;

use support::authority::Authority;
use support::oidc::OidcProvider;

#[test]
fn the_provider_of_the_tests_can_be_commanded() {
    let authority = Authority::new();
    let Some(provider) = OidcProvider::start("the_provider_of_the_tests_can_be_commanded", &authority) else {
        return;
    };
    provider.client(
        &json!({"client_id": "site", "client_secret": "secret", "redirect_uris": ["https://a.example/cb"]}),
    );
    let before = provider.command(&json!({}));
    let after = provider.command(&json!({"addKey": "ES256", "down": "500"}));
    assert_eq!(after["keys"].as_array().unwrap().len(), before["keys"].as_array().unwrap().len() + 1);
    assert_eq!(provider.sign(&json!({}), &json!({"sub": "a"})).split('.').count(), 3);
    let mut client = support::client::Client::https(provider.authority().1, "localhost", &authority.client());
    assert_eq!(client.get(provider.authority().0, "/jwks").status(), 500);
    assert_eq!(provider.requests("/jwks"), 1);
}
