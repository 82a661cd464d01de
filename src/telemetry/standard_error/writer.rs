//! Writes lines: what cannot be written is told of by the next that can.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

use super::queue::Entry;
use crate::telemetry::logs::Format;
use crate::telemetry::redact;

/// How soon a descriptor that is not to block is tried again.
const FULL_PIPE: Duration = Duration::from_millis(10);

/// What became of the lines so far.
pub(super) struct Writer {
    format: Format,
    /// So many were lost and are not told of.
    untold: u64,
    /// The last line ends in its middle.
    is_torn: bool,
}

impl Writer {
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            untold: 0,
            is_torn: false,
        }
    }

    /// Writes a line, and before it what there is to say of lines that were lost.
    ///
    /// # Errors
    /// If it was not written whole. Unless somebody waits for it, and will try again, it is lost.
    pub(super) fn write(&mut self, out: &mut impl Write, entry: &Entry) -> io::Result<()> {
        self.untold += entry.lost_before;
        // Whoever has something to say need not know what is in it, nor wait until that is looked through.
        let line = String::from_utf8_lossy(&entry.line);
        let written = self.try_to(out, redact(&line).as_bytes());
        if written.is_err() && is_lost(entry) {
            self.untold += 1;
        }
        written
    }

    fn try_to(&mut self, out: &mut impl Write, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.whole(out, b"\n")?;
            self.is_torn = false;
        }
        if self.untold > 0 {
            let told = lost_lines(self.format, self.untold);
            self.whole(out, told.as_bytes())?;
            self.untold = 0;
        }
        self.whole(out, line)
    }

    /// As `write_all`; notes whether something of it, but not all, was written.
    fn whole(&mut self, out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
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
            self.is_torn |= has_begun;
            return Err(error);
        }
        Ok(())
    }
}

/// Whether nobody tries it again when it cannot be written.
pub(super) fn is_lost(entry: &Entry) -> bool {
    entry.receipt.is_none() && !entry.line.is_empty()
}

/// The line that tells of lost ones, in the form of the log: it is written beneath what makes the others.
fn lost_lines(format: Format, count: u64) -> String {
    let message = format!(
        "{count} lines of the log before this one could not be written to standard error and are lost; changes of tokens and of the store are not among them"
    );
    let time = jiff::Timestamp::now();
    let target = "jointoken::telemetry::standard_error";
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

    fn entry(line: &str) -> Entry {
        Entry {
            line: line.as_bytes().to_vec(),
            ..Entry::default()
        }
    }

    #[test]
    fn a_token_that_is_said_is_not_written() {
        let mut written = Vec::new();
        let said = entry("there is no file jt1_AQIDBAUGBwgJ\n");
        Writer::new(Format::Text)
            .write(&mut written, &said)
            .unwrap();
        assert_eq!(written, b"there is no file (a token)\n");
    }

    #[test]
    fn lines_that_are_lost_are_told_of_and_a_torn_one_is_ended() {
        for format in [Format::Text, Format::Json] {
            let mut writer = Writer::new(format);
            let mut disk = Disk {
                room: 9,
                written: Vec::new(),
            };
            writer.write(&mut disk, &entry("first\n")).unwrap();
            assert!(writer.write(&mut disk, &entry("second\n")).is_err());
            assert!(writer.write(&mut disk, &entry("third\n")).is_err());
            // One that is tried again is not lost, and those that found no room are.
            let insisted = Entry {
                receipt: Some(std::sync::Arc::default()),
                lost_before: 3,
                ..entry("fourth\n")
            };
            assert!(writer.write(&mut disk, &insisted).is_err());
            disk.room = 1000;
            writer.write(&mut disk, &entry("fourth\n")).unwrap();
            let written = String::from_utf8(disk.written).unwrap();
            let lines: Vec<&str> = written.lines().collect();
            assert_eq!((lines[0], lines[1], lines[3]), ("first", "sec", "fourth"));
            assert!(lines[2].contains("5 lines of the log"), "{written}");
            assert_eq!(lines.len(), 4);
            if format == Format::Json {
                let line: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
                assert_eq!(line["level"], "WARN");
            }
        }
    }
}
