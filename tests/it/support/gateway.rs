//! The product under test: the real binary, with a configuration of its own, over HTTP.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;

pub use super::answer::{Answer, Outcome, Report};
use super::process::Process;
use super::provider::Provider;
use super::{data_dir, eventually, http_client};

/// The record key of all test gateways, which outlives every state directory; that of [`crate::stack`] as well.
pub const RECORD_KEY: &str = "2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a";
/// How long a gateway may take to start and to be ready on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a command may take to end.
const RUN_WITHIN: Duration = Duration::from_secs(240);

/// What a gateway is to be started with.
#[derive(Debug, Clone)]
pub struct Setup {
    providers: Vec<String>,
    yaml: String,
    record_key: String,
}

/// A gateway and all that is its own: configuration, state, process.
#[derive(Debug)]
pub struct TestGateway {
    process: Option<Process>,
    setup: Setup,
    home: TempDir,
    http: reqwest::Client,
    public: String,
    admin: String,
    token: String,
}

impl Setup {
    /// Takes the providers that the gateway shall use.
    pub fn of(providers: &[&Provider]) -> Self {
        Self::of_entries(providers.iter().map(|provider| provider.yaml()).collect())
    }

    /// Takes entries of providers.yaml.
    pub fn of_entries(providers: Vec<String>) -> Self {
        Self { providers, yaml: String::new(), record_key: RECORD_KEY.to_owned() }
    }

    /// Adds lines to providers.yaml.
    #[must_use]
    pub fn yaml(mut self, lines: &str) -> Self {
        self.yaml.push_str(lines);
        self.yaml.push('\n');
        self
    }

    /// Uses another record key.
    #[must_use]
    pub fn record_key(mut self, hex: &str) -> Self {
        hex.clone_into(&mut self.record_key);
        self
    }

    /// Writes the configuration and starts nothing.
    pub fn prepare(self) -> TestGateway {
        let home = data_dir("gateway-");
        let mut text = format!("state: ./state\n{}providers:\n", self.yaml);
        self.providers.iter().for_each(|provider| text.push_str(&format!("  - {provider}\n")));
        fs::write(home.path().join("providers.yaml"), text).expect("the configuration is written");
        TestGateway {
            process: None,
            setup: self,
            home,
            http: http_client(),
            public: String::new(),
            admin: String::new(),
            token: String::new(),
        }
    }

    /// Starts a gateway and waits until it is ready.
    pub async fn start(self) -> TestGateway {
        let mut gateway = self.prepare();
        gateway.start().await;
        gateway
    }
}

impl TestGateway {
    /// Starts the gateway, which is down, and waits until it is ready.
    pub async fn start(&mut self) {
        self.launch().await;
        let ready = || async { (self.get("-/ready").await.status == 200).then_some(()) };
        eventually("the gateway is ready", START_WITHIN, ready).await;
    }

    /// Starts the gateway, which is down, and waits until it listens.
    pub async fn launch(&mut self) {
        let mut command = self.command(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut process = Process::spawn(&mut command, Some(self.home.path()));
        let deadline = tokio::time::Instant::now() + START_WITHIN;
        let (public, admin) = loop {
            if let (Some(public), Some(admin)) =
                (process.stdout.after("listening: "), process.stdout.after("admin: "))
            {
                break (public, admin);
            }
            let ended = process.exited();
            let late = tokio::time::Instant::now() > deadline;
            let printed = || format!("{}{}", process.stdout.text(), process.stderr.text());
            assert!(ended.is_none() && !late, "the gateway does not listen ({ended:?}):\n{}", printed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        (self.public, self.admin) = (public, admin);
        // It is printed before the listeners are; with tokens configured there is none.
        self.token = process.stdout.after("generated token: ").unwrap_or_default();
        self.process = Some(process);
    }

    /// Asks the gateway to end and returns its exit status.
    pub async fn stop(&mut self) -> i32 {
        let mut process = self.process.take().expect("a running gateway");
        process.signal("TERM");
        process.wait(START_WITHIN).await.code().unwrap_or(-1)
    }

    /// Kills the gateway as a power cut would.
    pub fn kill(&mut self) {
        self.process.take().expect("a running gateway").kill();
    }

    /// Removes the state directory of a gateway that is down.
    pub fn delete_state(&self) {
        assert!(self.process.is_none(), "the gateway is still running");
        fs::remove_dir_all(self.home.path().join("state")).expect("the state directory is removed");
    }

    /// Returns the folder of the configuration.
    pub fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Returns the URL of the public listener, without a closing slash.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Returns the token that may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns what the gateway logged so far.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(|process| process.stdout.text() + &process.stderr.text())
            .unwrap_or_default()
    }

    /// Begins a request without a token; `path` has no leading slash.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(method.parse().expect("a method"), format!("{}/{path}", self.public))
    }

    /// Begins a request with the token that may do everything.
    pub fn authorised(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&self.token)
    }

