//! What may never be written where people and collectors read: tokens, signing keys and the credentials in URLs. Whoever
//! says something need not know what is in it: a token that was given for a path stands in the error about that path.

use std::borrow::Cow;

/// So much of a token or a key behind its prefix is enough to hide it; less is what messages call the form.
const ENOUGH: usize = 8;

/// The text with all tokens and signing keys, whole or cut short, and the user and password of URLs replaced.
///
/// What is JSON stays JSON.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = Cow::Borrowed(text);
    if let Cow::Owned(hidden) = without_credentials(text) {
        clean = Cow::Owned(hidden);
    }
    if let Cow::Owned(hidden) = without_secrets(&clean) {
        clean = Cow::Owned(hidden);
    }
    clean
}

fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("jt") {
        let start = from + found;
        from = start + "jt".len();
        if let Some((length, what)) = secret(&text[start..]) {
            clean.push_str(&text[done..start]);
            clean.push_str(what);
            done = start + length;
            from = done;
        }
    }
    replaced(text, clean, done)
}

/// The length of the token or key that the text, which begins with `jt`, begins with, and what to write instead.
fn secret(text: &str) -> Option<(usize, &'static str)> {
    let behind = &text["jt".len()..];
    let (behind, what) = match behind.strip_prefix('k') {
        Some(behind) => (behind, "(a key)"),
        None => (behind, "(a token)"),
    };
    let body = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_numbered = body.len() < behind.len();
    let body = body.strip_prefix('_').filter(|_| is_numbered)?;
    let is_of_it = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let length = body.bytes().take_while(is_of_it).count();
    (length >= ENOUGH).then_some((text.len() - body.len() + length, what))
}

fn without_credentials(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + "://".len();
        from = start;
        let url = &text[start..start + url_length(&text[start..])];
        // The last: a password that was not encoded may hold one, or a slash.
        if let Some(end) = url.rfind('@') {
            clean.push_str(&text[done..start]);
            clean.push_str("(credentials)");
            done = start + end;
            from = done;
        }
    }
    replaced(text, clean, done)
}

/// Up to white space, or to the quote that ends what it stands in: one behind a backslash does not.
fn url_length(text: &str) -> usize {
    let mut is_escaped = false;
    let ends = |c: char| {
        let is_end = c.is_whitespace() || (c == '"' && !is_escaped);
        is_escaped = c == '\\' && !is_escaped;
        is_end
    };
    text.find(ends).unwrap_or(text.len())
}

/// `clean` stands for the text up to `done`.
fn replaced(text: &str, mut clean: String, done: usize) -> Cow<'_, str> {
    if done == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[done..]);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e-_x";

    #[test]
    fn tokens_and_keys_are_hidden_wherever_they_stand() {
        let cut = &BODY[..12];
        for (text, clean) in [
            (format!("jt1_{BODY}"), "(a token)"),
            (format!("jtk1_{BODY}"), "(a key)"),
            (format!("jt12_{cut}… is none"), "(a token)… is none"),
            (
                format!("cannot read /x/jt1_{BODY}.pem: gone"),
                "cannot read /x/(a token).pem: gone",
            ),
            (
                format!("--out=jt1_{BODY} \x1b[33mjtk1_{BODY}\x1b[0m"),
                "--out=(a token) \x1b[33m(a key)\x1b[0m",
            ),
            (
                format!(r#"{{"url":"https://jt1_{BODY}","a":"\njtk2_{BODY}"}}"#),
                r#"{"url":"https://(a token)","a":"\n(a key)"}"#,
            ),
            (format!("jtjt1_{BODY}é"), "jt(a token)é"),
        ] {
            assert_eq!(redact(&text), clean, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "jt",
            "jt1",
            "jt1_",
            "a token begins with jt1_, a key with jtk1_",
            "jt1_1234567",
            "jtk_123456789",
            "jtx1_123456789",
            "https://a:1/x alice@example.org",
            r#"{"url":"https://a:1","who":"alice@example.org"}"#,
            r#"{"a":"https://x\\","who":"alice@example.org"}"#,
            "://",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn the_credentials_of_urls_are_hidden() {
        for (text, clean) in [
            ("https://us:pw@a:1", "https://(credentials)@a:1"),
            ("https://us@a, x", "https://(credentials)@a, x"),
            (
                "'socks5://us:p@w/d'@[::1]:1'",
                "'socks5://(credentials)@[::1]:1'",
            ),
            (
                r#"{"a":"\"http://us:p\"w@a\"","b":"c@d"}"#,
                r#"{"a":"\"http://(credentials)@a\"","b":"c@d"}"#,
            ),
            (
                "http://a:1 http://b:c@d http://é:c@e",
                "http://a:1 http://(credentials)@d http://(credentials)@e",
            ),
        ] {
            assert_eq!(redact(text), clean);
        }
        let both = format!("jtk1_{BODY} https://us:jt1_{BODY}@a jt1_{BODY}");
        assert_eq!(redact(&both), "(a key) https://(credentials)@a (a token)");
    }
}
