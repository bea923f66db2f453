//! Where the machine takes its packages from, and the lines that name other suites of the same archives.

use std::fs;
use std::path::PathBuf;

use crate::shell::Outcome;

/// A sources.list(5) for some suites, of which one whose name ends in `-security` is taken from the security archive.
pub(super) fn list(suites: &[&str]) -> Outcome<String> {
    let codename = codename(&fs::read_to_string("/etc/os-release")?).ok_or("this is not a Debian release")?;
    let files = files();
    let mut list = String::new();
    for suite in suites {
        if suite.is_empty() || !suite.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("{suite} is not the name of a suite").into());
        }
        let own =
            if suite.ends_with("-security") { format!("{codename}-security") } else { codename.clone() };
        let sources = sources(&files, &own);
        if sources.is_empty() {
            return Err(format!("no archive for {own} in /etc/apt").into());
        }
        for source in sources {
            list.push_str(&source.line(suite));
            list.push('\n');
        }
    }
    Ok(list)
}

/// A file of apt's, and its text.
struct File {
    is_deb822: bool,
    text: String,
}

fn files() -> Vec<File> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    let read = |path: PathBuf| {
        let is_deb822 = match path.extension()?.to_str()? {
            "sources" => true,
            "list" => false,
            _ => return None,
        };
        Some(File { is_deb822, text: fs::read_to_string(path).ok()? })
    };
    paths.into_iter().filter_map(read).collect()
}

fn sources(files: &[File], suite: &str) -> Vec<Source> {
    let of = |file: &File| {
        if file.is_deb822 { deb822_sources(&file.text, suite) } else { one_line_sources(&file.text, suite) }
    };
    files.iter().flat_map(of).collect()
}

/// Where the machine takes a suite from.
#[derive(Debug, PartialEq)]
struct Source {
    uri: String,
    signed_by: Option<String>,
}

impl Source {
    /// The same archive, another suite, in one-line style (sources.list(5)).
    fn line(&self, suite: &str) -> String {
        match &self.signed_by {
            Some(key) => format!("deb [signed-by={key}] {} {suite} main", self.uri),
            None => format!("deb {} {suite} main", self.uri),
        }
    }
}

fn codename(os_release: &str) -> Option<String> {
    let value = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME").map(str::to_owned))?
}

/// Stanzas of `Name: value` lines, separated by empty lines; a line that starts with a space goes on.
fn deb822_sources(text: &str, wanted_suite: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    stanzas
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim())
                })
            };
            let has =
                |name: &str, word: &str| field(name).is_some_and(|v| v.split_whitespace().any(|w| w == word));
            let wanted = has("Types", "deb") && has("Suites", wanted_suite) && has("Components", "main");
            let uri = field("URIs")?.split_whitespace().next()?.to_owned();
            let signed_by = field("Signed-By").filter(|key| key.starts_with('/')).map(str::to_owned);
            (wanted && field("Enabled") != Some("no")).then_some(Source { uri, signed_by })
        })
        .collect()
}

/// `deb [option=value …] uri suite component …`
fn one_line_sources(text: &str, wanted_suite: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim_start();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace();
            let (uri, suite) = (words.next()?, words.next()?);
            let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
            (suite == wanted_suite && words.any(|component| component == "main"))
                .then(|| Source { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, signed_by: Option<&str>) -> Source {
        Source { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) }
    }

    #[test]
    fn deb822_stanzas_of_the_own_suite_are_found() {
        let text = "Types: deb\n# comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://b.example\nSuites: other\nComponents: main\n";
        assert_eq!(deb822_sources(text, "bookworm"), [source("http://a.example/debian", Some("/k.gpg"))]);
    }

    #[test]
    fn lines_of_the_own_suite_are_found() {
        let text = "# deb http://no.example bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example bookworm main\n\
            deb http://b.example bookworm-security main\ndeb http://c.example bookworm main contrib\n";
        let expected = [source("http://a.example", Some("/k.gpg")), source("http://c.example", None)];
        assert_eq!(one_line_sources(text, "bookworm"), expected);
        assert_eq!(expected[0].line("forky"), "deb [signed-by=/k.gpg] http://a.example forky main");
    }

    #[test]
    fn only_debian_has_a_codename() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
    }
}
