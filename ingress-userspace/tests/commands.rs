//! `penstock check` and `penstock explain` as libraries: their text is an interface that users script against.

#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use penstock::commands::Objects;
use penstock::commands::check::check;
use penstock::commands::dump::dump_objects;
use penstock::commands::explain::explain_objects;
use penstock::commands::explain_access::read_claims;
use penstock::config::Config;
use penstock::sys::clock::{Clock, SystemClock};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: penstock\nspec:\n  controller: penstock.dev/ingress-controller\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - {name: http, port: 80}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-1\n  labels: {kubernetes.io/service-name: web}\naddressType: IPv4\nports:\n- {name: http, port: 8080}\nendpoints:\n- addresses: [10.0.0.1]\n- addresses: [10.0.0.2]\n";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn ingress(name: &str, class: &str, tls: bool, paths: &[(&str, &str)]) -> String {
    let tls = if tls { "  tls:\n  - hosts: [shop.example]\n    secretName: shop\n" } else { "" };
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\nspec:\n  ingressClassName: {class}\n{tls}  rules:\n  - host: shop.example\n    http:\n      paths:\n"
    );
    for (path, kind) in paths {
        text.extend([format!(
            "      - path: {path}\n        pathType: {kind}\n        backend: {{service: {{name: web, port: {{name: http}}}}}}\n"
        )]);
    }
    text
}

fn secret() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem().replace('\n', "\n    ");
    let key = key.serialize_pem().replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {pem}\n  tls.key: |\n    {key}\n"
    )
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// The text without the directory's random name.
fn shown(text: &str, directory: &Path) -> Vec<String> {
    text.replace(&format!("{}/", directory.display()), "").lines().map(str::to_owned).collect()
}

#[test]
fn a_good_directory_is_accepted() {
    let site = ingress("shop", "penstock", true, &[("/", "Prefix")]);
    let other = ingress("other", "nginx", true, &[("/", "Prefix")]);
    let files = [
        ("a.yaml", CLASS),
        ("b.yaml", SERVICE),
        ("c.yaml", &site),
        ("d.yaml", &secret()),
        ("e.yaml", &other),
    ];
    let directory = directory(&files);
    let checked = check(&Objects::Directory(directory.path()), &Config::default(), &clock()).unwrap();
    assert!(!checked.refused, "{}", checked.text);
    assert_eq!(
        shown(&checked.text, directory.path()),
        [
            "ACCEPTED Ingress default/shop",
            "1 of 1 Ingresses accepted (1 more of other classes), 0 refusals, 0 warnings"
        ]
    );
}

#[test]
fn a_refusal_is_one_line_and_the_exit_code() {
    let plain = ingress("plain", "penstock", false, &[("/", "Prefix")]);
    let broken = "apiVersion: v1\nkind: Service\nmetadata:\n  name: bad\nspec:\n  ports:\n  - port: http\n";
    let directory =
        directory(&[("a.yaml", CLASS), ("b.yaml", SERVICE), ("c.yaml", &plain), ("d.yaml", broken)]);
    let checked = check(&Objects::Directory(directory.path()), &Config::default(), &clock()).unwrap();
    assert!(checked.refused);
    let lines = shown(&checked.text, directory.path());
    let expected = "REFUSED d.yaml:7 Service default/bad spec.ports[0].port: invalid type: string \"http\", expected i32";
    assert_eq!(lines[0], expected);
    assert!(lines[1].starts_with("REFUSED Ingress default/plain spec.rules[0].host: "), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "0 of 1 Ingresses accepted, 2 refusals, 0 warnings");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[test]
fn a_directory_that_is_not_there_is_refused() {
    let checked =
        check(&Objects::Directory(Path::new("/nonexistent/manifests")), &Config::default(), &clock())
            .unwrap();
    assert!(checked.refused);
    assert!(checked.text.starts_with("REFUSED /nonexistent/manifests: the directory cannot be read: "));
}

#[test]
fn an_explanation_tells_who_serves_and_who_does_not() {
    let site =
        ingress("shop", "penstock", true, &[("/", "Prefix"), ("/cart", "Prefix"), ("/cart/x", "Exact")]);
    let directory =
        directory(&[("a.yaml", CLASS), ("b.yaml", SERVICE), ("c.yaml", &site), ("d.yaml", &secret())]);
    let explain = |url: &str| {
        explain_objects(&Objects::Directory(directory.path()), url, None, &Config::default(), &clock())
    };

    let text = explain("https://shop.example/cart/./items?x").unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "request      https://shop.example/cart/items",
            "answer       from the backend",
            "rule         Ingress default/shop, shop.example, Prefix /cart",
            "backend      default/web:http: 10.0.0.1:8080, 10.0.0.2:8080",
        ]
    );
    let certificate = "certificate  Secret default/shop: CN=rcgen self signed cert; for shop.example; until 2100-01-01T00:00:00Z; SHA-256 ";
    assert!(lines[4].starts_with(certificate), "{}", lines[4]);
    assert_eq!(
        lines[5..],
        [
            "policy       Strict-Transport-Security: max-age=31536000",
            "policy       plain HTTP is redirected (308)",
            "not          Ingress default/shop, shop.example, Prefix /: default/shop/cart wins: its path is longer",
            "not          Ingress default/shop, shop.example, Exact /cart/x: the path is not equal",
        ]
    );

    let text = explain("https://shop.example/cart%2Fitems").unwrap();
    assert!(text.contains("answer       400, a backend could read the path in another way"), "{text}");
    assert!(!text.contains("from the backend"), "{text}");

    let text = explain("http://shop.example/").unwrap();
    assert!(text.contains("answer       308, redirected to https\n"), "{text}");
    let text = explain("https://other.example/").unwrap();
    assert!(text.contains("answer       404, no rule matches\n"), "{text}");
    assert!(text.contains("certificate  the self-signed default certificate: CN=Penstock"), "{text}");
    assert!(explain("shop.example").is_err());
}

