//! `cargo xtask vm`: test suites in virtual machines, on kernels that this machine does not run.
//!
//! ```text
//!  Debian ─► kernels, modules ─┐
//!  cargo ─► test programs ─────┼─► one archive ─► a boot per kernel and variant ─► one table
//!  this machine ─► libraries ──┘
//! ```
//!
//! The emulator translates every instruction, so timings in the guest mean nothing, and virtualization by the processor is
//! not needed. A boot has succeeded when the guest has said so in a line, no test has failed, and its kernel had
//! nothing to complain of.

pub(crate) mod benchmark;
mod boot;
mod image;
mod kernel;
mod machine;
mod report;
mod transcript;
mod variant;

use std::fs;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::boot::Boot;
use self::image::Image;
use self::kernel::{Kernel, Series};
use self::variant::{Lockdown, Missing, Variant};
use crate::packages::{self, Package};
use crate::shell::{Outcome, target};
use crate::test::build::{self, Profile, Suite};

/// Options of `cargo xtask vm`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Kernels to boot, or `all`
    #[arg(long, value_name = "SERIES", default_value = "6.12", value_delimiter = ',')]
    kernel: Vec<String>,
    /// Test programs of ingress-userspace to run
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', default_values = SUITES)]
    suite: Vec<String>,
    /// What the guest lacks
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Missing>,
    /// What the kernel refuses even to root
    #[arg(long, value_enum, value_name = "LEVEL")]
    lockdown: Option<Lockdown>,
    /// Boot each kernel with everything, once more without each thing, and locked down
    #[arg(long, conflicts_with_all = ["without", "lockdown"])]
    variants: bool,
    /// Seconds that one boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    limit: u64,
    /// How to compile what runs in the guest
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Variables of the environment of the suites
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Fetch the kernels anew, although there are some in the cache
    #[arg(long)]
    update: bool,
    /// Print the kernels and suites, and boot nothing
    #[arg(long)]
    list: bool,
}

impl Arguments {
    /// One suite, and what it is told: for as long as that takes.
    pub(crate) fn soak(kernel: &str, variables: &[(&str, String)]) -> Self {
        Self {
            kernel: vec![kernel.to_owned()],
            suite: vec!["soak".to_owned()],
            without: Vec::new(),
            lockdown: None,
            variants: false,
            limit: 24 * 3600,
            profile: Profile::Guest,
            env: variables
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .chain(["RUST_TEST_NOCAPTURE=1".to_owned()])
                .collect(),
            update: false,
            list: false,
        }
    }
}

/// The suites about what the kernel does for us.
const SUITES: [&str; 17] = [
    "verifier",
    "doctor",
    "ebpf",
    "denied_sources",
    "relay_contract",
    "ktls",
    "sockmap",
    "sockmap_bodies",
    "sockmap_overlap",
    "kernel_faults",
    "passthrough",
    "h1_upgrade",
    "h1_spliced",
    "serving",
    "sso_rungs",
    "rungs_end_to_end",
    "soak",
];

const PACKAGES: [Package; 11] = [
    Package { provides: "qemu-system-x86_64", name: "qemu-system-x86" },
    Package { provides: "busybox", name: "busybox-static" },
    Package { provides: "cpio", name: "cpio" },
    Package { provides: "modprobe", name: "kmod" },
    Package { provides: "xz", name: "xz-utils" },
    Package { provides: "strip", name: "binutils" },
    Package { provides: "ldd", name: "libc-bin" },
    Package { provides: "setpriv", name: "util-linux" },
    Package { provides: "openssl", name: "openssl" },
    Package { provides: "bpftool", name: "bpftool" },
    Package { provides: "haproxy", name: "haproxy" },
];

/// Boots every kernel that was asked for, and says at the end what happened.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let series = series(&arguments.kernel)?;
    if arguments.list {
        println!("kernels: {}", names(Series::value_variants()));
        println!("suites: {}", arguments.suite.join(" "));
        return Ok(());
    }
    if !cfg!(target_arch = "x86_64") {
        return Err("the guests run the programs of this machine, which must be x86_64".into());
    }
    let programs = target().join(arguments.profile.directory());
    image::check_place(&programs)?;
    packages::ensure(&PACKAGES)?;
    let suites = compile(arguments.profile, &arguments.suite)?;
    let kernels =
        series.iter().map(|series| Kernel::fetch(*series, arguments.update)).collect::<Outcome<Vec<_>>>()?;
    let directory = target().join("vm");
    fs::create_dir_all(&directory)?;
    let archive = directory.join("image.cpio");
    Image::stage(&directory, &kernels, &suites, &programs.join("penstock"))?.pack(&archive)?;
    let chosen = Variant { missing: arguments.without.clone(), lockdown: arguments.lockdown };
    let variants = if arguments.variants { Variant::all() } else { vec![chosen] };
    let mut results = Vec::new();
    for kernel in &kernels {
        for variant in &variants {
            let limit = Duration::from_secs(arguments.limit);
            results.push(Boot::run(kernel, variant, &archive, &arguments.env, limit)?);
        }
    }
    report::conclude(&results)
}

fn series(names: &[String]) -> Outcome<Vec<Series>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Series::value_variants().to_vec());
    }
    let known = |name: &String| {
        Series::from_str(name, false)
            .map_err(|_| format!("there is no kernel {name}; there are: {} all", names_of_all()).into())
    };
    names.iter().map(known).collect()
}

fn names_of_all() -> String {
    names(Series::value_variants())
}

fn names(series: &[Series]) -> String {
    series.iter().map(|series| series.name()).collect::<Vec<_>>().join(" ")
}

/// The test programs; unless they are optimized, as `cargo xtask test` builds them, so that nothing is built twice.
fn compile(profile: Profile, names: &[String]) -> Outcome<Vec<Suite>> {
    let chosen: Vec<&str> = names.iter().flat_map(|name| ["--test", name]).collect();
    let mut suites = build::compile(profile, &chosen)?;
    suites.retain(|suite| names.iter().any(|name| name == suite.target()));
    suites.sort_by_key(|suite| names.iter().position(|name| name == suite.target()));
    Ok(suites)
}
