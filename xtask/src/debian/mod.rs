//! Debian packages of other suites than the machine's own: downloaded through an apt state of their own, from the
//! archives that the machine uses. Nothing is installed, and the machine's apt is not changed.

mod sources;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{Outcome, output, run};

/// An apt whose sources, lists and knowledge of what is installed are its own.
pub(crate) struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Reads the lists of some suites into a directory. A suite whose name ends in `-security` is one of the security archive.
    pub(crate) fn new(directory: &Path, suites: &[&str]) -> Outcome<Self> {
        let list_text = sources::list(suites)?;
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(sub))?;
        }
        let (list, installed) = (directory.join("sources.list"), directory.join("installed"));
        fs::write(&list, list_text)?;
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
        let apt = Self { options: options.into() };
        run(&mut apt.command("apt-get", &["update", "-qq"]))?;
        Ok(apt)
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
    pub(crate) fn libraries(&self, packages: &[&str]) -> Outcome<Vec<String>> {
        let arguments = ["install", "--simulate", "--no-install-recommends"];
        let plan = output(self.command("apt-get", &arguments).args(packages))?;
        Ok(plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
            .filter(|name| name.starts_with("lib") || name.starts_with("zlib"))
            .map(str::to_owned)
            .collect())
    }

    /// A package and all that it depends on, whichever alternative apt would take.
    pub(crate) fn closure(&self, package: &str) -> Outcome<Vec<String>> {
        let arguments = ["depends", "--recurse", "--important", package];
        let tree = output(&mut self.command("apt-cache", &arguments))?;
        // Packages stand at the beginning of a line, what they depend on is indented, a virtual one is in brackets.
        let starts_name = |line: &&str| line.starts_with(|first: char| first.is_ascii_alphanumeric());
        Ok(tree.lines().filter(starts_name).map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them into one tree, without what they would do when installed.
    pub(crate) fn unpack(&self, packages: &[String], archives: &Path, into: &Path) -> Outcome {
        fs::create_dir_all(archives)?;
        run(self.command("apt-get", &["download", "-qq"]).args(packages).current_dir(archives))?;
        for entry in fs::read_dir(archives)? {
            run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(into))?;
        }
        Ok(())
    }
}
