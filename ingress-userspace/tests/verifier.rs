//! Every program of the embedded eBPF object passes the running kernel's verifier. `cargo xtask vm` asks each of its
//! kernels, and keeps how many instructions the verifier went through.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, ErrorKind, Write as _};

use aya::programs::{Program, ProgramError};
use aya::{EbpfError, EbpfLoader};
use aya_log::{LEVEL, Level};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../src/bpf/penstock.bpf.o");
static SPEAKING_OBJECT: &[u8] = aya::include_bytes_aligned!("../src/bpf/penstock-log.bpf.o");

/// A line that is seen although the test passes: libtest hides what is printed by its own means.
fn say(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Whether the user has no right to load programs, or the kernel does not have them: nobody asked the verifier.
fn nobody_asked(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported);
        }
        cause = error.source();
    }
    false
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SkLookup(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SkReuseport(program) => program.load(),
        Program::SkSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        other => panic!("this test does not know how to load a {:?}", other.prog_type()),
    }
}

/// How many instructions the verifier went through for each program of an object.
fn counts(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<Vec<(String, u32)>, EbpfError> {
    let mut ebpf = loader.load(object)?;
    let mut counts = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        match load(program) {
            Ok(()) => {}
            Err(ProgramError::SyscallError(error)) if nobody_asked(&error) => {
                return Err(EbpfError::ProgramError(error.into()));
            }
            Err(error) => panic!("{name} is refused: {error}"),
        }
        // The field is as old as Linux 5.16.
        let count = program.info().unwrap().verified_instruction_count();
        assert_ne!(count, Some(0), "{name}");
        counts.push((name.to_owned(), count.unwrap_or_default()));
    }
    assert!(!counts.is_empty(), "the object has no program");
    counts.sort();
    Ok(counts)
}

#[test]
fn the_verifier_accepts_every_program() {
    let silent = match counts(&mut EbpfLoader::new(), OBJECT) {
        Ok(counts) => counts,
        Err(error) => return skipped(&error),
    };
    for (name, count) in silent {
        say(&format!("VERIFIED: {name} {count}"));
    }
}

#[test]
fn programs_that_speak_are_accepted() {
    let mut loader = EbpfLoader::new();
    let level = Level::Trace as u8;
    // Without the right to load programs the other test says so.
    let Ok(speaking) = counts(loader.override_global(LEVEL, &level, true), SPEAKING_OBJECT) else { return };
    for (name, count) in speaking {
        say(&format!("VERIFIED with messages: {name} {count}"));
    }
}

fn skipped(error: &EbpfError) {
    assert!(nobody_asked(error), "the object must load on any kernel that has eBPF: {error}");
    say(&format!("SKIPPED: the_verifier_accepts_every_program: {error}"));
}
