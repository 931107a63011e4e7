//! What must hold for any two strings: no panic, work within the allowance, the same verdict in both directions, every
//! answer that is read equal to itself, and no check longer than ten milliseconds.
//!
//! The input is the reference answer up to the first line break, and the answer behind it; the whole is a completion too.

#![no_main]

use cpu_time::ThreadTime;
use gft_verify::{ExtractOptions, Kind, Outcome, Policy, Verdict, extract_bytes, grade, verify};
use libfuzzer_sys::fuzz_target;
use std::cell::Cell;
use std::time::Duration;

const LIMIT: Duration = Duration::from_millis(10);

thread_local! {
    static SLOWEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs one check on the clock. A new slowest one is told on standard error.
fn timed(what: &str, input: &str, check: impl Fn() -> Verdict) -> Verdict {
    let start = ThreadTime::now();
    let verdict = check();
    let mut took = start.elapsed();
    // Again, if it was long: what the operating system does on the thread's account is not the check's.
    for _ in 0..3 {
        if took > LIMIT {
            let start = ThreadTime::now();
            check();
            took = took.min(start.elapsed());
        }
    }
    if took > SLOWEST.get() {
        SLOWEST.set(took);
        eprintln!("slowest {} us, work {}: {what} {:?}", took.as_micros(), verdict.work, head(input));
    }
    assert!(took < LIMIT, "{what} took {took:?}");
    verdict
}

fn head(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Whether a text ends in a command, which may take what is appended as its argument.
fn open_ended(text: &str) -> bool {
    text.trim_end().trim_end_matches(|c: char| c.is_ascii_alphabetic()).ends_with('\\')
}

/// Whether both sides were read as something.
fn read(verdict: &Verdict) -> bool {
    let known = |kind: Kind| !matches!(kind, Kind::Unread | Kind::Nothing);
    let decided = !matches!(verdict.outcome, Outcome::Unparsed | Outcome::Budget);
    decided && known(verdict.how.gold) && known(verdict.how.answer)
}

fuzz_target!(|data: &[u8]| {
    let options = ExtractOptions { last_number: true, ..ExtractOptions::default() };
    let (text, found) = extract_bytes(data, &options);
    if let Some(found) = &found {
        assert!(text.get(found.span.clone()).is_some(), "the answer lies outside of the text");
    }
    let (gold, answer) = text.split_once('\n').unwrap_or((&text, &text));
    for policy in [Policy::lenient(), Policy::strict()] {
        let there = timed("verify", &text, || verify(gold, answer, &policy));
        let back = timed("verify back", &text, || verify(answer, gold, &policy));
        assert_eq!(there.outcome, back.outcome, "not symmetric: {gold:?} {answer:?}");
        assert!(there.work <= policy.work, "{} units of work", there.work);
        assert!(verify(gold, gold, &policy).is_equal() || gold.trim().is_empty() || !read(&there));
        // The same answer before a space of mathematics is not the same string and takes the long way.
        let spaced = format!("{gold} \\,");
        let own = timed("verify with itself", gold, || verify(gold, &spaced, &policy));
        assert!(own.is_equal() || !read(&own) || open_ended(gold), "not itself: {gold:?}, {own}");
        let graded = timed("grade", &text, || grade(&text, gold, &options, &policy).verdict);
        assert!(graded.work <= policy.work, "{} units of work", graded.work);
    }
});
