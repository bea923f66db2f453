//! Properties, on generated input that leans towards what parsers disagree about.

use proptest::prelude::*;

use super::chunked::decode;
use super::*;

/// Path-like text, dense in everything that the normalisation table names.
fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", "a", "b", "admin", "public", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", ";",
        ";x=y", "%3b", "%61", "%25", "%20", "%c3%a9", "//", "/./", "/../", "%", "%0", "\\", "-", "~",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// A prefix rule as Kubernetes allows it.
fn rule_path() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec!["a", "b", "admin", "public", "..b", "a;x=y", "%20"]);
    prop::collection::vec(element, 0..3).prop_map(|elements| format!("/{}", elements.join("/")))
}

/// Element-wise prefix, as the Ingress API defines it.
fn prefix_matches(rule: &str, path: &str) -> bool {
    let elements = |p: &str| p.split('/').filter(|e| !e.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    elements(path).starts_with(&elements(rule))
}

/// RFC 3986 section 5.2.4, transcribed.
fn remove_dot_segments(mut input: String) -> String {
    let mut output = String::new();
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("../").or_else(|| input.strip_prefix("./")) {
            input = rest.to_owned();
        } else if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "." || input == ".." {
            input.clear();
        } else {
            let end = input[1..].find('/').map_or(input.len(), |slash| slash + 1);
            output.push_str(&input[..end]);
            input = input[end..].to_owned();
        }
    }
    output
}

