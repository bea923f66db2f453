//! One program that runs: it can be killed, stopped, frozen and started again, and it dies with us.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Context as _, Error, Result};

/// How long a program may take to end when it is asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// Between two tries of something that is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// How many of the last lines of a log an error shows.
const SHOWN_LINES: usize = 15;

/// A program with its arguments, running or not. Dropping it kills it.
pub struct Program {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    running: Option<Running>,
}

/// A process that was started, and perhaps has ended.
struct Running {
    id: u32,
    handle: OwnedFd,
    end: Arc<End>,
}

/// The end of a process, which anybody can wait for.
#[derive(Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Program {
    /// A program that does not run yet. It appends what it prints to the log.
    pub(crate) fn new(name: &'static str, path: PathBuf, arguments: Vec<String>, log: PathBuf) -> Self {
        Self { name, path, arguments, log, running: None }
    }

    /// Starts it with the same arguments as ever, after its last process has ended.
    pub(crate) fn start(&mut self) -> Result {
        self.kill();
        let mut command = self.command()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let end = Arc::new(End::default());
        let tell = Arc::clone(&end);
        // The kernel sends the signal of `--pdeathsig` when the thread that started the process ends. This thread
        // lives exactly as long as the process does, so that the signal comes only when our whole program ends.
        let owner = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || own(&mut command, &sender, &tell));
        owner.context(|| "cannot start a thread".to_owned())?;
        let started = receiver.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        let what = || format!("cannot start {} with setpriv (Debian: util-linux)", self.path.display());
        let (id, handle) = started.context(what)?;
        self.running = Some(Running { id, handle, end });
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path).args(&self.arguments);
        // A group of its own: Ctrl-C goes to us alone, and we end what we started in order.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(self.open_log()?).stderr(self.open_log()?);
        Ok(command)
    }

    fn open_log(&self) -> Result<File> {
        let opened = OpenOptions::new().create(true).append(true).open(&self.log);
        opened.context(|| format!("cannot open {}", self.log.display()))
    }

    /// Kills it at once, as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::KILL);
            running.end.wait(GRACE);
        }
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub fn stop(&mut self) {
        if let Some(running) = &self.running {
            running.signal(Signal::TERM);
            running.end.wait(GRACE);
        }
        self.kill();
    }

    /// Freezes it: its connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }

    /// The process, if one was started and not stopped.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.id)
    }

    /// What it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Tries something until it holds. Ends early if the process does, and otherwise at the limit.
    pub(crate) fn until(&self, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result {
        let begin = Instant::now();
        while !holds() {
            if begin.elapsed() > limit {
                let (what, seconds) = (format!("{}: {what}", self.name), limit.as_secs());
                return Err(Error::Late { what, seconds, log: self.last_lines() });
            }
            self.runs_for(PAUSE)?;
        }
        Ok(())
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&self) -> Result {
        self.runs_for(Duration::ZERO)
    }

    /// Waits; an error if it ends meanwhile.
    fn runs_for(&self, time: Duration) -> Result {
        match self.running.as_ref().and_then(|running| running.end.wait(time)) {
            Some(status) => Err(Error::Ended { program: self.name, status, log: self.last_lines() }),
            None => Ok(()),
        }
    }

    fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// An error says that the process has ended, and then there is nothing to signal.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

impl End {
    /// How the process ended, if it does within the limit.
    fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(status, limit, |status| status.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell(&self, ended: ExitStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        self.changed.notify_all();
    }
}

/// Starts a process, hands its handle over, and waits for its end.
fn own(command: &mut Command, sender: &mpsc::SyncSender<std::io::Result<(u32, OwnedFd)>>, end: &End) {
    let started = command.spawn().and_then(|mut child| {
        let handle = open(&child).inspect_err(|_| {
            let _ = child.kill();
        });
        Ok((child, handle?))
    });
    match started {
        Ok((mut child, handle)) => {
            // Nobody listens only if the starter has panicked; the process is still waited for.
            let _ = sender.send(Ok((child.id(), handle)));
            if let Ok(status) = child.wait() {
                end.tell(status);
            }
        }
        Err(error) => {
            let _ = sender.send(Err(error));
        }
    }
}

/// A handle that names this process and never another, even after it has ended and its number is used again.
fn open(child: &Child) -> std::io::Result<OwnedFd> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(id, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &tempfile::TempDir, script: &str) -> Program {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Program::new("script", PathBuf::from("/bin/sh"), arguments, directory.path().join("log"))
    }

    #[test]
    fn a_program_that_ends_says_how_and_shows_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut program = program(&directory, "echo the cause >&2; exit 3");
        program.start().unwrap();
        let error = program.until("ready", GRACE, || false).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("the cause"), "{error}");
    }

    #[test]
    fn a_program_is_killed_and_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut program = program(&directory, "echo run; exec sleep 600");
        for runs in 1..=2 {
            program.start().unwrap();
            let log = program.log().to_owned();
            let printed = || fs::read_to_string(&log).unwrap().lines().count() == runs;
            program.until("it prints", GRACE, printed).unwrap();
            let process = PathBuf::from(format!("/proc/{}", program.id().unwrap()));
            assert!(process.exists());
            program.kill();
            assert!(!process.exists());
        }
    }
}
