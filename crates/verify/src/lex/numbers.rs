//! Number tokens: thousands separators, decimals, repeating decimals, exponents.

use super::{Lexer, Tok};
use crate::literal::{Literal, Value, Written};
use crate::modular;
use crate::rational::Rat;
use crate::work::Bounded;

/// Literals with more digits than this are kept as digits.
const EXACT_DIGITS: usize = 600;

impl Lexer<'_> {
    /// Reads a number at the position.
    pub(super) fn number(&mut self) -> Bounded<()> {
        let start = self.pos;
        let mut digits: Vec<u8> = Vec::with_capacity(20);
        let mut written = Written { plain: true, ..Written::default() };
        self.integer_part(&mut digits, &mut written);
        let integer_digits = digits.len();
        self.fraction_part(&mut digits, &mut written);
        written.places = (digits.len() - integer_digits) as u32;
        let repeat = if written.places > 0 || self.src.get(self.pos.wrapping_sub(1)) == Some(&b'.') {
            self.repeating_part()
        } else {
            None
        };
        if repeat.is_none() {
            self.exponent_part(&mut written);
        }
        let first = digits.iter().position(|d| *d != b'0').unwrap_or(digits.len());
        written.significant = (digits.len() - first) as u32;
        let value = if digits.len() > EXACT_DIGITS && written.places == 0 && written.exponent == 0 {
            self.work.charge(digits.len() as u32 / 16)?;
            let digits = digits.split_off(first);
            Value::Huge { residue: modular::residue_of_digits(&digits), digits: digits.into_boxed_slice() }
        } else {
            Value::Exact(self.value(&digits, &mut written, repeat.as_deref())?)
        };
        self.literals.push(Literal { value, written });
        self.push(Tok::Num(self.literals.len() as u32 - 1), start);
        Ok(())
    }

    fn value(&mut self, digits: &[u8], written: &mut Written, repeat: Option<&[u8]>) -> Bounded<Rat> {
        let exponent = i64::from(written.exponent) - i64::from(written.places);
        let head = Rat::from_digits(digits, exponent, self.work)?;
        let ellipsis_repeat;
        let (head, repeat) = match repeat {
            Some(r) => (head, r),
            None if written.ellipsis => match repeated_tail(digits, written.places as usize) {
                Some(period) => {
                    ellipsis_repeat = digits[digits.len() - period..].to_vec();
                    (head, ellipsis_repeat.as_slice())
                }
                None => return Ok(head),
            },
            None => return Ok(head),
        };
        // head + repeat / (10^places (10^len - 1))
        written.ellipsis = false;
        written.places = 0;
        written.plain = false;
        let tail = Rat::from_digits(repeat, exponent, self.work)?;
        let nines = Rat::int(10).pow(repeat.len() as i64, self.work)?.add(&Rat::int(-1), self.work)?;
        head.add(&tail.div(&nines, self.work)?, self.work)
    }

    fn integer_part(&mut self, digits: &mut Vec<u8>, written: &mut Written) {
        let run = self.digit_run(digits);
        if run == 0 || run > 3 || digits == b"0" {
            return;
        }
        // After a comma without a space this number is an element of a list.
        let after_comma = self.tokens.last().is_some_and(|t| t.tok == Tok::Comma) && !self.spaced;
        let comma_groups = !after_comma && (self.depth == 0 || self.roomy_commas) && self.comma_groups();
        while let Some(len) = self.separator(comma_groups) {
            written.plain = false;
            written.commas = comma_groups;
            self.pos += len;
            for _ in 0..3 {
                digits.push(self.src[self.pos]);
                self.pos += 1;
            }
        }
    }

    fn digit_run(&mut self, digits: &mut Vec<u8>) -> usize {
        let start = self.pos;
        while self.peek(0).is_ascii_digit() {
            self.pos += 1;
        }
        digits.extend_from_slice(&self.src[start..self.pos]);
        self.pos - start
    }

    /// Whether exactly three digits stand `ahead` bytes on.
    fn three_digits(&self, ahead: usize) -> bool {
        (0..3).all(|k| self.peek(ahead + k).is_ascii_digit()) && !self.peek(ahead + 3).is_ascii_digit()
    }

    /// Whether every comma directly followed by digits, from here on, is followed by a group of three.
    fn comma_groups(&self) -> bool {
        let mut at = 0;
        while self.peek(at) == b',' && self.peek(at + 1).is_ascii_digit() {
            if !self.three_digits(at + 1) {
                return false;
            }
            at += 4;
        }
        at > 0
    }

    /// Length of a thousands separator at the position, if three digits follow it.
    fn separator(&self, comma_groups: bool) -> Option<usize> {
        const SEPARATORS: [&[u8]; 15] = [
            b"\\text{,}",
            b"{,}\\!",
            b"{,}",
            b"{\\,}",
            b"{\\;}",
            b",\\!\\!",
            b",\\! ",
            b",\\!\\ ",
            b",\\!",
            b"\\!,",
            b"\\,",
            b"\\ ",
            b",\\,",
            b"\\!",
            b"\\;",
        ];
        let rest = self.rest();
        let len = match rest.first()? {
            b',' if comma_groups && self.three_digits(1) => return Some(1),
            // A thin or plain space groups digits only outside brackets and matrices.
            // An apostrophe, as in Switzerland.
            b'\'' if self.depth == 0 => 1,
            b' ' | b'~' if self.depth == 0 && self.text_end == 0 => 1,
            b'{' | b'\\' | b',' => SEPARATORS.iter().find(|s| rest.starts_with(s))?.len(),
            0xe2 if rest.starts_with("\u{2009}".as_bytes()) || rest.starts_with("\u{202f}".as_bytes()) => 3,
            0xc2 if rest.starts_with("\u{a0}".as_bytes()) => 2,
            _ => return None,
        };
        (self.three_digits(len) && self.peek(len + 3) != b'/').then_some(len)
    }

    fn fraction_part(&mut self, digits: &mut Vec<u8>, written: &mut Written) {
        let rest = self.rest();
        if rest.starts_with(b"{.}") && self.peek(3).is_ascii_digit() {
            self.pos += 3;
            written.plain = false;
            self.digit_run(digits);
        } else if rest.first() == Some(&b'.') {
            if self.peek(1).is_ascii_digit() {
                self.pos += 1;
                written.plain = false;
                self.digit_run(digits);
            } else if self.starts_repeat(1) || self.peek(1) == b'(' {
                self.pos += 1;
            } else if rest.starts_with(b".\\!") && self.peek(3).is_ascii_digit() {
                self.pos += 3;
                self.digit_run(digits);
            } else if self.peek(1) != b'.' {
                // A full stop: not part of the number.
                return;
            }
        } else if rest.starts_with(b"{,}") && self.peek(3).is_ascii_digit() && !self.three_digits(3) {
            // A decimal comma in braces.
            self.pos += 3;
            written.plain = false;
            self.digit_run(digits);
        }
        const DOTS: [&[u8]; 6] = [b"...", b"\\ldots", b"\\dots", b"\\cdots", "\u{2026}".as_bytes(), b" ..."];
        if !written.plain
            && let Some(dots) = DOTS.iter().find(|d| self.rest().starts_with(d))
        {
            self.pos += dots.len();
            written.ellipsis = true;
        }
    }

    /// Whether a mark over repeating digits stands `ahead` bytes on.
    pub(super) fn starts_repeat(&self, ahead: usize) -> bool {
        let rest = self.src.get(self.pos + ahead..).unwrap_or(&[]);
        [&b"\\overline{"[..], b"\\bar{", b"\\dot{"].iter().any(|m| rest.starts_with(m))
    }

    /// Digits of `\overline{..}`, `\bar{..}`, `\dot{..}` or `(..)` at the position.
    fn repeating_part(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest();
        let name =
            [&b"\\overline"[..], b"\\bar", b"\\dot", b"("].into_iter().find(|m| rest.starts_with(m))?;
        let mut at = name.len();
        let braced = rest.get(at) == Some(&b'{');
        let close = if name == b"(" { b')' } else { b'}' };
        at += usize::from(braced);
        let len = rest[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 || len > 60 {
            return None;
        }
        if braced || name == b"(" {
            if rest.get(at + len) != Some(&close) {
                return None;
            }
            let mut digits = rest[at..at + len].to_vec();
            self.pos += at + len + 1;
            if name == b"\\dot" {
                self.closing_dot(&mut digits);
            }
            return Some(digits);
        }
        let digits = rest[at..at + 1].to_vec();
        self.pos += at + 1;
        Some(digits)
    }

    /// The rest of a period that dots mark at its ends, `\dot{1}4285\dot{7}`, behind the first dotted digit.
    fn closing_dot(&mut self, period: &mut Vec<u8>) {
        let rest = self.rest();
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if len <= 60
            && let Some([digit, b'}', ..]) = rest[len..].strip_prefix(b"\\dot{")
            && digit.is_ascii_digit()
        {
            period.extend_from_slice(&rest[..len]);
            period.push(*digit);
            self.pos += len + b"\\dot{7}".len();
        }
    }

    /// A directly attached exponent such as `e-05`, or set upright and in braces, `\mathrm{e}{-6}`.
    fn exponent_part(&mut self, written: &mut Written) {
        const MARKS: [&[u8]; 6] = [b"e", b"E", b"\\mathrm{e}", b"\\mathrm{E}", b"\\text{e}", b"\\text{E}"];
        let rest = self.rest();
        let Some(mark) = MARKS.iter().find(|m| rest.starts_with(m)) else { return };
        let braced = rest.get(mark.len()) == Some(&b'{');
        let body = &rest[mark.len() + usize::from(braced)..];
        let sign = body.first().copied().filter(|b| matches!(b, b'-' | b'+'));
        let digits = &body[usize::from(sign.is_some())..];
        let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        let next = digits.get(len).copied().unwrap_or(0);
        // "2e-1" is an expression in e; "2.0e-1", "2e-5", "2e-10" and "2e1" are numbers.
        let plausible = if braced || mark.len() > 1 {
            written.places > 0 || (braced && sign.is_some())
        } else {
            sign.is_none() || written.places > 0 || len >= 2 || digits.first().is_some_and(|d| *d > b'2')
        };
        let ends = if braced { next == b'}' } else { !next.is_ascii_alphabetic() && next != b'^' };
        if len == 0 || len > 4 || !ends {
            return;
        }
        if !plausible {
            if sign == Some(b'-') && mark.len() == 1 && !braced {
                written.other_exponent = -i32::from(digits[0] - b'0');
            }
            return;
        }
        let exponent = digits[..len].iter().fold(0i32, |value, d| value * 10 + i32::from(d - b'0'));
        written.exponent = if sign == Some(b'-') { -exponent } else { exponent };
        written.plain = false;
        self.pos += mark.len() + usize::from(sign.is_some()) + len + 2 * usize::from(braced);
    }
}

/// Shortest period that fills the decimals at least twice, three digits or more in all.
fn repeated_tail(digits: &[u8], places: usize) -> Option<usize> {
    let tail = &digits[digits.len() - places..];
    if places < 3 {
        return None;
    }
    for period in 1..=places / 2 {
        let need = (2 * period).max(3);
        let start = places - need.min(places);
        if (start + period..places).all(|k| tail[k] == tail[k - period]) {
            return Some(period);
        }
    }
    None
}
