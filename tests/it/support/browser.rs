//! Headless Chromium for the tests of pages, driven by its WebDriver over plain HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cleanup::run_apart;
use super::http::Http;
use super::wait::wait_for;

/// The field of an element's reference in WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are not characters, for [`Browser::press`].
pub mod keys {
    pub const TAB: &str = "\u{e004}";
    pub const ESCAPE: &str = "\u{e00c}";
}

/// WebDriver's errors for an element that the page is changing.
const CHANGING: [&str; 3] =
    ["stale element reference", "element click intercepted", "element not interactable"];

/// The number of attempts to start the driver.
const STARTS: usize = 5;

/// Finds the elements of a selector in the document and in all open shadow roots.
const FIND_ALL: &str = "
    const all = (root, css) => [
        ...root.querySelectorAll(css),
        ...[...root.querySelectorAll('*')].flatMap((element) => (element.shadowRoot ? all(element.shadowRoot, css) : [])),
    ];
    return all(document, arguments[0]);";

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // The browser ends when its driver does.
    "--remote-debugging-pipe",
];

/// A browser window with its own profile, closed when this is dropped.
pub struct Browser {
    driver: Driver,
    session: String,
    /// The files of driver and browser. It is declared last, so that it is removed after both have ended.
    _folder: TempDir,
}

impl Browser {
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// A browser for which this host name is 127.0.0.1. Its pages are not secure contexts, as those of localhost are.
    pub async fn open_with_host(name: &str) -> Self {
        Self::open_with(&[&format!("--host-resolver-rules=MAP {name} 127.0.0.1")]).await
    }

    async fn open_with(more_flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let driver = Driver::start(folder.path());
        let profile_flag = format!("--user-data-dir={}", folder.path().join("profile").display());
        let flags: Vec<_> =
            FLAGS.into_iter().chain([profile_flag.as_str()]).chain(more_flags.iter().copied()).collect();
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": flags } });
        let created = driver
            .call(Method::POST, "/session", &json!({ "capabilities": { "alwaysMatch": capabilities } }))
            .await;
        let session = created["sessionId"].as_str().expect("a session has an id").to_owned();
        Self { driver, session, _folder: folder }
    }

    pub async fn visit(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    pub async fn reload(&self) {
        self.post("/refresh", &json!({})).await;
    }

    /// Waits for an element of a CSS selector, which matches within the document or within one open shadow root.
    pub async fn find(&self, css: &str) -> Element<'_> {
        let look = async || self.ids(css).await.into_iter().next();
        wait_for(&format!("an element {css}"), look).await;
        Element { browser: self, css: css.to_owned() }
    }

    /// The number of elements of a CSS selector, which matches as in [`Self::find`].
    pub async fn count(&self, css: &str) -> usize {
        self.ids(css).await.len()
    }

    /// Waits until the visible text of a selector's first element contains `text`, and returns all of the visible text.
    pub async fn wait_for_text(&self, css: &str, text: &str) -> String {
        let look = async || {
            let visible = self.try_on(Method::GET, css, "text", &Value::Null).await?;
            let visible = visible.as_str().unwrap_or_default();
            visible.contains(text).then(|| visible.to_owned())
        };
        wait_for(&format!("{text:?} in {css}"), look).await
    }

    /// The driver's ids of the elements of a selector.
    async fn ids(&self, css: &str) -> Vec<String> {
        let found = self.post("/execute/sync", &json!({ "script": FIND_ALL, "args": [css] })).await;
        let ids = found.as_array().into_iter().flatten().filter_map(|element| element[ELEMENT].as_str());
        ids.map(str::to_owned).collect()
    }

    /// Sends a command about the first element of a selector. None if there is none, or it is replaced or covered meanwhile.
    async fn try_on(&self, method: Method, css: &str, command: &str, body: &Value) -> Option<Value> {
        let id = self.ids(css).await.into_iter().next()?;
        let path = format!("/session/{}/element/{id}/{command}", self.session);
        let answer = self.driver.try_call(method, &path, body).await;
        let is_changing = |error: &Value| CHANGING.iter().any(|code| error["error"] == *code);
        answer.map_err(|error| assert!(is_changing(&error), "{command} of {css}: {error}")).ok()
    }

