//! `cargo xtask build-ebpf`: the object that the penstock binary embeds, from source to committed bytes.
//!
//! The object is committed, so that a plain `cargo build` needs no BPF toolchain, and its bytes depend on nothing but the
//! sources and the toolchain: paths are remapped, debug information (which names the compiler's units) is stripped; the
//! BTF stays. ADR 0001 tells why.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::packages::{self, Package, is_root};
use crate::shell::{Outcome, cargo, cargo_home, find, output, root, run as run_command, target};

/// Options of `cargo xtask build-ebpf`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write nothing: rebuild, and fail unless the committed object has the same bytes.
    #[arg(long)]
    check: bool,
}

/// An object: where it is committed, and the features of the crate that it has.
struct Object {
    path: &'static str,
    features: &'static [&'static str],
}

/// The one that serves, and the one whose programs say what they do.
const OBJECTS: [Object; 2] = [
    Object { path: "ingress-userspace/src/bpf/penstock.bpf.o", features: &[] },
    Object { path: "ingress-userspace/src/bpf/penstock-log.bpf.o", features: &["--features", "log"] },
];

/// The linker's version, and the LLVM that it is built against: a newer one may well give other bytes.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Debian's compiler comes with a `core` for the BPF target, which rustup's do not.
const DEBIAN: [Package; 7] = [
    Package { provides: "/usr/bin/rustc", name: "rustc-web" },
    Package { provides: "/usr/bin/cargo", name: "cargo-web" },
    Package { provides: DEBIAN_CORE, name: "libstd-rust-web-dev-bpf" },
    Package { provides: "/usr/lib/llvm-22/lib/libLLVM.so", name: "llvm-22-dev" },
    Package { provides: "/usr/lib/llvm-22/lib/libPolly.a", name: "libpolly-22-dev" },
    Package { provides: "/usr/bin/clang-22", name: "clang-22" },
    Package { provides: "/usr/bin/cc", name: "gcc" },
];
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none";

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The committed object is what the sources give.
    Equal,
    /// This machine cannot tell; the reason.
    Skipped(String),
}

/// Builds the object and writes it, or compares it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if arguments.check {
        if let Checked::Skipped(reason) = check()? {
            return Err(format!("cannot check the eBPF objects: {reason}").into());
        }
        println!("the eBPF objects are what the sources give");
        return Ok(());
    }
    let toolchain = choose()?;
    for object in OBJECTS {
        let bytes = build(toolchain, &object)?;
        fs::write(root().join(object.path), &bytes)?;
        println!("wrote {}: {} bytes", object.path, bytes.len());
    }
    Ok(())
}

/// Rebuilds the object and compares it with the committed one.
pub(crate) fn check() -> Outcome<Checked> {
    let toolchain = match choose() {
        Ok(Toolchain::Debian) => Toolchain::Debian,
        Ok(Toolchain::Nightly) => {
            return Ok(Checked::Skipped(
                "only Debian's compiler, which built it, gives the same bytes".to_owned(),
            ));
        }
        Err(error) => return Ok(Checked::Skipped(error.to_string())),
    };
    // The one that speaks has a few bytes that depend on where it is built: of it, the length is compared.
    for object in OBJECTS {
        let rebuilt = build(toolchain, &object)?;
        let committed = fs::read(root().join(object.path))?;
        let same =
            if object.features.is_empty() { rebuilt == committed } else { rebuilt.len() == committed.len() };
        if !same {
            return Err(differs(&object, &committed, &rebuilt)?.into());
        }
    }
    Ok(Checked::Equal)
}

fn differs(object: &Object, committed: &[u8], rebuilt: &[u8]) -> Outcome<String> {
    let versions = [output(Command::new("/usr/bin/rustc").arg("--version"))?, output(&mut linker_version())?];
    Ok(format!(
        "{} is not what the sources give ({} bytes committed, {} rebuilt by {}). \
         Run `cargo xtask build-ebpf` and commit the result.",
        object.path,
        committed.len(),
        rebuilt.len(),
        versions.map(|version| version.trim().to_owned()).join(", "),
    ))
}

fn linker_version() -> Command {
    let mut command = Command::new("bpf-linker");
    command.arg("--version").env("PATH", path_with_cargo_bin());
    command
}

/// Which compiler builds for the BPF target.
#[derive(Clone, Copy, Debug)]
enum Toolchain {
    /// Debian's, with a prebuilt `core` for the target.
    Debian,
    /// A rustup nightly with the component rust-src, which compiles `core` itself.
    Nightly,
}

