//! Policies that cannot be enforced: everything is denied with 503, whoever asks and however.

use super::case::Case;
use super::support::sso::BROKEN;

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let requests = [
        ("a page", "/", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"),
        ("a public path", "/public/a", ""),
        ("a health check", "/health", "User-Agent: kube-probe/1.37\r\n"),
        ("a token", "/", "Authorization: Bearer forged\r\n"),
        ("a cookie", "/", "Cookie: __Host-penstock-session-TAG=AAAA\r\n"),
        (
            "a WebSocket",
            "/",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        ("the callback", "/.penstock/callback?code=a&state=AAAAAAAAAAAAAAAAAAAAAA", ""),
        ("the sign-in", "/.penstock/sign-in?return=/", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"),
    ];
    let case = |host: &'static str, (name, target, fields): &(&str, &str, &str)| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        Case::refused("policies that cannot be enforced", format!("{host}, {name}"), request, 503)
            .server_name(host)
    };
    BROKEN.iter().flat_map(|host| requests.iter().map(move |request| case(host, request))).collect()
}
