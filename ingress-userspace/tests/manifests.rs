//! The directory source against real directories: what happens to files is what happens to objects.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingress_core::objects::{Change, Object};
use penstock::control::manifests::ManifestDirectory;
use penstock::control::{Batch, ObjectSource as _};
use tempfile::TempDir;

/// Far more than a look takes, on a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

/// A watched directory, and the objects that its source has given.
struct Scene {
    _parent: TempDir,
    root: PathBuf,
    source: ManifestDirectory,
    /// Each object as `Kind namespace/name`, with a word that tells its version.
    objects: BTreeMap<String, String>,
    problems: Vec<String>,
    synced: bool,
}

impl Scene {
    fn prepare() -> Self {
        let parent = TempDir::new().unwrap();
        let root = parent.path().join("manifests");
        fs::create_dir(&root).unwrap();
        Self {
            source: ManifestDirectory::new(&root),
            _parent: parent,
            root,
            objects: BTreeMap::new(),
            problems: Vec::new(),
            synced: false,
        }
    }

    /// A scene that holds these files and has been read once.
    async fn with(files: &[(&str, &str)]) -> Self {
        let mut scene = Self::prepare();
        for (name, text) in files {
            scene.write(name, text);
        }
        scene.step().await;
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Waits for the next batch and applies it.
    async fn step(&mut self) {
        let batch = tokio::time::timeout(SOON, self.source.next()).await.expect("a batch").expect("no end");
        self.apply(batch);
    }

    /// Waits until there are these objects.
    async fn until(&mut self, objects: &[(&str, &str)]) {
        while !self.has(objects) {
            self.step().await;
        }
    }

    fn has(&self, objects: &[(&str, &str)]) -> bool {
        let is = self.objects.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        is.eq(objects.iter().copied())
    }

    fn apply(&mut self, batch: Batch) {
        for change in batch.changes {
            match change {
                Change::Upsert(object) => {
                    _ = self.objects.insert(object.key().to_string(), version(&object));
                }
                Change::Delete(key) => {
                    _ = self.objects.remove(&key.to_string()).expect("deleted what was there");
                }
                Change::Withheld(key, why) => panic!("a directory withholds nothing: {key}: {why}"),
            }
        }
        let root = format!("{}/", self.root.display());
        self.problems = batch.problems.iter().map(|p| p.to_string().replace(&root, "")).collect();
        self.synced = batch.synced;
    }

    #[track_caller]
    fn assert_objects(&self, objects: &[(&str, &str)]) {
        assert!(self.has(objects), "{:?}", self.objects);
    }

    /// The only problem begins like this.
    #[track_caller]
    fn assert_problem(&self, prefix: &str) {
        assert!(matches!(&self.problems[..], [p] if p.starts_with(prefix)), "{:#?}", self.problems);
    }
}

/// The first word of what an object says.
fn version(object: &Object) -> String {
    let annotation = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        meta.annotations.clone().and_then(|a| a.get("version").cloned()).unwrap_or_default()
    };
    match object {
        Object::Ingress(o) => annotation(&o.metadata),
        Object::IngressClass(o) => annotation(&o.metadata),
        Object::Service(o) => annotation(&o.metadata),
        Object::EndpointSlice(o) => annotation(&o.metadata),
        Object::ProxyClass(o) => annotation(&o.metadata),
        Object::IdentityProvider(o) => annotation(&o.metadata),
        Object::AccessPolicy(o) => annotation(&o.metadata),
        Object::Secret(o) => {
            let data = o.data.clone().unwrap_or_default();
            let text =
                |(k, v): (String, k8s_openapi::ByteString)| format!("{k}={}", String::from_utf8_lossy(&v.0));
            data.into_iter().map(text).collect::<Vec<_>>().join(",")
        }
    }
}

/// A Service with a version.
fn service(name: &str, version: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  annotations: {{version: {version}}}\n"
    )
}

const WEB: &str = "Service default/web";
const API: &str = "Service default/api";

#[tokio::test]
async fn files_come_change_and_go() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    assert!(scene.synced);
    scene.assert_objects(&[(WEB, "one")]);

    scene.write("api.yml", &service("api", "one"));
    scene.until(&[(API, "one"), (WEB, "one")]).await;
    scene.write("web.yaml", &service("web", "two"));
    scene.until(&[(API, "one"), (WEB, "two")]).await;
    fs::remove_file(scene.path("api.yml")).unwrap();
    scene.until(&[(WEB, "two")]).await;
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn a_burst_is_one_batch() {
    let mut scene = Scene::with(&[]).await;
    for i in 0..50 {
        scene.write(&format!("{i:02}.yaml"), &service(&format!("s{i}"), "one"));
    }
    scene.step().await;
    assert_eq!(scene.objects.len(), 50);
}

#[tokio::test]
async fn an_edit_is_seen_at_once() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    // Ten times, so that one hiccup of the machine does not decide.
    let mut best = Duration::MAX;
    for i in 0..10 {
        scene.write("web.yaml", &service("web", &format!("v{i}")));
        let begin = std::time::Instant::now();
        scene.step().await;
        best = best.min(begin.elapsed());
    }
    assert!(best < Duration::from_millis(60), "{best:?}");
}

