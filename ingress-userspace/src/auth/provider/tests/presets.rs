//! The quirks of each provider.

use serde_json::{Value, json};

use super::super::{Hints, ProviderError, RefreshError, SignInError};
use super::scripted::Scripted;

const ISSUER: &str = "https://id.example";

fn generic(spec: &Value) -> Scripted {
    Scripted::new(ISSUER, ISSUER, spec)
}

#[test]
fn google_gives_refresh_tokens_its_own_way_and_the_domain_is_checked() {
    let issuer = "https://accounts.google.com";
    let google = Scripted::new(issuer, issuer, &json!({"preset": "Google", "hostedDomain": "example.com"}));
    let url = google.begin().unwrap();
    for part in [
        "access_type=offline",
        "prompt=consent",
        "hd=example.com",
        "scope=openid+profile+email",
        "code_challenge_method=S256",
    ] {
        assert!(url.contains(part), "{part}: {url}");
    }
    // The hint is no check: the claim is. Tokens name the issuer with or without the scheme.
    for (claims, good) in [
        (json!({"iss": issuer, "hd": "example.com"}), true),
        (json!({"iss": "accounts.google.com", "hd": "example.com"}), true),
        (json!({"iss": issuer, "hd": "evil.example"}), false),
        (json!({"iss": issuer}), false),
        (json!({"iss": "accounts.google.com.evil.example", "hd": "example.com"}), false),
        (json!({"iss": "http://accounts.google.com", "hd": "example.com"}), false),
    ] {
        google.token(&claims, &json!({}));
        assert_eq!(google.sign_in().is_ok(), good, "{claims}");
    }
    let other = generic(&json!({"hostedDomain": "example.com"}));
    other.token(&json!({"iss": ISSUER}), &json!({}));
    assert_eq!(
        other.sign_in().err(),
        Some(SignInError::Organization),
        "whatever the preset, what is named is checked"
    );
}

#[test]
fn entra_id_has_an_issuer_for_each_tenant() {
    let issuer = "https://login.microsoftonline.com/common/v2.0";
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let entra =
        Scripted::new(issuer, template, &json!({"preset": "EntraID", "entra": {"tenants": ["t-1", "t-2"]}}));
    let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    for (claims, outcome) in [
        (json!({"iss": of("t-1"), "tid": "t-1"}), None),
        (json!({"iss": of("t-2"), "tid": "t-2"}), None),
        (json!({"iss": of("t-3"), "tid": "t-3"}), Some("organization")),
        (json!({"iss": of("t-3"), "tid": "t-1"}), Some("issuer")),
        (json!({"iss": template, "tid": "t-1"}), Some("issuer")),
        (json!({"iss": of("t-1")}), Some("issuer")),
        (json!({"iss": of("../x"), "tid": "../x"}), Some("issuer")),
        (json!({"iss": "https://evil.example/t-1/v2.0", "tid": "t-1"}), Some("issuer")),
    ] {
        entra.token(&claims, &json!({}));
        assert_eq!(entra.sign_in().err().map(|error| error.as_str()), outcome, "{claims}");
    }
    // Nobody else's metadata may be a template.
    let other = Scripted::new(ISSUER, template, &json!({}));
    assert!(matches!(other.begin(), Err(ProviderError::Issuer(_))));
}

