//! A server of a test's own: on a free port, with a directory that goes with it.

#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

pub mod group;

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use reliable_channel_nats::Options;
use tempfile::TempDir;

/// The two generations of servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// 2.9, which Debian has.
    Older,
    /// The newest one, from PyPI.
    Newer,
}

pub const BOTH: [Generation; 2] = [Generation::Older, Generation::Newer];

impl Generation {
    /// The program of this generation, or why there is none. With `RC_NATS=required`, none is a failure.
    pub fn program(self) -> Result<PathBuf, String> {
        let (name, places) = match self {
            Self::Older => ("RC_NATS_OLDER", vec!["target/nats/older/usr/sbin/nats-server", "/usr/sbin/nats-server"]),
            Self::Newer => ("RC_NATS_NEWER", vec!["target/nats/newer/bin/nats-server"]),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let given = env::var_os(name).map(PathBuf::from);
        let found = given.into_iter().chain(places.iter().map(|place| root.join(place))).find(|path| path.is_file());
        found.ok_or_else(|| {
            assert!(env::var_os("RC_NATS").is_none_or(|wanted| wanted != "required"), "no {self:?} nats-server");
            format!("no {self:?} nats-server here; `bash .ci/run nats` brings both, or {name} names one")
        })
    }
}

/// The program, or a return from the test after a line that says why.
#[macro_export]
macro_rules! program_or_skip {
    ($generation:expr) => {
        match $generation.program() {
            Ok(program) => program,
            Err(why) => {
                // Also where the tests' output is not shown.
                let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {why}\n").as_bytes());
                return;
            }
        }
    };
}

/// A server, or a moment without it. It ends with this.
pub struct Server {
    program: PathBuf,
    pub port: u16,
    dir: TempDir,
    child: Option<Child>,
}

impl Server {
    /// One with JetStream, which lets everybody in.
    pub fn start(program: &Path) -> Self {
        Self::with(program, "")
    }

    /// One with further lines of configuration.
    pub fn with(program: &Path, lines: &str) -> Self {
        let mut server = Self::prepared(program, free_port());
        server.configure(lines);
        server.up();
        server
    }

    /// One on this port.
    pub fn on(program: &Path, port: u16) -> Self {
        let mut server = Self::prepared(program, port);
        server.configure("");
        server.up();
        server
    }

    /// A cluster of three with JetStream, whose members know each other.
    pub fn cluster(program: &Path) -> Vec<Self> {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut servers: Vec<Self> = (0..3).map(|_| Self::prepared(program, free_port())).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        for (server, route) in servers.iter_mut().zip(&routes) {
            let (port, all) = (server.port, all.join(","));
            server.configure(&format!(
                "server_name: n{port}\ncluster {{ name: c, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n"
            ));
            server.spawn();
        }
        servers.iter().for_each(Self::wait);
        servers
    }

    fn prepared(program: &Path, port: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("nats").tempdir().unwrap();
        Self { program: program.to_owned(), port, dir, child: None }
    }

    /// Writes the configuration anew.
    pub fn configure(&self, lines: &str) {
        let mut text = format!("listen: \"127.0.0.1:{}\"\n", self.port);
        if !lines.contains("jetstream") {
            writeln!(text, "jetstream {{ store_dir: {:?} }}", self.store()).unwrap();
        }
        fs::write(self.config(), text + lines).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("conf")
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Starts it, and waits until it answers.
    pub fn up(&mut self) {
        self.spawn();
        self.wait();
    }

    pub fn spawn(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.config()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it read its configuration again.
    pub fn reload(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    /// Deletes all that it has stored, while it is down.
    pub fn forget(&self) {
        assert!(self.child.is_none());
        fs::remove_dir_all(self.store()).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Options of a member here; all else is the default.
    pub fn options(&self) -> Options {
        Options { url: self.url(), ..Options::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
