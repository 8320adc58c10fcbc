//! What the disk engine makes of crashes, torn writes, damage, other processes, reboots, syncs that fail and a full disk.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plainwire_log::disk::{DiskLog, DiskOptions, OpenError};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, keep_all, key, message, name, number_of};
use plainwire_log::suite::model::Random;
use plainwire_log::{Append, AppendError, Durability, Head, Policy};
use plainwire_protocol::{Json, Message, Offset, Position};
use tempfile::TempDir;

/// A directory in memory if there is such a place: these tests open stores by the hundred, and none lets the machine end.
fn temp_dir() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn small_tables() -> DiskOptions {
    DiskOptions { memtable_bytes: 32 * 1024, ..DiskOptions::default() }
}

/// How long a process that another test starts may hold a lock of this one: from its fork to its exec.
const FORK: Duration = Duration::from_secs(1);

fn try_open(dir: &Path, options: DiskOptions) -> Result<Fixture, OpenError> {
    let clock = TestClock::default();
    let late = Instant::now() + FORK;
    loop {
        match DiskLog::open(dir, DiskOptions { clock: clock.clock(), ..options.clone() }) {
            Err(OpenError::InUse { .. }) if Instant::now() < late => std::thread::yield_now(),
            opened => return Ok(Fixture::new(Arc::new(opened?), clock)),
        }
    }
}

fn open(dir: &Path) -> Fixture {
    try_open(dir, DiskOptions::default()).expect("opened")
}

fn under(t: &Fixture, channel: &str, durability: Durability, number: u64) -> Append {
    Append { policy: Arc::new(Policy { durability, ..keep_all() }), ..t.number(channel, number) }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn all_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, into) } else { into.push(path) }
    }
    into.sort();
}

fn journal(dir: &Path) -> PathBuf {
    let mut files = Vec::new();
    all_files(&dir.join("store"), &mut files);
    files.into_iter().rfind(|path| path.extension().is_some_and(|e| e == "jnl")).expect("a journal")
}

/// Appends three messages, a state and a key at once; `number` names them all.
async fn put_all(t: &Fixture, channel: &str, number: u64) -> Position {
    let mut append = t.number(channel, 3 * number);
    append.messages.extend([message(3 * number + 1), message(3 * number + 2)]);
    append.state = Some(Json::of(&number));
    append.key = key(&number.to_string(), number as u8);
    t.append(append).await.unwrap().position
}

