//! Clients of denied networks: refused by the kernel before accept, or by userspace after, and nobody else is.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use support::authority::client_hello;
use support::backend::RawBackend;
use support::classes::{Classes, LAX, STRICT, put_class, put_proxy_class};
use support::client::{Client, End};
use support::manifests::{Ingress, Manifests};
use support::peer::skipped;
use support::process::{Options, Penstock};
use support::script::Step;

const HOST: &str = "app.test";
/// What the tests deny, unless they say something else.
const DENIED: &str = "127.0.0.2";
const GOOD: &str = "127.0.0.1";
const USERSPACE: &str = "kernel: {steering: off}\n";
/// What is logged when the first table's list is in force. Clients that come before meet userspace.
const IN_FORCE: &str = "source networks that every class denies are refused";
/// Both rungs.
const RUNGS: [&str; 2] = ["", USERSPACE];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There was no connection.
    Refused,
    /// There was one, and nothing came.
    Closed,
    /// The status.
    Answered(u16),
}

fn ask(source: &str, address: SocketAddr, host: &str) -> Outcome {
    ask_after(source, address, "", host)
}

/// With a PROXY protocol header first.
fn ask_after(source: &str, address: SocketAddr, header: &str, host: &str) -> Outcome {
    let mut client = match Client::http_from(source.parse().unwrap(), address) {
        Ok(client) => client,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Outcome::Refused,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Outcome::Closed,
        Err(error) => panic!("{source} to {address}: {error}"),
    };
    // It may be reset already.
    let _ = client.try_send(format!("{header}GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    let exchange = client.responses(&["GET"]);
    match (exchange.responses.first(), exchange.end) {
        (Some(response), _) => Outcome::Answered(response.status()),
        (None, Some(End::Reset | End::Closed)) => Outcome::Closed,
        (None, end) => panic!("{end:?}"),
    }
}

/// One class, which denies these networks, and one host on the plain port.
struct Site {
    manifests: Manifests,
    backend: RawBackend,
}

impl Site {
    fn new(denied: &str) -> Self {
        let (manifests, backend) = (Manifests::empty(), RawBackend::named("one"));
        put_class(&manifests, "penstock", "2024-01-01T00:00:00Z", Some("edge"));
        manifests.service("default", "app", &[backend.address()]);
        let ingress = Ingress::new("default", "app").class(Some("penstock"));
        manifests.ingress(&ingress.path(HOST, "/", "Prefix", "app"));
        let site = Self { manifests, backend };
        site.deny(denied);
        site
    }

    fn deny(&self, networks: &str) {
        put_proxy_class(
            &self.manifests,
            "edge",
            &format!("{{connections: {{deniedSources: [{networks}]}}}}"),
        );
    }

    fn start(&self, config: &str) -> Penstock {
        self.start_at(config, &["127.0.0.1:0"], &[])
    }

    fn start_at(&self, config: &str, http: &[&str], arguments: &[&str]) -> Penstock {
        let penstock = self.begin(config, http, arguments);
        penstock.wait_log(IN_FORCE);
        penstock
    }

    fn begin(&self, config: &str, http: &[&str], arguments: &[&str]) -> Penstock {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Penstock::start_with(
            &self.manifests,
            &Options {
                http: owned(http),
                workers: 2,
                config: Some(format!("routing: {{allowPlaintext: true}}\n{config}")),
                arguments: owned(arguments),
                ..Options::default()
            },
        )
    }
}

/// Requests that a backend got, on however many connections.
fn requests(backend: &RawBackend) -> usize {
    String::from_utf8_lossy(&backend.received().concat()).matches("GET / ").count()
}

fn steering_is(penstock: &Penstock, state: &str) -> bool {
    let labels = [("name", "steering"), ("state", state)];
    penstock.metric("penstock_kernel_acceleration", &labels) > 0.5
}

/// Whether the kernel refuses for this process.
fn in_kernel(penstock: &Penstock) -> bool {
    steering_is(penstock, "proven")
}

/// What a denied client meets.
fn refusal(penstock: &Penstock) -> Outcome {
    if in_kernel(penstock) { Outcome::Refused } else { Outcome::Closed }
}

fn refused(penstock: &Penstock, by: &str) -> f64 {
    penstock.metric("penstock_connections_refused_total", &[("reason", "denied-source"), ("by", by)])
}

/// Whether the kernel can do it here; if not, the test says so.
fn possible(test: &str, penstock: &Penstock) -> bool {
    let possible = in_kernel(penstock);
    if !possible {
        skipped(test, "no right to load eBPF programs, or a kernel without them");
    }
    possible
}

#[test]
fn denied_sources_are_refused_and_counted_and_others_are_served() {
    for config in RUNGS {
        let site = Site::new(DENIED);
        let penstock = site.start(config);
        let (by, other) =
            if in_kernel(&penstock) { ("kernel", "userspace") } else { ("userspace", "kernel") };
        for _ in 0..3 {
            assert_eq!(ask(DENIED, penstock.http(), HOST), refusal(&penstock), "{by}");
            assert_eq!(ask(GOOD, penstock.http(), HOST), Outcome::Answered(200), "{by}");
        }
        assert!((refused(&penstock, by) - 3.0).abs() < 0.5, "{by}: {}", refused(&penstock, by));
        assert!(refused(&penstock, other) < 0.5, "{other}: {}", refused(&penstock, other));
        assert_eq!(requests(&site.backend), 3, "no byte of a denied client reaches the backend");
    }
}

#[test]
fn both_families_are_denied_each_by_its_networks() {
    for config in RUNGS {
        let site = Site::new("'::1', 127.0.0.4/30");
        let penstock = site.start_at(config, &["[::]:0"], &[]);
        let port = penstock.http().port();
        let (v4, v6) = (SocketAddr::from(([127, 0, 0, 1], port)), format!("[::1]:{port}").parse().unwrap());
        for denied in ["127.0.0.4", "127.0.0.7"] {
            assert_eq!(ask(denied, v4, HOST), refusal(&penstock), "{denied}");
        }
        for good in ["127.0.0.3", "127.0.0.8"] {
            assert_eq!(ask(good, v4, HOST), Outcome::Answered(200), "{good}");
        }
        assert_eq!(ask("::1", v6, HOST), refusal(&penstock));
        // A network of one family has nothing of the other.
        site.deny("'::/0'");
        penstock.eventually("IPv4 is served again", |_| ask("127.0.0.4", v4, HOST) == Outcome::Answered(200));
        assert_eq!(ask("::1", v6, HOST), refusal(&penstock));
    }
}

#[test]
fn the_list_changes_at_run_time_and_no_connection_is_cut() {
    for config in RUNGS {
        let site = Site::new("");
        let penstock = site.begin(config, &["127.0.0.1:0"], &[]);
        assert!(
            steering_is(&penstock, "idle") || !config.is_empty() || steering_is(&penstock, "unavailable")
        );
        let mut open = Client::http_from(DENIED.parse().unwrap(), penstock.http()).unwrap();
        assert_eq!(open.get(HOST, "/").status(), 200);
        site.deny("127.0.0.0/29");
        penstock.eventually("the list is in force", |_| {
            ask(DENIED, penstock.http(), HOST) != Outcome::Answered(200)
        });
        assert_eq!(ask(DENIED, penstock.http(), HOST), refusal(&penstock));
        // What is open stays open, and its requests are refused one by one.
        assert_eq!(open.get(HOST, "/").status(), 403);
        site.deny("127.0.0.2/31, 127.0.0.8/29");
        penstock.eventually("127.0.0.1 is served again", |_| {
            ask(GOOD, penstock.http(), HOST) == Outcome::Answered(200)
        });
        for denied in [DENIED, "127.0.0.3", "127.0.0.9"] {
            assert_eq!(ask(denied, penstock.http(), HOST), refusal(&penstock), "{denied}");
        }
        site.deny("");
        penstock.eventually("nothing is denied", |_| {
            ask(DENIED, penstock.http(), HOST) == Outcome::Answered(200)
        });
        assert_eq!(open.get(HOST, "/").status(), 200, "the same connection");
        assert!(!in_kernel(&penstock), "the program is detached");
    }
}

#[test]
fn a_class_denies_for_itself_only() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{connections: {deniedSources: [127.0.0.0/8]}}");
    let penstock = &classes.penstock;
    assert!(!in_kernel(penstock), "the other class serves these clients");
    // By the name of the handshake.
    let config = classes.ca.client();
    let error = Client::try_https(penstock.https(), STRICT, &config).err().unwrap();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    // By the host of the request, on a connection that is for the other.
    let mut client = classes.client(LAX);
    assert_eq!(client.get(LAX, "/").status(), 200);
    let denied = client.get(STRICT, "/");
    assert_eq!((denied.status(), denied.text().contains("denied-source")), (403, true));
    assert_eq!(client.get(LAX, "/").status(), 200);
    // No answer of ours either, and no redirect.
    assert_eq!(ask(GOOD, penstock.http(), STRICT), Outcome::Answered(403));
    assert_eq!(ask(GOOD, penstock.http(), LAX), Outcome::Answered(308));
    assert_eq!(requests(&backend), 2);
    assert!((refused(penstock, "userspace") - 1.0).abs() < 0.5);
}

#[test]
fn a_class_denies_what_would_be_passed_through() {
    let backend = RawBackend::manual();
    let classes = Classes::new(&[backend.address()], "{connections: {deniedSources: [127.0.0.0/8]}}");
    for (class, host) in [("penstock", "lax-pass.test"), ("strict", "strict-pass.test")] {
        let ingress = Ingress::new("default", host).class(Some(class)).path(host, "/", "Prefix", "app");
        classes.manifests.ingress(&ingress.annotation("penstock.dev/ssl-passthrough", "true"));
    }
    let penstock = &classes.penstock;
    let connections =
        |result| penstock.metric("penstock_passthrough_connections_total", &[("result", result)]);
    let known = |host| penstock.admin_get("/table").text().contains(host);
    penstock.eventually("both are known", |_| known("lax-pass.test") && known("strict-pass.test"));
    let mut client = Client::http(penstock.https());
    client.send(client_hello("strict-pass.test"));
    let (end, received) = client.ended();
    assert!(matches!(end, End::Closed | End::Reset) && received.is_empty(), "{end:?} {received:?}");
    penstock.eventually("it is counted", |_| connections("denied-source") > 0.0);
    let hello = client_hello("lax-pass.test");
    let mut client = Client::http(penstock.https());
    client.send(&hello);
    // It is the first that the backend sees.
    let mut accepted = backend.accept();
    accepted.wait_for("\x16\x03");
    assert!(hello.starts_with(&accepted.received()));
}

#[test]
fn the_kernel_refuses_what_every_class_denies() {
    let backend = RawBackend::named("one");
    let config = format!("connections: {{deniedSources: [{DENIED}, 127.0.0.3]}}\n");
    let spec = format!("{{connections: {{deniedSources: [{DENIED}, 127.0.0.4]}}}}");
    let classes = Classes::configured(&[backend.address()], &spec, &config);
    let penstock = &classes.penstock;
    penstock.wait_log(IN_FORCE);
    assert_eq!(ask(DENIED, penstock.http(), LAX), refusal(penstock));
    for (source, host, status) in [
        ("127.0.0.3", LAX, 403),
        ("127.0.0.3", STRICT, 308),
        ("127.0.0.4", LAX, 308),
        ("127.0.0.4", STRICT, 403),
    ] {
        assert_eq!(ask(source, penstock.http(), host), Outcome::Answered(status), "{source} {host}");
    }
}

#[test]
fn behind_a_balancer_the_header_tells_who_is_denied() {
    for config in RUNGS {
        // The balancer's own address is in a denied network.
        let site = Site::new("127.0.0.0/8, 192.0.2.0/24");
        let proxy = format!("proxyProtocol: {{mode: Required, trustedSources: [{GOOD}]}}\n{config}");
        let penstock = site.start(&proxy);
        let header = |client: &str| format!("PROXY TCP4 {client} 198.51.100.1 40000 80\r\n");
        let ask = |client: &str| ask_after(GOOD, penstock.http(), &header(client), HOST);
        assert_eq!(ask("198.51.100.7"), Outcome::Answered(200));
        assert_eq!(ask("192.0.2.7"), Outcome::Closed);
        assert!((refused(&penstock, "userspace") - 1.0).abs() < 0.5);
        // Who is no balancer is the client itself.
        assert_eq!(self::ask(DENIED, penstock.http(), HOST), refusal(&penstock));
        assert_eq!(site.backend.received().len(), 1);
    }
}

#[test]
fn bodies_are_whole_on_connections_that_were_steered() {
    const LENGTH: usize = 3 << 20;
    let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes(), body.clone()].concat();
    let backend = RawBackend::scripted(move |_, _| vec![Step::Send(answer.clone())]);
    let config = format!("connections: {{deniedSources: [{DENIED}]}}\n");
    let spec = format!("{{connections: {{deniedSources: [{DENIED}]}}}}");
    let classes = Classes::configured(&[backend.address()], &spec, &config);
    let penstock = &classes.penstock;
    penstock.wait_log(IN_FORCE);
    for host in [LAX, STRICT] {
        let mut client = classes.client(host);
        for _ in 0..3 {
            assert!(client.get(host, "/").body == body, "{host}");
        }
    }
    let on =
        |name| penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", "proven")]) > 0.5;
    if on("ktls") && on("splice") {
        let labels = [("rung", "splice"), ("kind", "body")];
        assert!(penstock.metric("penstock_relay_transfers_total", &labels) > 0.5);
    }
    assert_eq!(ask(DENIED, penstock.http(), LAX), refusal(penstock));
}