/// Takes what is there, or installs Debian's, and says which.
fn choose() -> Outcome<Toolchain> {
    let chosen = if Path::new(DEBIAN_CORE).exists() {
        Toolchain::Debian
    } else if nightly_has_sources() {
        Toolchain::Nightly
    } else if is_root() && find("apt-get").is_some() {
        Toolchain::Debian
    } else {
        return Err("no BPF toolchain: on Debian run this as root once; elsewhere run `rustup toolchain install nightly \
                    --component rust-src` and `cargo install bpf-linker`"
            .into());
    };
    match chosen {
        Toolchain::Debian => {
            packages::ensure(&DEBIAN)?;
            eprintln!("building for BPF with Debian's rustc and its prebuilt core");
        }
        Toolchain::Nightly => eprintln!("building for BPF with nightly and rust-src"),
    }
    ensure_linker(chosen)?;
    Ok(chosen)
}

fn nightly_has_sources() -> bool {
    output(Command::new("rustc").args(["+nightly", "--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists())
}

/// Installs the linker when it is absent.
fn ensure_linker(toolchain: Toolchain) -> Outcome {
    if find("bpf-linker").is_some() {
        return Ok(());
    }
    if matches!(toolchain, Toolchain::Nightly) {
        return Err("bpf-linker is missing: run `cargo install bpf-linker`".into());
    }
    eprintln!("bpf-linker is missing: installing it once");
    let arguments = ["install", "--locked", "bpf-linker", "--version", BPF_LINKER, "--no-default-features"];
    run_command(
        cargo(&arguments)
            .args(["--features", "llvm-22"])
            .current_dir("/")
            .env("LLVM_PREFIX", LLVM)
            .env("LLVM_SYS_221_PREFIX", LLVM),
    )
}

/// Compiles and links the programs, and strips what depends on the build.
fn build(toolchain: Toolchain, object: &Object) -> Outcome<Vec<u8>> {
    let source = root().join("ingress-ebpf");
    let directory = target().join("ebpf");
    run_command(compiler(toolchain).current_dir(&source).args(["fetch", "--locked"]))?;
    let mut build = compiler(toolchain);
    build
        .current_dir(&source)
        .args(["build", "--locked", "--release", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&directory)
        .args(object.features)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags()?)
        .env("PATH", path_with_cargo_bin());
    if matches!(toolchain, Toolchain::Nightly) {
        build.args(["-Z", "build-std=core"]);
    }
    run_command(&mut build)?;
    let linked = directory.join("bpfel-unknown-none/release/penstock");
    let stripped = directory.join("penstock.bpf.o");
    let strip = ["llvm-strip-22", "llvm-strip"].into_iter().find_map(find).ok_or("llvm-strip is missing")?;
    run_command(Command::new(strip).arg("--strip-debug").arg(linked).arg("-o").arg(&stripped))?;
    Ok(fs::read(stripped)?)
}

/// The cargo that compiles for BPF, free of what the cargo that runs this program has set.
fn compiler(toolchain: Toolchain) -> Command {
    let mut command = match toolchain {
        Toolchain::Debian => {
            let mut command = Command::new("/usr/bin/cargo");
            // aya-ebpf and the programs use unstable features of the compiler; the variable allows them for those crates alone.
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "aya_ebpf,penstock");
            command
        }
        Toolchain::Nightly => {
            let mut command = Command::new("cargo");
            command.arg("+nightly");
            command
        }
    };
    for variable in ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTDOC", "CARGO"] {
        command.env_remove(variable);
    }
    command
}

/// The compiler's flags, as `CARGO_ENCODED_RUSTFLAGS` wants them.
fn rust_flags() -> Outcome<OsString> {
    let mut flags = OsString::from("-Clink-arg=--btf\u{1f}-Ctarget-cpu=v3\u{1f}-Dwarnings");
    for (path, name) in remapped()? {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
    }
    Ok(flags)
}

/// Paths of this machine, and what stands for them in the object. Of several that match, the compiler takes the last.
fn remapped() -> Outcome<Vec<(PathBuf, &'static str)>> {
    let mut paths = vec![(root(), "penstock")];
    let registries = cargo_home().ok_or("no home directory")?.join("registry/src");
    for registry in fs::read_dir(&registries)? {
        paths.push((registry?.path(), "registry"));
    }
    Ok(paths)
}

fn path_with_cargo_bin() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(cargo_home().map(|home| home.join("bin")));
    std::env::join_paths(directories).unwrap_or(path)
}