    /// Uploads an asset.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Answer {
        Answer::of(self.upload(name, bytes)).await
    }

    /// Uploads an asset, waits for all copies, and fails unless each provider has stored one.
    pub async fn put_everywhere(&self, name: &str, bytes: Bytes) -> Answer {
        let answer = Answer::of(self.upload(name, bytes).header("X-Triplicate-Wait", "all")).await;
        assert!([200, 201].contains(&answer.status), "PUT {name}: {answer:?}\n{}", self.log());
        let copies = answer.json()["copies"].as_object().cloned().expect("the receipt has copies");
        assert_eq!(copies.len(), self.setup.providers.len(), "{copies:?}");
        assert!(copies.values().all(|state| state == "stored"), "{copies:?}\n{}", self.log());
        answer
    }

    /// Begins an upload.
    pub fn upload(&self, name: &str, bytes: Bytes) -> RequestBuilder {
        // The client sends no length with an empty body unless it is told to.
        self.authorised("PUT", name).header("Content-Length", bytes.len()).body(bytes)
    }

    /// Reads an asset.
    pub async fn get(&self, name: &str) -> Answer {
        Answer::of(self.request("GET", name)).await
    }

    /// Asks for the headers of an asset.
    pub async fn head(&self, name: &str) -> Answer {
        Answer::of(self.request("HEAD", name)).await
    }

    /// Deletes an asset.
    pub async fn delete(&self, name: &str) -> Answer {
        Answer::of(self.authorised("DELETE", name)).await
    }

    /// Reads from the admin listener; `path` has no leading slash.
    pub async fn admin(&self, path: &str) -> Answer {
        Answer::of(self.http.get(format!("{}/{path}", self.admin)).bearer_auth(&self.token)).await
    }

    /// Starts the binary with this configuration.
    pub fn begin(&self, args: &[&str]) -> Process {
        Process::spawn(&mut self.command(args), None)
    }

    /// Runs the binary with this configuration to its end.
    pub async fn run(&self, args: &[&str]) -> Outcome {
        let mut process = self.begin(args);
        let status = process.wait(RUN_WITHIN).await;
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: process.stdout.text(),
            stderr: process.stderr.text(),
        }
    }

    /// Runs an audit, `--audit` first, and reads its report.
    pub async fn audit(&self, args: &[&str]) -> Report {
        let file = self.home.path().join(format!("report-{}", super::unique()));
        let mut all = args.to_vec();
        all.extend(["--report", file.to_str().expect("a plain path")]);
        let outcome = self.run(&all).await;
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("no report: {error}; {outcome:?}"));
        let mut findings: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let summary = findings.pop().expect("a summary")["summary"].clone();
        assert_eq!(summary["exit"], outcome.code, "{outcome:?}");
        Report { outcome, findings, summary }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.home.path()).env("TRIPLICATE_RECORD_KEY", &self.setup.record_key);
        // A token needs no configuration, and the two together are refused.
        if !args.contains(&"--new-token") {
            command.arg("--config").arg(self.home.path().join("providers.yaml"));
        }
        command
    }
}

/// The binary of this build, or the one that `TRIPLICATE_BINARY` names.
pub fn binary() -> OsString {
    std::env::var_os("TRIPLICATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_triplicate").into())
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the gateway at {} printed:\n{}", self.public, self.log());
        }
    }
}
