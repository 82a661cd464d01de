//! The state as bytes: one form for one state, whatever way it came about.
//!
//! Integers are little-endian and of fixed width, lists are sorted and say their length first,
//! what a phase does not have is not written. The same bytes are what the state's hash is made of.

mod parts;
mod read;
mod whole;

pub(super) use parts::{put_entry, put_record};
pub use read::ImageError;
pub(super) use whole::put_globals;

/// The form of the image of a state that was never restored. Older forms stay readable.
const VERSION: u16 = 1;

/// The form of one that was: it says so, and which keys are retired. Each state has one form, and a release that
/// does not know this one still reads every store that was never restored.
const RESTORED_VERSION: u16 = 2;

/// What every image begins with.
const MAGIC: [u8; 8] = *b"jtstate\n";

/// Appends values in their canonical form.
trait Put {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
    fn long(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes(bytes);
    }
    fn text(&mut self, text: &str) {
        self.long(text.as_bytes());
    }
    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                put(self, value);
            }
        }
    }
}

impl Put for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
