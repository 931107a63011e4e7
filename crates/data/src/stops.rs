//! Stop strings in a text that arrives in pieces: what is shown never holds one, nor the beginning of one.

/// Watches one answer.
#[derive(Clone, Debug)]
pub struct StopStrings<'a> {
    stops: &'a [String],
    /// May be the beginning of a stop string.
    held: String,
    found: Option<&'a str>,
}

impl<'a> StopStrings<'a> {
    /// Nothing seen yet.
    pub fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new(), found: None }
    }

    /// Takes the next piece and returns the text that is certain to belong to the answer.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        // The one that is complete first: what a finer cut into pieces would have found.
        let first = self.stops.iter().filter_map(|stop| {
            let at = self.held.find(stop.as_str())?;
            Some((at + stop.len(), at, stop))
        });
        if let Some((_, at, stop)) = first.min() {
            self.found = Some(stop);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = self.held.len() - self.beginning();
        self.held.drain(..certain).collect()
    }

    /// Length of the longest end of `held` that is the beginning of a stop string.
    fn beginning(&self) -> usize {
        let ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        ends.into_iter().find(|end| self.stops.iter().any(|stop| stop.starts_with(end))).map_or(0, str::len)
    }

    /// The stop string that ended the answer.
    pub fn found(&self) -> Option<&'a str> {
        self.found
    }

    /// The rest of an answer that ended otherwise.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], text: &str, size: usize) -> (Vec<String>, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut watch = StopStrings::new(&stops);
        let chars: Vec<char> = text.chars().collect();
        let mut shown: Vec<String> =
            chars.chunks(size).map(|piece| watch.push(&piece.iter().collect::<String>())).collect();
        shown.push(watch.finish());
        (shown, watch.found().map(str::to_owned))
    }

    #[test]
    fn pieces_of_any_size_give_the_same_text() {
        let text = "aab\n\nQé: x##### end";
        for (stops, expected, found) in [
            (vec!["\n\nQé:"], "aab", Some("\n\nQé:")),
            (vec!["end", "## "], "aab\n\nQé: x###", Some("## ")),
            (vec!["aaa", "nothing"], text, None),
            (vec![], text, None),
            (vec!["end"], "aab\n\nQé: x##### ", Some("end")),
            // The one that is complete first counts, not the one that begins first.
            (vec!["b\n\nQé: x", "\n"], "aab", Some("\n")),
        ] {
            for size in 1..=text.chars().count() {
                let (shown, stopped) = run(&stops, text, size);
                assert_eq!(shown.concat(), expected, "{stops:?} in pieces of {size}");
                assert_eq!(stopped.as_deref(), found);
            }
        }
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let stops = ["<end>".to_owned()];
        let mut watch = StopStrings::new(&stops);
        assert_eq!(watch.push("a <e"), "a ");
        assert_eq!(watch.push("m> b"), "<em> b");
        assert_eq!(watch.push("<end"), "");
        assert_eq!(watch.finish(), "<end");
    }
}
