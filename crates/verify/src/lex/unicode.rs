//! Unicode mathematics to tokens.

use super::{Lexer, Rel, Tok};
use crate::symbols;

impl Lexer<'_> {
    /// Unicode mathematics; any other character is a letter of a word.
    pub(super) fn unicode(&mut self) {
        let rest = self.rest();
        let len = match rest[0] {
            0xf0.. => 4,
            0xe0.. => 3,
            _ => 2,
        };
        let Some(c) =
            rest.get(..len).and_then(|b| std::str::from_utf8(b).ok()).and_then(|s| s.chars().next())
        else {
            self.pos += 1;
            return;
        };
        let tok = match c {
            '\u{2212}' | '\u{2013}' | '\u{2014}' | '\u{2010}' | '\u{2011}' | '\u{fe63}' | '\u{ff0d}' => {
                Tok::Minus
            }
            '\u{ff0b}' => Tok::Plus,
            '×' | '·' | '⋅' | '∙' | '∗' | '•' => Tok::Times,
            '÷' | '∕' | '⁄' => Tok::Slash,
            '±' => Tok::PlusMinus,
            '∓' => Tok::MinusPlus,
            '≤' | '⩽' | '≦' => Tok::Rel(Rel::Le),
            '≥' | '⩾' | '≧' => Tok::Rel(Rel::Ge),
            '≠' => Tok::Rel(Rel::Ne),
            '≈' | '≃' | '∼' | '≅' => Tok::Rel(Rel::Approx),
            '≡' => Tok::Rel(Rel::Equiv),
            '＝' => Tok::Rel(Rel::Eq),
            '∞' => Tok::Infinity,
            '∪' => Tok::Cup,
            '∩' => Tok::Cap,
            '∈' => Tok::In,
            '∅' | '⌀' | 'Ø' | 'ø' => Tok::EmptySet,
            'ℝ' => Tok::Reals,
            'ℤ' => Tok::Integers,
            '°' | 'º' | '˚' => Tok::Degree,
            '′' | '’' | '‘' => Tok::Prime,
            '√' => Tok::Sqrt,
            '∛' | '∜' => {
                let start = self.pos;
                self.pos += len;
                return self.root_of(if c == '∛' { 3 } else { 4 }, start);
            }
            'π' => Tok::Pi,
            '⟨' | '〈' => Tok::Open(b'<'),
            '⟩' | '〉' => Tok::Close(b'<'),
            '⌊' => Tok::Open(b'f'),
            '⌋' => Tok::Close(b'f'),
            '⌈' => Tok::Open(b'c'),
            '⌉' => Tok::Close(b'c'),
            '（' => Tok::Open(b'('),
            '）' => Tok::Close(b')'),
            '，' | '、' => Tok::Comma,
            '；' => Tok::Semi,
            '：' => Tok::Colon,
            '％' => Tok::Percent,
            '∧' => Tok::And,
            '∨' => Tok::Or,
            '∖' => Tok::Setminus,
            '€' | '£' | '¥' | '¢' => Tok::Word,
            '∠' | '△' => {
                let start = self.pos;
                self.pos += len;
                return self.figure(start);
            }
            '…' | '⋯' => {
                let start = self.pos;
                self.pos += len;
                return self.dots(start);
            }
            '\u{feff}' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2061}' | '\u{2062}' | '。' | '“'
            | '”' | '✓' | '✔' => {
                self.pos += len;
                return;
            }
            c if c.is_whitespace() => {
                self.pos += len;
                self.spaced = true;
                return;
            }
            _ => return self.unicode_letter(c, len),
        };
        self.take(tok, len);
    }

    fn unicode_letter(&mut self, c: char, len: usize) {
        let start = self.pos;
        if let Some((num, den)) = vulgar_fraction(c) {
            self.pos += len;
            self.literals.push(crate::literal::Literal {
                value: crate::literal::Value::Exact(crate::rational::Rat::Small(num, den)),
                written: crate::literal::Written::default(),
            });
            return self.push(Tok::Num(self.literals.len() as u32 - 1), start);
        }
        if let Some(index) = greek_char(c) {
            return self.take(Tok::Var(symbols::greek(index)), len);
        }
        if superscript(c).is_some() || subscript(c).is_some() {
            return self.script(superscript(c).is_some());
        }
        // A letter of some other script: a word up to the next ASCII byte.
        let mut run = len;
        while c.is_alphabetic()
            && let Some(next) = first_char(self.rest().get(run..).unwrap_or(&[]))
            && (next.is_ascii_alphabetic() || (!next.is_ascii() && !next.is_whitespace()))
        {
            run += next.len_utf8();
        }
        let end = if self.text_end > 0 { self.text_end } else { self.src.len() };
        self.pos = (self.pos + run).min(end.max(self.pos + len));
        self.push(if c.is_alphabetic() { Tok::Word } else { Tok::Other }, start);
    }

    /// A run of superscript or subscript characters: a caret or underscore and a group.
    fn script(&mut self, up: bool) {
        let start = self.pos;
        self.push(if up { Tok::Caret } else { Tok::Under }, start);
        self.push(Tok::LBrace, start);
        let mut digits: Vec<u8> = Vec::new();
        while let Some(c) = first_char(self.rest()) {
            let Some(plain) = (if up { superscript(c) } else { subscript(c) }) else { break };
            self.pos += c.len_utf8();
            match plain {
                b'0'..=b'9' => digits.push(plain),
                b'-' => self.push(Tok::Minus, start),
                b'+' => self.push(Tok::Plus, start),
                other => self.push(Tok::Var(u32::from(other)), start),
            }
        }
        if !digits.is_empty()
            && let Ok(value) = crate::rational::Rat::from_digits(&digits, 0, self.work)
        {
            self.literals.push(crate::literal::Literal {
                value: crate::literal::Value::Exact(value),
                written: crate::literal::Written { plain: true, ..Default::default() },
            });
            self.push(Tok::Num(self.literals.len() as u32 - 1), start);
        }
        self.push(Tok::RBrace, start);
    }
}

