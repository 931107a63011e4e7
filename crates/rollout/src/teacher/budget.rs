//! A bound on what the asking costs: the worst case of a request is set aside before it is sent.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Usage;

/// Price of a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Price {
    /// Of prompts.
    pub prompt: f64,
    /// Of answers.
    pub completion: f64,
}

impl Price {
    /// What so many tokens cost.
    pub fn of(&self, usage: Usage) -> f64 {
        (self.prompt * usage.prompt_tokens as f64 + self.completion * usage.completion_tokens as f64) / 1e6
    }
}

/// What may be spent at most.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bound {
    /// Tokens of prompts and answers together.
    pub tokens: Option<u64>,
    /// Money, in the unit of the prices.
    pub money: Option<f64>,
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Tokens that servers counted.
    pub usage: Usage,
    /// Their price, where prices are given.
    pub money: f64,
    /// Tokens at most of requests without a count: broken off, or a server that does not say. They count as spent.
    pub unknown_tokens: u64,
    /// Their price at most.
    pub unknown_money: f64,
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    /// Set aside for requests under way.
    tokens: u64,
    money: f64,
    under_way: usize,
}

/// Keeps the sum of what was spent and what is under way below a bound. Shared between threads and teachers.
#[derive(Debug)]
pub struct Budget {
    bound: Bound,
    state: Mutex<State>,
    settled: Condvar,
}

/// What is set aside for one request; it has to be settled.
#[derive(Debug)]
#[must_use]
pub(super) struct Reserved {
    tokens: u64,
    money: f64,
    price: Price,
}

impl Budget {
    /// Nothing spent yet.
    pub fn new(bound: Bound) -> Self {
        Self { bound, state: Mutex::default(), settled: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        self.state().spent
    }

    /// Sets the worst case of a request aside. Where only requests under way stand against it, waits for what they really
    /// cost; `None` if it does not fit (or `stop` says so).
    pub(super) fn reserve(&self, worst: Usage, price: Price, stop: &dyn Fn() -> bool) -> Option<Reserved> {
        let tokens = worst.prompt_tokens + worst.completion_tokens;
        let money = price.of(worst);
        let mut state = self.state();
        loop {
            let (spent, held) = (&state.spent, &state);
            let known = spent.usage.prompt_tokens + spent.usage.completion_tokens + spent.unknown_tokens;
            let all_tokens = known + held.tokens + tokens;
            let all_money = spent.money + spent.unknown_money + held.money + money;
            let fits = self.bound.tokens.is_none_or(|bound| all_tokens <= bound)
                && self.bound.money.is_none_or(|bound| all_money <= bound);
            if fits {
                state.tokens += tokens;
                state.money += money;
                state.under_way += 1;
                return Some(Reserved { tokens, money, price });
            }
            if state.under_way == 0 || stop() {
                return None;
            }
            let waited = self.settled.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn settle(&self, reserved: &Reserved, spend: impl FnOnce(&mut Spent)) {
        let mut state = self.state();
        state.tokens -= reserved.tokens;
        state.money = if state.under_way == 1 { 0.0 } else { state.money - reserved.money };
        state.under_way -= 1;
        spend(&mut state.spent);
        drop(state);
        self.settled.notify_all();
    }

    /// The request was answered; without a count the worst case is taken.
    pub(super) fn answered(&self, reserved: Reserved, usage: Option<Usage>) {
        let Some(usage) = usage else { return self.perhaps(reserved) };
        self.settle(&reserved, |spent| {
            spent.usage.prompt_tokens += usage.prompt_tokens;
            spent.usage.completion_tokens += usage.completion_tokens;
            spent.money += reserved.price.of(usage);
        });
    }

    /// The server did no work.
    pub(super) fn released(&self, reserved: Reserved) {
        self.settle(&reserved, |_| {});
    }

    /// The server may have done all the work.
    pub(super) fn perhaps(&self, reserved: Reserved) {
        self.settle(&reserved, |spent| {
            spent.unknown_tokens += reserved.tokens;
            spent.unknown_money += reserved.money;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price { prompt: 1e6, completion: 2e6 };

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, completion_tokens }
    }

    #[test]
    fn the_bound_holds_whatever_happens() {
        let budget = Budget::new(Bound { tokens: Some(100), money: None });
        let reserve = |n| budget.reserve(usage(10, n), PRICE, &|| true);
        let (a, b) = (reserve(40).unwrap(), reserve(40).unwrap());
        assert!(reserve(0).is_none(), "100 are set aside");
        budget.answered(a, Some(usage(10, 5)));
        assert_eq!(budget.spent().money, 20.0);
        budget.perhaps(b);
        assert_eq!((budget.spent().unknown_tokens, budget.spent().unknown_money), (50, 90.0));
        let c = reserve(25).unwrap();
        assert!(reserve(0).is_none(), "15 + 50 + 35 are gone");
        budget.released(c);
        budget.answered(reserve(25).unwrap(), None);
        assert!(reserve(0).is_none());
    }

    #[test]
    fn money_is_bounded_too() {
        let budget = Budget::new(Bound { tokens: None, money: Some(50.0) });
        let reserve = |n| budget.reserve(usage(10, n), PRICE, &|| false);
        assert!(reserve(21).is_none());
        budget.answered(reserve(20).unwrap(), Some(usage(10, 1)));
        assert!(reserve(15).is_none() && reserve(14).is_some());
    }
}
