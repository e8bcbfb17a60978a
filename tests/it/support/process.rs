//! Child processes that never outlive the tests.
//!
//! Each child leads a process group of its own. Beside it waits a watchdog whose standard input is a pipe
//! from this process: when the pipe closes, because the test process ended in whatever way, the watchdog kills
//! the group and removes its data. Dropping a [`Process`] does the same at once.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

const WATCHDOG: &str = r#"cat >/dev/null; kill -s KILL -- "-$1"; [ -z "$2" ] || rm -rf -- "$2""#;

/// The lines that a child printed so far.
#[derive(Debug, Default, Clone)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Returns the rest of the first line that begins with `prefix`.
    pub fn after(&self, prefix: &str) -> Option<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .find_map(|line| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned()))
    }

    /// Returns all lines as one text.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().iter().map(|line| format!("{line}\n")).collect()
    }

    fn drain(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                lines.0.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        })
    }
}

/// A running child and what it prints.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watchdog: Child,
    drains: Vec<JoinHandle<()>>,
    /// The lines of its standard output.
    pub stdout: Lines,
    /// The lines of its standard error.
    pub stderr: Lines,
}

impl Process {
    /// Starts `command`; `data`, if given, is removed when this process dies without dropping.
    pub fn spawn(command: &mut Command, data: Option<&Path>) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", command.get_program().display()));
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(data.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the watchdog starts");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let drains =
            vec![stdout.drain(child.stdout.take().unwrap()), stderr.drain(child.stderr.take().unwrap())];
        Self { child, watchdog, drains, stdout, stderr }
    }

    /// Lets the watchdog believe that this process has died.
    pub fn abandon(&mut self) {
        self.watchdog.stdin = None;
    }

    /// Sends a signal, by its name, to the whole group.
    pub fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
        status.expect("the kill command runs");
    }

    /// Returns the exit status, once there is one.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until the child has ended and all its output is read; kills it after `within`.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.exited() {
                break status;
            }
            if Instant::now() > deadline {
                self.kill();
                panic!("did not end within {within:?}:\n{}{}", self.stdout.text(), self.stderr.text());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        self.drains.drain(..).for_each(|drain| drain.join().unwrap());
        status
    }

    /// Kills the child as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            self.signal("KILL");
            self.child.wait().expect("a killed child ends");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // The group is gone: the watchdog must not see the pipe close, as its number may be taken again.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}