#[test]
fn entra_id_of_another_cloud_is_another_issuer_with_a_graph_of_its_own() {
    for (host, graph) in [
        ("login.microsoftonline.com", "https://graph.microsoft.com"),
        ("login.microsoftonline.us", "https://graph.microsoft.us"),
        ("login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ] {
        let issuer = format!("https://{host}/organizations/v2.0");
        let template = format!("https://{host}/{{tenantid}}/v2.0");
        let spec = json!({"preset": "EntraID", "entra": {"tenants": ["t-1"]}});
        let entra = Scripted::new(&issuer, &template, &spec);
        let own = format!("https://{host}/t-1/v2.0");
        let first = format!("{graph}/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id&$top=999");
        entra.answer(&first, 200, json!({"value": [{"id": "g-1"}]}));
        for overage in [json!({"hasgroups": "true"}), json!({"hasgroups": true})] {
            let mut claims = json!({"iss": own, "tid": "t-1"});
            claims.as_object_mut().unwrap().extend(overage.as_object().unwrap().clone());
            entra.token(&claims, &json!({}));
            assert_eq!(entra.sign_in().unwrap().identity.groups, ["g-1".into()], "{host}");
        }
        // The same tenant of another cloud is another tenant.
        let other = if host == "login.microsoftonline.us" {
            "login.microsoftonline.com"
        } else {
            "login.microsoftonline.us"
        };
        entra.token(&json!({"iss": format!("https://{other}/t-1/v2.0"), "tid": "t-1"}), &json!({}));
        assert_eq!(entra.sign_in().err().map(|error| error.as_str()), Some("issuer"), "{host}");
    }
}

#[test]
fn personal_accounts_of_entra_id_have_a_tenant_of_their_own() {
    let personal = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let issuer = "https://login.microsoftonline.com/consumers/v2.0";
    let tenant = "9188040d-6c67-4c5b-b112-36a304b66dad";
    let spec = json!({"preset": "EntraID", "entra": {"tenants": [tenant]}});
    let entra = Scripted::new(issuer, personal, &spec);
    entra.token(&json!({"iss": personal, "tid": tenant}), &json!({}));
    assert!(entra.sign_in().is_ok());
    let work = "https://login.microsoftonline.com/t-1/v2.0";
    for claims in [json!({"iss": work, "tid": "t-1"}), json!({"iss": work, "tid": tenant})] {
        entra.token(&claims, &json!({}));
        assert_eq!(entra.sign_in().err().map(|error| error.as_str()), Some("issuer"), "{claims}");
    }
    // Metadata of all tenants are not those of personal accounts.
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let other = Scripted::new(issuer, template, &spec);
    assert!(matches!(other.begin(), Err(ProviderError::Issuer(_))));
}

#[test]
fn bearer_tokens_of_google_name_its_issuer_in_both_ways() {
    let issuer = "https://accounts.google.com";
    let google = Scripted::new(issuer, issuer, &json!({"preset": "Google", "hostedDomain": "example.com"}));
    let bearer = |claims: Value| {
        let mut all =
            json!({"aud": "api", "sub": "a", "exp": super::scripted::NOW + 60, "hd": "example.com"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        google.bearer(&google.sign(&all))
    };
    assert_eq!(bearer(json!({"iss": issuer})), Ok(()));
    assert_eq!(bearer(json!({"iss": "accounts.google.com"})), Ok(()));
    for named in ["http://accounts.google.com", "accounts.google.com/", "accounts.google.com.evil.example"] {
        assert_eq!(bearer(json!({"iss": named})), Err("issuer"), "{named}");
    }
    assert!(bearer(json!({"iss": issuer, "hd": "evil.example"})).is_err());
    // Nobody else's issuer goes without its scheme.
    let other = generic(&json!({}));
    let token =
        other.sign(&json!({"iss": "id.example", "aud": "api", "sub": "a", "exp": super::scripted::NOW + 60}));
    assert_eq!(other.bearer(&token), Err("issuer"));
}

#[test]
fn more_than_200_groups_of_entra_id_are_read_from_graph() {
    let issuer = "https://login.microsoftonline.com/t-1/v2.0";
    let entra = Scripted::new(issuer, issuer, &json!({"preset": "EntraID"}));
    let graph = "https://graph.microsoft.com/v1.0/me/transitiveMemberOf/microsoft.graph.group";
    let second = "https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$skiptoken=2";
    let first = format!("{graph}?$select=id&$top=999");
    entra.answer(&first, 200, json!({"value": [{"id": "g-1"}, {"id": "g-2"}], "@odata.nextLink": second}));
    entra.answer(
        second,
        200,
        json!({"value": [{"id": "g-3"}], "@odata.nextLink": "https://evil.example/steal"}),
    );
    let overage = json!({
        "iss": issuer, "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://evil.example/groups"}},
    });
    entra.token(&overage, &json!({}));
    assert_eq!(entra.sign_in().unwrap().identity.groups, ["g-1".into(), "g-2".into(), "g-3".into()]);
    assert_eq!(entra.asked("https://evil.example/steal") + entra.asked("https://evil.example/groups"), 0);
    // Groups that nobody knows are no groups: the sign-in fails.
    entra.answer(&first, 403, json!({"error": {"code": "Authorization_RequestDenied"}}));
    assert!(matches!(entra.sign_in(), Err(SignInError::Provider(ProviderError::Status { status: 403, .. }))));
}

#[test]
fn scopes_bring_what_each_provider_gives_for_them() {
    for (preset, scopes) in [
        ("Generic", "scope=openid+profile+email&"),
        ("Okta", "scope=openid+profile+email+offline_access+groups&"),
        ("Dex", "scope=openid+profile+email+offline_access+groups&"),
        ("Auth0", "scope=openid+profile+email+offline_access&"),
        ("Keycloak", "scope=openid+profile+email&"),
        ("GitLab", "scope=openid+profile+email&"),
    ] {
        let url = generic(&json!({"preset": preset})).begin().unwrap() + "&";
        assert!(url.contains(scopes), "{preset}: {url}");
    }
    let url = generic(&json!({"scopes": ["openid", "api"]})).begin().unwrap() + "&";
    assert!(url.contains("scope=openid+api&"), "{url}");
}

#[test]
fn okta_has_groups_in_the_id_token_only() {
    let okta = generic(&json!({"preset": "Okta"}));
    okta.metadata(ISSUER, &json!({"userinfo_endpoint": "https://id.example/userinfo"}));
    okta.answer("https://id.example/userinfo", 200, json!({"sub": "a", "name": "A"}));
    okta.token(&json!({"iss": ISSUER, "groups": ["Everyone"]}), &json!({}));
    let identity = okta.sign_in().unwrap().identity;
    assert_eq!((identity.groups, identity.name.as_deref()), (vec!["Everyone".into()], Some("A")));
}

#[test]
fn names_of_claims_at_auth0_are_urls() {
    let roles = "https://example.com/roles";
    let auth0 = generic(&json!({"preset": "Auth0", "claims": {"groups": [roles]}}));
    auth0.token(
        &json!({"iss": ISSUER, roles: ["admin"], "updated_at": "2026-11-27T10:00:00.000Z"}),
        &json!({}),
    );
    assert_eq!(auth0.sign_in().unwrap().identity.groups, ["admin".into()]);
    let url =
        super::scripted::block_on(auth0.client.end_session(Hints::default(), "https://app.example/out", "s"))
            .unwrap();
    assert_eq!(url, "https://id.example/v2/logout?client_id=site&returnTo=https%3A%2F%2Fapp.example%2Fout");
}

#[test]
fn groups_and_roles_of_keycloak_and_gitlab_are_where_they_are() {
    let keycloak = generic(&json!({"preset": "Keycloak", "claims": {"groups": ["realm_access", "roles"]}}));
    let claims = json!({"iss": ISSUER, "realm_access": {"roles": ["ops"]}, "groups": ["/dev/web"], "aud": ["site", "account"], "azp": "site"});
    keycloak.token(&claims, &json!({}));
    assert_eq!(keycloak.sign_in().unwrap().identity.groups, ["ops".into()]);
    // Roles of a client: its id may have dots, which are no path.
    let names =
        json!({"claims": {"groups": ["resource_access", "site.example", "roles"]}, "preset": "Keycloak"});
    let client = generic(&names);
    let mut of_client = claims.clone();
    of_client["resource_access"] =
        json!({"site.example": {"roles": ["editor"]}, "site": {"example": {"roles": ["root"]}}});
    client.token(&of_client, &json!({}));
    assert_eq!(client.sign_in().unwrap().identity.groups, ["editor".into()]);
    let paths = generic(&json!({"preset": "Keycloak"}));
    paths.token(&claims, &json!({}));
    assert_eq!(paths.sign_in().unwrap().identity.groups, ["/dev/web".into()]);
    let gitlab = generic(&json!({"preset": "GitLab"}));
    gitlab.token(&json!({"iss": ISSUER, "groups_direct": ["acme"]}), &json!({}));
    assert_eq!(gitlab.sign_in().unwrap().identity.groups, ["acme".into()]);
}

#[test]
fn a_refresh_token_may_rotate_or_stay_and_the_id_token_may_be_missing() {
    let dex = generic(&json!({"preset": "Dex"}));
    dex.token(&json!({"iss": ISSUER}), &json!({"refresh_token": "second", "expires_in": "300"}));
    let renewed = dex.refresh("first").unwrap();
    assert_eq!((renewed.refresh_token.as_deref(), renewed.expires_in), (Some("second"), Some(300)));
    dex.token(&json!({"iss": ISSUER}), &json!({}));
    assert_eq!(dex.refresh("stays").unwrap().refresh_token.as_deref(), Some("stays"));
    dex.token(&json!({"iss": ISSUER, "sub": "b"}), &json!({}));
    assert!(matches!(dex.refresh("another subject"), Err(RefreshError::Refused(_))));
    dex.metadata(ISSUER, &json!({"userinfo_endpoint": "https://id.example/userinfo"}));
    dex.answer("https://id.example/token", 200, json!({"access_token": "x", "token_type": "Bearer"}));
    assert!(matches!(dex.refresh("nobody says who"), Err(RefreshError::Refused(_))));
}

#[test]
fn the_user_info_is_about_whom_the_id_token_is_about() {
    let provider = generic(&json!({}));
    provider.metadata(ISSUER, &json!({"userinfo_endpoint": "https://id.example/userinfo"}));
    provider.token(&json!({"iss": ISSUER, "email": "a@own.example"}), &json!({}));
    let info = |value| provider.answer("https://id.example/userinfo", 200, value);
    info(json!({"sub": "b", "groups": ["admins"]}));
    assert!(provider.sign_in().is_err());
    info(json!({"groups": ["admins"]}));
    assert!(provider.sign_in().is_err());
    // Another address that is verified says nothing of this one.
    info(json!({"sub": "a", "email": "b@other.example", "email_verified": true}));
    assert_eq!(provider.sign_in().unwrap().identity.email, None);
    info(json!({"sub": "a", "email": "a@own.example", "email_verified": true}));
    assert_eq!(provider.sign_in().unwrap().identity.email.as_deref(), Some("a@own.example"));
    provider.answer("https://id.example/userinfo", 500, json!({}));
    assert!(matches!(provider.sign_in(), Err(SignInError::Provider(_))));
}
