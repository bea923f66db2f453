//! What the kernel complains of while something runs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

/// The kernel's log from a moment on; `None` if it may not be read.
#[derive(Debug)]
pub(crate) struct KernelLog(Option<File>);

/// What an emulated processor's clock is suspected of, which has nothing to do with the network.
const CLOCK: [&str; 2] = ["clocksource: ", "TSC found unstable"];

/// Messages of this level and above (KERN_WARNING).
const WARNING: u64 = 4;

impl KernelLog {
    /// From now on.
    pub(crate) fn from_now() -> Self {
        let log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
        Self(log.and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log)).ok())
    }

    /// Warnings, and worse, since then.
    pub(crate) fn warnings(mut self) -> Result<Vec<String>, &'static str> {
        let log = self.0.as_mut().ok_or("the kernel's log may not be read")?;
        let (mut warnings, mut record) = (Vec::new(), vec![0; 8192]);
        loop {
            // A read returns one record, or says that there is none.
            let length = match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => length,
                // Records that were overwritten meanwhile.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
                Err(_) => break,
            };
            // `PRIORITY,SEQUENCE,TIME,-;TEXT`, where the lowest three bits of the priority are the level.
            let text = String::from_utf8_lossy(&record[..length]).into_owned();
            let level = text.split(',').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(7) & 7;
            let message = text.split_once(';').map_or(text.as_str(), |(_, text)| text).trim_end();
            if level <= WARNING && !CLOCK.iter().any(|clock| message.starts_with(clock)) {
                warnings.push(message.to_owned());
            }
        }
        Ok(warnings)
    }
}
