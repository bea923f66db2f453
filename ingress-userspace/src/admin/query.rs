//! Parameters in a query (the URL standard's `application/x-www-form-urlencoded` parser, as far as needed).

/// The first value of a parameter, decoded; `None` if it is missing or no UTF-8.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    String::from_utf8(decode(value.as_bytes())).ok()
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let url = |query| parameter(query, "url");
        assert_eq!(url("url=https://a/b"), Some("https://a/b".to_owned()));
        assert_eq!(url("x=1&url=https%3A%2F%2Fa%2fb%3Fc%3Dd+e"), Some("https://a/b?c=d e".to_owned()));
        assert_eq!(url("url=100%&url=2"), Some("100%".to_owned()));
        assert_eq!(url("url=%zz%4"), Some("%zz%4".to_owned()));
        assert_eq!(url("url"), Some(String::new()));
        assert_eq!(url("url=%ff"), None);
        assert_eq!(url("urls=1"), None);
    }
}