/// Decodes every octet, slashes and all.
fn decode_all(path: &str) -> String {
    let mut bytes = path.as_bytes();
    let mut out = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let octet = (first == b'%')
            .then(|| rest.get(..2).and_then(|d| std::str::from_utf8(d).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(octet.unwrap_or(first));
        bytes = if octet.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What different backends could make of a path: each order of decoding, merging, resolving.
fn naive_readings(raw: &str) -> Vec<String> {
    let merge = |path: String| {
        let mut path = path;
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    };
    let decoded = decode_all(raw).replace('\\', "/");
    vec![
        remove_dot_segments(decoded.clone()),
        remove_dot_segments(merge(decoded.clone())),
        remove_dot_segments(decode_all(&remove_dot_segments(merge(raw.to_owned())))),
        merge(remove_dot_segments(decoded)),
    ]
}

/// Request heads from fragments, many of them bad.
fn raw_request() -> impl Strategy<Value = Vec<u8>> {
    let method =
        prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "DELETE", "get", "TRACE", "M-SEARCH"]);
    let target = prop_oneof![
        raw_path(),
        raw_path().prop_map(|p| format!("{p}?q=/../x")),
        raw_path().prop_map(|p| format!("http://B.example:81{p}")),
        Just("*".to_owned()),
    ];
    let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]);
    let line = prop::sample::select(vec![
        "Content-Length: 5",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "content-length: 0",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked ",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        " Content-Length: 7",
        "Host: evil",
        "Connection: close",
        "Connection: keep-alive, X-A",
        "Connection: content-length, host",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "X-A: 1",
        "X-Forwarded-For: 1.2.3.4",
        "X_Forwarded_For: 1.2.3.4",
        "Forwarded: for=x",
        "TE: trailers",
        "Trailer: X",
        "Expect: 100-continue",
        "X: \u{1}",
        "X: a\rb",
        "X: a\nContent-Length: 9",
        "Keep-Alive: 1",
        "X-Real-IP: ::1",
        "X-Forwarded-Host: h",
        "X-Request-ID: i",
        "Cookie: c=d",
    ]);
    (method, target, version, prop::collection::vec(line, 0..6), any::<bool>()).prop_map(
        |(method, target, version, lines, lf)| {
            let end = if lf && lines.len() == 5 { "\n" } else { "\r\n" };
            let mut raw = format!("{method} {target} {version}\r\nHost: a.Example\r\n");
            for line in lines {
                raw.push_str(line);
                raw.push_str(end);
            }
            raw.push_str("\r\n");
            raw.into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn normalisation_is_idempotent(raw in raw_path()) {
        if let Ok(once) = normalize_path(&raw) {
            prop_assert_eq!(normalize_path(&once), Ok(once.clone()));
            prop_assert!(once.starts_with('/') && !once.contains("//"));
            prop_assert!(once.split('/').all(|s| s != "." && s != ".."));
        }
    }

    #[test]
    fn normalisation_never_widens_a_match(raw in raw_path(), rule in rule_path()) {
        let Ok(normal) = normalize_path(&raw) else { return Ok(()) };
        if prefix_matches(&rule, &normal) {
            // However a backend reads what the client sent, it is below the rule as well.
            for reading in naive_readings(&raw) {
                prop_assert!(prefix_matches(&decode_all(&rule), &reading), "{normal} but {reading}");
            }
        }
    }

    #[test]
    fn a_rule_is_not_evaded(raw in raw_path(), rule in rule_path().prop_map(|r| r.replace(['%', ';'], ""))) {
        let Ok(normal) = normalize_path(&raw) else { return Ok(()) };
        let other = lenient_reading(&normal).unwrap_or_else(|| normal.to_string());
        for reading in naive_readings(&normal) {
            let bare: Vec<&str> = reading.split('/').map(|s| s.split(';').next().unwrap_or(s)).collect();
            if prefix_matches(&rule, &reading) || prefix_matches(&rule, &bare.join("/")) {
                let seen = prefix_matches(&rule, &normal) || prefix_matches(&rule, &other);
                prop_assert!(seen, "{normal} or {other}, but {reading}");
            }
        }
    }

    #[test]
    fn any_text_normalises_or_is_refused(raw in "\\PC{0,40}") {
        if let Ok(once) = normalize_path(&raw) {
            prop_assert!(once.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(normalize_path(&once), Ok(once.clone()));
        }
    }

    #[test]
    fn what_is_forwarded_has_one_reading(raw in raw_request(), trusted in any::<bool>()) {
        let Ok(Some(first)) = see(&raw) else { return Ok(()) };
        let context = ForwardContext { trusted, ..CONTEXT };
        let out = forward(&raw, &context);
        let limits = HeadLimits { head: 1 << 16, headers: 100, uri: 1024 };
        let second = see_limited(out.as_bytes(), &limits);
        let expected = Seen {
            len: out.len(),
            version: Version::Http11,
            keep_alive: true,
            expect_continue: false,
            ..first
        };
        prop_assert_eq!(second, Ok(Some(expected)));
        prop_assert_eq!(values(&out, "Host").len(), 1);
        let lengths = values(&out, "Content-Length").len() + values(&out, "Transfer-Encoding").len();
        prop_assert!(lengths <= 1);
        for name in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "X-Request-ID", "Forwarded"] {
            prop_assert_eq!(values(&out, name).len(), 1, "{} in {}", name, out);
        }
        for name in ["TE", "Trailer", "Keep-Alive", "Expect", "X_Forwarded_For", "Transfer_Encoding"] {
            prop_assert!(values(&out, name).is_empty(), "{} in {}", name, out);
        }
    }

    #[test]
    fn arrival_does_not_matter(raw in raw_request()) {
        match (see(&raw), see_slowly(&raw, &LIMITS)) {
            (Err(_), Err(_)) => {}
            (whole, slowly) => prop_assert_eq!(whole, slowly),
        }
    }

    #[test]
    fn chunks_decode_alike_at_any_split(
        chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), any::<bool>()), 0..6),
        noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        piece in 1_usize..64,
    ) {
        let mut raw = Vec::new();
        for (data, extension) in &chunks {
            if *extension {
                raw.extend_from_slice(format!("{:X};n=v\r\n", data.len()).as_bytes());
            } else {
                write_chunk_header(&mut raw, data.len());
            }
            raw.extend_from_slice(data);
            raw.extend_from_slice(CHUNK_END);
        }
        raw.extend_from_slice(LAST_CHUNK);
        if let Some((at, byte)) = &noise {
            let at = at.index(raw.len());
            raw[at] = *byte;
        } else {
            let body: Vec<u8> = chunks.iter().flat_map(|(data, _)| data.clone()).collect();
            prop_assert_eq!(decode(&raw, raw.len()), Ok((body, Some(raw.len()))));
        }
        prop_assert_eq!(decode(&raw, raw.len()), decode(&raw, piece));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = see(&raw);
        let _ = decode(&raw, 7);
        let mut storage = header_storage();
        let _ = parse_response(&raw, &mut storage, &LIMITS, "GET");
    }
}
