//! TeX commands to tokens.

use super::{Lexer, Rel, Tok};
use crate::braces;
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
            b"mathbb" | b"Bbb" | b"mathcal" | b"mathscr" | b"mathfrak" => self.blackboard(start),
            b"mathbf" | b"bf" if self.bold_set() => self.blackboard(start),
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
            b"triangle" => self.figure(start),
            b"angle" | b"measuredangle" => {
                // The measure of an angle is named like the angle.
                if self.tokens.last().is_some_and(|t| t.tok == Tok::Var(u32::from(b'm'))) {
                    self.tokens.pop();
                } else {
                    self.figure(start);
                }
            }
            b"hspace" | b"vspace" | b"phantom" | b"hphantom" | b"vphantom" | b"label" | b"tag" | b"color"
            | b"textcolor" => self.skip_group(),
            b"stackrel" | b"overset" | b"underset" => self.skip_group(),
            b"pmod" | b"bmod" | b"mod" => self.push(Tok::Mod, start),
            b"quad" | b"qquad" | b"space" | b"enspace" | b"thinspace" | b"newline" => self.spaced = true,
            b"not" => self.negated(start),
            b"root" => {
                // `\root 3 \of 4`: the index ends at `\of`.
                self.push(Tok::Sqrt, start);
                self.push(Tok::Open(b'['), start);
            }
            b"of" => self.push(Tok::Close(b']'), start),
            b"dots" | b"ldots" | b"cdots" | b"dotsc" | b"dotsb" => self.dots(start),
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

    /// `\not` before an equals sign; before anything else what follows is not read.
    fn negated(&mut self, start: usize) {
        while self.peek(0) == b' ' {
            self.pos += 1;
        }
        if self.peek(0) == b'=' {
            self.pos += 1;
            return self.push(Tok::Rel(Rel::Ne), start);
        }
        self.push(Tok::Other, start);
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
                self.row_gap();
            }
            b',' | b';' | b':' | b' ' | b'>' | b'/' | b'~' | b'\n' => {
                self.pos += 2;
                self.spaced = true;
            }
            0 => self.pos += 1,
            _ => self.pos += 2,
        }
    }

    /// Skips the extra space that a row break may ask for: `\\[4pt]`.
    fn row_gap(&mut self) {
        let rest = self.rest();
        let Some(close) = rest.iter().take(12).position(|b| *b == b']') else { return };
        let length = rest.get(1..close).unwrap_or(&[]);
        let unit = [&b"pt"[..], b"ex", b"em", b"mm", b"cm", b"in"].iter().any(|u| length.ends_with(u));
        if rest[0] == b'[' && unit {
            self.pos += close + 1;
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
        let end = braces::closing(self.src, open);
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

    /// Whether a bold R or Z stands behind a membership sign: a set of numbers. At the start it is one if it stays alone.
    fn bold_set(&mut self) -> bool {
        if !matches!(self.rest(), [b'{', b'R' | b'Z', b'}', ..]) {
            return false;
        }
        self.bold |= self.tokens.is_empty();
        self.tokens.last().is_some_and(|t| t.tok == Tok::In)
    }

    /// A sign at the start that says what figure the letters behind it name. Anywhere else it is dropped.
    pub(super) fn figure(&mut self, start: usize) {
        if self.tokens.is_empty() {
            self.figure = true;
            self.push(Tok::Word, start);
        }
    }

    /// An accent: over a single letter it makes another symbol, over anything else it is dropped.
    fn accent(&mut self, start: usize, name: &[u8]) {
        let (letter, len) = match self.rest() {
            [b'{', l, b'}', ..] => (*l, 3),
            [b' ', l, ..] => (*l, 2),
            [l, ..] => (*l, 1),
            [] => return,
        };
        if matches!(name, b"hat" | b"widehat") && matches!(letter, b'i' | b'j' | b'k') {
            // A base vector, which other writers set bold or under an arrow.
            self.pos += len;
            let tok = if letter == b'i' { Tok::ImagI } else { Tok::Var(u32::from(letter)) };
            self.push(tok, start);
        } else if letter.is_ascii_alphabetic() {
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
        b"imath" => Tok::ImagI,
        b"jmath" => Tok::Var(b'j' as u32),
        b"R" | b"Reals" | b"reals" => Tok::Reals,
        b"cr" => Tok::Row,
        _ => return None,
    };
    Some(tok)
}
