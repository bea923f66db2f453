//! Upgrades on a public path, and what follows on the connection: a backend that does not switch protocols gets no request that was not
//! decided about.

use super::case::{Case, get};
use super::rig::Rig;
use super::support::backend::RawBackend;
use super::support::manifests::Ingress;
use super::support::script::Step;
use super::support::sso::APP;

const SOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A backend that answers as the field `X-Answer` says.
fn backend() -> RawBackend {
    RawBackend::scripted(|request, _| {
        let answer = match request.field("x-answer") {
            Some("426") => {
                "426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
            }
            Some("403") => "403 Forbidden\r\nContent-Length: 0\r\n",
            Some("h2c") => "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
            Some("101") => "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            Some("body") => {
                "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n"
            }
            _ => "200 OK\r\nContent-Length: 0\r\n",
        };
        vec![Step::text(&format!("HTTP/1.1 {answer}\r\n"))]
    })
}

/// Class, name, and the answers.
fn cases() -> Vec<Case> {
    const H2C: &str =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let admin = get("/admin", "");
    let case = |class, name: &str, fields: &str, answers: &[u16]| Case {
        answers: answers.to_vec(),
        ..Case::refused(class, name, get("/public/up", fields) + &admin, 401)
    };
    let said = |fields: &str, answer: &str| format!("{fields}X-Answer: {answer}\r\n");
    let socket = "upgrades on a public path";
    let h2c = "h2c";
    let mut cases = vec![
        case(socket, "that the backend ignores", SOCKET, &[200, 401]),
        case(socket, "that the backend wants otherwise", &said(SOCKET, "426"), &[426, 401]),
        case(socket, "that the backend refuses", &said(SOCKET, "403"), &[403, 401]),
        case(socket, "of another version", &SOCKET.replace("13", "99"), &[200, 401]),
        case(socket, "without a key", "Connection: Upgrade\r\nUpgrade: websocket\r\n", &[200, 401]),
        case(socket, "that Connection does not name", "Upgrade: websocket\r\n", &[200, 401]),
        case(socket, "to something else", "Connection: Upgrade\r\nUpgrade: spdy/3.1\r\n", &[200, 401]),
        case(socket, "to TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n", &[200, 401]),
        case(socket, "that nobody asked for", "X-Answer: 101\r\n", &[502, 401]),
        case(h2c, "that the backend ignores", H2C, &[200, 401]),
        case(h2c, "that the backend takes", &said(H2C, "h2c"), &[502, 401]),
        case(
            h2c,
            "beside a WebSocket",
            &said(&SOCKET.replace("websocket", "h2c, websocket"), "426"),
            &[426, 401],
        ),
        case(h2c, "in a second field", &said(&format!("{SOCKET}Upgrade: h2c\r\n"), "426"), &[426, 401]),
        case(h2c, "in capitals", &said(&H2C.replace("h2c", "H2C"), "h2c"), &[502, 401]),
        case(
            h2c,
            "that Connection does not name",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            &[200, 401],
        ),
    ];
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let request = |fields: &str| get("/public/up", fields);
    cases.push(Case {
        answers: vec![200, 505],
        ..Case::refused(h2c, "by its preface", request("") + preface, 505)
    });
    cases.push(Case {
        answers: vec![200, 505],
        ..Case::refused(h2c, "by its preface after an upgrade", request(H2C) + preface, 505)
    });
    cases
}

/// Sends each. Returns how many were refused, by class.
#[track_caller]
pub(crate) fn run(rig: &mut Rig) -> std::collections::BTreeMap<&'static str, usize> {
    let backend = backend();
    rig.site.manifests.service("default", "up", &[backend.address()]);
    let ingress = Ingress::new("default", "app-up").path(APP, "/public/up", "Prefix", "up");
    let ingress = ingress.tls(&[APP], "app-test").annotation("penstock.dev/access-policy", "staff");
    rig.site.manifests.ingress(&ingress);
    rig.site.becomes("the backend is there", |site| {
        site.client(APP).request(get("/public/up", "X-Answer: 403\r\n")).status() == 403
    });
    rig.site.forwarded();
    let classes = rig.run(&cases());
    for received in backend.received() {
        let received = String::from_utf8_lossy(&received).to_lowercase();
        for never in ["/admin", "upgrade: h2c", "h2c,", "http2-settings", "pri *", "spdy", "tls/1.2"] {
            assert!(!received.contains(never), "the backend got {never}:\n{received}");
        }
    }
    // Where the backend does switch, the connection is its alone: nothing of it is a request any more.
    let mut client = rig.site.client(APP);
    client.send(get("/public/up", &format!("{SOCKET}X-Answer: 101\r\n")) + &get("/admin", ""));
    assert_eq!(client.response("GET").status(), 101);
    drop(client);
    assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new());
    classes
}
