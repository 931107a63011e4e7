//! Vocabulary: function names, Greek letters, number words, separators, and which letter runs are words.

/// A named function of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Func {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Arccot,
    Arcsec,
    Arccsc,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Log,
    Exp,
    Abs,
    Floor,
    Ceil,
    Fact,
    Re,
    Im,
    /// `cos x + i sin x`.
    Cis,
}

/// What a run of letters, or a TeX command of that name, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Func(Func),
    Greek(u8),
    Pi,
    Infinity,
    Sqrt,
    /// The cube root.
    Cbrt,
    Frac,
    Binom,
    And,
    Or,
    Union,
    Intersection,
    Percent,
    Degrees,
    /// A number word, with its value.
    Count(i64),
    /// Any other word.
    Word,
}

/// Role of a name that means mathematics wherever it stands. `name` is lower case unless it was a TeX command.
pub(crate) fn math_role(name: &[u8]) -> Option<Role> {
    use Func::*;
    let role = match name {
        b"sin" => Role::Func(Sin),
        b"cos" => Role::Func(Cos),
        b"tan" | b"tg" => Role::Func(Tan),
        b"cot" | b"ctg" => Role::Func(Cot),
        b"sec" => Role::Func(Sec),
        b"csc" | b"cosec" => Role::Func(Csc),
        b"arcsin" | b"asin" => Role::Func(Arcsin),
        b"arccos" | b"acos" => Role::Func(Arccos),
        b"arctan" | b"atan" => Role::Func(Arctan),
        b"arccot" => Role::Func(Arccot),
        b"arcsec" => Role::Func(Arcsec),
        b"arccsc" => Role::Func(Arccsc),
        b"sinh" => Role::Func(Sinh),
        b"cosh" => Role::Func(Cosh),
        b"tanh" => Role::Func(Tanh),
        b"ln" => Role::Func(Ln),
        b"log" | b"lg" => Role::Func(Log),
        b"exp" => Role::Func(Exp),
        b"abs" => Role::Func(Abs),
        b"cis" => Role::Func(Cis),
        b"floor" => Role::Func(Floor),
        b"ceil" | b"ceiling" => Role::Func(Ceil),
        b"factorial" => Role::Func(Fact),
        b"pi" => Role::Pi,
        b"inf" | b"infty" | b"infinity" | b"oo" => Role::Infinity,
        b"sqrt" => Role::Sqrt,
        b"cbrt" => Role::Cbrt,
        b"frac" | b"dfrac" | b"tfrac" | b"cfrac" => Role::Frac,
        b"binom" | b"dbinom" | b"tbinom" | b"binomial" => Role::Binom,
        b"cup" | b"union" => Role::Union,
        b"cap" | b"intersection" => Role::Intersection,
        _ => return greek(name).map(Role::Greek),
    };
    Some(role)
}

/// Index of a Greek letter name; variants such as `varphi` share the plain letter.
pub(crate) fn greek(name: &[u8]) -> Option<u8> {
    let index = match name {
        b"alpha" => 0,
        b"beta" => 1,
        b"gamma" => 2,
        b"delta" => 3,
        b"epsilon" | b"varepsilon" => 4,
        b"zeta" => 5,
        b"eta" => 6,
        b"theta" | b"vartheta" => 7,
        b"iota" => 8,
        b"kappa" => 9,
        b"lambda" => 10,
        b"mu" => 11,
        b"nu" => 12,
        b"xi" => 13,
        b"rho" | b"varrho" => 14,
        b"sigma" | b"varsigma" => 15,
        b"tau" => 16,
        b"upsilon" => 17,
        b"phi" | b"varphi" => 18,
        b"chi" => 19,
        b"psi" => 20,
        b"omega" => 21,
        b"Gamma" => 22,
        b"Delta" => 23,
        b"Theta" => 24,
        b"Lambda" => 25,
        b"Xi" => 26,
        b"Sigma" => 27,
        b"Phi" => 28,
        b"Psi" => 29,
        b"Omega" => 30,
        b"ell" => 31,
        b"hbar" => 32,
        _ => return None,
    };
    Some(index)
}

/// Role of a plain word in running text. `word` is lower case.
pub(crate) fn text_role(word: &[u8]) -> Role {
    match word {
        b"and" => Role::And,
        b"or" => Role::Or,
        b"percent" | b"percents" | b"pct" => Role::Percent,
        b"degrees" | b"degree" | b"deg" => Role::Degrees,
        _ => match count(word) {
            Some(n) => Role::Count(n),
            None => Role::Word,
        },
    }
}

