//! The bytes of a segment: a header, then frames. A frame is what one write and one sync made
//! durable, so a frame that is whole proves that all before it once were.
//!
//! ```text
//! header: magic 8 | format u32 | store id 16 | segment u64 | first frame u64 | salt u64 | crc32c u32
//! frame:  length of the body u32 | number u64 | crc32c of the body u32 | crc32c of these 16 bytes u32 | body
//! ```
//!
//! Integers are little endian. Frames are numbered without a gap over all segments. The checksums
//! of frames start from the header's, which has a random salt in it: neither bytes of another
//! segment nor a payload made to look like a frame pass for one.

use crate::lifecycle::State;
use crate::token::StoreId;

const MAGIC: &[u8; 8] = b"jtlog\r\n\x1a";
/// The newest format that is written and read. The first is written until there is something that it cannot hold; the third
/// came with the second version of the rules, the fourth with the third.
pub(crate) const FORMAT: u32 = match State::newest_rules() {
    1 => 2,
    2 => 3,
    _ => 4,
};
pub(super) const HEADER: usize = 56;
pub(super) const HEAD: usize = 20;
/// What a disk writes at once: of a write that lost power each sector is there or is not.
const SECTOR: usize = 512;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub format: u32,
    pub store_id: StoreId,
    pub segment: u64,
    pub first_frame: u64,
    pub salt: u64,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHeader {
    Newer(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.store_id.0);
        bytes[28..36].copy_from_slice(&self.segment.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.first_frame.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        // The format comes first: a later one may have another header.
        if bytes.len() < 12 || &bytes[..8] != MAGIC {
            return Err(NoHeader::Damaged);
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT && bytes.len() >= HEADER {
            return Err(NoHeader::Newer(format));
        }
        if format == 0 || bytes.len() < HEADER || crc32c::crc32c(&bytes[..52]) != u32_at(bytes, 52)
        {
            return Err(NoHeader::Damaged);
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&bytes[12..28]);
        Ok(Self {
            format,
            store_id: StoreId(store_id),
            segment: u64_at(bytes, 28),
            first_frame: u64_at(bytes, 36),
            salt: u64_at(bytes, 44),
        })
    }

    /// What the checksums of this segment's frames start from.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.encode())
    }
}

/// A frame around a body.
pub(super) fn encode(seed: u32, number: u64, body: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(body.len()).ok()?;
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&crc32c::crc32c_append(seed, body).to_le_bytes());
    let head_crc = crc32c::crc32c_append(seed, &frame);
    frame.extend_from_slice(&head_crc.to_le_bytes());
    frame.extend_from_slice(body);
    Some(frame)
}

/// What lies at a place where a frame should begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'b> {
    /// Nothing: the bytes end here.
    End,
    Frame {
        number: u64,
        body: &'b [u8],
    },
    /// What a write leaves behind that lost power before its sync.
    Torn,
    /// Bytes that were whole once.
    Damaged(&'static str),
}

/// Reads the frame at `at`.
pub(super) fn read(seed: u32, bytes: &[u8], at: usize) -> Found<'_> {
    let rest = &bytes[at..];
    if rest.is_empty() {
        return Found::End;
    }
    if rest.len() < HEAD {
        return Found::Torn;
    }
    if crc32c::crc32c_append(seed, &rest[..16]) != u32_at(rest, 16) {
        if lacks_a_sector(bytes, at, bytes.len()) {
            return Found::Torn;
        }
        return Found::Damaged("the head of a frame has the wrong checksum");
    }
    let end = HEAD + u32_at(rest, 0) as usize;
    let Some(body) = rest.get(HEAD..end) else {
        return Found::Torn;
    };
    if crc32c::crc32c_append(seed, body) != u32_at(rest, 12) {
        if lacks_a_sector(bytes, at, at + end) {
            return Found::Torn;
        }
        return Found::Damaged("a frame has the wrong checksum");
    }
    Found::Frame {
        number: u64_at(rest, 4),
        body,
    }
}

/// A frame with a number past `number` follows somewhere after `at`. As each frame is synced
/// before the next is written, whatever lies at `at` was whole once.
pub(super) fn frame_follows(seed: u32, bytes: &[u8], at: usize, number: u64) -> bool {
    (at + 1..bytes.len().saturating_sub(HEAD)).any(|at| {
        let rest = &bytes[at..];
        let is_head = u64_at(rest, 4) > number
            && crc32c::crc32c_append(seed, &rest[..16]) == u32_at(rest, 16);
        is_head && matches!(read(seed, bytes, at), Found::Frame { .. })
    })
}

/// Some sector between the two places is all zeros, as if it had never been written.
fn lacks_a_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        let next = ((at / SECTOR + 1) * SECTOR).min(to);
        if bytes[at..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 7;

    fn body() -> Vec<u8> {
        (0..2_000_u32).map(|i| (i % 251) as u8 + 1).collect()
    }

    #[test]
    fn a_frame_comes_back_and_its_prefixes_are_torn() {
        let frame = encode(SEED, 3, &body()).unwrap();
        let whole = Found::Frame {
            number: 3,
            body: &body(),
        };
        assert_eq!(read(SEED, &frame, 0), whole);
        assert_eq!(read(SEED, &frame, frame.len()), Found::End);
        for len in 1..frame.len() {
            assert_eq!(read(SEED, &frame[..len], 0), Found::Torn, "cut at {len}");
        }
        assert!(matches!(read(8, &frame, 0), Found::Damaged(_)));
    }

    #[test]
    fn a_lost_sector_is_a_tear_and_a_flipped_bit_is_damage() {
        let frame = encode(SEED, 3, &body()).unwrap();
        for sector in 0..frame.len() / SECTOR {
            let mut torn = frame.clone();
            torn[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            assert_eq!(read(SEED, &torn, 0), Found::Torn, "sector {sector}");
        }
        for at in 0..frame.len() {
            let mut flipped = frame.clone();
            flipped[at] ^= 0x10;
            assert!(
                matches!(read(SEED, &flipped, 0), Found::Damaged(_)),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_later_frame_is_found_behind_bytes_that_are_none() {
        let mut bytes = encode(SEED, 3, &body()).unwrap();
        let second = bytes.len();
        bytes.extend(encode(SEED, 4, b"next").unwrap());
        bytes[HEAD..HEAD + SECTOR * 2].fill(0);
        assert_eq!(read(SEED, &bytes, 0), Found::Torn);
        assert!(frame_follows(SEED, &bytes, 0, 3));
        assert!(!frame_follows(SEED, &bytes[..second], 0, 3));
        // A frame of another segment proves nothing.
        assert!(!frame_follows(SEED + 1, &bytes, 0, 3));
    }
}
