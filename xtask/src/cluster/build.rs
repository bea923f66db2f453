//! Builds the programs of the cluster from their Go modules, into a cache outside the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use test_cluster::{Binaries, PROGRAMS, version};

use crate::shell::{Outcome, find, output, root, run};

/// Builds what the cache lacks, and returns where everything is.
pub(crate) fn ensure() -> Outcome<Binaries> {
    let binaries = Binaries::place();
    let is_missing = |program: &&str| binaries.program(program).is_err();
    if !PROGRAMS.iter().any(is_missing) {
        return Ok(binaries);
    }
    let cache = binaries.directory();
    fs::create_dir_all(cache).map_err(|error| format!("cannot make {}: {error}", cache.display()))?;
    let go = go()?;
    // Two builds at a time would do the same work twice. The second waits, and then finds that nothing is missing.
    let lock = File::create(cache.join(".lock"))?;
    lock.lock()?;
    for program in PROGRAMS.iter().copied().filter(is_missing) {
        build(&go, program, cache)?;
    }
    Ok(binaries)
}

/// The Go command, if it can build the modules.
fn go() -> Outcome<PathBuf> {
    let go = find("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|path| path.is_file()));
    let go = go.ok_or(
        "go is missing: Go 1.26 or later builds the Kubernetes programs; please install it (https://go.dev/doc/install)",
    )?;
    // In the directory of a module, go says whether it is new enough, or fetches the toolchain that is.
    let asked = output(Command::new(&go).args(["env", "GOVERSION"]).current_dir(manifests()));
    asked.map_err(|error| {
        format!("{error}Go 1.26 or later builds the Kubernetes programs; please install it, or let go fetch it: GOTOOLCHAIN=auto")
    })?;
    Ok(go)
}

/// Builds one program. It appears in the cache only when it is complete.
fn build(go: &Path, program: &str, cache: &Path) -> Outcome {
    eprintln!("{program} is not in {}: building it once, which takes minutes", cache.display());
    let begin = Instant::now();
    let unfinished = cache.join(format!(".{program}.unfinished"));
    let Recipe { module, package, flags } = recipe(program);
    let mut command = Command::new(go);
    command
        .args(["build", "-trimpath", "-ldflags", &format!("-s -w {flags}"), "-o"])
        .arg(&unfinished)
        .arg(package);
    // A workspace around the checkout would choose other versions than our go.mod.
    run(command.current_dir(module).envs([("CGO_ENABLED", "0"), ("GOWORK", "off")]))?;
    fs::rename(&unfinished, cache.join(program))?;
    eprintln!("built {program} in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// How a program is built.
struct Recipe {
    /// The directory of the module that pins its sources.
    module: PathBuf,
    /// Its package.
    package: String,
    /// What the linker writes into it: versions, as release builds have them.
    flags: String,
}

fn recipe(program: &str) -> Recipe {
    let version = version();
    let mut recipe = Recipe { module: manifests(), package: String::new(), flags: String::new() };
    match program {
        "etcd" => "go.etcd.io/etcd/server/v3".clone_into(&mut recipe.package),
        "helm" => {
            recipe.module.push("helm");
            "helm.sh/helm/v3/cmd/helm".clone_into(&mut recipe.package);
            recipe.flags = helm_flags(version);
        }
        _ => {
            recipe.package = format!("k8s.io/kubernetes/cmd/{program}");
            // The API server compares it with the versions of its features, and does not start without.
            recipe.flags = format!("-X k8s.io/component-base/version.gitVersion={version}");
        }
    }
    recipe
}

/// The version of Kubernetes that Helm renders and lints for when it asks no cluster.
fn helm_flags(kubernetes: &str) -> String {
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let flags = ["lint/rules", "chartutil"].map(|package| {
        let variable = format!("helm.sh/helm/v3/pkg/{package}.k8sVersion");
        format!("-X {variable}Major={major} -X {variable}Minor={minor}")
    });
    flags.join(" ")
}

fn manifests() -> PathBuf {
    root().join("xtask/kubernetes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_a_manifest_that_pins_it() {
        for program in PROGRAMS {
            let Recipe { module, package, .. } = recipe(program);
            let manifest = fs::read_to_string(module.join("go.mod")).unwrap();
            assert!(manifest.contains(&package), "{program}");
        }
    }

    #[test]
    fn helm_renders_for_the_version_that_the_cluster_has() {
        let flags = helm_flags("v1.37.2");
        assert!(
            flags.contains("chartutil.k8sVersionMajor=1 ") && flags.ends_with("chartutil.k8sVersionMinor=37")
        );
    }
}