#[test]
fn more_networks_than_the_kernel_is_asked_to_hold_are_refused_by_userspace() {
    let (manifests, backend) = (Manifests::empty(), RawBackend::named("one"));
    manifests.service("default", "app", &[backend.address()]);
    // Each class denies all of the others' blocks, and many addresses of its own: every class denies all addresses.
    let classes = 5_usize;
    for own in 0..classes {
        let blocks = (0..classes).filter(|block| *block != own).map(|block| format!("10.{block}.0.0/16"));
        let addresses = (0..250).map(|last| format!("10.{own}.{last}.1"));
        let networks: Vec<_> = blocks.chain(addresses).chain([DENIED.to_owned()]).collect();
        let name = format!("class-{own}");
        put_class(&manifests, &name, "2024-01-01T00:00:00Z", Some(&name));
        let spec = format!("{{connections: {{deniedSources: [{}]}}}}", networks.join(", "));
        put_proxy_class(&manifests, &name, &spec);
    }
    let ingress = Ingress::new("default", "app").class(Some("class-0"));
    manifests.ingress(&ingress.path(HOST, "/", "Prefix", "app"));
    let site = Site { manifests, backend };
    let penstock = site.start("");
    assert_eq!(ask(DENIED, penstock.http(), HOST), Outcome::Closed);
    assert_eq!(ask(GOOD, penstock.http(), HOST), Outcome::Answered(200));
    assert!((refused(&penstock, "userspace") - 1.0).abs() < 0.5);
    if !steering_is(&penstock, "unavailable") {
        penstock.wait_log("1251 source networks are denied");
        assert!(steering_is(&penstock, "withdrawn"));
    }
}

