//! Judges each answer on the wire: whoever says that it has voted or has taken entries must have it on its disk, so that
//! no loss of power takes it back. A replica that says so too early is caught in the act, and not only when a crash
//! happens to come at the worst of moments.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jointoken::store::{DurableLog, EntryName, PeerAddress, Promise, Ruler, overhear};

use crate::sim_disk::SimDisk;
use crate::sim_net::{Wire, now};
use crate::support::IDENTITY;

use super::verdict::{Trace, Verdict};

/// All clones are the same.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<Known>>);

struct Known {
    verdict: Verdict,
    trace: Trace,
    disks: BTreeMap<PeerAddress, (SimDisk, DurableLog)>,
    /// The checksum of each entry that was ever sent.
    entries: HashMap<EntryName, u32>,
    /// To whom each replica gave its last vote.
    votes: BTreeMap<u64, Ruler>,
    promises: u64,
}

impl Oracle {
    pub fn new(verdict: Verdict, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Known {
            verdict,
            trace,
            disks: BTreeMap::new(),
            entries: HashMap::new(),
            votes: BTreeMap::new(),
            promises: 0,
        })))
    }

    /// From now on a new process works on this disk.
    ///
    /// It may hold less than the one before promised, if it was set back: it is held to what it says from now on. Only its
    /// votes go on from the last one, as it is set back only when nobody asks for an earlier one any more.
    pub fn watch(&self, address: &PeerAddress, disk: &SimDisk) {
        let mut known = self.0.lock().unwrap();
        known
            .disks
            .insert(address.clone(), (disk.clone(), durable_log(disk)));
    }

    /// How many promises were held against a disk.
    pub fn promises(&self) -> u64 {
        self.0.lock().unwrap().promises
    }
}

/// What a disk holds of the log, whatever happens to it.
pub fn durable_log(disk: &SimDisk) -> DurableLog {
    let durable = Arc::new(disk.durable());
    DurableLog::new(durable, "/data/log".into(), IDENTITY.store_id)
}

/// What a process finds of the log that starts while the machine goes on.
pub fn written_log(disk: &SimDisk) -> DurableLog {
    let all = Arc::new(disk.session());
    DurableLog::new(all, "/data/log".into(), IDENTITY.store_id)
}

impl Wire for Oracle {
    fn answered(&mut self, by: &PeerAddress, request: &[u8], answer: &[u8]) {
        let mut known = self.0.lock().unwrap();
        known.trace.add(&now().as_nanos().to_le_bytes());
        for said in [by.as_str().as_bytes(), request, answer] {
            known.trace.add(said);
        }
        let Some(overheard) = overhear(request, answer) else {
            return;
        };
        for (name, bytes) in overheard.sent {
            let sum = crc32c::crc32c(&bytes);
            if *known.entries.entry(name).or_insert(sum) != sum {
                let what = format!("there are two entries of one name: {name:?}, sent to {by}");
                known.verdict.wrong(what);
            }
        }
        if let Some(promise) = overheard.promise {
            known.promises += 1;
            if let Err(what) = known.judge(by, promise) {
                known.verdict.wrong(format!("{by} at {:?}: {what}", now()));
            }
        }
    }
}

impl Known {
    fn judge(&mut self, address: &PeerAddress, promise: Promise) -> Result<(), String> {
        let (disk, survivor) = self
            .disks
            .get_mut(address)
            .expect("whoever answers was started");
        let has_obeyed =
            |survivor: &DurableLog, to: Ruler| survivor.vote().is_some_and(|vote| vote >= to);
        let has_entry = |survivor: &DurableLog, upto: Option<EntryName>| {
            upto.is_none_or(|upto| survivor.holds(upto))
        };
        let is_kept = |survivor: &DurableLog| match promise {
            Promise::Vote { to, .. } => has_obeyed(survivor, to),
            Promise::Appended { to, upto, .. } => {
                has_obeyed(survivor, to) && has_entry(survivor, upto)
            }
            Promise::Installed { .. } => false,
        };
        // What was there once stays; so the disk need not be read for every heartbeat.
        if !is_kept(survivor) {
            (survivor.read())
                .map_err(|error| format!("what is on its disk cannot be read: {error}"))?;
        }
        let is_on_disk = match promise {
            // Whoever has the entries already has no use for the snapshot of them.
            Promise::Installed { upto, .. } => {
                has_entry(survivor, upto) || upto.is_none_or(|upto| has_snapshot(disk, upto.index))
            }
            _ => is_kept(survivor),
        };
        if !is_on_disk {
            return Err(format!(
                "{promise:?} is not on its disk: there is {:?} and entries up to {:?}",
                survivor.vote(),
                survivor.last()
            ));
        }
        if let Promise::Vote { by, to } = promise {
            let last = self.votes.entry(by).or_insert(to);
            if *last > to {
                return Err(format!("{promise:?} after it had voted for {last:?}"));
            }
            *last = to;
        }
        Ok(())
    }
}

fn has_snapshot(disk: &SimDisk, index: u64) -> bool {
    use jointoken::store::disk::Disk as _;
    let names = disk
        .durable()
        .list(Path::new("/data/snapshots"))
        .unwrap_or_default();
    let mut indices = names.iter().filter_map(|name| {
        let digits = name.strip_suffix(".snapshot")?;
        u64::from_str_radix(digits, 16).ok()
    });
    indices.any(|there| there >= index)
}
