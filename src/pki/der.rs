//! A strict reader of DER (X.690), as much of it as public keys and requests need.
//!
//! The parsers of x509-parser accept other classes of tag and other lengths here and there. What
//! lies in a request outside of its signature, and what a key's SHA-256 is taken over, must have
//! one encoding.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// One element: its content, and all of it with tag and length.
pub(super) struct Element<'a> {
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// Elements one after another.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, if it has this very tag and the shortest form of its length.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let input = self.0;
        let (found, rest) = input.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Two octets say all that a request of ours can be long.
            0x81 | 0x82 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = octets.iter().fold(0, |n, b| n << 8 | usize::from(*b));
                let shortest = if octets.len() == 1 { 0x80 } else { 0x100 };
                (length >= shortest).then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        let whole = &input[..input.len() - rest.len()];
        (*found == tag).then_some(Element { content, whole })
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of the next element, a BIT STRING of whole octets.
    pub(super) fn take_octets_of_bits(&mut self) -> Option<&'a [u8]> {
        match self.take(BIT_STRING)?.content {
            [0, octets @ ..] => Some(octets),
            _ => None,
        }
    }

    /// The magnitude of the next element, a positive INTEGER, without the octet for the sign.
    pub(super) fn take_positive(&mut self) -> Option<&'a [u8]> {
        match self.take(INTEGER)?.content {
            [0, magnitude @ ..] if magnitude.first().is_some_and(|b| b & 0x80 != 0) => {
                Some(magnitude)
            }
            magnitude @ [1..=0x7f, ..] => Some(magnitude),
            _ => None,
        }
    }
}

/// The only element in `input`, if it has this tag.
pub(super) fn only(tag: u8, input: &[u8]) -> Option<Element<'_>> {
    let mut reader = Reader(input);
    let element = reader.take(tag)?;
    reader.is_done().then_some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        let of = |length: &[u8], content: usize| {
            let mut der = vec![SEQUENCE];
            der.extend(length);
            der.extend(vec![7; content]);
            only(SEQUENCE, &der).map(|e| e.content.len())
        };
        assert_eq!(of(&[0x7f], 127), Some(127));
        assert_eq!(of(&[0x81, 0x80], 128), Some(128));
        assert_eq!(of(&[0x82, 0x01, 0x00], 256), Some(256));
        assert_eq!(of(&[0x81, 0x7f], 127), None);
        assert_eq!(of(&[0x82, 0x00, 0xff], 255), None);
        assert_eq!(of(&[0x83, 0, 0, 1], 1), None);
        assert_eq!(of(&[0x80], 0), None);
        assert_eq!(of(&[0x05], 4), None);
        assert_eq!(of(&[0x05], 6), None);
        assert_eq!(of(&[0x84, 0xff, 0xff, 0xff, 0xff], 9), None);
    }

    #[test]
    fn integers_have_one_form() {
        let of = |content: &'static [u8]| {
            let mut der = vec![INTEGER, content.len() as u8];
            der.extend(content);
            Reader(&der).take_positive().map(<[u8]>::to_vec)
        };
        assert_eq!(of(&[1]), Some(vec![1]));
        assert_eq!(of(&[0, 0x80]), Some(vec![0x80]));
        for bad in [&[][..], &[0], &[0x80], &[0, 1], &[0, 0, 0x80]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