/// Value of a number word below one hundred, or a large unit name.
pub(crate) fn count(word: &[u8]) -> Option<i64> {
    const NAMES: [&[u8]; 21] = [
        b"zero",
        b"one",
        b"two",
        b"three",
        b"four",
        b"five",
        b"six",
        b"seven",
        b"eight",
        b"nine",
        b"ten",
        b"eleven",
        b"twelve",
        b"thirteen",
        b"fourteen",
        b"fifteen",
        b"sixteen",
        b"seventeen",
        b"eighteen",
        b"nineteen",
        b"twenty",
    ];
    const TENS: [&[u8]; 7] = [b"thirty", b"forty", b"fifty", b"sixty", b"seventy", b"eighty", b"ninety"];
    if word.len() < 3 || word.len() > 9 {
        return None;
    }
    if let Some(i) = NAMES.iter().position(|n| *n == word) {
        return Some(i as i64);
    }
    TENS.iter().position(|n| *n == word).map(|i| 30 + 10 * i as i64)
}

/// Factor of a word that multiplies the number before it.
pub(crate) fn multiplier(word: &[u8]) -> Option<i64> {
    match word {
        b"hundred" => Some(100),
        b"thousand" => Some(1_000),
        b"million" => Some(1_000_000),
        b"billion" => Some(1_000_000_000),
        b"trillion" => Some(1_000_000_000_000),
        _ => None,
    }
}

/// Denominator of a word behind a number word: "two thirds".
pub(crate) fn denominator(word: &[u8]) -> Option<i64> {
    const NAMES: [&[u8]; 9] =
        [b"half", b"third", b"fourth", b"fifth", b"sixth", b"seventh", b"eighth", b"ninth", b"tenth"];
    match word {
        b"halves" => Some(2),
        b"quarter" | b"quarters" => Some(4),
        _ => {
            let one = word.strip_suffix(b"s").unwrap_or(word);
            NAMES.iter().position(|n| *n == one).map(|i| i as i64 + 2)
        }
    }
}

/// Whether a run of two or three letters outside a text group is a word and not a product of variables.
pub(crate) fn short_word(word: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"an", b"at", b"by", b"if", b"in", b"is", b"it", b"no", b"of", b"on", b"or", b"so", b"to", b"we",
        b"as", b"be", b"cm", b"mm", b"km", b"kg", b"mg", b"ml", b"ft", b"hr", b"oz", b"lb", b"mi", b"yd",
        b"pm", b"am", b"hz", b"pa", b"and", b"are", b"all", b"any", b"for", b"has", b"not", b"odd", b"one",
        b"red", b"six", b"sum", b"ten", b"the", b"two", b"yes", b"day", b"hrs", b"min", b"sec", b"lbs",
        b"mph", b"kph", b"mod", b"max", b"gcd", b"lcm", b"bob", b"amy", b"sam", b"tom", b"kim", b"ann",
        b"joe", b"dan", b"ben", b"jim", b"may", b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun",
        b"jan", b"feb", b"mar", b"apr", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec", b"kpa",
        b"nor", b"its", b"can", b"was", b"cat", b"dog", b"car", b"pen", b"cup", b"box", b"bus", b"boy",
        b"men", b"man", b"job", b"pie", b"usd", b"per", b"cts", b"eur", b"inf", b"nan", b"out", b"non",
        b"who", b"how", b"why", b"mom", b"dad", b"old", b"new", b"low", b"big", b"top", b"hot", b"sad",
        b"row", b"way", b"egg", b"cow", b"pig", b"hen", b"ant", b"bee", b"fox", b"ray", b"leo", b"max",
        b"ian", b"eve", b"sue", b"meg", b"jen", b"pam", b"pat", b"roy", b"ted", b"tim", b"zoe", b"liz",
        b"lee", b"jay", b"ivy", b"ida", b"hal", b"guy", b"gus", b"gil", b"fay", b"eli", b"deb", b"don",
        b"ava", b"abe", b"al", b"ed", b"jo", b"but", b"mrs", b"mr", b"dr", b"her", b"his", b"she", b"him",
        b"you", b"our", b"dne", b"he", b"my", b"do", b"per", b"via", b"add", b"end", b"off", b"far", b"own",
        b"sq", b"cu", b"use", b"set", b"let", b"see", b"say", b"got", b"get",
    ];
    WORDS.contains(&word)
}
