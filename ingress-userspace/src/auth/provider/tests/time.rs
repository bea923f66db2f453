//! How long what is known of a provider counts, and how often it is asked, by a clock that the test sets.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::{BearerCheck, ProviderError, RefreshError};
use super::scripted::{NOW, Scripted, block_on};

const ISSUER: &str = "https://id.example";
const KEYS: &str = "https://id.example/keys";
const TOKEN: &str = "https://id.example/token";

const FRESH: Duration = Duration::from_mins(15);
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// A moment before this time is over.
fn almost(time: Duration) -> Duration {
    time.saturating_sub(MOMENT)
}

fn provider() -> Scripted {
    Scripted::new(ISSUER, ISSUER, &json!({}))
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "api", "sub": "a", "exp": NOW + 1_000_000})
}

#[test]
fn metadata_are_asked_for_again_when_they_are_old() {
    let provider = provider();
    let asked = || provider.asked("/openid-configuration");
    assert!(provider.begin().is_ok() && provider.begin().is_ok());
    provider.pass(almost(FRESH));
    assert!(provider.begin().is_ok());
    assert_eq!(asked(), 1);
    provider.metadata(ISSUER, &json!({"authorization_endpoint": "https://id.example/elsewhere"}));
    provider.pass(MOMENT);
    let url = provider.begin().unwrap();
    assert!(url.starts_with("https://id.example/elsewhere?"), "{url}");
    assert_eq!(asked(), 2);
}

#[test]
fn metadata_count_for_a_day_while_the_provider_is_away() {
    let provider = provider();
    let asked = || provider.asked("/openid-configuration");
    assert!(provider.begin().is_ok());
    provider.answer(&provider.metadata_url(), 503, json!({}));
    provider.pass(FRESH);
    assert!(provider.begin().is_ok() && provider.begin().is_ok());
    assert_eq!(asked(), 2, "after a failure nobody asks for two seconds");
    provider.pass(2 * SECOND);
    assert!(provider.begin().is_ok());
    assert_eq!(asked(), 3);
    provider.pass(almost(DAY.saturating_sub(FRESH + 2 * SECOND)));
    assert!(provider.begin().is_ok());
    provider.pass(MOMENT);
    assert!(matches!(provider.begin(), Err(ProviderError::Status { status: 503, .. })));
    // It is back, and is found so after the pause.
    provider.metadata(ISSUER, &json!({}));
    assert!(provider.begin().is_err());
    provider.pass(2 * SECOND);
    assert!(provider.begin().is_ok());
}

#[test]
fn a_provider_that_was_never_there_is_asked_again_after_two_seconds() {
    let provider = provider();
    provider.vanish(&provider.metadata_url());
    for _ in 0..20 {
        assert!(matches!(provider.begin(), Err(ProviderError::Unreachable(_))));
    }
    assert_eq!(provider.asked("/openid-configuration"), 1);
    provider.pass(2 * SECOND);
    assert!(provider.begin().is_err());
    assert_eq!(provider.asked("/openid-configuration"), 2);
}

#[test]
fn old_keys_count_while_nobody_waits_for_new_ones() {
    let provider = provider();
    let token = provider.sign(&claims());
    assert_eq!(provider.bearer(&token), Ok(()));
    provider.pass(almost(FRESH));
    assert_eq!(provider.bearer(&token), Ok(()));
    provider.settle();
    assert_eq!(provider.asked("/keys"), 1);
    // The provider has another key by now: requests that come before it was read go by the old one.
    let mut other = provider.jwk();
    other["kid"] = json!("2");
    provider.answer(KEYS, 200, json!({"keys": [other]}));
    provider.pass(MOMENT);
    let client = &provider.client;
    let at_once = client.bearer(&token, &["api".into()], &[], NOW);
    assert!(matches!(at_once, BearerCheck::Identity(_)));
    provider.settle();
    assert_eq!(provider.asked("/keys"), 2);
    assert_eq!(provider.bearer(&token), Err("key"), "a key that the provider withdraws counts no more");
    assert_eq!(provider.bearer(&provider.sign_as("2", &claims())), Ok(()));
}

#[test]
fn keys_count_for_a_day_while_the_provider_is_away() {
    let provider = provider();
    let token = provider.sign(&claims());
    assert_eq!(provider.bearer(&token), Ok(()));
    provider.answer(KEYS, 500, json!({}));
    provider.pass(almost(DAY));
    assert_eq!(provider.bearer(&token), Ok(()));
    provider.settle();
    assert_eq!(provider.asked("/keys"), 2);
    provider.pass(MOMENT);
    assert_eq!(provider.bearer(&token), Err("unavailable"));
    // An empty set is no set: it takes nothing away, and gives nothing.
    provider.answer(KEYS, 200, json!({"keys": []}));
    provider.pass(2 * SECOND);
    assert_eq!(provider.bearer(&token), Err("unavailable"));
}

