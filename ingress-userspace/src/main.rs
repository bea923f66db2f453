//! `penstock`: a Kubernetes Ingress controller and proxy.

use std::process::ExitCode;

fn main() -> ExitCode {
    penstock::app::main()
}
