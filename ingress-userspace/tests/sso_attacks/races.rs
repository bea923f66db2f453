//! Changes while requests come in: at no moment is a route without its policy.

use serde_json::json;

use super::rig::Rig;
use super::support::authority::Authority;
use super::support::sso::{APP, ProviderOptions, put, put_provider, put_secret, staff};

/// A change, and what requests without a session are answered then.
type Change<'c> = (&'static str, Box<dyn Fn(&Rig) + 'c>, u16);

fn remove(rig: &Rig, file: &str) {
    rig.site.manifests.remove(file);
}

/// Makes each change again and again while requests come in. Each is answered 401 or 503, and none is forwarded.
#[track_caller]
pub(crate) fn run(rig: &mut Rig, ca: &Authority, provider: &ProviderOptions) -> usize {
    let changes: Vec<Change<'_>> = vec![
        ("the policy goes", Box::new(|rig| remove(rig, "accesspolicy-staff.yaml")), 503),
        (
            "the policy comes back",
            Box::new(|rig| put(&rig.site.manifests, "AccessPolicy", "staff", &staff())),
            401,
        ),
        (
            "the policy becomes invalid",
            Box::new(|rig| {
                let mut spec = staff();
                spec["allow"] = json!([]);
                put(&rig.site.manifests, "AccessPolicy", "staff", &spec);
            }),
            503,
        ),
        (
            "the policy is mended",
            Box::new(|rig| put(&rig.site.manifests, "AccessPolicy", "staff", &staff())),
            401,
        ),
        ("the provider goes", Box::new(|rig| remove(rig, "identityprovider-corp.yaml")), 503),
        ("the provider comes back", Box::new(|rig| put_provider(&rig.site.manifests, "corp", provider)), 401),
        (
            "a second policy targets the Ingress",
            Box::new(|rig| {
                let mut spec = staff();
                spec["targets"] = json!({ "ingresses": ["app-test"] });
                put(&rig.site.manifests, "AccessPolicy", "second", &spec);
            }),
            503,
        ),
        ("the second policy goes", Box::new(|rig| remove(rig, "accesspolicy-second.yaml")), 401),
        (
            "the authorities are rubbish",
            Box::new(|rig| put_secret(&rig.site.manifests, "authorities", &[("ca.crt", "x")])),
            0,
        ),
        (
            "the authorities are mended",
            Box::new(|rig| put_secret(&rig.site.manifests, "authorities", &[("ca.crt", &ca.root_pem)])),
            401,
        ),
    ];
    let mut asked = 0;
    for _ in 0..2 {
        for (what, change, status) in &changes {
            change(rig);
            rig.site.becomes(what, |site| {
                asked += 1;
                let found = site.client(APP).get(APP, "/admin").status();
                assert!(found == 401 || found == 503, "{what}: {found}");
                *status == 0 || found == *status
            });
            assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new(), "{what}");
        }
    }
    asked
}
