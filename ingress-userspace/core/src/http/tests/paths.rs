//! The normalisation table of docs/http.md, row by row.

use std::borrow::Cow;

use super::*;

#[test]
fn paths_have_one_form() {
    let cases = [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/b", "/a/b"),
        ("/A/b", "/A/b"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../../c", "/c"),
        ("/a/./../b/./c/..", "/b/"),
        ("/...", "/..."),
        ("/a/..b", "/a/..b"),
        ("/a/b..", "/a/b.."),
        ("/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x"),
        ("//", "/"),
        ("///a", "/a"),
        ("/a//b", "/a/b"),
        ("/a//", "/a/"),
        ("/a/.//b", "/a/b"),
        ("/%61", "/a"),
        ("/%41%5a%30%7E%2d%5F", "/AZ0~-_"),
        ("/%2e", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%2ewell-known", "/.well-known"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%2f%2f", "/%2F%2F"),
        ("/a%5cb", "/a%5Cb"),
        ("/%20%22%3c", "/%20%22%3C"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%25", "/%25"),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/%252f", "/%252f"),
        ("/%25%32%65", "/%252e"),
        ("/%0a%0d", "/%0A%0D"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/a;b/../c", "/c"),
        ("/a%3bb", "/a%3Bb"),
        ("/;/a", "/;/a"),
        ("/a:b@c!$&'()*+,=~", "/a:b@c!$&'()*+,=~"),
        ("/\"<>[]^`{|}", "/\"<>[]^`{|}"),
    ];
    for (raw, normal) in cases {
        assert_eq!(normalize_path(raw).as_deref(), Ok(normal), "{raw}");
        assert_eq!(normalize_path(normal).as_deref(), Ok(normal), "{raw}: not idempotent");
    }
}

#[test]
fn paths_with_two_readings_are_refused() {
    let cases = [
        ("", "path-invalid"),
        ("a", "path-invalid"),
        ("*", "path-invalid"),
        ("/..", "path-invalid"),
        ("/../a", "path-invalid"),
        ("/a/../../b", "path-invalid"),
        ("/%2e%2e/a", "path-invalid"),
        ("/%", "path-invalid"),
        ("/%1", "path-invalid"),
        ("/%zz", "path-invalid"),
        ("/%2", "path-invalid"),
        ("/%%32%65", "path-invalid"),
        ("/%u002e", "path-invalid"),
        ("/%+1", "path-invalid"),
        ("/%\u{661}", "target-invalid"),
        ("/%00", "path-invalid"),
        ("/a%00.png", "path-invalid"),
        ("/a\\b", "target-invalid"),
        ("/..\\a", "target-invalid"),
        ("/a b", "target-invalid"),
        ("/a\0", "target-invalid"),
        ("/\u{7f}", "target-invalid"),
        ("/\u{e9}", "target-invalid"),
        ("/a?b", "target-invalid"),
        ("/a#b", "target-invalid"),
        ("/a//../b", "path-ambiguous"),
        ("/a/..//b", "path-ambiguous"),
        ("/a/..%2fb", "path-ambiguous"),
        ("/a/%2f..", "path-ambiguous"),
        ("/a/%2e%2e%2fb", "path-ambiguous"),
        ("/a%2f%2e%2fb", "path-ambiguous"),
        ("/a/..%5cb", "path-ambiguous"),
        ("/a%5c..%5cb", "path-ambiguous"),
        ("/a%2fb/../c", "path-ambiguous"),
        ("/a/..;/b", "path-ambiguous"),
        ("/a/..;x=y/b", "path-ambiguous"),
        ("/a/.;/b", "path-ambiguous"),
        ("/a/%2e%2e;/b", "path-ambiguous"),
        ("/a/..%3b/b", "path-ambiguous"),
        ("/a/x%2f..;y/b", "path-ambiguous"),
        ("/a;x%2fb", "path-ambiguous"),
        ("/;%5c-%2fb", "path-ambiguous"),
        ("/a%3bx%2fb", "path-ambiguous"),
    ];
    for (raw, kind) in cases {
        assert_eq!(normalize_path(raw).map_err(|r| (r.status, r.kind)), Err((400, kind)), "{raw}");
    }
}

#[test]
fn a_normal_path_is_not_copied() {
    assert!(matches!(normalize_path("/api/v1/users.json"), Ok(Cow::Borrowed(_))));
}

#[test]
fn lenient_readings_are_found() {
    let cases = [
        ("/", None),
        ("/a/b", None),
        ("/a%20b", None),
        ("/admin%2Fusers", Some("/admin/users")),
        ("/admin%5Cusers", Some("/admin/users")),
        ("/%2Fadmin", Some("/admin")),
        ("/admin%2F", Some("/admin/")),
        ("/admin;x", Some("/admin")),
        ("/admin;x/users", Some("/admin/users")),
        ("/admin%3Bx/users", Some("/admin/users")),
        ("/;/admin", Some("/admin")),
        ("/;", Some("/")),
        ("/a/;x", Some("/a/")),
        ("/%2F", Some("/")),
        ("/a%2Fc;b", Some("/a/c")),
    ];
    for (normal, lenient) in cases {
        assert_eq!(normalize_path(normal).as_deref(), Ok(normal), "the case is not normal: {normal}");
        assert_eq!(lenient_reading(normal).as_deref(), lenient, "{normal}");
    }
}
