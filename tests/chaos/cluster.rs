//! Server processes on one database that a test can kill, freeze, stop and restart.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::fakes::Fakes;
use crate::fault_proxy::FaultProxy;
use crate::outages::Outages;
use crate::support::db::{Backend, Template, TestDb};
use crate::support::http::client;
use crate::support::proxy::Proxy;
use crate::support::sqlite;
use crate::support::store;
use crate::support::wait::{wait_at_most, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rejoinder");

const WORKSPACE: &str = include_str!("workspace.toml");

/// A stop takes the grace period, and longer on a busy machine.
const UNTIL_STOPPED: Duration = Duration::from_mins(1);

/// A database that has not been migrated.
const EMPTY: Template = Template { name: "empty", migrate: |_| Box::pin(async { Ok(()) }) };

/// The configuration of a test's servers.
pub struct Setup {
    pub backend: Backend,
    /// Must be 1 on SQLite.
    pub processes: usize,
    /// The workspace's credit, in dollars.
    pub balance: &'static str,
    pub env: Vec<(&'static str, String)>,
    /// The route from the servers to PostgreSQL.
    pub database_route: DatabaseRoute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseRoute {
    Direct,
    /// Through a proxy that can fail, see [`Cluster::line`].
    Proxy,
    /// Through a proxy that inspects each chunk, see [`Cluster::fault_proxy`].
    FaultProxy,
}

impl Setup {
    pub fn new(backend: Backend, processes: usize) -> Self {
        Self {
            backend,
            processes,
            balance: "1000.00",
            env: Vec::new(),
            database_route: DatabaseRoute::Direct,
        }
    }

    /// Ignored on SQLite.
    pub fn database_route(mut self, database_route: DatabaseRoute) -> Self {
        self.database_route = database_route;
        self
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    pub fn balance(mut self, dollars: &'static str) -> Self {
        self.balance = dollars;
        self
    }
}

/// The servers, their database and the fakes. Dropping it ends them all.
pub struct Cluster {
    nodes: Vec<Node>,
    pub fakes: Arc<Fakes>,
    /// Of the workspace, with the default scopes.
    pub key: String,
    settings: Vec<(String, String)>,
    directory: TempDir,
    /// The failing proxy, with [`DatabaseRoute::Proxy`].
    pub line: Option<Proxy>,
    /// The inspecting proxy, with [`DatabaseRoute::FaultProxy`].
    pub fault_proxy: Option<FaultProxy>,
    pub outages: Outages,
    pub began: Instant,
    /// `None` on SQLite.
    db: Option<TestDb>,
}

#[derive(Default)]
struct Node {
    process: Mutex<Option<Child>>,
    address: Mutex<Option<String>>,
    /// Number of starts of this process.
    starts: AtomicUsize,
}

impl Cluster {
    /// Applies the workspace, and starts the processes.
    pub async fn start(setup: Setup) -> Arc<Self> {
        let cluster = Self::prepare(setup).await;
        for node in 0..cluster.len() {
            cluster.start_node(node).await;
        }
        cluster
    }

    /// Applies the workspace without starting a process.
    async fn prepare(setup: Setup) -> Arc<Self> {
        let db = match setup.backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(store::postgres().await),
        };
        let balance = setup.balance;
        let mut cluster = Self::new(setup, db).await;
        cluster.key = cluster.apply(&WORKSPACE.replace("@BALANCE@", balance), "chaos");
        Arc::new(cluster)
    }

    /// Creates a second workspace like the first, with another assistant id, and returns its API key.
    pub fn second_tenant(&self, [first, second]: [&str; 2]) -> String {
        let workspace = WORKSPACE.replace("@BALANCE@", "1000.00").replace(first, second);
        self.apply(&workspace.replace(r#"slug = "chaos""#, r#"slug = "other""#), "other")
    }

    /// Applies a workspace, and returns an API key.
    pub fn apply(&self, workspace: &str, slug: &str) -> String {
        let workspace = workspace.replace("@TOOL@", &self.fakes.tool.url(""));
        std::fs::write(self.directory.path().join("workspace.toml"), workspace).expect("a file is written");
        self.run(&["migrate"]);
        self.run(&["apply", "workspace.toml"]);
        self.create_key(slug)
    }

    /// Creates an API key of a workspace, with the default scopes.
    pub fn create_key(&self, slug: &str) -> String {
        self.create_key_with(slug, &[])
    }

    /// Creates an API key of a workspace that may only order and read erasures.
    pub fn create_erasing_key(&self, slug: &str) -> String {
        self.create_key_with(slug, &["--scopes", "erase"])
    }

    fn create_key_with(&self, slug: &str, options: &[&str]) -> String {
        let command = ["keys", "create", "--workspace", slug, "--name", "chaos", "--json"];
        let created = self.run(&[&command, options].concat());
        let created: Value = serde_json::from_str(&created).expect("JSON");
        created["secret"].as_str().expect("a key").to_owned()
    }

    /// A cluster on an empty database, with no process started.
    pub async fn empty(setup: Setup) -> Self {
        let db = match setup.backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(TestDb::copy_of(&EMPTY, Backend::Postgres).await),
        };
        Self::new(setup, db).await
    }

    async fn new(setup: Setup, db: Option<TestDb>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let fakes = Arc::new(Fakes::start().await);
        let mut settings: Vec<(String, String)> = [
            ("REJOINDER_LISTEN", "127.0.0.1:0".to_owned()),
            ("REJOINDER_DEMO", "false".to_owned()),
            ("REJOINDER_DATA_DIR", "data".to_owned()),
            ("REJOINDER_TURN__LEASE", "2s".to_owned()),
            ("REJOINDER_LIMITS__ENABLED", "false".to_owned()),
            ("REJOINDER_STORE__SHARDS", "2".to_owned()),
            ("REJOINDER_STORE__READ_CONNECTIONS", "4".to_owned()),
            ("REJOINDER_MODEL__HISTORY_MESSAGES", "8".to_owned()),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", fakes.tool.host()),
            ("OPENAI_BASE_URL", fakes.model.base_url()),
            ("OPENAI_MODEL", "fake".to_owned()),
            ("RUST_LOG", "warn,rejoinder=info".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let (mut line, mut fault_proxy) = (None, None);
        if let Some(db) = &db {
            let url = match setup.database_route {
                DatabaseRoute::Direct => db.url(),
                DatabaseRoute::Proxy => line.insert(Proxy::start(&db.url()).await).url().to_owned(),
                DatabaseRoute::FaultProxy => {
                    fault_proxy.insert(FaultProxy::start(&db.url()).await).url().to_owned()
                }
            };
            settings.push(("DATABASE_URL".to_owned(), url));
        }
        settings.extend(setup.env.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let nodes = (0..setup.processes).map(|_| Node::default()).collect();
        Self {
            nodes,
            fakes,
            key: String::new(),
            settings,
            directory,
            line,
            fault_proxy,
            outages: Outages::default(),
            began: Instant::now(),
            db,
        }
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A command of the program with the settings of these servers.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The server. It ignores SIGXFSZ, so that a write beyond the file size limit fails instead of ending the process.
    fn start_command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\"", PROGRAM]).current_dir(self.directory.path());
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the program, and returns its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().expect("the program starts");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("the program writes UTF-8")
    }

    /// Starts a process, and waits until it is ready.
    pub async fn start_node(&self, node: usize) {
        let log = File::options().create(true).append(true).open(self.log_path(node)).expect("a log");
        self.nodes[node].starts.fetch_add(1, Ordering::SeqCst);
        let mut command = self.start_command();
        // The API key tells the fake model which process calls, and after which start.
        command.env("OPENAI_API_KEY", self.name(node));
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let output = process.stdout.take().expect("its output is piped");
        *self.nodes[node].process.lock().unwrap() = Some(process);
        let (sender, lines) = std::sync::mpsc::channel();
        let lines = Mutex::new(lines);
        // Reads to the end, because a server that writes to a closed pipe may fail.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let banner =
            async || {
                let has_ended =
                    self.nodes[node].process.lock().unwrap().as_mut().is_none_or(|process| {
                        process.try_wait().expect("the process can be asked").is_some()
                    });
                assert!(!has_ended, "the server has ended: {}", self.log(node));
                lines.lock().unwrap().try_recv().ok()
            };
        let banner = wait_for("the server's first line", banner).await;
        let address = banner.rsplit(' ').next().expect("its address").to_owned();
        let ready = async || try_get(&format!("{address}/readyz")).await.map(drop);
        wait_for("the server to be ready", ready).await;
        *self.nodes[node].address.lock().unwrap() = Some(address);
    }

    /// A name that is unique among all started processes.
    fn name(&self, node: usize) -> String {
        format!("server-{node}-{}", self.nodes[node].starts.load(Ordering::SeqCst))
    }

    /// The address of a process, if it runs.
    pub fn address(&self, node: usize) -> Option<String> {
        self.nodes[node].address.lock().unwrap().clone()
    }

    /// The address of a running process, preferably `preferred`.
    pub async fn some_address(&self, preferred: usize) -> String {
        let look = async || (0..self.len()).find_map(|step| self.address((preferred + step) % self.len()));
        wait_for("a server that runs", look).await
    }

    /// Sends SIGKILL, waits for the end, and returns the time of the signal.
    pub fn kill(&self, node: usize) -> Instant {
        *self.nodes[node].address.lock().unwrap() = None;
        let mut process = self.nodes[node].process.lock().unwrap();
        let at = Instant::now();
        if let Some(mut process) = process.take() {
            let _ = process.kill();
            let _ = process.wait();
            self.outages.record_kill(self.name(node), at);
        }
        at
    }

    /// Kills all running processes.
    pub fn kill_all(&self) {
        for node in 0..self.len() {
            self.kill(node);
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self, node: usize) {
        self.signal(node, "TERM");
    }

    /// Sends SIGSTOP: the process neither answers nor renews its lease until [`Self::wake`].
    pub fn freeze(&self, node: usize) {
        let at = Instant::now();
        self.signal(node, "STOP");
        self.outages.record_freeze(self.name(node), at);
    }

    /// Sends SIGCONT.
    pub fn wake(&self, node: usize) {
        self.outages.record_wake(&self.name(node));
        self.signal(node, "CONT");
    }

    fn signal(&self, node: usize, name: &str) {
        let signal = format!("-{name}");
        let sent = Command::new("kill").args([&signal, &self.pid(node)]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Sets a resource limit of a running process with an option of `prlimit` (`--nofile=64:`).
    pub fn limit(&self, node: usize, limit: &str) {
        let set = Command::new("prlimit").args(["--pid", &self.pid(node), limit]).status();
        assert!(set.expect("prlimit is there").success(), "{limit}");
    }

    /// The number of open file descriptors of a process.
    pub fn open_files(&self, node: usize) -> usize {
        let folder = format!("/proc/{}/fd", self.pid(node));
        std::fs::read_dir(folder).expect("the system tells a process's open files").count()
    }

    /// The resident memory of a process, in KiB.
    pub fn resident_kib(&self, node: usize) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(node)));
        let status = status.expect("the system tells a process's memory");
        let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident size");
        size.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn pid(&self, node: usize) -> String {
        let process = self.nodes[node].process.lock().unwrap();
        process.as_ref().expect("the process runs").id().to_string()
    }

    /// Waits for the end of a process after SIGTERM.
    pub async fn ended(&self, node: usize) -> ExitStatus {
        *self.nodes[node].address.lock().unwrap() = None;
        let ended = async || {
            let mut process = self.nodes[node].process.lock().unwrap();
            process.as_mut()?.try_wait().expect("the process can be asked")
        };
        wait_at_most(UNTIL_STOPPED, "the server's end", ended).await
    }

    /// All that the database has: a dump of PostgreSQL, the files of SQLite.
    pub fn stored_bytes(&self) -> Vec<u8> {
        let file = self.directory.path().join("data/rejoinder.db");
        self.db.as_ref().map_or_else(|| sqlite::stored_bytes(&file), TestDb::stored_bytes)
    }

    fn log_path(&self, node: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("server-{node}.log"))
    }

    /// The log of a process, over all its starts.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }
}

/// The body of a 200 response; `None` for any other response or none.
pub async fn try_get(url: &str) -> Option<String> {
    let answer = client().get(url).send().await.ok()?;
    if answer.status() == 200 { answer.text().await.ok() } else { None }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            for node in 0..self.len() {
                println!("--- server {node}\n{}", self.log(node));
            }
        }
    }
}
