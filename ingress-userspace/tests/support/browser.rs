//! Headless Chromium, driven by the WebDriver protocol (W3C WebDriver).
//!
//! ```text
//! Browser ──► chromedriver (a process) ──► chromium (its children, a profile of their own)
//!                                             └─ host names of the test ──► ports on loopback
//! ```
//!
//! Not a part of `support/mod.rs`: only the suites that show pages in a browser pay for it.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::{TimeoutConfiguration, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::{ParseError, Url};

use crate::support::DEADLINE;
use crate::support::log::Log;
use crate::support::peer::{path, skipped};

/// What a browser does at its start on a machine that may be loaded.
const START: Duration = Duration::from_mins(1);

/// Between two looks at a page that is to change.
const POLL: Duration = Duration::from_millis(50);

/// A browser with a profile of its own: another browser is somebody else. Dropping it ends its processes.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Driver,
    _profile: TempDir,
}

/// A response to a script of a page.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// 0 if there was none that the script may see.
    pub(crate) status: u16,
    /// Whether redirects were followed.
    pub(crate) redirected: bool,
    /// The content.
    pub(crate) text: String,
    /// `WWW-Authenticate`
    pub(crate) challenge: String,
}

impl Browser {
    /// A browser that finds each of the hosts at an address of this machine, whatever port a URL names; says `SKIPPED` if there is no
    /// Chromium here.
    pub(crate) fn start(test: &str, hosts: &[(&str, SocketAddr)]) -> Option<Self> {
        match path("chromium").and_then(|chromium| Ok((chromium, path("chromedriver")?))) {
            Ok((chromium, driver)) => Some(Self::launch(&chromium, &driver, hosts)),
            Err(reason) => {
                skipped(test, &reason);
                None
            }
        }
    }

    fn launch(chromium: &str, driver: &str, hosts: &[(&str, SocketAddr)]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let (driver, address) = Driver::start(driver);
        let capabilities = capabilities(chromium, profile.path().to_str().unwrap(), hosts);
        let client = runtime.block_on(async {
            let connect =
                ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&address).await;
            let client = connect.unwrap();
            client
                .update_timeouts(TimeoutConfiguration::new(Some(DEADLINE), Some(DEADLINE), None))
                .await
                .unwrap();
            client
        });
        Self { runtime, client, _driver: driver, _profile: profile }
    }

    /// Goes to a page, and waits until it is loaded with what it includes.
    #[track_caller]
    pub(crate) fn goto(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// The URL in the address bar.
    #[track_caller]
    pub(crate) fn url(&self) -> String {
        self.run("return location.href", &[]).as_str().unwrap_or_default().to_owned()
    }

    /// What somebody reads.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        self.run("return document.body ? document.body.innerText : ''", &[])
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// As the button of the browser.
    #[track_caller]
    pub(crate) fn back(&self) {
        self.runtime.block_on(self.client.back()).unwrap();
    }

    /// Loads the page again.
    #[track_caller]
    pub(crate) fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).unwrap();
    }

    /// Waits until something is true of the page. A page that is just being left answers no question, which is no failure.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !is_true(self) {
            assert!(
                begin.elapsed() < DEADLINE,
                "not within {DEADLINE:?}: {what}; at {}:\n{}",
                self.url(),
                self.text()
            );
            self.runtime.block_on(async { tokio::time::sleep(POLL).await });
        }
    }

    /// Waits until the address bar shows this URL.
    #[track_caller]
    pub(crate) fn arrives_at(&self, url: &str) {
        self.eventually(&format!("the browser is at {url}"), |browser| browser.url() == url);
    }

    /// Waits until the page says something.
    #[track_caller]
    pub(crate) fn reads(&self, text: &str) {
        self.eventually(&format!("the page says {text:?}"), |browser| browser.text().contains(text));
    }

    /// Whether there is an element that the CSS selector selects.
    #[track_caller]
    pub(crate) fn has(&self, selector: &str) -> bool {
        !self.run("return document.querySelector(arguments[0])", &[json!(selector)]).is_null()
    }

    /// Waits for an element, and types into it.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.eventually(selector, |browser| browser.has(selector));
        let filled = async {
            let element = self.client.find(Locator::Css(selector)).await?;
            element.clear().await?;
            element.send_keys(text).await
        };
        self.runtime.block_on(filled).unwrap();
    }

    /// Waits for an element, and clicks on it.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.eventually(selector, |browser| browser.has(selector));
        let clicked = async { self.client.find(Locator::Css(selector)).await?.click().await };
        self.runtime.block_on(clicked).unwrap();
    }

    /// Runs a script in the page; its arguments are `arguments`. Null if the page was left meanwhile.
    #[track_caller]
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.runtime.block_on(self.client.execute(script, arguments.to_vec())).unwrap_or_default()
    }

    /// Runs the body of an async function in the page, and waits for what it returns.
    #[track_caller]
    pub(crate) fn run_async(&self, script: &str, arguments: &[Value]) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; const own = Array.from(arguments).slice(0, -1);
             (async (...arguments) => {{ {script} }})(...own).then(value => done({{value}}), error => done({{error: String(error)}}));"
        );
        let result = self.runtime.block_on(self.client.execute_async(&script, arguments.to_vec())).unwrap();
        assert!(result.get("error").is_none(), "the script failed: {result}");
        result["value"].clone()
    }

    /// What a script of the page gets that asks its own site, with cookies; `options` as `fetch` takes them.
    #[track_caller]
    pub(crate) fn fetch(&self, url: &str, options: &Value) -> Fetched {
        let script = "const [url, options] = arguments;
            const response = await fetch(url, options);
            return {status: response.status, redirected: response.redirected, text: await response.text(),
                    challenge: response.headers.get('www-authenticate') || ''};";
        let fetched = self.run_async(script, &[json!(url), options.clone()]);
        let text = |name: &str| fetched[name].as_str().unwrap_or_default().to_owned();
        Fetched {
            status: fetched["status"].as_u64().unwrap_or_default().try_into().unwrap(),
            redirected: fetched["redirected"].as_bool().unwrap_or_default(),
            text: text("text"),
            challenge: text("challenge"),
        }
    }

    /// The cookies that the page's URL would be sent, also those that scripts cannot see: names and values.
    #[track_caller]
    pub(crate) fn cookies(&self) -> Vec<(String, String)> {
        let cookies = self.runtime.block_on(self.client.get_all_cookies()).unwrap();
        cookies.iter().map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect()
    }

    /// The value of the cookie of this host whose name begins so.
    #[track_caller]
    pub(crate) fn cookie(&self, prefix: &str) -> Option<(String, String)> {
        self.cookies().into_iter().find(|(name, _)| name.starts_with(prefix))
    }

    /// Sets a cookie of this host as a server would with `Path=/; Secure; HttpOnly; SameSite=Lax`.
    #[track_caller]
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        let parameters = json!({
            "name": name, "value": value, "url": self.url(), "path": "/", "secure": true, "httpOnly": true, "sameSite": "Lax",
        });
        let set = self.devtools("Network.setCookie", parameters);
        assert_eq!(set["success"], json!(true), "{name}: {set}");
    }

    /// A command of the Chrome DevTools protocol.
    #[track_caller]
    fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.runtime.block_on(self.client.issue_cmd(DevTools { command, parameters })).unwrap()
    }

    /// Removes a cookie of this host.
    #[track_caller]
    pub(crate) fn remove_cookie(&self, name: &str) {
        self.runtime.block_on(self.client.delete_cookie(name)).unwrap();
    }

    /// The tab that is shown.
    #[track_caller]
    pub(crate) fn tab(&self) -> WindowHandle {
        self.runtime.block_on(self.client.window()).unwrap()
    }

    /// Opens a tab and shows it.
    #[track_caller]
    pub(crate) fn new_tab(&self) -> WindowHandle {
        let handle = self.runtime.block_on(self.client.new_window(true)).unwrap().handle;
        self.show(&handle);
        handle
    }

    /// Shows another tab.
    #[track_caller]
    pub(crate) fn show(&self, tab: &WindowHandle) {
        self.runtime.block_on(self.client.switch_to_window(tab.clone())).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser in good order; what does not end so is ended with the driver.
        let client = self.client.clone();
        let _ = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, client.close()).await });
    }
}