#[tokio::test]
async fn everything_is_there_after_closing_and_after_dropping() {
    let dir = temp_dir();
    let mut heads: HashMap<&str, Head> = HashMap::new();
    for round in 0..6 {
        let t = open(dir.path());
        for (channel, head) in &heads {
            assert_eq!(t.head(channel).await, *head, "{channel} in round {round}");
        }
        for channel in ["a", "b/c"] {
            put_all(&t, channel, round).await;
            heads.insert(channel, t.head(channel).await);
            assert_eq!(t.numbers(channel, 0).await, (0..3 * round + 3).collect::<Vec<_>>());
            assert!(t.log.outcome(&name(channel), &round.to_string()).await.unwrap().is_some());
        }
        if round % 2 == 0 {
            t.log.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_directory_in_use_or_not_ours_is_refused() {
    let dir = temp_dir();
    let t = open(dir.path());
    let error = try_open(dir.path(), DiskOptions::default()).err().expect("refused").to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(dir.path().to_str().unwrap()) && error.contains(&pid), "{error}");
    drop(t);
    open(dir.path()).log.close().await.unwrap();

    fs::write(dir.path().join("FORMAT"), "plainwire log 99\n").unwrap();
    let error = try_open(dir.path(), DiskOptions::default()).err().expect("refused");
    assert!(matches!(&error, OpenError::Format { found, .. } if found == "plainwire log 99"), "{error}");

    let foreign = temp_dir();
    fs::write(foreign.path().join("thesis.txt"), "").unwrap();
    let error = try_open(foreign.path(), DiskOptions::default()).err().expect("refused");
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1, "nothing was added");

    let file = foreign.path().join("thesis.txt");
    assert!(matches!(try_open(&file, DiskOptions::default()).err(), Some(OpenError::Io { .. })));
}

#[tokio::test]
async fn a_missing_store_is_not_taken_for_a_new_one() {
    let dir = temp_dir();
    let t = open(dir.path());
    t.put("a", 1).await;
    t.log.close().await.unwrap();
    drop(t);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    assert!(matches!(try_open(dir.path(), DiskOptions::default()).err(), Some(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_reboot_ends_the_epochs_of_channels_that_are_not_synced() {
    let dir = temp_dir();
    let boot = |id: &str| DiskOptions { boot_id: Some(id.to_owned()), ..DiskOptions::default() };
    let all = [Durability::Fsync, Durability::Write, Durability::Memory];
    let mut positions: Vec<Vec<Position>> = vec![Vec::new(); 3];
    let t = try_open(dir.path(), boot("one")).unwrap();
    let unknown = t.head("unknown").await;
    for (i, durability) in all.into_iter().enumerate() {
        for number in 0..3 {
            let mut append = under(&t, &i.to_string(), durability, number);
            append.state = Some(Json::of(&number));
            positions[i].push(t.append(append).await.unwrap().position);
        }
    }
    drop(t);
    let t = try_open(dir.path(), boot("one")).unwrap();
    for (i, seen) in positions.iter().enumerate() {
        assert_eq!(t.head(&i.to_string()).await.position, seen[2], "the same boot lost nothing");
    }
    drop(t);
    for id in ["two", "three"] {
        let t = try_open(dir.path(), boot(id)).unwrap();
        assert_eq!(t.head("unknown").await, unknown);
        assert_eq!(t.head("0").await.position, positions[0][2]);
        assert_eq!(t.numbers("0", 0).await, [0, 1, 2]);
        for i in [1, 2] {
            let channel = i.to_string();
            let head = t.head(&channel).await;
            assert_eq!(head.position.offset, Offset::ZERO);
            assert!(positions[i].iter().all(|p| p.epoch != head.position.epoch), "a new epoch");
            assert_eq!(head.state, Some((head.position, Json::of(&2))), "the state is carried over");
            let page = t.read(&channel, 0).await;
            assert!(page.messages.is_empty());
            assert_eq!(page.position, head.position);
            let position = t.append(under(&t, &channel, all[i], 7)).await.unwrap().position;
            assert_eq!(position, Position::new(head.position.epoch, Offset::new(1)));
            assert_eq!(t.numbers(&channel, 0).await, [7]);
            positions[i].push(position);
        }
    }
    let t = try_open(dir.path(), boot("three")).unwrap();
    t.log.close().await.unwrap();
    drop(t);
    let t = try_open(dir.path(), boot("four")).unwrap();
    for i in [1, 2] {
        assert_eq!(t.head(&i.to_string()).await.position, *positions[i].last().unwrap(), "closed in order");
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_a_lost_commit_is_refused() {
    let dir = temp_dir();
    let t = open(dir.path());
    for number in 0..5 {
        put_all(&t, "a", number).await;
    }
    t.log.close().await.unwrap();
    drop(t);
    let t = open(dir.path());
    let early = fs::read(dir.path().join("WATERMARK")).unwrap();
    let acknowledged = fs::metadata(journal(dir.path())).unwrap().len();
    for number in 5..12 {
        put_all(&t, "a", number).await;
    }
    t.log.close().await.unwrap();
    drop(t);

    let length = fs::metadata(journal(dir.path())).unwrap().len();
    assert!(acknowledged > 0 && length > acknowledged, "the journal grows as it is written");
    let mut random = Random(1);
    for cut in (0..length).filter(|cut| *cut >= length - 20 || random.once_in(25)) {
        let torn = temp_dir();
        copy(dir.path(), torn.path());
        let file = fs::OpenOptions::new().write(true).open(journal(torn.path())).unwrap();
        file.set_len(cut).unwrap();
        let error = try_open(torn.path(), DiskOptions::default()).err();
        assert!(matches!(error, Some(OpenError::Damaged { .. })), "cut at {cut}: {error:?}");
        let kept = torn.path().join("damaged-1").join(journal(torn.path()).file_name().unwrap());
        let evidence = if kept.exists() { kept } else { journal(torn.path()) };
        assert_eq!(fs::metadata(evidence).unwrap().len(), cut, "the evidence stays");

        // Nobody was told of what came after the early watermark.
        fs::write(torn.path().join("WATERMARK"), &early).unwrap();
        match try_open(torn.path(), DiskOptions::default()) {
            Err(error) => assert!(cut < acknowledged, "cut at {cut}: {error}"),
            Ok(t) => {
                let whole = t.numbers("a", 0).await;
                assert!(whole.len().is_multiple_of(3) && whole.len() >= 15, "cut at {cut}: {whole:?}");
                assert_eq!(whole, (0..whole.len() as u64).collect::<Vec<_>>());
                let last = whole.len() as u64 / 3 - 1;
                assert_eq!(t.head("a").await.state.unwrap().1, Json::of(&last));
                for number in 0..12 {
                    let outcome = t.log.outcome(&name("a"), &number.to_string()).await.unwrap();
                    assert_eq!(outcome.is_some(), number <= last, "cut at {cut}, key {number}");
                }
                assert_eq!(put_all(&t, "a", 100).await.offset.get(), whole.len() as u64 + 3);
            }
        }
    }
}

#[tokio::test]
async fn recovery_by_order_begins_new_epochs() {
    let dir = temp_dir();
    let t = open(dir.path());
    t.log.close().await.unwrap();
    drop(t);
    let t = open(dir.path());
    for number in 0..10 {
        put_all(&t, "a", number).await;
    }
    let before = t.head("a").await;
    let unknown = t.head("unknown").await;
    t.log.close().await.unwrap();
    drop(t);
    let path = journal(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let error = try_open(dir.path(), DiskOptions::default()).err().expect("refused").to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("--recover"), "{error}");
    let recover = DiskOptions { recover: true, ..DiskOptions::default() };
    let t = try_open(dir.path(), recover).unwrap();
    let head = t.head("a").await;
    assert_eq!(head.position.offset, Offset::ZERO);
    assert_ne!(head.position.epoch, before.position.epoch);
    assert_ne!(t.head("unknown").await.position, unknown.position);
    assert!(head.state.is_some());
    assert_eq!(fs::read(dir.path().join("damaged-1").join(path.file_name().unwrap())).unwrap(), bytes);
    put_all(&t, "a", 100).await;
    drop(t);
    assert_eq!(open(dir.path()).head("a").await.position, Position::new(head.position.epoch, Offset::new(3)));
}

/// Everything that can be read of some channels.
async fn contents(
    t: &Fixture,
    channels: &[&str],
    keys: u64,
) -> Vec<Option<(Head, Vec<Arc<Message>>, usize)>> {
    let mut found = Vec::new();
    for channel in channels {
        let channel = name(channel);
        let head = t.log.head(&channel, &Arc::new(keep_all())).await;
        let page = t.log.read(&channel, Offset::ZERO, usize::MAX, usize::MAX).await;
        let (mut outcomes, mut failed) = (0, false);
        for number in 0..keys {
            match t.log.outcome(&channel, &number.to_string()).await {
                Ok(outcome) => outcomes += usize::from(outcome.is_some()),
                Err(_) => failed = true,
            }
        }
        found.push(match (head, page) {
            (Ok(head), Ok(page)) if !failed => Some((head, page.messages, outcomes)),
            _ => None,
        });
    }
    found
}

#[tokio::test]
async fn a_flipped_bit_is_never_read_as_data() {
    const FLIPS: u64 = 400;
    const CHANNELS: [&str; 3] = ["a", "b", "c/d"];
    const PUTS: u64 = 120;
    let dir = temp_dir();
    for part in 0..3 {
        let t = try_open(dir.path(), small_tables()).unwrap();
        for number in part * PUTS / 3..(part + 1) * PUTS / 3 {
            for channel in CHANNELS {
                put_all(&t, channel, number).await;
                let mut long = t.number(channel, 0);
                long.messages[0].data = Json::of(&number.to_string().repeat(200));
                t.append(long).await.unwrap();
            }
        }
        t.log.close().await.unwrap();
    }
    let expected = contents(&try_open(dir.path(), small_tables()).unwrap(), &CHANNELS, PUTS).await;
    assert!(expected.iter().all(Option::is_some));
    let mut files = Vec::new();
    all_files(dir.path(), &mut files);
    files.retain(|file| fs::metadata(file).unwrap().len() > 0);
    assert!(files.iter().any(|file| file.components().any(|c| c.as_os_str() == "tables")), "{files:?}");

    let (mut refused, mut unreadable, mut harmless) = (0, 0, 0);
    for seed in 0..FLIPS {
        let mut random = Random(seed);
        let file = &files[random.below(files.len() as u64) as usize];
        let damaged = temp_dir();
        copy(dir.path(), damaged.path());
        let target = damaged.path().join(file.strip_prefix(dir.path()).unwrap());
        let mut bytes = fs::read(&target).unwrap();
        let bit = random.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&target, &bytes).unwrap();
        println!("seed {seed}: bit {bit} of {} bytes of {}", bytes.len(), file.display());
        let Ok(t) = try_open(damaged.path(), small_tables()) else {
            refused += 1;
            continue;
        };
        let found = contents(&t, &CHANNELS, PUTS).await;
        for (found, expected) in found.iter().zip(&expected) {
            let right = found.as_ref().is_none_or(|found| Some(found) == expected.as_ref());
            assert!(right, "seed {seed}: bit {bit} of {} changed what is read", target.display());
        }
        if found.iter().all(Option::is_some) { harmless += 1 } else { unreadable += 1 }
    }
    println!("{refused} refused, {unreadable} with errors on reading, {harmless} without effect");
    assert!(refused + unreadable > FLIPS / 4);
}

/// Runs a test of this binary in another process.
fn child(test: &str, dir: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env("PLAINWIRE_TEST_DIR", dir).env("PLAINWIRE_TEST_SEED", seed.to_string());
    command
}

/// What [`child`] said; `None` in a run of all tests, where a child has nothing to do.
fn child_args() -> Option<(PathBuf, u64)> {
    let dir = std::env::var_os("PLAINWIRE_TEST_DIR")?;
    Some((dir.into(), std::env::var("PLAINWIRE_TEST_SEED").unwrap().parse().unwrap()))
}

/// Outcomes of keys that a channel keeps in [`child_that_is_killed`].
const KEPT_KEYS: usize = 20;

/// The process that [`every_acknowledged_append_survives_kill_9`] kills.
#[tokio::test]
async fn child_that_is_killed() {
    const IN_FLIGHT: usize = 64;
    let Some((dir, seed)) = child_args() else { return };
    let mut random = Random(seed);
    let t = try_open(&dir, small_tables()).unwrap();
    let mut pending = std::collections::VecDeque::new();
    for number in seed * 1_000_000.. {
        let durability = [Durability::Fsync, Durability::Write, Durability::Memory][random.below(3) as usize];
        let channel = format!("{durability:?}/{}", random.below(3));
        let mut append = under(&t, &channel, durability, number);
        append.state = random.once_in(4).then(|| Json::of(&number));
        append.key = key(&number.to_string(), 1);
        append.policy = Arc::new(Policy { key_count: KEPT_KEYS as u64, ..(*append.policy).clone() });
        pending.push_back((channel, number, t.log.append(append)));
        if pending.len() >= IN_FLIGHT {
            let (channel, number, append) = pending.pop_front().unwrap();
            println!("ack {channel} {} {number}", append.await.unwrap().position);
        }
    }
}

#[tokio::test]
async fn every_acknowledged_append_survives_kill_9() {
    let dir = temp_dir();
    let mut acknowledged: Vec<(String, Position, u64)> = Vec::new();
    for seed in 1..=12 {
        let mut process =
            child("child_that_is_killed", dir.path(), seed).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let enough = 1 + Random(seed).below(700) as usize;
        let mut taken = 0;
        while let Some(Ok(line)) = lines.next() {
            let Some(ack) = line.strip_prefix("ack ") else { continue };
            let words: Vec<_> = ack.split(' ').collect();
            acknowledged.push((words[0].to_owned(), words[1].parse().unwrap(), words[2].parse().unwrap()));
            taken += 1;
            if taken == enough {
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(taken >= enough, "seed {seed}: the child ended by itself");

        let t = open(dir.path());
        let mut pages = HashMap::new();
        for (channel, position, number) in &acknowledged {
            if !pages.contains_key(channel) {
                pages.insert(channel.clone(), t.read(channel, 0).await);
            }
            let page = &pages[channel];
            assert_eq!(page.position.epoch, position.epoch, "seed {seed}: cursors still hold");
            let message = &page.messages[position.offset.get() as usize - 1];
            assert_eq!(
                (message.position, number_of(message)),
                (*position, *number),
                "seed {seed}, {channel}"
            );
        }
        for (channel, page) in &pages {
            let mut known = Vec::new();
            for message in &page.messages {
                if t.log.outcome(&name(channel), &number_of(message).to_string()).await.unwrap().is_some() {
                    known.push(message.position);
                }
            }
            let newest: Vec<_> =
                page.messages.iter().rev().take(KEPT_KEYS).rev().map(|m| m.position).collect();
            assert_eq!(known, newest, "seed {seed}, {channel}: the newest keys, no more and no fewer");
        }
    }
}

/// Runs on the small disk that another test makes.
#[tokio::test]
async fn child_on_a_small_disk() {
    let Some((dir, _)) = child_args() else { return };
    let t = open(&dir.join("data"));
    let long = Json::of(&"x".repeat(10_000));
    let mut accepted = 0;
    for round in 0..3 {
        let fill = dir.join("fill");
        let room = rustix::fs::statvfs(&dir).unwrap();
        let room = room.f_bavail * room.f_frsize;
        // The store may be writing a table meanwhile, and then the disk is full right away.
        match fs::write(&fill, vec![1; room.saturating_sub(400_000) as usize]) {
            Err(error) if error.kind() != std::io::ErrorKind::StorageFull => panic!("{error}"),
            _ => {}
        }
        let mut refused = 0;
        while refused < 20 {
            let mut append = t.number("a", accepted);
            append.messages[0].data = long.clone();
            append.state = Some(Json::of(&accepted));
            match t.append(append).await {
                Ok(appended) => {
                    accepted += 1;
                    assert_eq!(appended.position.offset.get(), accepted);
                }
                Err(AppendError::Unavailable(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(t.told.count() as u64, accepted, "only what was accepted is told");
        }
        fs::remove_file(&fill).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while t.append(t.number("b", round)).await.is_err() {
            assert!(Instant::now() < deadline, "there is room, but appends are still refused");
            tokio::task::yield_now().await;
        }
        assert_eq!(t.told.messages(&name("b")).len(), 1, "told once, however often it was tried");
        t.told.clear("b");
        let head = t.head("a").await;
        assert_eq!(head.position.offset.get(), accepted);
        assert_eq!(head.state.map(|s| s.1), accepted.checked_sub(1).map(|newest| Json::of(&newest)));
        let page = t.read("a", 0).await;
        assert_eq!(page.messages.len() as u64, accepted);
        assert!(page.messages.iter().all(|m| m.data == long));
    }
    let head = t.head("a").await;
    t.log.close().await.unwrap();
    drop(t);
    assert_eq!(open(&dir.join("data")).head("a").await, head);
    println!("accepted {accepted}");
}

/// How this machine lets a process have a mount of its own, if it does: containers often do not.
fn own_mounts() -> Option<&'static str> {
    let permitted =
        |flags: &&str| Command::new("unshare").args([flags, "true"]).status().is_ok_and(|s| s.success());
    ["-rm", "-m"].into_iter().find(permitted)
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let Some(flags) = own_mounts() else {
        return eprintln!("not tested: this machine does not permit to mount a small disk");
    };
    let dir = temp_dir();
    let inner = child("child_on_a_small_disk", dir.path(), 0);
    let script = "mount -t tmpfs -o size=64m tmpfs \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", script]).arg(dir.path()).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = command.output().expect("unshare is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("accepted"), "the child ran: {said}");
}

/// Runs under strace, which makes some of its syncs fail.
#[tokio::test]
async fn child_whose_syncs_fail() {
    let Some((dir, seed)) = child_args() else { return };
    let t = open(&dir.join("data"));
    let mut random = Random(seed);
    let (mut accepted, mut refused, mut since) = (Vec::new(), 0, 0);
    for number in 0.. {
        // What is written and not synced lies before what is synced.
        let durability = [Durability::Fsync, Durability::Write][random.below(2) as usize];
        match t.append(under(&t, "a", durability, number)).await {
            Ok(appended) => {
                accepted.push(number);
                since += 1;
                assert_eq!(appended.position.offset.get(), accepted.len() as u64);
            }
            Err(AppendError::Unavailable(error)) => {
                assert!(error.to_string().contains("Input/output error"), "{error}");
                refused += 1;
                since = 0;
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(t.told.count(), accepted.len(), "only what was accepted is told");
        if refused > 0 && since == 50 {
            break;
        }
        assert!(number < 100_000, "{refused} refused");
    }
    assert_eq!(t.numbers("a", 0).await, accepted, "what was refused is not there");
    t.log.close().await.unwrap();
    drop(t);
    assert_eq!(open(&dir.join("data")).numbers("a", 0).await, accepted);
    println!("accepted {} refused {refused}", accepted.len());
}

/// A sync that failed is not made good by one that succeeds (what it left unwritten may be clean pages to the system): the journal is
/// written anew before anything else is acknowledged.
#[test]
fn a_sync_that_fails_acknowledges_nothing() {
    let probe = ["-f", "-e", "inject=fdatasync:error=EIO:when=1", "true"];
    if !Command::new("strace").args(probe).output().is_ok_and(|output| output.status.success()) {
        return eprintln!(
            "not tested: this needs strace, which `cargo xtask test` installs, and leave to use it"
        );
    }
    // fdatasync is what commits use; the store is opened with fsync.
    for (first, last) in [(5, 5), (9, 12), (30, 33)] {
        // On a disk: in memory a sync is nothing.
        let dir = tempfile::tempdir().unwrap();
        let calls = dir.path().join("calls");
        let inner = child("child_whose_syncs_fail", dir.path(), first);
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-e", "trace=fdatasync,fsync,pwrite64", "-e"]);
        command.arg(format!("inject=fdatasync:error=EIO:when={first}..{last}")).arg("-o").arg(&calls);
        command.arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let output = command.output().expect("strace is there");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("accepted"), "the child ran: {said}");

        let calls = fs::read_to_string(&calls).unwrap();
        let (_, after) = calls.rsplit_once("(INJECTED)").expect("a sync failed");
        let (between, _) = after.split_once("fdatasync(").expect("there are commits again");
        let mut of_journal = between.lines().filter(|line| line.contains(".jnl>"));
        let renewed = of_journal.any(|line| line.contains("pwrite64("));
        let synced = of_journal.any(|line| line.contains("fsync(") && line.ends_with("= 0"));
        assert!(renewed && synced, "{between}");
    }
}
