//! Bearer tokens that were found right a moment ago, and are kept as such: they are worth nothing where, and when, they would not be
//! believed for the first time.

use serde_json::json;

use super::case::get;
use super::rig::Rig;
use super::support::authority::Authority;
use super::support::scripted_provider::{ScriptedProvider, now};
use super::support::sso::{ADMIN, APP, put, put_provider, staff};

fn ask(rig: &Rig, host: &'static str, token: &str) -> u16 {
    let request = format!("GET /admin HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    rig.site.client(host).request(request).status()
}

/// Returns how many were refused.
#[track_caller]
pub(crate) fn run(rig: &mut Rig, ca: &Authority, provider: &ScriptedProvider) -> usize {
    let manifests = |rig: &Rig, name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut spec = staff();
        change(&mut spec);
        put(&rig.site.manifests, "AccessPolicy", name, &spec);
    };
    let token = provider.access_token("api", |_| {});
    for _ in 0..3 {
        assert_eq!(ask(rig, APP, &token), 200);
    }
    rig.site.forwarded();
    assert_eq!(ask(rig, ADMIN, &token), 403, "at a policy that somebody else may use");
    manifests(rig, "admins", &|spec| spec["bearer"] = json!({ "audiences": ["other"] }));
    rig.site.becomes("another audience", |_| ask(rig, ADMIN, &token) == 401);
    let mut refused = 2;
    // What looks almost like it.
    for at in [0, token.len() / 2, token.len() - 2] {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert_eq!(ask(rig, APP, &changed), 401, "changed at {at}");
        refused += 1;
    }
    for changed in [&token[1..], &token[..token.len() - 1], &format!("{token}A"), &format!("{token}.")] {
        assert_eq!(ask(rig, APP, changed), 401);
        refused += 1;
    }
    // The policy does not believe it any more.
    manifests(rig, "staff", &|spec| spec["bearer"] = json!({ "audiences": ["other"] }));
    rig.site.becomes("the policy wants another audience", |_| ask(rig, APP, &token) == 401);
    manifests(rig, "staff", &|spec| spec["allow"] = json!([{ "groups": ["nobody"] }]));
    rig.site.becomes("the policy allows others", |_| ask(rig, APP, &token) == 403);
    manifests(rig, "staff", &|spec| drop(spec.as_object_mut().unwrap().remove("bearer")));
    rig.site.becomes("the policy takes no tokens", |_| ask(rig, APP, &token) == 401);
    manifests(rig, "staff", &|_| {});
    rig.site.becomes("the policy is as it was", |_| ask(rig, APP, &token) == 200);
    // It expires between two requests.
    let mut options = provider.options();
    options.spec["clockSkew"] = json!("0s");
    put_provider(&rig.site.manifests, "corp", &options);
    let expired = provider.access_token("api", |token| token.claims["exp"] = json!(now() - 5));
    rig.site.becomes("no skew is allowed", |_| ask(rig, APP, &expired) == 401);
    let short = provider.access_token("api", |token| token.claims["exp"] = json!(now() + 2));
    assert_eq!(ask(rig, APP, &short), 200);
    rig.site.becomes("it has expired", |_| ask(rig, APP, &short) == 401);
    // Another provider under the same name.
    assert_eq!(ask(rig, APP, &token), 200);
    let successor = ScriptedProvider::start(ca);
    put_provider(&rig.site.manifests, "corp", &successor.options());
    rig.site.becomes("the provider is another", |_| ask(rig, APP, &token) == 401);
    rig.site.forwarded();
    let answer = rig.site.client(APP).request(get("/", &format!("Authorization: Bearer {token}\r\n")));
    assert_eq!(answer.status(), 401);
    assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new());
    refused + 6
}
