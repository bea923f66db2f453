//! Paths: one normal form, without anything that a backend could resolve once more.
#![no_main]

use ingress_core::http::{lenient_reading, normalize_path, parse_authority};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = normalize_path(text) {
        assert_normal(&path);
        if let Some(other) = lenient_reading(&path) {
            assert_ne!(other, path);
            assert_normal(&other);
        }
    }
    if let Ok(authority) = parse_authority(text.as_bytes()) {
        let mut again = authority.host.to_string();
        if let Some(port) = authority.port {
            again = format!("{again}:{port}");
        }
        assert_eq!(parse_authority(again.as_bytes()).as_ref(), Ok(&authority));
    }
});

fn assert_normal(path: &str) {
    assert_eq!(normalize_path(path).as_deref(), Ok(path));
    assert!(path.starts_with('/') && !path.contains("//"));
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
    assert!(path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'?' | b'#')));
}
