//! The guest's root file system: one archive for every kernel, from which the kernel unpacks it into memory.
//!
//! ```text
//!  /init                   the script beside this file
//!  /bin                    busybox, which is static
//!  /tools                  programs of this machine
//!  /modules/RELEASE/       the modules of each kernel, and their order
//!  /suites/                the test programs, and their order
//!  TARGET/PROFILE/penstock where the test programs were told it would be
//! ```

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::Kernel;
use crate::shell::{Outcome, find, output, run};
use crate::test::build::Suite;

/// Programs of this machine that the tests call, or that the guest's own script does.
const PROGRAMS: [&str; 4] = ["bpftool", "haproxy", "openssl", "setpriv"];

/// Files that the C library and others look into.
const FILES: [(&str, &str); 5] = [
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "hosts: files\npasswd: files\ngroup: files\n"),
    ("etc/passwd", "root:x:0:0::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/ssl/openssl.cnf", ""),
];

/// What the guest mounts: what the image has there is not to be seen.
const MOUNTED: [&str; 4] = ["/dev", "/proc", "/sys", "/tmp"];

/// A directory that becomes the archive.
pub(super) struct Image {
    root: PathBuf,
}

impl Image {
    /// Everything that the suites need on any of the kernels.
    pub(super) fn stage(
        directory: &Path,
        kernels: &[Kernel],
        suites: &[Suite],
        penstock: &Path,
    ) -> Outcome<Self> {
        let image = Self { root: directory.join("root") };
        if image.root.exists() {
            fs::remove_dir_all(&image.root)?;
        }
        image.base()?;
        for kernel in kernels {
            image.modules(kernel)?;
        }
        for suite in suites {
            image.stripped(&suite.executable, &Path::new("suites").join(suite.target()))?;
        }
        let names: Vec<&str> = suites.iter().map(Suite::target).collect();
        image.write("suites/order", &(names.join("\n") + "\n"))?;
        image.stripped(penstock, relative(penstock))?;
        symlink(penstock, image.place(Path::new("tools/penstock"))?)?;
        Ok(image)
    }

    /// Programs of a benchmark, and the command that runs it.
    pub(super) fn stage_benchmark(
        directory: &Path,
        kernel: &Kernel,
        penstock: &Path,
        command: &str,
    ) -> Outcome<Self> {
        let image = Self { root: directory.join("root") };
        if image.root.exists() {
            fs::remove_dir_all(&image.root)?;
        }
        image.base()?;
        image.modules(kernel)?;
        for name in ["chrt", "prlimit", "taskset"] {
            let program = program(name)?;
            image.copy(&program, &Path::new("tools").join(name))?;
            image.libraries(&program)?;
        }
        image.stripped(penstock, Path::new("bench/penstock"))?;
        image.stripped(&std::env::current_exe()?, Path::new("bench/xtask"))?;
        image.write("bench/run", &format!("{command}\n"))?;
        Ok(image)
    }

    /// Packs the directory as the kernel reads it (`buffer-format.rst` in its documentation).
    pub(super) fn pack(&self, archive: &Path) -> Outcome {
        let script = "find . -print0 | LC_ALL=C sort -z | cpio --null --create --quiet --format=newc --owner=0:0 > \"$0\"";
        run(Command::new("sh").args(["-c", script]).arg(archive).current_dir(&self.root))
    }

    /// A shell, the programs, and what they look for.
    fn base(&self) -> Outcome {
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(self.root.join(directory))?;
        }
        self.write("init", include_str!("init.sh"))?;
        fs::set_permissions(self.root.join("init"), fs::Permissions::from_mode(0o755))?;
        for (path, text) in FILES {
            self.write(path, text)?;
        }
        self.copy(&program("busybox")?, Path::new("bin/busybox"))?;
        for name in PROGRAMS {
            let program = program(name)?;
            self.copy(&program, &Path::new("tools").join(name))?;
            self.libraries(&program)?;
        }
        Ok(())
    }

    /// The modules of a kernel, uncompressed.
    fn modules(&self, kernel: &Kernel) -> Outcome {
        let directory = PathBuf::from("modules").join(&kernel.release);
        let mut order = String::new();
        for file in kernel.modules()? {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let plain = name.strip_suffix(".xz").unwrap_or(&name);
            self.copy(&file, &directory.join(&name))?;
            if plain != name {
                let compressed = self.root.join(&directory).join(&name);
                output(Command::new("xz").args(["--decompress", "--force"]).arg(compressed))?;
            }
            order.push_str(plain);
            order.push('\n');
        }
        self.write(&directory.join("order").display().to_string(), &order)
    }

    /// A program that we have built, without its debug information, which is most of it, and its libraries.
    fn stripped(&self, program: &Path, place: &Path) -> Outcome {
        let place = self.place(place)?;
        output(Command::new("strip").arg("-o").arg(&place).arg(program))?;
        self.libraries(program)
    }

    /// The libraries of a program, where it looks for them here.
    fn libraries(&self, program: &Path) -> Outcome {
        for library in libraries(&output(Command::new("ldd").arg(program))?) {
            let place = self.root.join(relative(&library));
            if !place.exists() {
                self.copy(&library, relative(&library))?;
            }
        }
        Ok(())
    }

    fn copy(&self, file: &Path, place: &Path) -> Outcome {
        let copied = fs::copy(file, self.place(place)?);
        copied.map_err(|error| format!("cannot copy {}: {error}", file.display()))?;
        Ok(())
    }

    fn write(&self, place: &str, text: &str) -> Outcome {
        Ok(fs::write(self.place(Path::new(place))?, text)?)
    }

    /// A place in the image, whose directory exists.
    fn place(&self, place: &Path) -> Outcome<PathBuf> {
        let path = self.root.join(place);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        Ok(path)
    }
}

/// Whether the guest can see a program where it lies here.
pub(super) fn check_place(path: &Path) -> Outcome {
    match MOUNTED.iter().find(|mounted| path.starts_with(mounted)) {
        Some(mounted) => Err(format!(
            "a guest has a {mounted} of its own, and would not find {}: use a checkout, or a CARGO_TARGET_DIR, elsewhere",
            path.display()
        )
        .into()),
        None => Ok(()),
    }
}

fn program(name: &str) -> Outcome<PathBuf> {
    Ok(find(name).ok_or_else(|| format!("{name} is missing"))?)
}

/// A path of this machine as one of the image.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// `NAME => PATH (ADDRESS)`, and `PATH (ADDRESS)` for the loader.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_would_not_see_is_refused() {
        assert!(check_place(Path::new("/src/tmp/target/debug")).is_ok());
        let error = check_place(Path::new("/tmp/checkout/target/debug")).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.starts_with("a guest has a /tmp of its own")));
    }

    #[test]
    fn libraries_and_loader_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(text), expected);
        assert_eq!(libraries("\tstatically linked\n"), Vec::<PathBuf>::new());
    }
}
