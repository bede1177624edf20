//! One form for all the ways in which a JSON text can be written: two texts have one form exactly if they say the same. White space, escapes
//! and the order of members are gone; of two members of one name the last one counts; numbers are equal if their values are (`1`, `1.0`, `10e-1`).
//!
//! The form is bytes that nobody reads. Each value tells its kind and its end by itself, so no two values run together into a third.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// Nothing that anyone means is nested deeper; and reading it must not use up the stack.
const DEEPEST: usize = 128;

/// The form of an object of these members, whose values are JSON. None where it is nested too deep, or is no JSON after all.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (Cow<'a, str>, &'a str)>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut gathered = Gathered::default();
    for (name, value) in members {
        // Most of it is text, which takes as much room as it took there.
        out.reserve(name.len() + value.len() + 4 * HEAD);
        let from = out.len();
        string(&mut out, &name);
        let named = out.len();
        let mut reader = Reader { text: value, at: 0 };
        reader.value(&mut out, 1)?;
        reader.end()?;
        gathered.0.push(Member { name: from..named, whole: from..out.len() });
    }
    gathered.put_in_order(&mut out, 0);
    Some(out)
}

/// Where the members of an object stand that were written as they came.
#[derive(Default)]
struct Gathered(Vec<Member>);

struct Member {
    name: Range<usize>,
    whole: Range<usize>,
}

impl Gathered {
    /// Puts what was written from `from` on into the order of the names.
    fn put_in_order(mut self, out: &mut Vec<u8>, from: usize) {
        let is_in_order = |out: &[u8]| {
            self.0.windows(2).all(|pair| match pair {
                [one, two] => out[one.name.clone()] < out[two.name.clone()],
                _ => true,
            })
        };
        if is_in_order(out) {
            return;
        }
        // It leaves those of one name in the order in which they came.
        self.0.sort_by(|one, two| out[one.name.clone()].cmp(&out[two.name.clone()]));
        let mut ordered = Vec::with_capacity(out.len() - from);
        for (at, member) in self.0.iter().enumerate() {
            let next = self.0.get(at + 1);
            if next.is_none_or(|next| out[next.name.clone()] != out[member.name.clone()]) {
                ordered.extend_from_slice(&out[member.whole.clone()]);
            }
        }
        out.truncate(from);
        out.extend_from_slice(&ordered);
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'"' => self.string(out),
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b't' => self.word("true", out),
            b'f' => self.word("false", out),
            b'n' => self.word("null", out),
            _ => self.number(out),
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.at += 1;
        out.push(b'{');
        let begin = out.len();
        let mut gathered = Gathered::default();
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let from = out.len();
                (self.peek()? == b'"').then_some(())?;
                self.string(out)?;
                let named = out.len();
                (self.take()? == b':').then_some(())?;
                self.value(out, depth + 1)?;
                gathered.0.push(Member { name: from..named, whole: from..out.len() });
                match self.take()? {
                    b',' => {}
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        gathered.put_in_order(out, begin);
        out.push(b'}');
        Some(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.at += 1;
        out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(out, depth + 1)?;
                match self.take()? {
                    b',' => {}
                    b']' => break,
                    _ => return None,
                }
            }
        }
        out.push(b']');
        Some(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        let mut at = begin + 1;
        // Its length is known when it has ended.
        let head = out.len();
        tagged(out, b'"', b"");
        let mut is_plain = true;
        loop {
            let rest = bytes.get(at..)?;
            let run = memchr2(b'"', b'\\', rest)?;
            let (text, rest) = rest.split_at(run);
            if is_plain {
                out.extend_from_slice(text);
            }
            if rest.first() == Some(&b'"') {
                at += run + 1;
                break;
            }
            // All others are those of four digits, which are left to whoever knows them.
            let escaped = rest.get(1)?;
            match unescaped(*escaped) {
                Some(byte) if is_plain => out.push(byte),
                _ => is_plain = false,
            }
            at += run + 2;
        }
        self.at = at;
        if is_plain {
            let length = (out.len() - head - HEAD) as u64;
            out.get_mut(head + 1..head + HEAD)?.copy_from_slice(&length.to_le_bytes());
            return Some(());
        }
        out.truncate(head);
        let literal = self.text.get(begin..self.at)?;
        match serde_json::from_str::<Cow<'_, str>>(literal) {
            Ok(text) => string(out, &text),
            // Half of a surrogate pair, which no text of ours can hold: it is told from texts, and equals only what is written as it is.
            Err(_) => tagged(out, b'\\', literal.as_bytes()),
        }
        Some(())
    }

    /// By its value, and exactly: digits without zeros at either end, and a power of ten.
    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let literal = &rest[..rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())];
        self.at += literal.len();
        if literal.len() < 10
            && literal.starts_with(|c: char| matches!(c, '1'..='9'))
            && literal.bytes().all(|byte| byte.is_ascii_digit())
        {
            // Mostly it is such a number, which has the form of all others without the texts on the way there.
            let significant = literal.trim_end_matches('0');
            let zeros = literal.len() - significant.len();
            out.push(b'#');
            out.extend_from_slice(&(significant.len() as u64 + 2).to_le_bytes());
            out.extend_from_slice(significant.as_bytes());
            out.extend_from_slice(&[b'e', b'0' + zeros as u8]);
            return Some(());
        }
        let (sign, unsigned) = literal.strip_prefix('-').map_or(("", literal), |rest| ("-", rest));
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if !whole.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let power = power.parse::<i64>().ok().and_then(|power| {
            let zeros = significant.len() - significant.trim_end_matches('0').len();
            power.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)
        });
        let value = match (significant.trim_end_matches('0'), power) {
            ("", _) => "0".to_owned(),
            (significant, Some(power)) => format!("{sign}{significant}e{power}"),
            // A power that no machine has: as it is written.
            (_, None) => literal.to_owned(),
        };
        tagged(out, b'#', value.as_bytes());
        Some(())
    }

    fn word(&mut self, word: &str, out: &mut Vec<u8>) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then_some(())?;
        self.at += word.len();
        out.extend(word.bytes().take(1));
        Some(())
    }

    /// The next byte that is no white space, left where it is.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let space = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.at += space;
        rest.get(space).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Nothing follows.
    fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }
}

/// What stands behind a backslash, but for those with digits.
fn unescaped(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        _ => return None,
    })
}

/// A tag and a length.
const HEAD: usize = 1 + size_of::<u64>();

fn string(out: &mut Vec<u8>, text: &str) {
    tagged(out, b'"', text.as_bytes());
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