/// The character at the start of `rest`.
fn first_char(rest: &[u8]) -> Option<char> {
    let head = &rest[..rest.len().min(4)];
    let text = std::str::from_utf8(head).or_else(|e| std::str::from_utf8(&head[..e.valid_up_to()]));
    text.ok().and_then(|t| t.chars().next())
}

fn vulgar_fraction(c: char) -> Option<(i64, i64)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        _ => return None,
    })
}

fn greek_char(c: char) -> Option<u8> {
    Some(match c {
        'α' => 0,
        'β' => 1,
        'γ' => 2,
        'δ' => 3,
        'ε' | 'ϵ' => 4,
        'ζ' => 5,
        'η' => 6,
        'θ' | 'ϑ' => 7,
        'ι' => 8,
        'κ' => 9,
        'λ' => 10,
        'μ' | 'µ' => 11,
        'ν' => 12,
        'ξ' => 13,
        'ρ' => 14,
        'σ' => 15,
        'τ' => 16,
        'υ' => 17,
        'φ' | 'ϕ' => 18,
        'χ' => 19,
        'ψ' => 20,
        'ω' => 21,
        'Γ' => 22,
        'Δ' => 23,
        'Θ' => 24,
        'Λ' => 25,
        'Σ' => 27,
        'Φ' => 28,
        'Ψ' => 29,
        'Ω' => 30,
        _ => return None,
    })
}

fn superscript(c: char) -> Option<u8> {
    Some(match c {
        '⁰' => b'0',
        '¹' => b'1',
        '²' => b'2',
        '³' => b'3',
        '⁴' => b'4',
        '⁵' => b'5',
        '⁶' => b'6',
        '⁷' => b'7',
        '⁸' => b'8',
        '⁹' => b'9',
        '⁻' => b'-',
        '⁺' => b'+',
        'ⁿ' => b'n',
        'ˣ' => b'x',
        _ => return None,
    })
}

fn subscript(c: char) -> Option<u8> {
    Some(match c {
        '₀'..='₉' => b'0' + (c as u32 - '₀' as u32) as u8,
        'ₙ' => b'n',
        'ₓ' => b'x',
        'ₖ' => b'k',
        _ => return None,
    })
}
