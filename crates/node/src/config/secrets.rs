//! The file with the cookies' secrets: the current one on the first line, the next one, if there is
//! one, on the second; 32 hexadecimal digits each. What stands behind `#` is a comment.

use std::{fs::File, io::Read, os::unix::fs::PermissionsExt, path::Path};

use dglb_core::dns::cookie::Secret;

use super::problem::{Problem, position};

/// Octets beyond which a file holds no secrets.
const MOST: u64 = 64 << 10;
/// Hexadecimal digits of a secret.
const DIGITS: usize = 32;

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// Cookies are made with this one.
    pub current: Secret,
    /// Cookies of this one are taken, too.
    pub next: Option<Secret>,
}

impl Secrets {
    /// Reads the file.
    ///
    /// # Errors
    /// Everything that is wrong with it. Messages never show what is there: it may be a secret with
    /// one wrong digit.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let problem = |position, message| Problem { file: path.to_owned(), position, message };
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut content));
        if let Err(error) = read {
            return Err(vec![problem(None, format!("cannot be read: {error}"))]);
        }
        let text = String::from_utf8_lossy(&content);
        let said = |(at, message)| problem(Some(position(&text, at)), message);
        parse(&text).map_err(|mistakes| mistakes.into_iter().map(said).collect())
    }
}

/// Mistakes by the octet at which they are.
fn parse(text: &str) -> Result<Secrets, Vec<(usize, String)>> {
    let (mut secrets, mut mistakes, mut start) = (Vec::new(), Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or_default();
        let indent = content.len() - content.trim_start().len();
        let (at, word) = (start + indent, content.trim());
        start += line.len();
        match secret(word) {
            _ if word.is_empty() => {}
            _ if secrets.len() == 2 => mistakes.push((at, "there are two secrets at most".to_owned())),
            Ok(secret) => secrets.push(Some(secret)),
            Err((within, message)) => {
                mistakes.push((at + within, message));
                secrets.push(None);
            }
        }
    }
    if secrets.is_empty() {
        mistakes.push((0, format!("there is no secret: wanted a line of {DIGITS} hexadecimal digits")));
    }
    let mut secrets = secrets.into_iter().flatten();
    match secrets.next() {
        Some(current) if mistakes.is_empty() => Ok(Secrets { current, next: secrets.next() }),
        _ => Err(mistakes),
    }
}

fn secret(word: &str) -> Result<Secret, (usize, String)> {
    if let Some(at) = word.find(|c: char| !c.is_ascii_hexdigit()) {
        return Err((at, "this is no hexadecimal digit".to_owned()));
    }
    if word.len() != DIGITS {
        return Err((0, format!("wanted {DIGITS} hexadecimal digits, found {}", word.len())));
    }
    let number = u128::from_str_radix(word, 16).map_err(|error| (0, error.to_string()))?;
    Ok(Secret::new(number.to_be_bytes()))
}

/// Whether every user of this host may read a file.
pub(super) fn others_may_read(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const TWO: &str = "DD3BDF9344B678B185A6F5CB60FCA715";

    #[test]
    fn one_secret_or_two() {
        let one = Secret::new([
            0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf, 0xcf,
        ]);
        for text in [ONE.to_owned(), format!("# the fleet's\n\n  {ONE} # since May\r\n")] {
            assert_eq!(parse(&text), Ok(Secrets { current: one, next: None }), "{text}");
        }
        let both = parse(&format!("{ONE}\n{TWO}\n")).unwrap();
        assert_eq!(both.current, one);
        assert_eq!(Ok(both.next.unwrap()), secret(&TWO.to_lowercase()));
    }

    #[test]
    fn mistakes_have_their_place_and_do_not_show_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cookies");
        let mistakes = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let all: Vec<String> = Secrets::read(&path).unwrap_err().iter().map(ToString::to_string).collect();
            let prefix = format!("{}:", path.display());
            all.iter().map(|m| m.strip_prefix(&prefix).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let none = ["1:1: there is no secret: wanted a line of 32 hexadecimal digits"];
        assert_eq!(mistakes(""), none);
        assert_eq!(mistakes("# none\n"), none);
        let text = format!("# x\n {}g5\n{}\n{ONE}\n", &ONE[..30], &ONE[1..]);
        assert_eq!(
            mistakes(&text),
            [
                "2:32: this is no hexadecimal digit",
                "3:1: wanted 32 hexadecimal digits, found 31",
                "4:1: there are two secrets at most"
            ]
        );
        std::fs::remove_file(&path).unwrap();
        assert!(Secrets::read(&path).unwrap_err()[0].message.starts_with("cannot be read: "));
    }
}