#[test]
fn a_handover_keeps_the_list_without_a_gap() {
    for config in RUNGS {
        let site = Site::new(DENIED);
        let name = ["--instance", "denied-sources-handover"];
        let mut before = site.start_at(config, &["127.0.0.1:0"], &name);
        let address = before.http();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // At no moment does a denied client get in, or another one meet a refusal.
                    let outcome = ask(DENIED, address, HOST);
                    assert!([Outcome::Refused, Outcome::Closed].contains(&outcome), "{outcome:?}");
                    assert_eq!(ask(GOOD, address, HOST), Outcome::Answered(200));
                    asked += 1;
                }
                asked
            });
            for _ in 0..3 {
                let after = site.start_at(config, &[&address.to_string()], &name);
                after.wait_log("took over");
                before.wait_exit();
                assert_eq!(ask(DENIED, address, HOST), refusal(&after));
                before = after;
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(asking.join().unwrap() > 0);
        });
    }
}

#[test]
fn instances_deny_for_their_own_addresses() {
    let (site, other) = (Site::new(DENIED), Site::new("127.0.0.3"));
    let (first, second) = (site.start(""), other.start(""));
    // A program of another kind, which has nothing to do with either.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    for (penstock, denied, good) in [(&first, DENIED, "127.0.0.3"), (&second, "127.0.0.3", DENIED)] {
        assert_eq!(ask(denied, penstock.http(), HOST), refusal(penstock));
        assert_eq!(ask(good, penstock.http(), HOST), Outcome::Answered(200));
    }
    for source in [DENIED, "127.0.0.3"] {
        let source: IpAddr = source.parse().unwrap();
        Client::http_from(source, stranger.local_addr().unwrap()).unwrap();
        // The admin port is none of the listeners' either.
        Client::http_from(source, first.admin()).unwrap();
    }
}

