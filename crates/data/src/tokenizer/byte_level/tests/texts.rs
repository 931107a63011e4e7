//! Random texts of what is hard on a tokenizer, each a function of its number.

use std::path::PathBuf;

/// Pieces of which texts are put together.
const PIECES: [&str; 100] = [
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "\t",
    "\t\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n",
    "\n ",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\u{85}",
    "\u{b}",
    "\u{200b}",
    "\u{feff}",
    "\0",
    "\u{1}",
    "\u{fffd}",
    "\u{10ffff}",
    "\u{e000}",
    "a",
    "b",
    "z",
    "Ab",
    "the",
    " the",
    " of",
    "quokkas",
    " quokkas",
    "Natalia sold",
    "one",
    "One",
    "ONE",
    "iPhone",
    "x_y",
    "'s",
    "'S",
    "'\u{17f}",
    "'re",
    "'LL",
    "n't",
    "'",
    "''",
    "\"",
    "`",
    ".",
    ",",
    "...",
    "?!",
    "$",
    "%",
    "#",
    "/",
    "//",
    "\\",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "|",
    "<<48/2=24>>",
    "#### 72",
    "0",
    "1",
    "12",
    "123",
    "1234",
    "3.14",
    "²",
    "½",
    "Ⅻ",
    "४२",
    "é",
    "e\u{301}",
    "a\u{301}",
    "\u{301}",
    "ü",
    "Å",
    "\u{212a}",
    "İ",
    "ǅ",
    "中文",
    "日本語",
    "カナ",
    "한국",
    "\u{1112}\u{1161}",
    "العربية",
    "שלום",
    "हिन्दी",
    "🙂",
    "👩\u{200d}👩\u{200d}👧🏽",
];
/// Added tokens of the test's own, whole and in parts.
const MARKS: [&str; 10] =
    ["<|im", "<|im_start|> ", "<|l|>", "<|r|>", " <|l|> ", " <|r|> ", "im_end", "<|im_", "start|>", "|>"];

pub struct Texts {
    specials: Vec<String>,
    rows: Vec<String>,
}

/// Questions and answers of the fixture's rows.
pub fn rows() -> Vec<String> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/rows/gsm8k-train-20.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.flat_map(|row| ["question", "answer"].map(|key| row[key].as_str().unwrap().to_string())).collect()
}

impl Texts {
    pub fn new(library: &tokenizers::Tokenizer) -> Self {
        let tokens = library.get_added_vocabulary().get_added_tokens_decoder().values();
        let mut specials: Vec<String> = tokens.map(|token| token.content.clone()).collect();
        specials.sort();
        Self { specials, rows: rows() }
    }

    pub fn text(&self, number: u64) -> String {
        let mut random = Random(number);
        let mut text = String::new();
        for _ in 0..random.below(24) {
            let times = if random.below(20) == 0 { 1 + random.below(40) } else { 1 };
            let piece = self.piece(&mut random);
            text.push_str(&piece.repeat(times));
        }
        text
    }

    fn piece(&self, random: &mut Random) -> String {
        match random.below(16) {
            0 => random.of(&self.specials).clone(),
            1 => random.of(&MARKS).to_string(),
            2 => random.any_char().to_string(),
            3 => {
                let row = random.of(&self.rows);
                row.chars().skip(random.below(row.len())).take(random.below(30)).collect()
            }
            _ => random.of(&PIECES).to_string(),
        }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Half of them from the first planes of the alphabet, where most scripts are.
    fn any_char(&mut self) -> char {
        let planes = if self.below(2) == 0 { 0x3000 } else { 0x11_0000 };
        loop {
            if let Some(c) = char::from_u32(self.below(planes) as u32) {
                return c;
            }
        }
    }
}