/// chromedriver's way to the DevTools protocol, for what WebDriver does not have.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}

fn capabilities(chromium: &str, profile: &str, hosts: &[(&str, SocketAddr)]) -> Map<String, Value> {
    let rules = hosts.iter().map(|(host, address)| format!("MAP {host} {address}"));
    let rules = rules.collect::<Vec<_>>().join(",");
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &format!("--user-data-dir={profile}"),
        &format!("--host-resolver-rules={rules}"),
    ];
    let options = json!({ "binary": chromium, "args": flags });
    let all = json!({ "browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options });
    all.as_object().cloned().unwrap_or_default()
}

/// chromedriver, in a process group of its own with all that it starts.
struct Driver(Child);

/// How often chromedriver is started until it has a port.
const STARTS: usize = 8;

impl Driver {
    /// Starts it, and returns where it listens. It takes a free port of IPv6, and gives up if the same of IPv4 is somebody else's.
    fn start(program: &str) -> (Self, String) {
        let mut said = Vec::new();
        for _ in 0..STARTS {
            match Self::try_start(program) {
                Ok((driver, port)) => return (driver, format!("http://127.0.0.1:{port}")),
                Err(lines) => said = lines,
            }
        }
        panic!("chromedriver does not listen: {said:?}");
    }

    /// The error is what it said.
    fn try_start(program: &str) -> Result<(Self, u16), Vec<String>> {
        let mut command = Command::new(program);
        command.arg("--port=0").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = Self(command.spawn().unwrap());
        let log = Log::collect(driver.0.stdout.take().unwrap());
        let port = |lines: &[String]| {
            let line = lines.iter().find(|line| line.contains("started successfully on port"))?;
            line.trim_end_matches('.').rsplit(' ').next()?.parse::<u16>().ok()
        };
        // The end of its output ends the wait as well.
        log.wait(START, port).map(|port| (driver, port)).ok_or_else(|| log.lines())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // Errors say that it has ended already.
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}