#[tokio::test]
async fn an_atomic_save_changes_once_and_a_rename_nothing() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    scene.write(".web.yaml.swp", "{");
    scene.write("web.yaml~", "{");
    scene.write("web.tmp", &service("web", "two"));
    fs::rename(scene.path("web.tmp"), scene.path("web.yaml")).unwrap();
    scene.step().await;
    scene.assert_objects(&[(WEB, "two")]);

    fs::rename(scene.path("web.yaml"), scene.path("site.yaml")).unwrap();
    scene.write("api.yaml", &service("api", "one"));
    scene.step().await;
    scene.assert_objects(&[(API, "one"), (WEB, "two")]);
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn subdirectories_are_read_and_watched() {
    let mut scene = Scene::with(&[]).await;
    fs::create_dir_all(scene.path("a/b")).unwrap();
    scene.write("a/b/web.yaml", &service("web", "one"));
    scene.until(&[(WEB, "one")]).await;
    scene.write("a/b/web.yaml", &service("web", "two"));
    scene.until(&[(WEB, "two")]).await;
    fs::rename(scene.path("a"), scene.path("c")).unwrap();
    scene.write("c/b/web.yaml", &service("web", "three"));
    scene.until(&[(WEB, "three")]).await;
    fs::remove_dir_all(scene.path("c")).unwrap();
    scene.until(&[]).await;
}

