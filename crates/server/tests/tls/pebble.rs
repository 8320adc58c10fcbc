//! Pebble, the authority that Let's Encrypt tests clients with: it really connects, and checks every signature and digest.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::tls::{Authority, replace};
use crate::support::{Connection, DEADLINE};

/// A name that Pebble issues nothing for.
pub(crate) const BLOCKED: &str = "blocked.example";

/// Where Pebble is to be, and by which certificate it is reached.
pub(crate) struct Pebble {
    directory: TempDir,
    api: SocketAddr,
    management: SocketAddr,
    authority: Authority,
    /// Its ports, while it does not run: nobody else is given them.
    reserved: Vec<Socket>,
    running: Vec<Running>,
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pebble {
    /// Prepares one. `None`, and a word about it, where it is not installed.
    pub(crate) fn prepare() -> Option<Pebble> {
        let installed = |name: &str| {
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .any(|folder| folder.join(name).is_file())
        };
        if !installed("pebble") || !installed("pebble-challtestsrv") {
            println!("not run: this needs Pebble, which `cargo xtask test` installs");
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new();
        authority.issue(&["localhost"]).write(directory.path());
        replace(&directory.path().join("root.pem"), &authority.pem);
        let (one, api) = reserve();
        let (other, management) = reserve();
        let reserved = vec![one, other];
        Some(Pebble { directory, api, management, authority, reserved, running: Vec::new() })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.api.port())
    }

    /// Who vouches for its directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// Starts it, with no memory of what was before. It takes servers to be at a port, and issues certificates for so long.
    pub(crate) fn start(&mut self, server: u16, validity: Duration) {
        self.stop();
        let path = |name: &str| self.directory.path().join(name);
        let config = json!({"pebble": {
            "listenAddress": self.api.to_string(),
            "managementListenAddress": self.management.to_string(),
            "certificate": path("certificate.pem"),
            "privateKey": path("key.pem"),
            "httpPort": 1,
            "tlsPort": server,
            // How it is said up to Pebble 2.6, and since.
            "certificateValidityPeriod": validity.as_secs(),
            "profiles": {"default": {"description": "the only one", "validityPeriod": validity.as_secs()}},
            "domainBlocklist": [BLOCKED],
        }});
        replace(&path("pebble.json"), &config.to_string());
        let late = Instant::now() + DEADLINE;
        while !self.try_start(late) {
            assert!(Instant::now() < late, "Pebble does not start");
        }
    }

    /// Says whether it runs. It ends at once where somebody has one of its ports, as a client may for a moment.
    fn try_start(&mut self, late: Instant) -> bool {
        let (held, dns) = reserve();
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(self.directory.path().join("pebble.json"));
        pebble.args(["-dnsserver", &dns.to_string()]).env("PEBBLE_VA_NOSLEEP", "1");
        let names = names(dns);
        drop(held);
        self.reserved.clear();
        self.running = vec![run(names), run(pebble)];
        let ports = [dns, self.api, self.management];
        while ports.into_iter().any(|at| Connection::try_open(at).is_err()) {
            let ended = |running: &mut Running| running.0.try_wait().is_ok_and(|status| status.is_some());
            if Instant::now() >= late || self.running.iter_mut().any(ended) {
                self.running.clear();
                return false;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        true
    }

    pub(crate) fn stop(&mut self) {
        self.running.clear();
        self.reserved = [self.api, self.management].into_iter().filter_map(|at| bound(at).ok()).collect();
    }

    /// A client that believes what it issues.
    pub(crate) fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let connection = Connection::open(self.management).secured(&self.authority.client(), "localhost");
        let root = connection.expect("a handshake").ask("GET", "/roots/0", &[], None);
        let root = CertificateDer::from_pem_slice(root.body.as_slice()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        // Who resumes a session sees the certificate of then.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// What a configuration says to order from it.
    pub(crate) fn section(&self, domains: &[&str], cache: &Path) -> String {
        let (url, root) = (self.url(), self.root());
        format!(
            "[tls.acme]\ndomains = {domains:?}\ndirectory = {url:?}\nroot = {root:?}\ncache = {cache:?}\n\
             contact = [\"mailto:ops@live.example\"]\nterms_agreed = true\nretry = \"1s\"\n"
        )
    }
}

/// Pebble's own server of names, for which every name leads here. What its options are called depends on its version.
fn names(dns: SocketAddr) -> Command {
    let help = Command::new("pebble-challtestsrv").arg("-help").output().expect("it runs");
    let help = [help.stdout, help.stderr].concat();
    let has = |option: &str| help.windows(option.len()).any(|part| part == option.as_bytes());
    let mut command = Command::new("pebble-challtestsrv");
    let option = if has("-dns01 ") { "-dns01" } else { "-dnsserver" };
    command.args([option, &dns.to_string(), "-defaultIPv6", ""]);
    for unused in ["-http01", "-https01", "-tlsalpn01", "-management", "-doh"] {
        if has(&format!("{unused} ")) {
            command.args([unused, ""]);
        }
    }
    command
}

/// A port that nobody else is given for as long as the socket is there, at which nobody listens.
fn reserve() -> (Socket, SocketAddr) {
    let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let at = socket.local_addr().ok().and_then(|at| at.as_socket()).expect("an address");
    (socket, at)
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// A port that nobody has at the moment.
pub(crate) fn free() -> SocketAddr {
    reserve().1
}

fn run(mut command: Command) -> Running {
    let said = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = said.spawn().expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    // Read on though nobody listens, but to who sees a test fail.
    thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| println!("{line}")));
    Running(child)
}
