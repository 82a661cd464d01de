//! Bytes in a fixed order with explicit lengths, and their armour: a prefix that names the
//! format, base64url without padding (RFC 4648, section 5), and a CRC32 at the end.

use std::sync::LazyLock;

use data_encoding::{BASE64URL_NOPAD, Encoding};
use zeroize::Zeroizing;

/// Length of the CRC32 that ends what is armoured, in bytes.
const CRC: usize = 4;

/// Appends fields.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A length of one byte and the text. Texts are checked beforehand to be shorter than 256
    /// bytes; a longer one would be cut, and what is cut does not verify.
    pub fn text(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        self.u8(length);
        self.bytes(&text.as_bytes()[..usize::from(length)]);
    }

    /// A count of one byte and that many texts.
    pub fn texts(&mut self, texts: &[String]) {
        let count = u8::try_from(texts.len()).unwrap_or(u8::MAX);
        self.u8(count);
        for text in &texts[..usize::from(count)] {
            self.text(text);
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The bytes ended in the middle of a field.
#[derive(Debug)]
pub(super) struct Ended;

/// Takes fields off the front.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Ended> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(Ended)?;
        self.rest = rest;
        Ok(*first)
    }

    pub fn u8(&mut self) -> Result<u8, Ended> {
        self.array().map(|[byte]| byte)
    }

    pub fn u64(&mut self) -> Result<u64, Ended> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length of one byte and so many bytes.
    pub fn text(&mut self) -> Result<&'a [u8], Ended> {
        let length = usize::from(self.u8()?);
        let (first, rest) = self.rest.split_at_checked(length).ok_or(Ended)?;
        self.rest = rest;
        Ok(first)
    }

    /// A count of one byte and that many texts.
    pub fn texts(&mut self) -> Result<Vec<&'a [u8]>, Ended> {
        let count = self.u8()?;
        (0..count).map(|_| self.text()).collect()
    }
}

/// What is wrong with an armoured string, as far as that can be told from a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// A character that base64url has not; its place in the whole string, the first being 1.
    Character { position: usize },
    /// Fewer characters than the lengths inside ask for.
    Cut,
    /// More characters than the lengths inside ask for.
    Trailing,
    /// The right number of characters, with a checksum that does not fit.
    Typo,
}

/// `prefix`, then base64url of `bytes` and the CRC32 of prefix and bytes.
pub(super) fn seal(prefix: &str, bytes: &[u8]) -> Zeroizing<String> {
    let mut sealed = Zeroizing::new(Vec::with_capacity(bytes.len() + CRC));
    sealed.extend_from_slice(bytes);
    sealed.extend_from_slice(&checksum(prefix, bytes));
    let length = prefix.len() + BASE64URL_NOPAD.encode_len(sealed.len());
    // Of the full length from the start: growing would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.push_str(prefix);
    BASE64URL_NOPAD.encode_append(&sealed, &mut text);
    text
}

/// The bytes that were sealed. `length` reads the fields off the front of what is left of a
/// damaged string and says how many bytes they ask for before the checksum; it only serves to
/// say what is wrong.
pub(super) fn open(
    prefix: &str,
    text: &str,
    length: impl Fn(&[u8]) -> Result<usize, Ended>,
) -> Result<Zeroizing<Vec<u8>>, Damage> {
    let body = text.strip_prefix(prefix).unwrap_or(text);
    if let Some(at) = body
        .bytes()
        .position(|b| !matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    {
        let before = text.len() - body.len() + at;
        return Err(Damage::Character {
            position: text[..before].chars().count() + 1,
        });
    }
    if let Ok(bytes) = BASE64URL_NOPAD.decode(body.as_bytes()) {
        let mut bytes = Zeroizing::new(bytes);
        if let Some((content, crc)) = bytes.split_last_chunk::<CRC>()
            && *crc == checksum(prefix, content)
        {
            let end = content.len();
            bytes.truncate(end);
            return Ok(bytes);
        }
    }
    Err(diagnose(body, length))
}

/// What became of a string whose checksum does not fit.
fn diagnose(body: &str, length: impl Fn(&[u8]) -> Result<usize, Ended>) -> Damage {
    // One character more than a multiple of four holds no whole byte.
    let whole = body.len() - usize::from(body.len() % 4 == 1);
    let Ok(bytes) = LENIENT.decode(&body.as_bytes()[..whole]) else {
        return Damage::Typo;
    };
    let Ok(content) = length(&Zeroizing::new(bytes)) else {
        return Damage::Cut;
    };
    match body.len().cmp(&BASE64URL_NOPAD.encode_len(content + CRC)) {
        std::cmp::Ordering::Less => Damage::Cut,
        std::cmp::Ordering::Greater => Damage::Trailing,
        std::cmp::Ordering::Equal => Damage::Typo,
    }
}

/// base64url that overlooks bits after the last whole byte, as a cut string has them.
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = BASE64URL_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(BASE64URL_NOPAD)
});

fn checksum(prefix: &str, bytes: &[u8]) -> [u8; CRC] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_bytes());
    hasher.update(bytes);
    hasher.finalize().to_be_bytes()
}
