//! Standard error, as the log writes to it: on a full disk, or to a reader that has gone, a line is lost and
//! counted, or waited for. It is never a reason to fail.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::logs::Format;

/// How soon a line that must not be lost is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// How soon a descriptor that is not to block is tried again.
const FULL_PIPE: Duration = Duration::from_millis(10);

thread_local! {
    /// Whether a line of this thread could not be written since this was last looked at.
    static FAILED: Cell<bool> = const { Cell::new(false) };
    /// Whether a line of this thread that cannot be written will be tried again.
    static INSISTS: Cell<bool> = const { Cell::new(false) };
}

static STANDARD_ERROR: Account = Account::new();

/// What became of the lines.
struct Account {
    lost: AtomicU64,
    /// Of those, how many the log itself has told of.
    told: AtomicU64,
    is_broken: AtomicBool,
    /// The last line ends in its middle.
    is_torn: AtomicBool,
}

impl Account {
    const fn new() -> Self {
        Self {
            lost: AtomicU64::new(0),
            told: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            is_torn: AtomicBool::new(false),
        }
    }

    /// Writes a line, and before it what there is to say of lines that were lost.
    fn write(&self, out: &mut impl Write, line: &[u8], format: Format) -> io::Result<()> {
        if self.is_torn.load(Ordering::SeqCst) {
            write_whole(out, b"\n", &self.is_torn)?;
            self.is_torn.store(false, Ordering::SeqCst);
        }
        let lost = self.lost.load(Ordering::SeqCst);
        let news = lost - self.told.load(Ordering::SeqCst);
        if news > 0 {
            write_whole(out, lost_lines(format, news).as_bytes(), &self.is_torn)?;
            self.told.store(lost, Ordering::SeqCst);
        }
        write_whole(out, line, &self.is_torn)
    }

    /// Never fails: whoever must know asks [`insist`].
    fn take(&self, out: &mut impl Write, line: &[u8], format: Format) {
        let written = self.write(out, line, format);
        self.is_broken.store(written.is_err(), Ordering::SeqCst);
        if written.is_err() {
            FAILED.set(true);
            if !INSISTS.get() {
                self.lost.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// As `write_all`; says whether something of it, but not all, was written.
fn write_whole(out: &mut impl Write, mut bytes: &[u8], is_torn: &AtomicBool) -> io::Result<()> {
    let mut has_begun = false;
    while !bytes.is_empty() {
        let error = match out.write(bytes) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                has_begun = true;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Whoever shares the descriptor has made it so: it waits, as one that blocks would.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(FULL_PIPE);
                continue;
            }
            Err(error) => error,
        };
        if has_begun {
            is_torn.store(true, Ordering::SeqCst);
        }
        return Err(error);
    }
    Ok(())
}

/// The line that tells of lost ones, in the form of the log: it is written beneath what makes the others.
fn lost_lines(format: Format, count: u64) -> String {
    let message = format!(
        "{count} lines of the log before this one could not be written to standard error and are lost; changes of tokens and of the store are not among them"
    );
    let time = jiff::Timestamp::now();
    let target = module_path!();
    match format {
        Format::Text => format!("{time}  WARN {target}: {message}\n"),
        Format::Json => {
            let line = serde_json::json!({
                "timestamp": time.to_string(), "level": "WARN", "message": message, "target": target,
            });
            format!("{line}\n")
        }
    }
}

/// How many lines of the log were lost.
pub fn lost() -> u64 {
    STANDARD_ERROR.lost.load(Ordering::SeqCst)
}

/// Whether the last line could be written.
pub fn is_writable() -> bool {
    !STANDARD_ERROR.is_broken.load(Ordering::SeqCst)
}

/// Does `log`, which logs one line, until the line is written; whether it was before there was reason to give up.
pub fn insist(log: impl Fn(), give_up: impl Fn() -> bool) -> bool {
    INSISTS.set(true);
    let is_written = loop {
        // Asked before the try, so that there is one after there is reason to give up.
        let is_last = give_up();
        FAILED.set(false);
        log();
        if !FAILED.get() {
            break true;
        }
        if is_last {
            break false;
        }
        thread::sleep(AGAIN);
    };
    INSISTS.set(false);
    is_written
}

/// Makes the writer of each line.
#[derive(Debug, Clone, Copy)]
pub(super) struct StandardError(pub Format);

impl MakeWriter<'_> for StandardError {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.0)
    }
}

/// Writes one line: it is handed over whole.
#[derive(Debug)]
pub(super) struct Line(Format);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STANDARD_ERROR.take(&mut io::stderr().lock(), line, self.0);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room left.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let part = bytes.len().min(self.room);
            if part == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= part;
            self.written.extend_from_slice(&bytes[..part]);
            Ok(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_told_of_and_a_torn_one_is_ended() {
        for format in [Format::Text, Format::Json] {
            let account = Account::new();
            let mut disk = Disk {
                room: 9,
                written: Vec::new(),
            };
            let take = |disk: &mut Disk, line: &str| account.take(disk, line.as_bytes(), format);
            take(&mut disk, "first\n");
            take(&mut disk, "second\n");
            take(&mut disk, "third\n");
            disk.room = 1000;
            take(&mut disk, "fourth\n");
            let written = String::from_utf8(disk.written).unwrap();
            let lines: Vec<&str> = written.lines().collect();
            assert_eq!((lines[0], lines[1], lines[3]), ("first", "sec", "fourth"));
            assert!(lines[2].contains("2 lines of the log"), "{written}");
            assert_eq!(lines.len(), 4);
            if format == Format::Json {
                let line: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
                assert_eq!(line["level"], "WARN");
            }
        }
    }

    #[test]
    fn a_line_that_must_not_be_lost_is_tried_until_it_is_written() {
        let account = Account::new();
        let disk = std::cell::RefCell::new(Disk {
            room: 0,
            written: Vec::new(),
        });
        let tries = Cell::new(0);
        let log = || {
            tries.set(tries.get() + 1);
            if tries.get() == 3 {
                disk.borrow_mut().room = 1000;
            }
            account.take(&mut *disk.borrow_mut(), b"line\n", Format::Text);
        };
        assert!(insist(log, || false));
        assert_eq!(
            (tries.get(), disk.borrow().written.as_slice()),
            (3, &b"line\n"[..])
        );

        disk.borrow_mut().room = 0;
        assert!(!insist(log, || true));
        assert_eq!(account.lost.load(Ordering::SeqCst), 0);
    }
}
