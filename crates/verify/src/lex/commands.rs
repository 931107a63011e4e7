//! TeX commands and Unicode mathematics to tokens.

use super::{Lexer, Rel, Tok};
use crate::symbols;
use crate::words::{self, Func, Role};
use crate::work::Bounded;

impl Lexer<'_> {
    /// Reads a command at the position, which is a backslash.
    pub(super) fn command(&mut self) -> Bounded<()> {
        let start = self.pos;
        let rest = self.rest();
        let mut len = rest[1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if len == 0 {
            self.control_symbol();
            return Ok(());
        }
        len = len.min(32);
        let name = &rest[1..=len];
        self.work.charge(2)?;
        self.pos += 1 + len;
        if let Some(tok) = symbol_command(name) {
            match tok {
                Tok::Open(_) => self.depth += 1,
                Tok::Close(_) => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.push(tok, start);
            return Ok(());
        }
        match name {
            b"text" | b"textbf" | b"textit" | b"textrm" | b"mbox" | b"texttt" | b"textsf" | b"textnormal"
            | b"emph" | b"textup" | b"hbox" => self.open_text(false),
            b"mathrm" | b"operatorname" | b"mathsf" | b"mathtt" | b"mathit" | b"rm" | b"mathop" => {
                self.open_text(true)
            }
            b"mathbb" | b"mathcal" | b"mathscr" | b"mathfrak" => self.blackboard(start),
            b"unit" | b"SI" | b"si" => self.open_text(false),
            b"begin" => self.environment(start, Tok::Begin),
            b"end" => self.environment(start, Tok::End),
            b"left" | b"right" | b"bigl" | b"bigr" | b"Bigl" | b"Bigr" | b"biggl" | b"biggr" | b"big"
            | b"Big" | b"bigg" | b"Bigg" | b"middle" | b"mleft" | b"mright" | b"bigm" => {
                // `\left.` has no bracket.
                if self.peek(0) == b'.' && !self.peek(1).is_ascii_digit() {
                    self.pos += 1;
                }
            }
            b"overline" | b"bar" | b"hat" | b"widehat" | b"tilde" | b"dot" | b"ddot" => {
                self.accent(start, name)
            }
            b"angle" | b"measuredangle" => {
                // The measure of an angle is named like the angle.
                if self.tokens.last().is_some_and(|t| t.tok == Tok::Var(u32::from(b'm'))) {
                    self.tokens.pop();
                }
            }
            b"hspace" | b"vspace" | b"phantom" | b"hphantom" | b"vphantom" | b"label" | b"tag" | b"color"
            | b"textcolor" => self.skip_group(),
            b"stackrel" | b"overset" | b"underset" => self.skip_group(),
            b"pmod" | b"bmod" | b"mod" => self.push(Tok::Mod, start),
            b"quad" | b"qquad" | b"space" | b"enspace" | b"thinspace" | b"newline" => self.spaced = true,
            b"checkmark" => self.push(Tok::Other, start),
            b"bf"
            | b"mathbf"
            | b"boldsymbol"
            | b"bm"
            | b"boxed"
            | b"fbox"
            | b"displaystyle"
            | b"textstyle"
            | b"scriptstyle"
            | b"limits"
            | b"nolimits"
            | b"underline"
            | b"vec"
            | b"overrightarrow"
            | b"overleftrightarrow"
            | b"cancel"
            | b"dots"
            | b"ldots"
            | b"cdots"
            | b"triangle"
            | b"square"
            | b"Rightarrow"
            | b"implies"
            | b"quicksilver"
            | b"mathstrut"
            | b"strut"
            | b"nonumber"
            | b"notag"
            | b"hfill"
            | b"hline"
            | b"par"
            | b"small"
            | b"large"
            | b"Large"
            | b"LARGE"
            | b"huge"
            | b"normalsize"
            | b"bigskip"
            | b"medskip"
            | b"smallskip"
            | b"noindent"
            | b"centering"
            | b"ensuremath"
            | b"mathord"
            | b"mathrel"
            | b"mathbin"
            | b"therefore"
            | b"because"
            | b"protect"
            | b"relax"
            | b"null"
            | b"sum_" => {}
            b"AA" => self.push(Tok::Word, start),
            _ => self.named(start, name),
        }
        Ok(())
    }

    fn named(&mut self, start: usize, name: &[u8]) {
        let role = words::math_role(name);
        let tok = match role {
            Some(Role::Func(f)) => Tok::Func(f),
            Some(Role::Greek(g)) => Tok::Var(symbols::greek(g)),
            Some(Role::Pi) => Tok::Pi,
            Some(Role::Infinity) => Tok::Infinity,
            Some(Role::Sqrt) => Tok::Sqrt,
            Some(Role::Frac) => Tok::Frac,
            Some(Role::Binom) => Tok::Binom,
            Some(Role::Union) => Tok::Cup,
            Some(Role::Intersection) => Tok::Cap,
            _ => match name {
                b"tfracs" => Tok::Frac,
                _ if name.len() > 4 && (name.starts_with(b"dfrac") || name.starts_with(b"tfrac")) => {
                    self.pos = start + 6;
                    Tok::Frac
                }
                _ if name.starts_with(b"sqrt") => {
                    self.pos = start + 5;
                    Tok::Sqrt
                }
                _ => Tok::Other,
            },
        };
        self.push(tok, start);
    }

    /// Commands that are a backslash and one other character.
    fn control_symbol(&mut self) {
        let start = self.pos;
        match self.peek(1) {
            b'{' => {
                self.depth += 1;
                self.take(Tok::Open(b'{'), 2);
            }
            b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.take(Tok::Close(b'}'), 2);
            }
            b'%' => self.take(Tok::Percent, 2),
            b'$' => self.take(Tok::Currency, 2),
            b'|' => self.take(Tok::Bar, 2),
            b'\\' => {
                // A doubled backslash before a letter is an escaped command; else a row break.
                let next = self.peek(2);
                let in_matrix = self.environments > 0;
                if next.is_ascii_alphabetic() && !in_matrix && self.pos + 1 < self.src.len() {
                    self.pos += 1;
                    return;
                }
                if matches!(next, b'(' | b')' | b'[' | b'$' | b'%' | b'{' | b'}' | b',' | b'!') && !in_matrix
                {
                    self.pos += 1;
                    return;
                }
                self.pos += 2;
                self.push(Tok::Row, start);
            }
            b',' | b';' | b':' | b' ' | b'>' | b'/' | b'~' | b'\n' => {
                self.pos += 2;
                self.spaced = true;
            }
            0 => self.pos += 1,
            _ => self.pos += 2,
        }
    }

    /// Enters a text group: the braces are dropped, and what is inside is read as running text.
    pub(super) fn open_text(&mut self, upright: bool) {
        let mut at = self.pos;
        while self.src.get(at) == Some(&b' ') {
            at += 1;
        }
        if self.src.get(at) != Some(&b'{') || self.text_end > 0 {
            return;
        }
        if let Some(end) = self.group(at) {
            self.pos = at + 1;
            self.text_end = end;
            self.upright = upright;
        }
    }

    /// The closing brace of the group at `open`; the scan is charged.
    fn group(&mut self, open: usize) -> Option<usize> {
        let end = group_end(self.src, open);
        let scanned = end.unwrap_or(self.src.len()) - open;
        self.work.charge(scanned as u32 / 16 + 1).ok()?;
        end
    }

    fn blackboard(&mut self, start: usize) {
        let rest = self.rest();
        let (letter, len) = match rest {
            [b'{', l, b'}', ..] => (*l, 3),
            [b' ', l, ..] => (*l, 2),
            [l, ..] => (*l, 1),
            [] => return,
        };
        self.pos += len;
        let tok = match letter {
            b'R' => Tok::Reals,
            b'Z' => Tok::Integers,
            l if l.is_ascii_alphabetic() => Tok::Var(symbols::named(u32::from(l), b"bb")),
            _ => Tok::Other,
        };
        self.push(tok, start);
    }

    /// An accent: over a single letter it makes another symbol, over anything else it is dropped.
    fn accent(&mut self, start: usize, name: &[u8]) {
        let (letter, len) = match self.rest() {
            [b'{', l, b'}', ..] => (*l, 3),
            [b' ', l, ..] => (*l, 2),
            [l, ..] => (*l, 1),
            [] => return,
        };
        if letter.is_ascii_alphabetic() {
            self.pos += len;
            let mark: &[u8] = if name == b"overline" { b"bar" } else { name };
            self.push(Tok::Var(symbols::named(u32::from(letter), mark)), start);
        } else {
            self.push(Tok::Overline, start);
        }
    }

    fn skip_group(&mut self) {
        if self.peek(0) == b'*' {
            self.pos += 1;
        }
        if self.peek(0) == b'{'
            && let Some(end) = self.group(self.pos)
        {
            self.pos = end + 1;
        }
    }

    /// `\begin{name}` or `\end{name}` with the column letters of an array.
    fn environment(&mut self, start: usize, tok: Tok) {
        if self.peek(0) == b'{'
            && let Some(end) = self.group(self.pos)
        {
            let name = &self.src[self.pos + 1..end];
            let array = name == b"array" && tok == Tok::Begin;
            let ignored =
                matches!(name, b"aligned" | b"align" | b"align*" | b"gathered" | b"equation" | b"split");
            self.pos = end + 1;
            if array {
                self.skip_group();
            }
            if ignored {
                return;
            }
        }
        self.environments += 1;
        self.push(tok, start);
    }

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
            '∛' => Tok::Other,
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
            '∠' | '△' | '\u{feff}' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2061}' | '\u{2062}'
            | '。' | '“' | '”' | '✓' | '✔' => {
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
        let rest = self.rest();
        let run = rest.iter().take_while(|b| **b >= 0x80 || b.is_ascii_alphabetic()).count();
        let run = if c.is_alphabetic() { run } else { len };
        let end = if self.text_end > 0 { self.text_end } else { self.src.len() };
        self.pos = (self.pos + run.max(len)).min(end.max(self.pos + len));
        self.push(if c.is_alphabetic() { Tok::Word } else { Tok::Other }, start);
    }

    /// A run of superscript or subscript characters: a caret or underscore and a group.
    fn script(&mut self, up: bool) {
        let start = self.pos;
        self.push(if up { Tok::Caret } else { Tok::Under }, start);
        self.push(Tok::LBrace, start);
        let mut digits: Vec<u8> = Vec::new();
        loop {
            let rest = self.rest();
            let text = std::str::from_utf8(&rest[..rest.len().min(4)])
                .or_else(|e| std::str::from_utf8(&rest[..e.valid_up_to()]));
            let Some(c) = text.ok().and_then(|t| t.chars().next()) else { break };
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

/// Index of the brace that closes the group opened at `open`.
pub(crate) fn group_end(src: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = open;
    while at < src.len() {
        match src[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Commands that are one token.
fn symbol_command(name: &[u8]) -> Option<Tok> {
    let tok = match name {
        b"cdot" | b"times" | b"ast" | b"star" | b"bullet" => Tok::Times,
        b"div" => Tok::Slash,
        b"pm" => Tok::PlusMinus,
        b"mp" => Tok::MinusPlus,
        b"circ" | b"degree" | b"degrees" | b"textdegree" => Tok::Degree,
        b"prime" => Tok::Prime,
        b"le" | b"leq" | b"leqslant" | b"leqq" => Tok::Rel(Rel::Le),
        b"ge" | b"geq" | b"geqslant" | b"geqq" => Tok::Rel(Rel::Ge),
        b"lt" => Tok::Rel(Rel::Lt),
        b"gt" => Tok::Rel(Rel::Gt),
        b"ne" | b"neq" => Tok::Rel(Rel::Ne),
        b"approx" | b"simeq" | b"sim" | b"cong" | b"doteq" => Tok::Rel(Rel::Approx),
        b"equiv" => Tok::Rel(Rel::Equiv),
        b"in" => Tok::In,
        b"emptyset" | b"varnothing" => Tok::EmptySet,
        b"setminus" | b"backslash" => Tok::Setminus,
        b"cup" | b"bigcup" => Tok::Cup,
        b"cap" | b"bigcap" => Tok::Cap,
        b"land" | b"wedge" => Tok::And,
        b"lor" | b"vee" => Tok::Or,
        b"mid" => Tok::Such,
        b"vert" | b"lvert" | b"rvert" | b"lVert" | b"rVert" | b"Vert" => Tok::Bar,
        b"langle" => Tok::Open(b'<'),
        b"rangle" => Tok::Close(b'<'),
        b"lfloor" => Tok::Open(b'f'),
        b"rfloor" => Tok::Close(b'f'),
        b"lceil" => Tok::Open(b'c'),
        b"rceil" => Tok::Close(b'c'),
        b"lbrace" => Tok::Open(b'{'),
        b"rbrace" => Tok::Close(b'}'),
        b"lbrack" => Tok::Open(b'['),
        b"rbrack" => Tok::Close(b']'),
        b"lparen" => Tok::Open(b'('),
        b"rparen" => Tok::Close(b')'),
        b"choose" => Tok::Choose,
        b"over" => Tok::Over,
        b"colon" => Tok::Colon,
        b"Re" => Tok::Func(Func::Re),
        b"Im" => Tok::Func(Func::Im),
        b"R" | b"Reals" | b"reals" => Tok::Reals,
        b"cr" => Tok::Row,
        _ => return None,
    };
    Some(tok)
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
