//! The sum of the summaries that `cargo test` prints, one for each test program.

use std::fmt;

/// `N passed, N failed, N skipped`.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    pub passed: u64,
    pub failed: u64,
    /// Ignored ones. Those that a filter leaves out are not counted: the user asked for it.
    pub skipped: u64,
    /// Test programs that began and have not said how it went: while they run, and if they crash.
    pub unfinished: u64,
}

impl Summary {
    /// Takes notice of a line of the output. What counts is a program's first line, such as `running 4 tests`, and its
    /// summary, such as
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
    pub fn add(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.unfinished += 1;
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|result| result.split_once(". "))
        else {
            return;
        };
        self.unfinished = self.unfinished.saturating_sub(1);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => (),
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up_and_other_lines_do_not_count() {
        let mut sum = Summary::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "running 1 test",
            "test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s",
            "a test printed: 5 passed; 5 failed",
        ] {
            sum.add(line);
        }
        let expected = Summary {
            passed: 43,
            failed: 2,
            skipped: 1,
            unfinished: 0,
        };
        assert_eq!(sum, expected);
        assert_eq!(sum.to_string(), "43 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_program_that_crashes_is_not_forgotten() {
        let mut sum = Summary::default();
        for line in [
            "running 2 tests",
            "test a ... ok",
            "running 1 test",
            "test b ... ok",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            sum.add(line);
        }
        assert_eq!((sum.passed, sum.unfinished), (1, 1));
    }
}
