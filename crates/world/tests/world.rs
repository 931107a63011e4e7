//! The world: answers that the verifier agrees with, shares as stated, and words that the tokenizer knows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use gft_verify::{ExtractOptions, Policy, extract, verify};
use gft_world::{
    MOST_DAYS_SEEN, Noise, Split, Style, Target, base_sha256, held_out, pretraining, target, tokenizer,
    write_base,
};

fn right(text: &str, gold: &str) -> bool {
    let found = extract(text, &ExtractOptions::default()).unwrap_or_else(|| panic!("no answer in {text:?}"));
    verify(gold, &found.text(text), &Policy::default()).is_equal()
}

/// Share of `n` draws within four standard errors of `p`.
fn near(count: usize, n: usize, p: f64) {
    let error = 4.0 * (p * (1.0 - p) / n as f64).sqrt();
    let share = count as f64 / n as f64;
    assert!((share - p).abs() <= error, "{share} is not {p} +- {error}");
}

#[test]
fn experts_and_teachers_are_as_wrong_as_stated() {
    let noise = Noise { experts: 0.5, teachers: 0.15 };
    let (mut experts, mut teachers) = (0, 0);
    for row in target(Target { noise, ..Target::new(3) }, Split::Train, 0..2000) {
        let gold = row.gold.as_deref().unwrap();
        experts += usize::from(!right(&row.expert[0].content, gold));
        teachers += row.teachers.iter().filter(|teacher| !right(&teacher.content, gold)).count();
        assert_eq!(Style::of(&row.expert[0].content), Some(Style::Expert));
        let styles: Vec<_> = row.teachers.iter().map(|teacher| Style::of(&teacher.content)).collect();
        assert_eq!(styles, [Some(Style::Equations), Some(Style::Run), Some(Style::Words)]);
    }
    near(experts, 2000, 0.5);
    near(teachers, 6000, 0.15);
}

#[test]
fn noise_changes_solutions_and_never_problems() {
    let clean = target(Target::new(0), Split::Train, 0..50);
    let noise = Noise { experts: 1.0, teachers: 1.0 };
    let wrong = target(Target { noise, ..Target::new(0) }, Split::Train, 0..50);
    for (clean, wrong) in clean.zip(wrong) {
        assert_eq!((&clean.prompt, &clean.gold), (&wrong.prompt, &wrong.gold));
        assert!(right(&clean.expert[0].content, clean.gold.as_deref().unwrap()));
        assert!(!right(&wrong.expert[0].content, clean.gold.as_deref().unwrap()));
    }
}

#[test]
fn the_answer_is_what_the_words_say() {
    for row in target(Target::new(1), Split::Test, 0..300) {
        let text = row.prompt.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut total: i64 = words[2].parse().unwrap();
        for day in words[3..words.len() - 3].chunks(3) {
            let size: i64 = day[2].parse().unwrap();
            total += if day[1] == "gets" { size } else { -size };
            assert!((1..=55).contains(&total), "{text}");
        }
        assert_eq!(row.gold, Some(total.to_string()), "{text}");
    }
}

#[test]
fn other_families_are_solved_and_a_wrong_order_is_wrong() {
    for row in held_out(0, Split::Test, 0..400) {
        assert!(right(&row.expert[0].content, row.gold.as_deref().unwrap()), "{row:?}");
    }
    assert!(!right("#### 7 < 3 < 12", "3 < 7 < 12"));
}

#[test]
fn every_word_is_a_token_and_comes_back() {
    let tokenizer = tokenizer().unwrap();
    let groups = target(
        Target { noise: Noise { experts: 0.5, teachers: 0.5 }, ..Target::new(0) },
        Split::Train,
        0..300,
    );
    let rows = pretraining(0, 0..1500, MOST_DAYS_SEEN).chain(groups).chain(held_out(0, Split::Test, 0..300));
    for row in rows {
        let texts = row.expert.iter().chain(&row.teachers).map(|completion| completion.content.clone());
        for text in texts.chain([row.prompt.text()]) {
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(ids.len(), text.split_whitespace().count());
            assert!(!ids.contains(&tokenizer.unk_id().unwrap()), "{text}");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }
    let unknown = tokenizer.encode("tom has cake").unwrap();
    assert_eq!(unknown[2], tokenizer.unk_id().unwrap());
}

#[test]
fn rows_do_not_depend_on_what_is_drawn_beside_them() {
    let all: Vec<_> = pretraining(5, 0..20, MOST_DAYS_SEEN).collect();
    assert_eq!(pretraining(5, 13..14, MOST_DAYS_SEEN).next().as_ref(), Some(&all[13]));
    assert_ne!(pretraining(6, 13..14, MOST_DAYS_SEEN).next().unwrap().prompt, all[13].prompt);
    let prompt = |split| target(Target::new(0), split, 0..1).next().unwrap().prompt;
    assert_ne!(prompt(Split::Train), prompt(Split::Test));
}

#[test]
fn a_mixture_of_few_days_has_no_more_of_them() {
    // Every day of a target problem is a verb: somebody gets or loses something.
    let days = |text: String| text.split(' ').filter(|word| ["gets", "loses"].contains(word)).count();
    let longest = |most_days| {
        let rows = pretraining(0, 0..400, most_days);
        rows.map(|row| days(row.prompt.text())).max().unwrap()
    };
    assert_eq!(longest(MOST_DAYS_SEEN), MOST_DAYS_SEEN);
    assert_eq!(longest(3), 3);
}

#[test]
fn the_base_is_the_one_that_the_documents_name() {
    assert_eq!(base_sha256(), "03db20e8c183d8602f251a293cc6aa2812c2302c1be6a505adfe521464147a7e");
    let folder = tempfile::tempdir().unwrap();
    write_base(folder.path()).unwrap();
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for file in files {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let model = gft_model::ModelFolder::open(folder.path()).unwrap().load(gft_model::Cpu::new()).unwrap();
    assert!(model.layout().len < 2_000_000);
}
