//! Reading strictly: every byte has one meaning, and no length is believed before it is there.

use crate::lifecycle::state::InvariantViolation;

/// Why bytes are not the image of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("these bytes are not an image of the state")]
    NotAnImage,
    #[error("the image has format {0}, which this release does not know")]
    UnknownVersion(u16),
    #[error("the image goes by rules {0}, which this release does not know")]
    UnknownRules(u32),
    #[error("the image ends too early")]
    Truncated,
    #[error("bytes follow the end of the image")]
    Trailing,
    #[error("the image is damaged: {0}")]
    Malformed(&'static str),
    #[error("the image holds an impossible state: {0}")]
    Impossible(#[from] InvariantViolation),
    #[error("the image does not match its hash")]
    HashMismatch,
}

impl ImageError {
    /// It may be right: a later release wrote it.
    pub const fn is_of_later_release(&self) -> bool {
        matches!(self, Self::UnknownVersion(_) | Self::UnknownRules(_))
    }
}

/// What is left to read.
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

type Read<T> = Result<T, ImageError>;

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub fn left(&self) -> usize {
        self.left.len()
    }

    pub fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, left) = self
            .left
            .split_at_checked(length)
            .ok_or(ImageError::Truncated)?;
        self.left = left;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }
    pub fn u16(&mut self) -> Read<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ImageError::Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub fn long(&mut self) -> Read<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| ImageError::Truncated)?)
    }

    pub fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.long()?).map_err(|_| ImageError::Malformed("text is not UTF-8"))
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.bool()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// How many values follow, each of which takes at least `least` bytes.
    pub fn count(&mut self, least: usize) -> Read<usize> {
        let count = usize::try_from(self.u32()?).map_err(|_| ImageError::Truncated)?;
        if count > self.left() / least {
            return Err(ImageError::Truncated);
        }
        Ok(count)
    }
}
