//! Standard error, as the log writes to it: by a thread of its own, so that nobody who logs waits for a reader or a disk.
//! When too much waits, or on a full disk, or to a reader that has gone, a line is lost and counted, or insisted on. It is
//! never a reason to fail.

mod queue;
mod writer;

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::logs::Format;
use queue::{Queue, Receipt};
use writer::{Writer, is_lost};

/// How soon a line that must not be lost is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long it is waited for once there is reason to give up.
const LAST_TRY: Duration = Duration::from_secs(1);
/// How long the end of the process waits until all is written.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Who has not read for so long does not read.
const STUCK: Duration = Duration::from_secs(1);

static QUEUE: Queue = Queue::new();
static IS_OPEN: AtomicBool = AtomicBool::new(false);
static LOST: AtomicU64 = AtomicU64::new(0);
static IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// What becomes of a thread's lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// They may be lost.
    Usual,
    /// They are written though there be no room.
    Last,
    /// As well, and it is told whether they were.
    Insists,
}

thread_local! {
    static CARE: Cell<Care> = const { Cell::new(Care::Usual) };
    /// Of the last line that was insisted on.
    static RECEIPT: RefCell<Option<Arc<Receipt>>> = const { RefCell::new(None) };
}

/// Starts the thread that writes.
///
/// # Errors
/// When there is none to be had.
pub(super) fn open(format: Format) -> io::Result<()> {
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let mut writer = Writer::new(format);
            loop {
                let entry = QUEUE.take();
                let is_written = writer.write(&mut Descriptor, &entry).is_ok();
                IS_BROKEN.store(!is_written, Ordering::SeqCst);
                if !is_written && is_lost(&entry) {
                    LOST.fetch_add(1, Ordering::SeqCst);
                }
                if let Some(receipt) = entry.receipt {
                    receipt.tell(is_written);
                }
                QUEUE.done();
            }
        })?;
    IS_OPEN.store(true, Ordering::SeqCst);
    Ok(())
}

/// Standard error without the lock that the library has for it: whoever holds that while nobody reads would stop everybody
/// who has something to say.
struct Descriptor;

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines of the log were lost.
pub fn lost() -> u64 {
    LOST.load(Ordering::SeqCst)
}

/// Whether the last line could be written.
pub fn is_writable() -> bool {
    !IS_BROKEN.load(Ordering::SeqCst) && QUEUE.stuck_for() < STUCK
}

/// Puts a line behind those of the log; `false` if there is no log.
pub(super) fn say(line: &str) -> bool {
    let is_open = IS_OPEN.load(Ordering::SeqCst);
    if is_open {
        QUEUE.insist(line.as_bytes(), None);
    }
    is_open
}

/// Waits until all is written, in bounded time.
pub(super) fn flush() {
    if IS_OPEN.load(Ordering::SeqCst) {
        QUEUE.flush(LAST_WORDS);
    }
}

/// Does `log`, whose lines are written though there be no room.
pub(super) fn last_words(log: impl FnOnce()) {
    CARE.set(Care::Last);
    log();
    CARE.set(Care::Usual);
}

/// Does `log`, which logs one line, until the line is written; whether it was before there was reason to give up.
pub fn insist(log: impl Fn(), give_up: impl Fn() -> bool) -> bool {
    loop {
        // Asked before the try, so that there is one after there is reason to give up.
        let is_last = give_up();
        CARE.set(Care::Insists);
        log();
        CARE.set(Care::Usual);
        // None: the log goes elsewhere, or is not to have the line.
        let Some(receipt) = RECEIPT.take() else {
            return true;
        };
        match known(&receipt, &give_up) {
            Some(true) => return true,
            Some(false) if !is_last => thread::sleep(AGAIN),
            _ => return false,
        }
    }
}

/// Whether the line was written; `None` if that cannot be waited for.
fn known(receipt: &Receipt, give_up: impl Fn() -> bool) -> Option<bool> {
    let mut until = None;
    loop {
        if let Some(is_written) = receipt.wait(AGAIN) {
            return Some(is_written);
        }
        if give_up() && *until.get_or_insert_with(|| Instant::now() + LAST_TRY) <= Instant::now() {
            return None;
        }
    }
}

/// Makes the writer of each line.
#[derive(Debug, Clone, Copy)]
pub(super) struct StandardError;

impl MakeWriter<'_> for StandardError {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line
    }
}

/// Hands over one line: it comes whole.
#[derive(Debug)]
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match CARE.get() {
            Care::Usual => {
                if !QUEUE.offer(line) {
                    LOST.fetch_add(1, Ordering::SeqCst);
                }
            }
            Care::Last => QUEUE.insist(line, None),
            Care::Insists => {
                let receipt = Arc::<Receipt>::default();
                QUEUE.insist(line, Some(Arc::clone(&receipt)));
                RECEIPT.set(Some(receipt));
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_must_not_be_lost_is_tried_until_it_is_written() {
        let tries = Cell::new(0);
        // As a log whose disk has room at the third try.
        let log = || {
            tries.set(tries.get() + 1);
            assert!(CARE.get() == Care::Insists);
            let receipt = Arc::<Receipt>::default();
            receipt.tell(tries.get() == 3);
            RECEIPT.set(Some(receipt));
        };
        assert!(insist(log, || false));
        assert_eq!(tries.get(), 3);
        assert!(!insist(log, || true));
        assert_eq!(tries.get(), 4);

        // Nobody reads: it is waited for, but not once there is reason to give up.
        let is_ending = Cell::new(0);
        let never = || RECEIPT.set(Some(Arc::default()));
        let give_up = || {
            is_ending.set(is_ending.get() + 1);
            is_ending.get() > 3
        };
        assert!(!insist(never, give_up));
        assert!(insist(|| (), || false), "a log that goes elsewhere");
    }
}
