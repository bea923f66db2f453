//! Programs of another Debian suite, beside the installed ones: downloaded through an apt state of their own,
//! unpacked, and started with their own libraries by their own loader. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Outcome, output, root, run};

/// An unpacked set of programs with everything they need.
pub(super) struct Unpacked {
    directory: PathBuf,
}

/// Downloads and unpacks Debian packages of a suite, once: later calls find them.
pub(super) fn unpack(suite: &str, packages: &[&str]) -> Outcome<Unpacked> {
    if suite.is_empty() || !suite.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("{suite} is not the name of a suite").into());
    }
    let directory = root().join("target/bench").join(suite);
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(Unpacked { directory });
    }
    let apt = Apt::new(&directory.join("apt"), suite)?;
    run(&mut apt.command("apt-get", &["update", "-qq"]))?;
    let mut names = apt.libraries(packages)?;
    names.extend(packages.iter().map(|name| (*name).to_owned()));
    let archives = directory.join("archives");
    fs::create_dir_all(&archives)?;
    run(apt.command("apt-get", &["download", "-qq"]).args(names).current_dir(&archives))?;
    for entry in fs::read_dir(&archives)? {
        run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(directory.join("root")))?;
    }
    fs::write(complete, "")?;
    Ok(Unpacked { directory })
}

impl Unpacked {
    /// The command that starts a program, given by its path in the package.
    pub(super) fn command(&self, program: &str) -> Outcome<Vec<String>> {
        let root = self.directory.join("root");
        let mut libraries = Vec::new();
        let mut loader = None;
        for directory in multiarch_directories(&root)? {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let is_loader = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux"));
                loader = loader.or_else(|| is_loader.then_some(path));
            }
            libraries.push(directory.display().to_string());
        }
        let loader = loader.ok_or("the unpacked libc6 has no loader")?;
        let program = root.join(program.trim_start_matches('/'));
        if !program.exists() {
            return Err(format!("{} was not unpacked", program.display()).into());
        }
        Ok(vec![
            loader.display().to_string(),
            "--library-path".to_owned(),
            libraries.join(":"),
            program.display().to_string(),
        ])
    }
}

/// `usr/lib/x86_64-linux-gnu` and its like on other machines.
fn multiarch_directories(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("usr/lib"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-gnu")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// An apt whose sources, lists and knowledge of what is installed are its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(directory: &Path, suite: &str) -> Outcome<Self> {
        let sources = machine_sources()?;
        let lines: Vec<String> = sources.iter().map(|source| source.line(suite)).collect();
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(sub))?;
        }
        let (list, installed) = (directory.join("sources.list"), directory.join("installed"));
        fs::write(&list, lines.join("\n") + "\n")?;
        // As if nothing were installed: then apt names every library.
        fs::write(&installed, "")?;
        let directory = directory.display();
        let options = [
            format!("Dir::State={directory}/state"),
            format!("Dir::State::status={}", installed.display()),
            format!("Dir::Cache={directory}/cache"),
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            // Our directory need not be readable for apt's own user.
            "APT::Sandbox::User=".to_owned(),
        ];
        Ok(Self { options: options.into() })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command.args(arguments);
        command
    }

    /// The libraries that some packages need, and theirs.
    fn libraries(&self, packages: &[&str]) -> Outcome<Vec<String>> {
        let arguments = ["install", "--simulate", "--no-install-recommends"];
        let plan = output(self.command("apt-get", &arguments).args(packages))?;
        Ok(plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
            .filter(|name| name.starts_with("lib") || name.starts_with("zlib"))
            .map(str::to_owned)
            .collect())
    }
}

/// Where the machine takes its own suite from.
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

fn machine_sources() -> Outcome<Vec<Source>> {
    let codename = codename(&fs::read_to_string("/etc/os-release")?).ok_or("this is not a Debian release")?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(deb822_sources(&text, &codename)),
            Some("list") => sources.extend(one_line_sources(&text, &codename)),
            _ => {}
        }
    }
    if sources.is_empty() {
        return Err(format!("no archive for {codename} in /etc/apt").into());
    }
    Ok(sources)
}

fn codename(os_release: &str) -> Option<String> {
    let value = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME").map(str::to_owned))?
}

/// Stanzas of `Name: value` lines, separated by empty lines; a line that starts with a space goes on.
fn deb822_sources(text: &str, codename: &str) -> Vec<Source> {
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
            let wanted = has("Types", "deb") && has("Suites", codename) && has("Components", "main");
            let uri = field("URIs")?.split_whitespace().next()?.to_owned();
            let signed_by = field("Signed-By").filter(|key| key.starts_with('/')).map(str::to_owned);
            (wanted && field("Enabled") != Some("no")).then_some(Source { uri, signed_by })
        })
        .collect()
}

/// `deb [option=value …] uri suite component …`
fn one_line_sources(text: &str, codename: &str) -> Vec<Source> {
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
            (suite == codename && words.any(|component| component == "main"))
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