#[test]
fn keys_that_a_token_of_anybody_names_are_asked_for_every_thirty_seconds() {
    let provider = provider();
    assert_eq!(provider.bearer(&provider.sign(&claims())), Ok(()));
    let unknown = provider.sign_as("2", &claims());
    provider.pass(almost(30 * SECOND));
    for _ in 0..20 {
        assert_eq!(provider.bearer(&unknown), Err("key"));
    }
    assert_eq!(provider.asked("/keys"), 1);
    provider.pass(MOMENT);
    // Fifty at once: one asks, and the others get what it brings, or find that it was asked for.
    let asking = (0..50).filter_map(|_| match provider.client.bearer(&unknown, &["api".into()], &[], NOW) {
        BearerCheck::AskAgain(asking) => Some(asking),
        BearerCheck::Refused(_) => None,
        BearerCheck::Identity(_) => panic!("nobody has such a key"),
    });
    assert!(block_on(join_all(asking.collect::<Vec<_>>())).into_iter().all(|answer| answer.is_err()));
    assert_eq!(provider.asked("/keys"), 2);
    assert_eq!(provider.bearer(&unknown), Err("key"));
    let mut new = provider.jwk();
    new["kid"] = json!("2");
    provider.answer(KEYS, 200, json!({"keys": [provider.jwk(), new]}));
    assert_eq!(provider.bearer(&unknown), Err("key"));
    provider.pass(30 * SECOND);
    assert_eq!(provider.bearer(&unknown), Ok(()));
    assert_eq!(provider.asked("/keys"), 3);
}

#[test]
fn keys_that_the_providers_own_token_names_are_asked_for_every_second() {
    let provider = provider();
    provider.token(&json!({"iss": ISSUER}), &json!({}));
    assert!(provider.sign_in().is_ok());
    let mut new = provider.jwk();
    new["kid"] = json!("2");
    provider.answer(KEYS, 200, json!({"keys": [new]}));
    let answer =
        json!({"access_token": "a", "token_type": "bearer", "id_token": provider.sign_as("2", &id_token())});
    provider.answer(TOKEN, 200, answer);
    provider.pass(almost(SECOND));
    assert!(provider.sign_in().is_err());
    assert_eq!(provider.asked("/keys"), 1);
    provider.pass(MOMENT);
    assert!(provider.sign_in().is_ok());
    assert_eq!(provider.asked("/keys"), 2);
}

fn id_token() -> Value {
    let nonce = super::scripted::login().nonce();
    json!({"iss": ISSUER, "aud": "site", "sub": "a", "iat": NOW, "exp": NOW + 300, "nonce": nonce})
}

#[test]
fn a_renewal_counts_for_thirty_seconds_for_whoever_comes_with_the_old_token() {
    let provider = provider();
    provider.token(&json!({"iss": ISSUER}), &json!({"refresh_token": "second"}));
    let renewed = || provider.refresh("first").unwrap().refresh_token;
    assert_eq!(renewed().as_deref(), Some("second"));
    provider.token(&json!({"iss": ISSUER}), &json!({"refresh_token": "third"}));
    provider.pass(almost(30 * SECOND));
    assert_eq!(renewed().as_deref(), Some("second"));
    assert_eq!(provider.asked("/token"), 1);
    provider.pass(MOMENT);
    assert_eq!(renewed().as_deref(), Some("third"));
    assert_eq!(provider.asked("/token"), 2);
}

#[test]
fn a_refusal_counts_for_thirty_seconds_and_a_failure_for_one() {
    let provider = provider();
    provider.answer(TOKEN, 503, json!({}));
    let unavailable = || matches!(provider.refresh("first"), Err(RefreshError::Unavailable(_)));
    let refused = || matches!(provider.refresh("first"), Err(RefreshError::Refused(_)));
    assert!(unavailable());
    provider.answer(TOKEN, 400, json!({"error": "invalid_grant"}));
    provider.pass(almost(SECOND));
    assert!(unavailable());
    provider.pass(MOMENT);
    assert!(refused());
    provider.token(&json!({"iss": ISSUER}), &json!({}));
    provider.pass(almost(30 * SECOND));
    assert!(refused());
    assert_eq!(provider.asked("/token"), 2);
    provider.pass(MOMENT);
    assert!(provider.refresh("first").is_ok());
}

#[test]
fn a_token_that_was_found_right_stands_as_long_as_the_keys_do() {
    let provider = provider();
    let token = provider.sign(&claims());
    let audiences = ["api".into()];
    let check = || match provider.client.bearer(&token, &audiences, &[], NOW) {
        BearerCheck::Identity(believed) => *believed,
        BearerCheck::AskAgain(asking) => block_on(asking).ok().unwrap(),
        BearerCheck::Refused(refused) => panic!("{refused}"),
    };
    assert!(!provider.client.stands(&check()), "keys that were asked for because of it are looked at again");
    let checked = check();
    assert_eq!(checked.until, NOW + 1_000_060);
    provider.pass(almost(FRESH));
    assert!(provider.client.stands(&checked));
    provider.settle();
    assert_eq!(provider.asked("/keys"), 1);
    // Old keys are asked for again, also if every token is known.
    provider.pass(MOMENT);
    assert!(provider.client.stands(&checked));
    provider.settle();
    assert_eq!(provider.asked("/keys"), 2);
    assert!(!provider.client.stands(&checked), "these are others, even if they say the same");
    let checked = check();
    assert!(provider.client.stands(&checked));
    provider.answer(KEYS, 500, json!({}));
    provider.pass(almost(DAY));
    assert!(provider.client.stands(&checked));
    provider.pass(MOMENT);
    assert!(!provider.client.stands(&checked));
}
