//! What the judges say, and a trace of all that happened.

use std::sync::{Arc, Mutex};

/// The first thing that was found wrong; all clones are the same.
#[derive(Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<String>>>);

impl Verdict {
    pub fn wrong(&self, what: impl Into<String>) {
        self.0.lock().unwrap().get_or_insert_with(|| what.into());
    }

    /// What is wrong, if anything is.
    pub fn found(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A checksum of everything, in order; all clones are the same.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<u32>>);

impl Trace {
    pub fn add(&self, bytes: &[u8]) {
        let mut sum = self.0.lock().unwrap();
        *sum = crc32c::crc32c_append(*sum, bytes);
    }

    pub fn sum(&self) -> u32 {
        *self.0.lock().unwrap()
    }
}
