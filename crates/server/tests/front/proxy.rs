//! The proxies themselves, as processes of a test's own.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::process::{program, signal};
use super::support::tls::Authority;
use super::support::{Connection, DEADLINE, Live, Response, Transport};

/// The nodes of the configurations.
const NODES: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
/// How often somebody looks whether something happened that says nothing by itself.
const LOOK: Duration = Duration::from_millis(5);
/// The lines of a configuration that make sessions stick are in it behind this mark.
const STICKY: &str = "#sticky: ";

/// Which proxy, by its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    HaproxyHttp,
    HaproxyTcp,
    Nginx,
    Caddy,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::HaproxyHttp, Kind::HaproxyTcp, Kind::Nginx, Kind::Caddy];
    /// Those that speak HTTP.
    pub(crate) const HTTP: [Kind; 3] = [Kind::HaproxyHttp, Kind::Nginx, Kind::Caddy];

    fn configuration(self) -> &'static str {
        match self {
            Kind::HaproxyHttp => include_str!("../../../../docs/proxies/haproxy-http.cfg"),
            Kind::HaproxyTcp => include_str!("../../../../docs/proxies/haproxy-tcp.cfg"),
            Kind::Nginx => include_str!("../../../../docs/proxies/nginx.conf"),
            Kind::Caddy => include_str!("../../../../docs/proxies/Caddyfile"),
        }
    }

    /// What makes sessions stick.
    pub(crate) fn sticky(self) -> &'static (&'static str, &'static str) {
        match self {
            Kind::Caddy => &("lb_policy round_robin", "lb_policy cookie node SECRET"),
            _ => &(STICKY, ""),
        }
    }

    /// What cuts whoever is silent for three seconds.
    pub(crate) fn impatient(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::HaproxyHttp => &[
                ("timeout client 75s", "timeout client 3s"),
                ("timeout server 75s", "timeout server 3s"),
                ("timeout tunnel 75s", "timeout tunnel 3s"),
            ],
            Kind::HaproxyTcp => {
                &[("timeout client 75s", "timeout client 3s"), ("timeout server 75s", "timeout server 3s")]
            }
            Kind::Nginx => &[
                ("proxy_read_timeout 75s", "proxy_read_timeout 3s"),
                ("proxy_send_timeout 75s", "proxy_send_timeout 3s"),
            ],
            Kind::Caddy => {
                &[("read_timeout 75s", "read_timeout 3s"), ("write_timeout 75s", "write_timeout 3s")]
            }
        }
    }
}

/// A proxy that runs.
pub(crate) struct Proxy {
    kind: Kind,
    child: Child,
    pub(crate) address: SocketAddr,
    directory: TempDir,
    /// How to speak with it.
    pub(crate) authority: Authority,
    /// Whether it, and not the nodes, speaks TLS.
    secure: bool,
}

impl Proxy {
    /// Starts one in front of nodes, its configuration edited: what is to be replaced must be there.
    pub(crate) fn start(kind: Kind, nodes: &[SocketAddr], edits: &[(&str, &str)]) -> Proxy {
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new();
        authority.issue(&["localhost"]).write(directory.path());
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| directory.path().join(name));
        let both = format!("{}{}", read(&certificate), read(&key));
        fs::write(directory.path().join("both.pem"), both).expect("a file");
        let mut edits = edits.to_vec();
        if kind == Kind::HaproxyTcp && !edits.iter().any(|(from, _)| from.contains("check-ssl")) {
            edits.push((" check-ssl verify none", ""));
        }
        let late = Instant::now() + DEADLINE;
        loop {
            let port = free_port();
            let text = configuration(kind, directory.path(), port, nodes, &edits);
            if let Some(child) = run(kind, directory.path(), &text, port) {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let secure = kind != Kind::HaproxyTcp;
                return Proxy { kind, child, address, directory, authority, secure };
            }
            assert!(Instant::now() < late, "{kind:?} does not start: {}", log(directory.path()));
        }
    }

    /// How to speak TLS with it, or with the nodes through it.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        self.authority.client()
    }

    pub(crate) fn try_connect(&self) -> io::Result<Connection> {
        self.secured(Connection::try_open(self.address)?)
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().expect("the proxy accepts")
    }

    /// Connects from an address of the loopback network.
    pub(crate) fn connect_from(&self, source: Ipv4Addr) -> Connection {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
        socket.connect_timeout(&self.address.into(), DEADLINE).expect("the proxy accepts");
        self.secured(Connection::of(socket.into()).expect("a connection")).expect("a handshake")
    }

    fn secured(&self, connection: Connection) -> io::Result<Connection> {
        if self.secure { connection.secured(&self.tls(), "localhost") } else { Ok(connection) }
    }

    pub(crate) fn live(&self, transport: Transport, target: &str) -> Live {
        Live::over(self.connect(), transport, target)
            .unwrap_or_else(|error| panic!("{:?}, {transport:?}: {error}", self.kind))
    }

    pub(crate) fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Response {
        self.connect().ask(method, target, &[], body.map(str::as_bytes))
    }

    /// Waits until it has logged a line with this text in it.
    pub(crate) fn told(&self, text: &str) {
        let late = Instant::now() + DEADLINE;
        while !log(self.directory.path()).contains(text) {
            assert!(Instant::now() < late, "{:?} did not say {text:?}", self.kind);
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not killed: it would leave its workers behind.
        signal(self.child.id(), "TERM");
        let late = Instant::now() + DEADLINE;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > late {
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK);
        }
        if std::thread::panicking() {
            eprintln!("{:?}: {}", self.kind, log(self.directory.path()));
        }
    }
}