/// Lays out a version of a ConfigMap as the kubelet does, and switches to it.
fn mount(root: &Path, directory: &str, files: &[(&str, &str)]) {
    fs::create_dir(root.join(directory)).unwrap();
    for (name, text) in files {
        let path = root.join(directory).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    symlink(directory, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_config_map_is_switched_at_once() {
    let mut scene = Scene::prepare();
    mount(
        &scene.root,
        "..1",
        &[("web.yaml", &service("web", "one")), ("sub/api.yaml", &service("api", "one"))],
    );
    symlink("..data/web.yaml", scene.path("web.yaml")).unwrap();
    symlink("..data/sub", scene.path("sub")).unwrap();
    scene.step().await;
    scene.assert_objects(&[(API, "one"), (WEB, "one")]);

    mount(
        &scene.root,
        "..2",
        &[("web.yaml", &service("web", "two")), ("sub/api.yaml", &service("api", "two"))],
    );
    fs::remove_dir_all(scene.path("..1")).unwrap();
    scene.until(&[(API, "two"), (WEB, "two")]).await;
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn a_vanished_directory_keeps_serving_until_it_returns() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    let away = scene.root.with_file_name("away");
    fs::rename(&scene.root, &away).unwrap();
    scene.step().await;
    scene.assert_objects(&[(WEB, "one")]);
    assert!(scene.problems[0].contains("(what was last good keeps serving)"), "{:?}", scene.problems);

    fs::rename(&away, &scene.root).unwrap();
    scene.step().await;
    assert_eq!(scene.problems, [""; 0]);
    scene.write("web.yaml", &service("web", "two"));
    scene.until(&[(WEB, "two")]).await;

    // Another directory at the same place.
    fs::remove_dir_all(&scene.root).unwrap();
    scene.step().await;
    scene.assert_objects(&[(WEB, "two")]);
    fs::create_dir(&scene.root).unwrap();
    scene.write("api.yaml", &service("api", "one"));
    scene.until(&[(API, "one")]).await;
    scene.write("api.yaml", &service("api", "two"));
    scene.until(&[(API, "two")]).await;
}

#[tokio::test]
async fn a_missing_directory_is_not_synced_until_it_comes() {
    let mut scene = Scene::prepare();
    fs::remove_dir(&scene.root).unwrap();
    scene.step().await;
    assert!(!scene.synced);
    assert!(scene.problems[0].contains("the directory cannot be read"), "{:?}", scene.problems);
    fs::create_dir(&scene.root).unwrap();
    scene.step().await;
    assert!(scene.synced);
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn a_linked_root_can_be_switched() {
    let mut scene = Scene::prepare();
    let (one, two) = (scene.root.with_file_name("one"), scene.root.with_file_name("two"));
    for (directory, version) in [(&one, "one"), (&two, "two")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("web.yaml"), service("web", version)).unwrap();
    }
    fs::remove_dir(&scene.root).unwrap();
    symlink(&one, &scene.root).unwrap();
    scene.step().await;
    scene.assert_objects(&[(WEB, "one")]);
    let link = scene.root.with_file_name("link");
    symlink(&two, &link).unwrap();
    fs::rename(&link, &scene.root).unwrap();
    scene.until(&[(WEB, "two")]).await;
}

#[tokio::test]
async fn a_half_written_file_withdraws_nothing() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    // A shell empties the file that it redirects into long before it is filled.
    let mut file = fs::File::create(scene.path("web.yaml")).unwrap();
    scene.write("api.yaml", &service("api", "one"));
    scene.step().await;
    scene.assert_objects(&[(API, "one"), (WEB, "one")]);
    let text = service("web", "two");
    file.write_all(&text.as_bytes()[..40]).unwrap();
    scene.write("api.yaml", &service("api", "two"));
    scene.step().await;
    scene.assert_objects(&[(API, "two"), (WEB, "one")]);
    assert_eq!(scene.problems, [""; 0]);
    file.write_all(&text.as_bytes()[40..]).unwrap();
    drop(file);
    scene.step().await;
    scene.assert_objects(&[(API, "two"), (WEB, "two")]);
}

#[tokio::test]
async fn an_emptied_file_keeps_and_a_commented_one_withdraws() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one")), ("new.yaml", "")]).await;
    assert_eq!(scene.problems, [""; 0]);
    scene.write("web.yaml", "");
    scene.step().await;
    scene.assert_objects(&[(WEB, "one")]);
    scene.assert_problem("web.yaml: has become empty");
    scene.write("web.yaml", "# nothing any more\n");
    scene.step().await;
    scene.assert_objects(&[]);
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn a_bad_document_keeps_its_object_and_the_others_apply() {
    let both = format!("{}---\n{}", service("web", "one"), service("api", "one"));
    let mut scene = Scene::with(&[("all.yaml", &both)]).await;

    // The document parses, but the object is wrong: only that object keeps.
    let bad = service("web", "two") + "spec:\n  ports:\n  - port: http\n";
    scene.write("all.yaml", &format!("{bad}---\n{}", service("api", "two")));
    scene.step().await;
    scene.assert_objects(&[(API, "two"), (WEB, "one")]);
    scene
        .assert_problem("all.yaml:8: Service default/web: spec.ports[0].port: invalid type: string \"http\"");
    assert!(scene.problems[0].ends_with("(what was last good keeps serving)"));

    // The document does not parse: it could be any, so all that the file does not give anew keep.
    scene.write("all.yaml", &format!("{}---\nkind: [\n", service("api", "three")));
    scene.step().await;
    scene.assert_objects(&[(API, "three"), (WEB, "one")]);
    scene.assert_problem("all.yaml:7: kind: is not valid YAML");

    // The bad file under another name is still the same file.
    fs::rename(scene.path("all.yaml"), scene.path("renamed.yaml")).unwrap();
    scene.step().await;
    scene.assert_objects(&[(API, "three"), (WEB, "one")]);

    scene.write("renamed.yaml", &service("api", "four"));
    scene.step().await;
    scene.assert_objects(&[(API, "four")]);
    assert_eq!(scene.problems, [""; 0]);
}

#[tokio::test]
async fn an_object_that_is_there_twice_is_that_of_the_first_path() {
    let twice = format!("{}---\n{}", service("api", "one"), service("api", "two"));
    let mut scene = Scene::with(&[
        ("a.yaml", &service("web", "a")),
        ("b.yaml", &service("web", "b")),
        ("c.yaml", &twice),
    ])
    .await;
    scene.assert_objects(&[(API, "one"), (WEB, "a")]);
    assert_eq!(scene.problems.len(), 2);
    assert!(scene.problems[0].starts_with("b.yaml:1: Service default/web: is in "), "{:?}", scene.problems);
    assert!(
        scene.problems[1].starts_with("c.yaml:6: Service default/api: is there twice"),
        "{:?}",
        scene.problems
    );
    fs::remove_file(scene.path("a.yaml")).unwrap();
    scene.until(&[(API, "one"), (WEB, "b")]).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_keeps() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    fs::write(scene.path("web.yaml"), b"kind: Service\n# \xff\n").unwrap();
    scene.step().await;
    scene.assert_problem("web.yaml:2: is not UTF-8 text (what was last good keeps serving)");
    scene.assert_objects(&[(WEB, "one")]);

    fs::remove_file(scene.path("web.yaml")).unwrap();
    symlink("nowhere", scene.path("web.yaml")).unwrap();
    scene.step().await;
    scene.assert_problem("web.yaml: cannot be read: No such file");
    scene.assert_objects(&[(WEB, "one")]);

    fs::remove_file(scene.path("web.yaml")).unwrap();
    let file = fs::File::create(scene.path("web.yaml")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    drop(file);
    scene.step().await;
    scene.assert_problem("web.yaml: is larger than 64 MiB");
    scene.assert_objects(&[(WEB, "one")]);
}

#[tokio::test]
async fn an_unreadable_file_keeps_until_it_can_be_read() {
    let mut scene = Scene::with(&[("web.yaml", &service("web", "one"))]).await;
    let path = scene.path("web.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        // The superuser reads everything, so there is nothing that could be unreadable: a link to itself is.
        fs::remove_file(&path).unwrap();
        symlink("web.yaml", &path).unwrap();
    }
    scene.step().await;
    scene.assert_problem("web.yaml: cannot be read: ");
    scene.assert_objects(&[(WEB, "one")]);
    let _ = fs::remove_file(&path);
    scene.write("web.yaml", &service("web", "two"));
    scene.until(&[(WEB, "two")]).await;
    assert_eq!(scene.problems, [""; 0]);
}
