//! The real helm, with the chart of this repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use test_cluster::{Binaries, Cluster};

use crate::support::cluster::{built_or_skip, documents};

/// The chart.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/penstock")
}

/// helm, with files of its own: what the user has configured plays no part.
pub(crate) struct Helm {
    program: PathBuf,
    files: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Without a cluster, for what is done on this side. None if it was not built, as for the cluster.
    #[track_caller]
    pub(crate) fn alone(test: &str) -> Option<Self> {
        let program = built_or_skip(test, Binaries::place().program("helm"))?;
        Some(Self { program, files: tempfile::tempdir().unwrap(), kubeconfig: None })
    }

    /// With a cluster.
    #[track_caller]
    pub(crate) fn with(test: &str, cluster: &Cluster) -> Option<Self> {
        let kubeconfig = Some(cluster.admin_kubeconfig().to_owned());
        Self::alone(test).map(|helm| Self { kubeconfig, ..helm })
    }

    /// Runs it.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_remove("KUBECONFIG");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.files.path());
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.output().unwrap()
    }

    /// Runs it well, and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.output(arguments);
        assert!(status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// The objects that the chart renders with these values, each as `--set` takes it.
    #[track_caller]
    pub(crate) fn render(&self, values: &[&str]) -> Rendered {
        let chart = chart();
        let mut arguments = vec!["template", "rel", chart.to_str().unwrap(), "--namespace", "edge"];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        Rendered(documents(&self.run(&arguments)))
    }

    /// Why the chart does not render with these values.
    #[track_caller]
    pub(crate) fn refusal(&self, values: &[&str]) -> String {
        let chart = chart();
        let mut arguments = vec!["template", "rel", chart.to_str().unwrap()];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        let output = self.output(&arguments);
        assert!(!output.status.success(), "the chart accepts {values:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// What the chart rendered.
pub(crate) struct Rendered(pub(crate) Vec<Value>);

impl Rendered {
    /// The objects of a kind.
    pub(crate) fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of a kind.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all[0]
    }

    /// The container.
    #[track_caller]
    pub(crate) fn container(&self) -> &Value {
        &self.one("DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    }

    /// The command line.
    #[track_caller]
    pub(crate) fn arguments(&self) -> Vec<&str> {
        self.container()["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|argument| argument.as_str().unwrap())
            .collect()
    }

    /// The text of the configuration file.
    #[track_caller]
    pub(crate) fn config(&self) -> &str {
        self.one("ConfigMap")["data"]["config.yaml"].as_str().unwrap()
    }
}