/// A configuration of the documentation for a port and nodes of a test.
fn configuration(
    kind: Kind,
    directory: &Path,
    port: u16,
    nodes: &[SocketAddr],
    edits: &[(&str, &str)],
) -> String {
    let mut text = kind.configuration().to_owned();
    for (from, to) in edits {
        replace(&mut text, from, to);
    }
    let inner = if kind == Kind::HaproxyTcp { 443 } else { 8080 };
    for (index, node) in NODES.iter().enumerate() {
        let from = format!("{node}:{inner}");
        match nodes.get(index) {
            Some(address) => replace(&mut text, &from, &address.to_string()),
            // A line of its own, or one word of several.
            None if kind == Kind::Caddy => replace(&mut text, &format!(" {from}"), ""),
            None => {
                text = text.lines().filter(|line| !line.contains(&from)).collect::<Vec<_>>().join("\n") + "\n"
            }
        }
    }
    let at = |name: &str| directory.join(name).display().to_string();
    match kind {
        Kind::HaproxyHttp => {
            replace(&mut text, "/etc/haproxy/plainwire.pem", &at("both.pem"));
            replace(&mut text, "bind :443", &format!("bind 127.0.0.1:{port}"));
        }
        Kind::HaproxyTcp => replace(&mut text, "bind :443", &format!("bind 127.0.0.1:{port}")),
        Kind::Nginx => {
            replace(&mut text, "/etc/nginx/plainwire.pem", &at("certificate.pem"));
            replace(&mut text, "/etc/nginx/plainwire.key", &at("key.pem"));
            replace(&mut text, "listen 443", &format!("listen 127.0.0.1:{port}"));
            // What the test may use of the machine.
            replace(&mut text, "worker_processes auto", "worker_processes 2");
            replace(&mut text, "worker_rlimit_nofile 200000;\n", "");
            replace(&mut text, "worker_connections 100000", "worker_connections 1000");
            let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("    {name}_temp_path {};\n", at(name)));
            replace(&mut text, "http {\n", &format!("http {{\n{}", folders.concat()));
        }
        Kind::Caddy => {
            replace(&mut text, "/etc/caddy/plainwire.pem", &at("certificate.pem"));
            replace(&mut text, "/etc/caddy/plainwire.key", &at("key.pem"));
            replace(
                &mut text,
                "live.example {\n\t#",
                &format!("https://localhost:{port} {{\n\tbind 127.0.0.1\n\t#"),
            );
            // No other port, neither for plain HTTP nor for its own administration.
            let quiet =
                "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n";
            text.insert_str(0, quiet);
        }
    }
    text
}

#[track_caller]
fn replace(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from:?} is not in the configuration: {text}");
    *text = text.replace(from, to);
}

/// Runs it until it can be reached; `None` if it cannot have its port.
fn run(kind: Kind, directory: &Path, text: &str, port: u16) -> Option<Child> {
    let path = directory.join("configuration");
    fs::write(&path, text).expect("a file");
    let output = fs::File::create(directory.join("log")).expect("a file");
    let mut command = match kind {
        Kind::HaproxyHttp | Kind::HaproxyTcp => {
            let mut command = program("haproxy");
            command.arg("-db").arg("-f").arg(&path);
            command
        }
        Kind::Nginx => {
            let globals = format!(
                "daemon off; user root; error_log stderr; pid {};",
                directory.join("nginx.pid").display()
            );
            let mut command = program("nginx");
            command.arg("-p").arg(directory).arg("-c").arg(&path).args(["-g", &globals]);
            command
        }
        Kind::Caddy => {
            let mut command = program("caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
            for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
                command.env(name, directory);
            }
            command
        }
    };
    let mut child = command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("{kind:?} is not installed, as Debian's package is: {error}"));
    let late = Instant::now() + DEADLINE;
    loop {
        if child.try_wait().expect("a child").is_some() {
            let said = log(directory);
            assert!(said.to_lowercase().contains("address already in use"), "{kind:?} ended: {said}\n{text}");
            return None;
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some(child);
        }
        assert!(Instant::now() < late, "{kind:?} does not listen: {}", log(directory));
        std::thread::sleep(LOOK);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn log(directory: &Path) -> String {
    String::from_utf8_lossy(&fs::read(directory.join("log")).unwrap_or_default()).into_owned()
}

/// A port that is free, and that no other test of this process was given: some proxies share a port without a word.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}
