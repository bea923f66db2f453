//! A path that a lenient backend reads in another way must not choose its rule by the way we read it.

mod support;

use support::authority::{Authority, KeyKind};
use support::backend::RawBackend;
use support::client::Client;
use support::manifests::{Ingress, Manifests};
use support::process::Penstock;

#[test]
fn another_reading_cannot_change_the_rule() {
    let (ca, manifests) = (Authority::new(), Manifests::new());
    let (open, admin) = (RawBackend::named("open"), RawBackend::named("admin"));
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[open.address()]);
    manifests.service("default", "admin", &[admin.address()]);
    manifests.ingress(
        &Ingress::new("default", "admin")
            .path("app.test", "/admin", "Prefix", "admin")
            .tls(&["app.test"], "app-test"),
    );
    let penstock = Penstock::start(&manifests);
    let connect = || Client::https(penstock.https(), "app.test", &ca.client());

    // To a backend that takes %2F for a slash, or drops parameters, each of these is below /admin.
    for path in
        ["/admin%2Fusers", "/admin%5Cusers", "/%2Fadmin", "/admin;x", "/admin;x/users", "/admin%3Bx/users"]
    {
        let response = connect().get("app.test", path);
        assert_eq!(response.status(), 400, "{path}");
        assert!(response.text().contains("path-ambiguous"), "{path}: {}", response.text());
    }
    assert_eq!((open.received().len(), admin.received().len()), (0, 0));

    // The same characters where no reading changes the rule.
    for (path, served_by) in [("/a%2fb;c", "open"), ("/admin/a%2fb", "admin"), ("/admin/a;b/c", "admin")] {
        let response = connect().get("app.test", path);
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.text().starts_with(served_by), "{path}: {}", response.text());
    }
    let targets = |backend: &RawBackend| -> Vec<String> {
        let received = backend.received().concat();
        let text = String::from_utf8_lossy(&received);
        text.lines().filter_map(|l| l.strip_suffix(" HTTP/1.1")).map(str::to_owned).collect()
    };
    assert_eq!(targets(&open), ["GET /a%2Fb;c"]);
    assert_eq!(targets(&admin), ["GET /admin/a%2Fb", "GET /admin/a;b/c"]);
}
