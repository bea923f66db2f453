//! Loads the embedded object, and steers connections with it.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapError, PerCpuArray, SockMap};
use aya::programs::{ProgramError, SkLookup};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ingress_common::abi;
use ingress_common::counters::Counters;
use ingress_common::flow::{FlowKey, KERNELS_CHOICE, Rule, Source};
use ingress_core::table::SourceRules;

use super::denied::{Step, network, steps, value};
use super::element::{SK_LOOKUP, attached_programs};
use super::log;
use super::plain::Plain;

/// The object, aligned as its ELF structures need it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("penstock.bpf.o");

/// The same with programs that say what they do. It needs CAP_PERFMON as well.
static SPEAKING_OBJECT: &[u8] = aya::include_bytes_aligned!("penstock-log.bpf.o");

/// The object to load.
pub(super) fn object() -> &'static [u8] {
    if log::is_on() { SPEAKING_OBJECT } else { OBJECT }
}

/// Why eBPF cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The object or one of its maps was refused.
    #[error("cannot load the eBPF object (CAP_BPF and CAP_NET_ADMIN are needed): {0}")]
    Load(#[from] EbpfError),
    /// The verifier refused the program, or the kernel its attachment.
    #[error("the kernel refused the eBPF program {name}: {}", in_short(.0), name = abi::STEER_PROGRAM)]
    Program(#[from] ProgramError),
    /// The verifier refused one of the programs that join sockets, or the kernel its attachment.
    #[error("the kernel refused the eBPF program {name}: {}", in_short(source))]
    Refused {
        /// The program.
        name: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A map cannot be mapped into the process.
    #[error("cannot map an eBPF array into memory: {0}")]
    Mapping(#[source] io::Error),
    /// There is no thread to read what the programs tell.
    #[error("cannot start the thread that reads the events of the eBPF programs: {0}")]
    Listening(#[source] io::Error),
    /// An operation on a map failed.
    #[error("eBPF map: {0}")]
    Map(#[from] MapError),
    /// The network namespace of this thread cannot be opened.
    #[error("cannot open the network namespace: {0}")]
    Namespace(#[source] io::Error),
    /// There are more networks than the kernel is asked to hold.
    #[error("{0} source networks are denied, and the kernel is asked to hold at most {max}", max = abi::STEER_DENIED_MAX)]
    TooManyNetworks(usize),
    /// The object lacks what this program expects by this name.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The object was compiled with another version of the interface.
    #[error("the eBPF object has interface version {found}, not {expected}", expected = abi::ABI_VERSION)]
    Version {
        /// The object's version.
        found: u32,
    },
}

/// An error in one line. A verifier's log is long: of it, the last line that is not statistics says what was refused.
fn in_short(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.to_string() };
    let log = verifier_log.to_string();
    let statistics = ["verification time", "stack depth", "processed"];
    let said = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !statistics.iter().any(|word| line.starts_with(word)));
    match said {
        Some(line) => format!("{io_error}; its verifier says: {line}"),
        None => io_error.to_string(),
    }
}

impl BpfError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        if matches!(self, Self::TooManyNetworks(_)) {
            return "deny fewer and larger networks";
        }
        match self.errno() {
            Some(libc::EPERM | libc::EACCES) => {
                "give the process CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON where the verifier refuses the program (6.1); allow \
                 bpf(2) where a seccomp profile or a security module forbids it"
            }
            Some(libc::ENOSYS) => {
                "allow bpf(2) in the seccomp profile, or use a kernel with CONFIG_BPF_SYSCALL"
            }
            Some(libc::ENOMEM) => "raise RLIMIT_MEMLOCK (ulimit -l), or give the process CAP_SYS_RESOURCE",
            _ => "use a kernel with eBPF and BTF (CONFIG_BPF_SYSCALL, CONFIG_DEBUG_INFO_BTF), 5.10 or newer",
        }
    }

    /// The error number of the system call behind it.
    fn errno(&self) -> Option<i32> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.raw_os_error();
            }
            cause = error.source();
        }
        None
    }
}

/// Steers new connections to listening sockets of our choice. Dropping it detaches the program, and the kernel goes on
/// by its own rules; connections that are open stay as they are.
#[derive(Debug)]
pub struct Steering {
    ebpf: Ebpf,
    denied: SourceRules,
    /// What it is attached to.
    namespace: Option<OwnedFd>,
}

impl Steering {
    /// Loads the program and its maps. Until it is attached nothing changes.
    pub fn load() -> Result<Self, BpfError> {
        // What joins sockets has no use here.
        let mut loader = EbpfLoader::new();
        for unused in [abi::RELAY_SOCKETS, abi::RELAY_SIDES, abi::RELAY_FLOWS] {
            loader.map_max_entries(unused, 1);
        }
        loader.map_max_entries(abi::RELAY_EVENTS, abi::relay_events_size(1));
        log::prepare(&mut loader);
        let mut ebpf = loader.load(object())?;
        check_version(&ebpf)?;
        program(&mut ebpf)?.load()?;
        log::listen(&mut ebpf);
        Ok(Self { ebpf, denied: SourceRules::new(), namespace: None })
    }