#[test]
fn a_listener_on_every_address_leaves_a_more_specific_one_its_connections() {
    let (site, other) = (Site::new("127.0.0.2"), Site::new("127.0.0.3"));
    let wide = site.start_at("", &["0.0.0.0:0"], &[]);
    let narrow = other.start_at("", &[&format!("127.0.0.9:{}", wide.http().port())], &[]);
    for (address, own) in
        [(narrow.http(), &other), (SocketAddr::from(([127, 0, 0, 1], wide.http().port())), &site)]
    {
        let before = own.backend.received().len();
        assert_eq!(ask(GOOD, address, HOST), Outcome::Answered(200));
        assert_eq!(own.backend.received().len(), before + 1, "{address}");
    }
}

#[test]
fn what_somebody_detaches_is_noticed_and_userspace_refuses() {
    let site = Site::new(DENIED);
    let penstock = site.start("");
    if !possible("what_somebody_detaches_is_noticed_and_userspace_refuses", &penstock) {
        return;
    }
    // Its link is the one whose program has our list; only this process has one for netns of this kind among its files.
    let Some(link) = link_of(&penstock) else {
        return skipped("what_somebody_detaches_is_noticed_and_userspace_refuses", "no fdinfo of links");
    };
    let output =
        std::process::Command::new("bpftool").args(["link", "detach", "id", &link]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    penstock.wait_log("somebody has detached the program penstock_steer");
    assert!(steering_is(&penstock, "withdrawn"));
    assert_eq!(ask(DENIED, penstock.http(), HOST), Outcome::Closed);
    assert_eq!(ask(GOOD, penstock.http(), HOST), Outcome::Answered(200));
}

/// The id of the BPF link that a process holds.
fn link_of(penstock: &Penstock) -> Option<String> {
    let files = std::fs::read_dir(format!("/proc/{}/fdinfo", penstock.pid())).ok()?;
    files.flatten().find_map(|file| {
        let text = std::fs::read_to_string(file.path()).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("link_id:"))?;
        Some(id.trim().to_owned())
    })
}
