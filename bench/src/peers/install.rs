//! What the peers need, put below one directory: nothing is installed into the system, no service is started, no root is needed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seconds that one download or build may take: Go programs compile for minutes on a small machine.
const PATIENCE_SECONDS: &str = "600";

/// The first program of that name on the `PATH`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A program that must be there, or the sentence that says that it is not.
pub(super) fn needed(name: &str) -> Result<PathBuf, String> {
    on_path(name).ok_or_else(|| format!("there is no {name} on this machine"))
}

/// Starts an invocation of a program that downloads or builds, which is given up after a while.
pub(super) fn patient(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE_SECONDS).arg(program);
    command
}

/// Runs a command to its end, and gives back what it printed; if it fails, the last lines of what it complained. What is said of a
/// failure stands in the report, so it names no place of this machine.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.skip(if command.get_program() == "timeout" { 2 } else { 0 });
    let shown = anywhere(&words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("`{shown}`: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&done.stderr);
    eprint!("{complaint}");
    Err(format!("`{shown}` failed: {}", last_words(&complaint)))
}

/// The end of a long complaint, on one line.
fn last_words(complaint: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<_> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    anywhere(&lines[lines.len().saturating_sub(LINES)..].join(" "))
}

/// A text whose paths are cut to their last part, and whose addresses are left out.
fn anywhere(text: &str) -> String {
    let word = |word: &str| match word.rsplit('/').next() {
        Some(_) if word.contains("://") => format!("…{}", if word.ends_with(':') { ":" } else { "" }),
        Some(last) if word.starts_with('/') => last.to_owned(),
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Writes files below `directory`, where each is only replaced if it is another. Says whether one was.
pub(super) fn place(directory: &Path, files: &[(&str, &str)]) -> Result<bool, String> {
    let failed = |error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(failed)?;
    let mut changed = false;
    for (name, text) in files {
        let path = directory.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        fs::write(&path, text).map_err(failed)?;
        changed = true;
    }
    Ok(changed)
}

/// Says what is being installed, as it takes a while.
pub(super) fn say(what: &str) {
    eprintln!("installing {what}");
}

/// Downloads Debian packages and unpacks them below `directory`, without installing them.
pub(super) fn unpack_debian(packages: &[&str], directory: &Path) -> Result<(), String> {
    let apt = needed("apt-get")?;
    let unpacker = needed("dpkg-deb")?;
    say(&format!("Debian's {}, unpacked only", packages.join(", ")));
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let download = || output(patient(&apt).args(["-qq", "download"]).args(packages).current_dir(directory));
    // A machine that never asked for packages has no lists of them; only root may fetch those.
    download().or_else(|reason| {
        output(patient(&apt).args(["-qq", "update"])).map_err(|_| reason)?;
        download()
    })?;
    for archive in archives(directory)? {
        output(Command::new(&unpacker).arg("--extract").arg(&archive).arg(directory))?;
    }
    Ok(())
}

/// The Debian archives in a directory.
pub(super) fn archives(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect())
}

/// The version that stands in the name of a package's archive.
pub(super) fn archive_version(directory: &Path, package: &str) -> Option<String> {
    let prefix = format!("{package}_");
    let named = archives(directory).ok()?.into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?.strip_prefix(&prefix)?.to_owned();
        Some(name.split('_').next()?.replace("%3a", ":"))
    })?;
    // The epoch says something about Debian, nothing about the program.
    Some(named.split_once(':').map_or(named.clone(), |(_, version)| version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archives_name_says_the_version() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("libnginx-mod-nchan_1%3a1.3.6+dfsg-2_amd64.deb"), "").unwrap();
        fs::write(directory.path().join("nginx_1.22.1-9_amd64.deb"), "").unwrap();
        let version = |package| archive_version(directory.path(), package);
        assert_eq!(version("libnginx-mod-nchan").as_deref(), Some("1.3.6+dfsg-2"));
        assert_eq!(version("nginx").as_deref(), Some("1.22.1-9"));
        assert_eq!(version("apache2"), None);
    }

    #[test]
    fn files_are_placed_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = |text| place(directory.path(), &[("a", text), ("b", "same")]).unwrap();
        assert!(place("one"));
        assert!(!place("one"));
        assert!(place("two"));
        assert_eq!(fs::read_to_string(directory.path().join("a")).unwrap(), "two");
    }

    #[test]
    fn a_failure_says_what_was_complained() {
        let reason =
            output(Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 3"])).unwrap_err();
        assert!(reason.contains("failed: one two"), "{reason}");
        assert!(output(&mut Command::new("/no/such/program")).unwrap_err().starts_with("`program`: "));
    }

    #[test]
    fn what_is_published_names_no_place_of_this_machine() {
        let said = "go: reading https://proxy.example/a/@v/list: 403 Forbidden, see /srv/me/log and example.org/a@v1";
        assert_eq!(anywhere(said), "go: reading …: 403 Forbidden, see log and example.org/a@v1");
    }
}