    /// Attaches the program to the network namespace of the calling thread.
    pub fn attach(&mut self) -> Result<(), BpfError> {
        let namespace = File::open("/proc/thread-self/ns/net").map_err(BpfError::Namespace)?;
        program(&mut self.ebpf)?.attach(&namespace)?;
        self.namespace = Some(namespace.into());
        Ok(())
    }

    /// Whether the program is attached. If the kernel does not tell, it is as far as we know.
    pub fn is_attached(&mut self) -> bool {
        let Some(namespace) = &self.namespace else { return false };
        let id = program(&mut self.ebpf).and_then(|program| Ok(program.info()?.id()));
        match (id, attached_programs(namespace, SK_LOOKUP)) {
            (Ok(id), Ok(attached)) => attached.contains(&id),
            _ => true,
        }
    }

    /// Puts a listening TCP socket into a slot, in place of the one that is there.
    pub fn fill(&mut self, slot: u32, listener: &impl AsRawFd) -> Result<(), BpfError> {
        let mut sockets = SockMap::try_from(map_mut(&mut self.ebpf, abi::STEER_SOCKETS)?)?;
        Ok(sockets.set(slot, listener, 0)?)
    }

    /// Steers connections to this address to a slot. While the slot is empty they are refused.
    pub fn steer(&mut self, local: SocketAddr, slot: u32) -> Result<(), BpfError> {
        let mut rules = HashMap::try_from(map_mut(&mut self.ebpf, abi::STEER_RULES)?)?;
        Ok(rules.insert(Plain(FlowKey::tcp(local)), Plain(Rule { slot }), 0)?)
    }

    /// Leaves it to the kernel who gets connections to this address, but refuses those from denied sources.
    pub fn watch(&mut self, local: SocketAddr) -> Result<(), BpfError> {
        self.steer(local, KERNELS_CHOICE)
    }

    /// Refuses connections from these networks to the addresses that have a rule. Only what differs from the list before is
    /// touched. After an error the list is neither the one nor the other.
    pub fn deny(&mut self, wanted: &SourceRules) -> Result<(), BpfError> {
        if wanted.len() > abi::STEER_DENIED_MAX {
            return Err(BpfError::TooManyNetworks(wanted.len()));
        }
        let map = map_mut(&mut self.ebpf, abi::STEER_DENIED)?;
        let mut trie: LpmTrie<_, Plain<Source>, u32> = LpmTrie::try_from(map)?;
        for step in steps(&self.denied, wanted) {
            let key = |cidr| {
                let network = network(cidr);
                Key::new(network.bits, Plain(network.source))
            };
            match step {
                Step::Put(cidr, rule) => trie.insert(&key(&cidr), value(rule), 0)?,
                Step::Remove(cidr) => trie.remove(&key(&cidr))?,
            }
        }
        self.denied.clone_from(wanted);
        Ok(())
    }

    /// Leaves connections to this address to the kernel again.
    pub fn release(&mut self, local: SocketAddr) -> Result<(), BpfError> {
        let map = map_mut(&mut self.ebpf, abi::STEER_RULES)?;
        let mut rules: HashMap<_, Plain<FlowKey>, Plain<Rule>> = HashMap::try_from(map)?;
        Ok(rules.remove(&Plain(FlowKey::tcp(local)))?)
    }

    /// What became of the connections so far, on all CPUs.
    pub fn counters(&self) -> Result<Counters, BpfError> {
        let counters = PerCpuArray::<_, Plain<Counters>>::try_from(map(&self.ebpf, abi::STEER_COUNTERS)?)?;
        Ok(counters.get(&0, 0)?.iter().map(|cpu| cpu.0).sum())
    }
}

/// Refuses an object whose interface is not ours.
pub(super) fn check_version(ebpf: &Ebpf) -> Result<(), BpfError> {
    let found = Array::<_, u32>::try_from(map(ebpf, abi::ABI_SECTION)?)?.get(&0, 0)?;
    if found == abi::ABI_VERSION { Ok(()) } else { Err(BpfError::Version { found }) }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SkLookup, BpfError> {
    let program = ebpf.program_mut(abi::STEER_PROGRAM).ok_or(BpfError::Missing(abi::STEER_PROGRAM))?;
    Ok(program.try_into()?)
}

fn map<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Map, BpfError> {
    ebpf.map(name).ok_or(BpfError::Missing(name))
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Map, BpfError> {
    ebpf.map_mut(name).ok_or(BpfError::Missing(name))
}