    /// Runs the body of a JavaScript function in the page, and returns its result. A promise is awaited.
    pub async fn evaluate(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Presses and releases a key: a character, or one of [`keys`].
    pub async fn press(&self, key: &str) {
        let action = |kind: &str| json!({ "type": kind, "value": key });
        let keys = json!({ "type": "key", "id": "keys", "actions": [action("keyDown"), action("keyUp")] });
        self.post("/actions", &json!({ "actions": [keys] })).await;
    }

    /// Opens another tab with an empty page, shows it, and returns its handle.
    pub async fn open_tab(&self) -> String {
        let opened = self.post("/window/new", &json!({ "type": "tab" })).await;
        let handle = opened["handle"].as_str().expect("a tab has a handle").to_owned();
        self.switch_to(&handle).await;
        handle
    }

    /// The handle of the tab that is shown.
    pub async fn tab(&self) -> String {
        self.get("/window").await.as_str().expect("a tab has a handle").to_owned()
    }

    /// Shows another tab, to which the next calls go.
    pub async fn switch_to(&self, handle: &str) {
        self.post("/window", &json!({ "handle": handle })).await;
        // Chromium hides the others only when one is brought to the front.
        self.devtools("Page.bringToFront", &json!({})).await;
    }

    /// Closes the tab that is shown. The caller switches to another.
    pub async fn close_tab(&self) {
        self.driver.call(Method::DELETE, &format!("/session/{}/window", self.session), &Value::Null).await;
    }

    /// Runs a command of the browser's debugging protocol (CDP) in the tab that is shown.
    pub async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    /// Sets the size of the page in CSS pixels. A screen of less than 640 px is one of a telephone, with touch.
    pub async fn set_viewport(&self, width: u32, height: u32) {
        let is_phone = width < 640;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
        self.devtools("Emulation.setTouchEmulationEnabled", &json!({ "enabled": is_phone })).await;
    }

    /// Sets media features, such as `prefers-color-scheme` to `dark`. All others are the system's again.
    pub async fn emulate_media(&self, features: &[(&str, &str)]) {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features })).await;
    }

    /// Slows the page down to a "Slow 4G" connection and a processor that is four times slower.
    pub async fn throttle(&self) {
        // 1.6 Mbit/s down, 750 kbit/s up, 150 ms.
        let network = json!({
            "offline": false, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 93_750,
        });
        self.devtools("Network.enable", &json!({})).await;
        self.devtools("Network.emulateNetworkConditions", &network).await;
        self.devtools("Emulation.setCPUThrottlingRate", &json!({ "rate": 4 })).await;
    }

    /// Collects garbage and counts what is left: `documents`, `nodes` and `jsEventListeners` of the page's process.
    pub async fn dom_counters(&self) -> Value {
        self.devtools("HeapProfiler.collectGarbage", &json!({})).await;
        self.devtools("Memory.getDOMCounters", &json!({})).await
    }

    /// A screenshot of the window, as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        let shot = self.get("/screenshot").await;
        STANDARD.decode(shot.as_str().expect("a screenshot is text")).expect("a screenshot is base64")
    }

    async fn get(&self, path: &str) -> Value {
        self.driver.call(Method::GET, &format!("/session/{}{path}", self.session), &Value::Null).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.driver.call(Method::POST, &format!("/session/{}{path}", self.session), body).await
    }
}

impl Drop for Browser {
    /// Closes the window. Without it the driver would kill the browser while that removes its files.
    fn drop(&mut self) {
        // A new client, because the connections of the other belong to the runtime that this blocks.
        let http = Http::new(self.driver.url.clone());
        let session = format!("/session/{}", self.session);
        run_apart(async move || http.request(Method::DELETE, &session).send().await);
    }
}

/// The first element of a selector when it is used: a page may replace it meanwhile.
pub struct Element<'b> {
    browser: &'b Browser,
    css: String,
}

impl Element<'_> {
    /// Its visible text.
    pub async fn text(&self) -> String {
        self.perform(Method::GET, "text", &Value::Null).await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn click(&self) {
        self.perform(Method::POST, "click", &json!({})).await;
    }

    /// Types a text into the element.
    pub async fn type_text(&self, text: &str) {
        self.perform(Method::POST, "value", &json!({ "text": text })).await;
    }

    /// Repeats a command until the element is there and can take it.
    async fn perform(&self, method: Method, command: &str, body: &Value) -> Value {
        let attempt = async || self.browser.try_on(method.clone(), &self.css, command, body).await;
        wait_for(&format!("{command} of {}", self.css), attempt).await
    }
}

/// The `chromedriver` process.
struct Driver {
    process: Child,
    url: String,
    http: Http,
    /// Kept open, because a driver that writes to a closed pipe dies.
    _output: BufReader<ChildStdout>,
}

impl Driver {
    /// Tries again if the driver ends before it prints its port. The kernel gives it a free port of `::1`, and it needs the
    /// same port of 127.0.0.1. If another process has that one, it prints "IPv4 port not available" and exits.
    fn start(folder: &Path) -> Self {
        let mut outputs = Vec::new();
        for _ in 0..STARTS {
            match Self::try_start(folder) {
                Ok(driver) => return driver,
                Err(output) => outputs.push(output),
            }
        }
        panic!("chromedriver ended {STARTS} times before it said its port:\n{}", outputs.join("\n"));
    }

    /// The error is what the driver wrote before it ended.
    fn try_start(folder: &Path) -> Result<Self, String> {
        let errors = folder.join("chromedriver.errors");
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).expect("a file in a folder of our own"))
            .spawn();
        let mut process = started.unwrap_or_else(|fault| {
            panic!("chromedriver cannot be started ({fault}): this test needs Chromium, which `scripts/setup` installs")
        });
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut written = String::new();
        let port = loop {
            let begin = written.len();
            if output.read_line(&mut written).unwrap_or(0) == 0 {
                let ended = process.wait().expect("a child that nobody else waits for");
                let errors = std::fs::read_to_string(&errors).unwrap_or_default();
                return Err(format!("{ended}\n{written}{errors}"));
            }
            if let Some((_, port)) = written[begin..].split_once("started successfully on port ")
                && let Ok(port) = port.trim_end().trim_end_matches('.').parse::<u16>()
            {
                break port;
            }
        };
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { process, http: Http::new(&*url), url, _output: output })
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {}", error["message"]))
    }

    /// The error has WebDriver's code as `error`, and a `message`.
    async fn try_call(&self, method: Method, path: &str, body: &Value) -> Result<Value, Value> {
        let mut request = self.http.request(method, path);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await;
        let mut answered = answer.json();
        let value = answered["value"].take();
        if answer.status == 200 { Ok(value) } else { Err(value) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
