//! The sources that are refused before their connections are accepted: kept in the kernel as the routing table has them.
//!
//! ```text
//! table ─► networks that every class denies ─┬► Steering: the kernel refuses them           by="kernel"
//!                                            └► off, unavailable, failed: see `accept`       by="userspace"
//! ```
//!
//! Userspace looks at each connection all the same: one that waited in a queue, or that another program has steered here, is
//! not served either. The program is attached only while something is denied.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ingress_common::abi;
use ingress_common::counters::Counters;
use ingress_core::table::SourceRules;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::handover::Estate;
use crate::bpf::{BpfError, Steering};
use crate::control::Published;
use crate::kernel::{Acceleration, Accelerations};
use crate::worker::Shared;

/// How often it is looked whether the program is still attached.
const LOOK: Duration = Duration::from_secs(5);

/// What refuses sources before accept.
#[derive(Debug)]
struct Gate {
    accelerations: Arc<Accelerations>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One listening socket of each address. None after the gate is closed.
    listeners: Vec<(SocketAddr, TcpListener)>,
    rules: SourceRules,
    steering: Option<Steering>,
    /// What programs have counted that are gone.
    past: Counters,
}

impl Gate {
    /// For the listeners of clients. Nothing is refused yet.
    fn new(accelerations: &Arc<Accelerations>, listeners: Vec<(SocketAddr, TcpListener)>) -> Arc<Self> {
        let state = State { listeners, rules: SourceRules::new(), steering: None, past: Counters::default() };
        Arc::new(Self { accelerations: Arc::clone(accelerations), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses these sources, and no others. May block for as long as loading a program takes.
    fn update(&self, rules: SourceRules) {
        let mut state = self.state();
        if state.rules == rules || state.listeners.is_empty() {
            return;
        }
        state.rules = rules;
        if state.rules.is_empty() {
            state.detach();
            self.accelerations.set_idle(Acceleration::Steering, true);
            tracing::info!("no source network is denied by every class any more");
            return;
        }
        self.refuse(&mut state);
        let by = if state.steering.is_some() { "kernel" } else { "userspace" };
        tracing::info!(
            by,
            networks = state.rules.len(),
            "source networks that every class denies are refused"
        );
    }

    /// Lets the kernel refuse what the rules say, if it may.
    fn refuse(&self, state: &mut State) {
        if !self.accelerations.proven(Acceleration::Steering) {
            return;
        }
        match state.refuse() {
            Ok(()) => self.accelerations.set_idle(Acceleration::Steering, false),
            Err(error) => {
                state.detach();
                let reason = format!("{error}; {}", error.remedy());
                self.accelerations.withdraw(Acceleration::Steering, reason);
            }
        }
    }

    /// Whether the program is there, if it is to be.
    fn look(&self) {
        let mut state = self.state();
        if state.steering.as_mut().is_some_and(|steering| !steering.is_attached()) {
            state.detach();
            let reason = format!("somebody has detached the program {}", abi::STEER_PROGRAM);
            self.accelerations.withdraw(Acceleration::Steering, reason);
        }
        // On a slow machine steering is proven only while the process serves.
        if state.steering.is_none() && !state.rules.is_empty() && !state.listeners.is_empty() {
            self.refuse(&mut state);
        }
    }

    /// Leaves all connections to the kernel, for good.
    fn close(&self) {
        let mut state = self.state();
        state.detach();
        state.listeners.clear();
    }
}

impl State {
    /// Refuses in the kernel what the rules say.
    fn refuse(&mut self) -> Result<(), BpfError> {
        if let Some(steering) = &mut self.steering {
            return steering.deny(&self.rules);
        }
        let mut steering = Steering::load()?;
        for (slot, (address, listener)) in (0_u32..).zip(&self.listeners) {
            prepare(&mut steering, slot, *address, listener)?;
        }
        steering.deny(&self.rules)?;
        steering.attach()?;
        self.steering = Some(steering);
        Ok(())
    }

    fn detach(&mut self) {
        self.past = self.counters();
        self.steering = None;
    }

    fn counters(&self) -> Counters {
        let now = self.steering.as_ref().and_then(|steering| steering.counters().ok());
        [self.past, now.unwrap_or_default()].into_iter().sum()
    }
}

/// Makes the rule of one listener. An address of its own is steered to it. A listener on every address leaves the choice to
/// the kernel, because another process may listen on one of the addresses.
fn prepare(
    steering: &mut Steering,
    slot: u32,
    address: SocketAddr,
    listener: &TcpListener,
) -> Result<(), BpfError> {
    if address.ip().is_unspecified() {
        steering.watch(address)?;
        // [::] is both families.
        if address.is_ipv6() {
            steering.watch((Ipv4Addr::UNSPECIFIED, address.port()).into())?;
        }
        return Ok(());
    }
    if slot as usize >= abi::STEER_SOCKET_CAPACITY {
        return steering.watch(address);
    }
    steering.fill(slot, listener)?;
    steering.steer(address, slot)
}

/// A gate that follows the tables. Dropping it leaves all connections to the kernel: before the listeners are closed, or are
/// a successor's alone.
#[derive(Debug)]
pub(crate) struct Kept {
    gate: Arc<Gate>,
    following: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.following.abort();
        self.gate.close();
    }
}

/// Refuses from now on what the table says that is published, before these listeners are accepted from.
pub(crate) fn keep(shared: &Shared, estate: &Estate) -> io::Result<Kept> {
    let gate = Gate::new(&shared.accelerations, estate.of_clients()?);
    let (shown, published) = (Arc::clone(&gate), Arc::clone(&shared.published));
    shared.metrics.observe_steering(move || shown.state().counters());
    let batches = published.batches();
    gate.update(published.table().source_rules());
    let following = tokio::spawn(follow(Arc::clone(&gate), published, batches));
    Ok(Kept { gate, following })
}

async fn follow(gate: Arc<Gate>, published: Arc<Published>, mut batches: watch::Receiver<u64>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            changed = batches.changed() => match changed {
                Ok(()) => true,
                // The process is ending.
                Err(_) => return,
            },
            _ = looks.tick() => false,
        };
        let rules = changed.then(|| published.table().source_rules());
        let gate = Arc::clone(&gate);
        let work = tokio::task::spawn_blocking(move || match rules {
            Some(rules) => gate.update(rules),
            None => gate.look(),
        });
        // It fails only if the runtime ends.
        let _ = work.await;
    }
}