const GUARD: &str = "
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {secret: hunter2}
---
apiVersion: penstock.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec:
  issuer: https://id.example
  clientID: penstock
  clientSecret: {name: client, key: secret}
---
apiVersion: penstock.dev/v1alpha1
kind: AccessPolicy
metadata: {name: dev}
spec:
  targets: {ingresses: [shop]}
  provider: corp
  publicPaths: [{path: /static, type: Prefix}]
  allow:
  - emailDomains: [example.com]
  - groups: [dev]
  pages: {}
";

#[test]
fn explain_tells_what_a_policy_decides() {
    let site = ingress("shop", "penstock", true, &[("/", "Prefix")]);
    let (secret, other) = (secret(), GUARD.replace("name: dev", "name: more"));
    let directory = directory(&[
        ("a.yaml", CLASS),
        ("b.yaml", SERVICE),
        ("c.yaml", &site),
        ("d.yaml", &secret),
        ("e.yaml", GUARD),
    ]);
    let objects = Objects::Directory(directory.path());
    let explain = |path: &str, claims: &str| {
        let claims = read_claims(claims).unwrap();
        let url = format!("https://shop.example{path}");
        explain_objects(&objects, &url, Some(&claims), &Config::default(), &clock()).unwrap()
    };
    let dev = explain("/a", r#"{"sub":"ann","groups":["dev","x"],"preferred_username":"Ann"}"#);
    for line in [
        "answer       from the backend, for whom its access policy allows",
        "access       AccessPolicy default/dev",
        "access       by IdentityProvider default/corp (https://id.example)",
        "decision     forwarded, by allow[1]",
        "field        X-Auth-Request-User: ann",
        "field        X-Auth-Request-Groups: dev,x",
    ] {
        assert!(dev.lines().any(|found| found == line), "{line}\n{dev}");
    }
    assert!(!dev.contains("hunter2"));
    let unverified = explain("/a", r#"{"sub":"ann","email":"ann@example.com"}"#);
    assert!(unverified.contains("decision     403"), "{unverified}");
    let verified = explain("/a", r#"{"sub":"ann","email":"ann@example.com","email_verified":true}"#);
    assert!(verified.contains("decision     forwarded, by allow[0]"), "{verified}");
    assert!(explain("/a", "{}").contains("decision     nobody"));
    let public = explain("/static/a", "{}");
    assert!(
        public.contains("the path is public") && public.contains("from the backend, for everybody"),
        "{public}"
    );

    let fields = "forward: {fields: [{name: Authorization, from: AccessToken}, {name: X-ID, from: IDToken}]}";
    fs::write(directory.path().join("e.yaml"), GUARD.replace("pages: {}", fields)).unwrap();
    let tokens = explain("/a", r#"{"sub":"ann","groups":["dev"]}"#);
    for line in ["field        Authorization: Bearer (the-access-token)", "field        X-ID: (the-ID-token)"]
    {
        assert!(tokens.lines().any(|found| found == line), "{line}\n{tokens}");
    }

    fs::write(directory.path().join("f.yaml"), other).unwrap();
    let denied = explain("/static/a", r#"{"sub":"ann","groups":["dev"]}"#);
    assert!(
        denied.contains("answer       503, what guards Ingress default/shop cannot be enforced"),
        "{denied}"
    );
    assert!(denied.contains("denies everything: it has AccessPolicies"), "{denied}");
    let checked = check(&objects, &Config::default(), &clock()).unwrap();
    assert!(
        checked.refused && checked.text.contains("ACCEPTED IdentityProvider default/corp"),
        "{}",
        checked.text
    );
    assert!(
        checked.text.contains("REFUSED Ingress default/shop metadata.name: it has AccessPolicies"),
        "{}",
        checked.text
    );
    let dumped = dump_objects(&objects, &Config::default(), &clock()).unwrap().text;
    assert!(dumped.contains("AccessPolicies") && !dumped.contains("hunter2"), "{dumped}");
}
