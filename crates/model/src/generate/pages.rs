//! Which pages of the key-value cache are whose.

use crate::device::{Chain, PAGE, Slot};

/// Free and used pages; knows nothing of what they hold.
#[derive(Debug, Default)]
pub(super) struct Pages {
    free: Vec<u32>,
    count: u32,
}

/// The pages of a prompt or of a completion, filled in order.
#[derive(Debug, Default)]
pub(super) struct Run {
    pages: Vec<u32>,
    len: usize,
}

impl Pages {
    /// Pages that exist: the device must hold this many.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The place of the next token of a run, with a new page where the last is full.
    pub fn next(&mut self, run: &mut Run) -> Slot {
        let offset = run.len % PAGE;
        if offset == 0 {
            let page = self.free.pop().unwrap_or_else(|| {
                self.count += 1;
                self.count - 1
            });
            run.pages.push(page);
        }
        run.len += 1;
        Slot { page: run.pages.last().copied().unwrap_or_default(), offset: offset as u32 }
    }

    /// Takes a run's pages back.
    pub fn release(&mut self, run: Run) {
        self.free.extend(run.pages);
    }
}

impl Run {
    /// Appends the run to a chain.
    pub fn extend(&self, chain: &mut Chain) {
        for (i, &page) in self.pages.iter().enumerate() {
            chain.runs.push((page, (self.len - i * PAGE).min(PAGE) as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_filled_in_order_and_used_again() {
        let mut pages = Pages::default();
        let (mut a, mut b) = (Run::default(), Run::default());
        let slots: Vec<Slot> = (0..PAGE + 1).map(|_| pages.next(&mut a)).collect();
        assert_eq!(slots[PAGE - 1], Slot { page: 0, offset: PAGE as u32 - 1 });
        assert_eq!(slots[PAGE], Slot { page: 1, offset: 0 });
        assert_eq!(pages.next(&mut b), Slot { page: 2, offset: 0 });
        let mut chain = Chain::default();
        a.extend(&mut chain);
        b.extend(&mut chain);
        assert_eq!(chain.runs, [(0, PAGE as u32), (1, 1), (2, 1)]);
        assert_eq!(chain.len(), PAGE + 2);
        pages.release(a);
        let mut c = Run::default();
        let used: Vec<u32> = (0..2 * PAGE).map(|_| pages.next(&mut c).page).collect();
        assert!(
            !used.contains(&2) && pages.count() == 3,
            "a page in use was given away, or a free one was not"
        );
    }
}
