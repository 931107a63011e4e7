//! A table whose last column is a long text: wrapped into the width that is left, and cut after some lines.

/// Rows under a header, columns aligned to the right and the last one wrapped into what is left of `columns`
/// characters, at most `lines` lines of it with `…` where more was cut. Rows that have fewer cells than the header are
/// filled up with empty ones.
///
/// ```text
///   source  reward  completion
///   expert    1.00  16 - 3 - 4 = 9 eggs are sold,
///                   9 * 2 = 18 dollars …
/// ```
pub fn sample_table(header: &[&str], rows: &[Vec<String>], columns: usize, lines: usize) -> String {
    let Some((last, short)) = header.split_last() else { return String::new() };
    let cell = |row: &[String], at: usize| row.get(at).map(|text| one_line(text)).unwrap_or_default();
    let widths: Vec<usize> = short
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = rows.iter().map(|row| cell(row, at).chars().count());
            cells.fold(name.chars().count(), usize::max)
        })
        .collect();
    let indent = 2 + widths.iter().map(|width| width + 2).sum::<usize>();
    let room = columns.saturating_sub(indent).max(20);
    let mut text = String::new();
    let mut add = |cells: Vec<String>, long: Vec<String>| {
        let mut line = "  ".to_owned();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:>width$}  "));
        }
        for (at, part) in long.iter().enumerate() {
            let start = if at == 0 { line.clone() } else { " ".repeat(indent) };
            text.push_str(format!("{start}{part}").trim_end());
            text.push('\n');
        }
    };
    add(short.iter().map(|name| (*name).to_owned()).collect(), vec![(*last).to_owned()]);
    for row in rows {
        let cells = (0..short.len()).map(|at| cell(row, at)).collect();
        add(cells, wrap(&cell(row, short.len()), room, lines.max(1)));
    }
    text
}

/// Line breaks and other control characters as spaces: a model's text must not move the cursor.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words in lines of at most `room` characters; longer words are broken. At least one line.
fn wrap(text: &str, room: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len().min(room) > room {
            wrapped.push(String::new());
            used = 0;
        }
        while !rest.is_empty() {
            let space = usize::from(used > 0);
            let take = rest.len().min(room.saturating_sub(used + space));
            if take == 0 {
                wrapped.push(String::new());
                used = 0;
                continue;
            }
            if let Some(line) = wrapped.last_mut() {
                line.push_str(&" ".repeat(space));
                line.extend(rest.drain(..take));
            }
            used += space + take;
        }
    }
    if wrapped.len() > lines {
        wrapped.truncate(lines);
        if let Some(line) = wrapped.last_mut() {
            let kept: String = line.chars().take(room.saturating_sub(2)).collect();
            *line = format!("{} …", kept.trim_end());
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn the_last_column_is_wrapped_and_cut() {
        let rows = [
            row(&["expert", "1.00", "16 - 3 - 4 = 9 eggs\nare sold, 9 * 2 = 18 dollars, and so on"]),
            row(&["policy", "-", ""]),
        ];
        let expected = "  source  reward  completion\n\
                        \x20 expert    1.00  16 - 3 - 4 = 9 eggs\n\
                        \x20                 are sold, 9 * 2 = …\n\
                        \x20 policy       -\n";
        assert_eq!(sample_table(&["source", "reward", "completion"], &rows, 38, 2), expected);
    }

    #[test]
    fn no_line_is_wider_than_asked_and_no_control_character_is_left() {
        let long = "word ".repeat(9) + &"x".repeat(90) + "\x1b[2J\u{7}\t" + &"é".repeat(50);
        for columns in 30..90 {
            let text = sample_table(&["n", "text"], &[row(&["1", &long])], columns, 50);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}\n{text}");
            assert!(!text.contains(['\x1b', '\u{7}', '\t']), "{text:?}");
            let letters = |text: &str, wanted: char| text.chars().filter(|c| *c == wanted).count();
            assert_eq!((letters(&text, 'é'), letters(&text, 'w')), (50, 9), "nothing is lost\n{text}");
        }
        assert_eq!(sample_table(&[], &[], 80, 1), "");
    }
}
