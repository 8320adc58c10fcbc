//! What a program says: shown as it comes, and what matters of it kept for the case that it fails.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// Lines that tell what failed, at most: the first are kept, as what comes later often follows from them.
const TELLING_LINES: usize = 28;
/// Lines at the end that are kept, whatever they say.
const LAST_LINES: usize = 12;
/// Lines after one that announces a reason, up to the first empty one.
const REASON_LINES: usize = 4;
/// Bytes of a line that are kept.
const LINE_BYTES: usize = 400;

/// What was heard of a program.
#[derive(Default)]
pub(crate) struct Heard {
    telling: Vec<String>,
    /// Telling lines beyond those that are kept.
    left_out: usize,
    last: VecDeque<String>,
    /// The test binary that cargo runs.
    binary: Option<String>,
    /// Lines that still belong to a reason.
    reason_left: usize,
    /// Tests of which libtest has said that they run for long, and not how they ended.
    unended: Vec<String>,
    line: Vec<u8>,
}

impl Heard {
    /// Reads all that a program says, and shows it on `to`.
    pub(crate) fn hear(mut from: impl Read, mut to: impl Write) -> Heard {
        let mut heard = Heard::default();
        let mut buffer = [0; 16 << 10];
        loop {
            match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) | Ok(0) => break,
                Ok(count) => {
                    // Whoever reads this program's output may have left: the other program is to end in order all the same.
                    let _ = to.write_all(&buffer[..count]);
                    let _ = to.flush();
                    heard.bytes(&buffer[..count]);
                }
            }
        }
        heard.end_of_line();
        heard
    }

    /// A few dozen lines: those that tell what failed, and the last ones.
    pub(crate) fn digest(&self) -> String {
        let mut lines = self.telling.clone();
        if self.left_out > 0 {
            lines.push(format!("({} more lines like these)", self.left_out));
        }
        if !lines.is_empty() && !self.last.is_empty() {
            lines.push("… and at the end:".to_owned());
        }
        lines.extend(self.last.iter().cloned());
        lines.join("\n")
    }

    /// The tests that ran for over a minute and have not ended.
    pub(crate) fn unended(&self) -> &[String] {
        &self.unended
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() || line == "stack backtrace:" {
            self.reason_left = 0;
            return;
        }
        if line.trim_start().starts_with("Running ") {
            self.binary = Some(line.trim().to_owned());
        }
        self.follow(line);
        let says = says(line);
        if says != Says::Nothing || self.reason_left > 0 {
            self.keep(line);
        }
        self.reason_left = match says {
            Says::WhatFailedAndWhyNext => REASON_LINES,
            _ => self.reason_left.saturating_sub(1),
        };
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// Follows which tests run, as libtest tells it.
    fn follow(&mut self, line: &str) {
        let Some((name, rest)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(' ')) else {
            return;
        };
        if rest.starts_with("has been running for over") {
            self.unended.push(name.to_owned());
        } else if rest.starts_with("... ") {
            self.unended.retain(|unended| unended != name);
        }
    }

    fn keep(&mut self, line: &str) {
        let binary = self.binary.take();
        for line in binary.iter().map(String::as_str).chain([line]) {
            if self.telling.len() < TELLING_LINES {
                self.telling.push(line.to_owned());
            } else {
                self.left_out += 1;
            }
        }
    }
}

/// What a line says of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    WhatFailed,
    /// The lines after it say why.
    WhatFailedAndWhyNext,
}

/// Reads a line of rustc, cargo, libtest, `node --test`, Python's unittest or this program.
fn says(line: &str) -> Says {
    let trimmed = line.trim_start();
    let begins = |words: &[&str]| words.iter().any(|word| trimmed.starts_with(word));
    let panicked = begins(&["thread '"]) && line.contains("panicked at");
    if panicked || begins(&["error:", "error[", "FAIL: ", "ERROR: ", "not ok ", "✖ "]) {
        return Says::WhatFailedAndWhyNext;
    }
    let of_a_test = begins(&["test "])
        && (line.ends_with("FAILED")
            || line.contains("has been running for over")
            || line.contains("panicked"));
    let ends = ["did not end within", "left processes behind", "fatal runtime error", "stack overflow"];
    if of_a_test || ends.iter().any(|text| line.contains(text)) || begins(&["AssertionError", "not ended: "])
    {
        return Says::WhatFailed;
    }
    Says::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        // Not shown: whoever reads the output of these tests would take it for theirs.
        let mut shown = Vec::new();
        let heard = Heard::hear(text.as_bytes(), &mut shown);
        assert_eq!(shown, text.as_bytes(), "what is heard is shown");
        heard
    }

    fn digest(text: &str) -> String {
        heard(text).digest()
    }

    #[test]
    fn failed_tests_and_their_panics_are_kept() {
        let passed: String = (0..1000).map(|n| format!("test passes_{n} ... ok\n")).collect();
        let text = format!(
            "     Running tests/quiet.rs (target/quiet-1)\n{passed}     Running tests/abuse/main.rs (target/abuse-1)\n\
             test one ... FAILED\ntest two has been running for over 60 seconds\n{passed}\nfailures:\n\n---- one stdout ----\n\n\
             thread 'one' (17) panicked at tests/abuse/main.rs:3:5:\nassertion failed: the reason\n  left: 1\n\n\
             nothing of interest\n{passed}error: 1 target failed:\n    `-p plainwire --test abuse`\n"
        );
        let digest = digest(&text);
        let lines: Vec<_> = digest.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "Running tests/abuse/main.rs (target/abuse-1)",
                "test one ... FAILED",
                "test two has been running for over 60 seconds",
                "thread 'one' (17) panicked at tests/abuse/main.rs:3:5:",
                "assertion failed: the reason",
                "  left: 1",
                "error: 1 target failed:",
                "    `-p plainwire --test abuse`"
            ]
        );
        assert_eq!(lines.len(), 8 + 1 + LAST_LINES, "{digest}");
    }

    #[test]
    fn tests_that_have_not_ended_are_known() {
        let text = "running 3 tests\ntest a has been running for over 60 seconds\ntest b ... ok\n\
                    test c has been running for over 60 seconds\ntest a ... FAILED\n";
        assert_eq!(heard(text).unended(), ["c"]);
    }

    #[test]
    fn other_programs_are_understood() {
        for line in [
            "error[E0308]: mismatched types",
            "FAIL: test_resume (resume_test.Resume.test_resume)",
            "  ✖ resumes after a cut (30012.5ms)",
            "abuse-1 did not end within 300 s and was killed",
        ] {
            assert_ne!(says(line), Says::Nothing, "{line}");
        }
        for line in [
            "test errors::are_told ... ok",
            "warning: unused variable: `x`",
            "running 3 tests",
            "   Compiling error v0.1.0",
        ] {
            assert_eq!(says(line), Says::Nothing, "{line}");
        }
    }

    #[test]
    fn a_digest_is_short() {
        let text = "error: again\n".repeat(10_000) + &"x".repeat(1 << 20);
        let digest = digest(&text);
        assert!(digest.lines().count() <= TELLING_LINES + LAST_LINES + 2, "{digest}");
        assert!(digest.len() < 20_000);
    }
}
