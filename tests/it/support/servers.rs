//! Real S3 servers: started once and shared, or private to a test that stops, hangs or swaps them.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::bucket::Bucket;
use super::install::{self, JUICEFS, SEAWEEDFS};
use super::process::Process;
use super::{data_dir, eventually, ports};

/// How long a server may take to start on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);
/// The access key id that both servers know.
pub const KEY_ID: &str = "TRIPLICATEKIT";
/// Its secret.
pub const SECRET: &str = "kit-secret-of-forty-characters-0123456789";
/// The region that requests are signed for.
pub const REGION: &str = "us-east-1";

/// Who wrote a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// SeaweedFS.
    SeaweedFs,
    /// The gateway of JuiceFS, which is MinIO's front end.
    JuiceFs,
}

/// One S3 server with a port and data of its own.
#[derive(Debug)]
pub struct S3Server {
    make: Make,
    ports: [u16; 8],
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    /// `None` while the server is down. Declared first: it is dropped before its data.
    process: Option<Process>,
    data: TempDir,
}

impl S3Server {
    /// Starts a server that only the caller uses.
    pub async fn private(make: Make) -> Arc<Self> {
        let server = Arc::new(Self {
            make,
            ports: ports::free(),
            running: Mutex::new(Running { process: None, data: data_dir("s3-") }),
        });
        server.start().await;
        server
    }

    /// Returns the server that all tests of this process share, each in a bucket of its own.
    pub async fn shared(make: Make) -> Arc<Self> {
        static SEAWEEDFS: OnceCell<Arc<S3Server>> = OnceCell::const_new();
        static JUICEFS: OnceCell<Arc<S3Server>> = OnceCell::const_new();
        let cell = match make {
            Make::SeaweedFs => &SEAWEEDFS,
            Make::JuiceFs => &JUICEFS,
        };
        cell.get_or_init(|| Self::private(make)).await.clone()
    }

    /// Returns the port of the S3 listener.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Makes a new bucket with a name that no other test uses.
    pub async fn bucket(self: &Arc<Self>) -> Bucket {
        let bucket = Bucket::of(self.clone(), &format!("kit-{}", super::unique()));
        bucket.create().await;
        bucket
    }

    /// Kills the server as a power cut would; its data stays.
    pub fn stop(&self) {
        self.running.lock().unwrap().process = None;
    }

    /// Starts the server on its port and its data, and waits until it stores and returns an object.
    pub async fn start(self: &Arc<Self>) {
        let program = match self.make {
            Make::SeaweedFs => install::installed(SEAWEEDFS),
            Make::JuiceFs => install::installed(JUICEFS),
        };
        {
            let mut running = self.running.lock().unwrap();
            let dir = running.data.path().to_owned();
            let mut command = match self.make {
                Make::SeaweedFs => seaweedfs(&program, &dir, self.ports),
                Make::JuiceFs => juicefs(&program, &dir, self.ports),
            };
            running.process = Some(Process::spawn(&mut command, Some(&dir)));
        }
        let ready = Bucket::of(self.clone(), "kit-ready");
        eventually("the S3 server stores and returns an object", START_WITHIN, || async {
            self.fail_if_ended();
            ready.answers().await.then_some(())
        })
        .await;
    }

    /// Replaces the server by an empty one on the same port: no bucket, no object.
    pub async fn swap_for_empty(self: &Arc<Self>) {
        self.stop();
        self.running.lock().unwrap().data = data_dir("s3-");
        self.start().await;
    }

    /// Hangs the server: connections are accepted by the system and never answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a hung server go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.running.lock().unwrap().process.as_ref().expect("a running server").signal(name);
    }

    fn fail_if_ended(&self) {
        let mut running = self.running.lock().unwrap();
        let Some(process) = running.process.as_mut() else { return };
        if let Some(status) = process.exited() {
            let (stdout, stderr) = (process.stdout.text(), process.stderr.text());
            panic!("{:?} ended ({status}) instead of serving:\n{stdout}{stderr}", self.make);
        }
    }
}

fn seaweedfs(program: &Path, dir: &Path, ports: [u16; 8]) -> Command {
    let identities = serde_json::json!({"identities": [{
        "name": "app",
        "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    let config = dir.join("s3.json");
    std::fs::write(&config, identities.to_string()).expect("the identities are written");
    let data = dir.join("data");
    std::fs::create_dir_all(&data).expect("a folder for data");
    let mut command = Command::new(program);
    // One volume a bucket instead of seven: many small buckets fit on a small disk.
    command.env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1").arg("server").args([
        format!("-dir={}", data.display()),
        format!("-s3.config={}", config.display()),
        format!("-s3.port={}", ports[0]),
        format!("-s3.port.grpc={}", ports[1]),
        format!("-master.port={}", ports[2]),
        format!("-master.port.grpc={}", ports[3]),
        format!("-volume.port={}", ports[4]),
        format!("-volume.port.grpc={}", ports[5]),
        format!("-filer.port={}", ports[6]),
        format!("-filer.port.grpc={}", ports[7]),
    ]);
    command.args([
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-master.telemetry=false",
        "-master.electionTimeout=500ms",
        "-volume.max=0",
        "-volume.preStopSeconds=1",
        "-master.volumeSizeLimitMB=128",
        "-master.volumePreallocate=false",
    ]);
    command
}

fn juicefs(program: &Path, dir: &Path, ports: [u16; 8]) -> Command {
    // With SQLite, which its makers show first, a listing of 300 folders takes half a second of processor time.
    let meta = format!("badger://{}/meta", dir.display());
    if !dir.join("meta").exists() {
        let bucket = format!("{}/data/", dir.display());
        let format = ["format", "--storage", "file", "--bucket", &bucket, "--trash-days", "0", &meta, "kit"];
        install::run(Command::new(program).args(format)).expect("a JuiceFS volume is made");
    }
    let mut command = Command::new(program);
    command.env("MINIO_ROOT_USER", KEY_ID).env("MINIO_ROOT_PASSWORD", SECRET).args([
        "gateway",
        "--no-agent",
        "--no-usage-report",
        "--no-banner",
        "--multi-buckets",
        "--keep-etag",
        "--object-tag",
        "--object-meta",
        "--head-dir",
        "--backup-meta",
        "0",
        "--cache-dir",
        &format!("{}/cache", dir.display()),
        "--metrics",
        &format!("127.0.0.1:{}", ports[1]),
        &meta,
        &format!("127.0.0.1:{}", ports[0]),
    ]);
    command
}
