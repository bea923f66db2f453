//! The section `kernel` of the configuration file: which accelerations may be used, and from which sizes.

use std::num::NonZeroU16;
use std::path::PathBuf;

use ingress_core::settings::{GIB, KIB, Overlay as _, Size};
use serde::Deserialize;

use super::{Acceleration, Thresholds};

/// Whether an acceleration may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Where the probe proves it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Whether the eBPF programs say what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramLog {
    /// They do not, which costs nothing.
    #[default]
    Off,
    /// They do, in the program log.
    On,
}

/// What the process may ask of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KernelConfig {
    /// The TLS record layer in the kernel.
    pub ktls: Switch,
    /// splice(2).
    pub splice: Switch,
    /// The sockmap.
    pub sockmap: Switch,
    /// Steering of new connections.
    pub steering: Switch,
    /// From how many bytes a body is spliced.
    pub splice_from: Bytes,
    /// From how many bytes the sockets of a body are joined in the sockmap; `None` is never.
    pub sockmap_from: Option<Bytes>,
    /// After how many small messages a tunnel's sockets are joined in the sockmap; 0 is at once.
    pub sockmap_after: u32,
    /// Tunnels and bodies whose sockets may be joined in the sockmap at once.
    pub sockmap_tunnels: NonZeroU16,
    /// Whether the eBPF programs say what they do, for debugging.
    pub program_log: ProgramLog,
    /// Where programs and maps are pinned if it is in a bpffs; `None` is nowhere.
    pub pin_directory: Option<PathBuf>,
}

/// A size in bytes, as all sizes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = 0;
        Size::<0, { 1024 * GIB }>::deserialize(deserializer)?.overlay(&mut bytes);
        Ok(Self(bytes))
    }
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            ktls: Switch::Auto,
            splice: Switch::Auto,
            sockmap: Switch::Auto,
            steering: Switch::Auto,
            splice_from: Bytes(256 * KIB),
            // For bodies, splice(2) is cheaper (docs/benchmarks.md).
            sockmap_from: None,
            sockmap_after: 16,
            sockmap_tunnels: crate::bpf::PAIRS,
            program_log: ProgramLog::Off,
            pin_directory: Some(PathBuf::from("/sys/fs/bpf/penstock")),
        }
    }
}

impl KernelConfig {
    /// Whether an acceleration may be used.
    pub fn switch(&self, which: Acceleration) -> Switch {
        match which {
            Acceleration::Ktls => self.ktls,
            Acceleration::Splice => self.splice,
            Acceleration::Sockmap => self.sockmap,
            Acceleration::Steering => self.steering,
        }
    }

    /// From which sizes bodies take which rung.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            splice_body: self.splice_from.0,
            sockmap_body: self.sockmap_from.map_or(u64::MAX, |bytes| bytes.0),
            sockmap_messages: self.sockmap_after,
        }
    }
}
