//! Teachers that are model folders: an answer is drawn once, kept, and depends on nothing that was asked beside it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../../gft/tests/world/model.rs"]
mod model;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gft_data::{EncodeOptions, Encoder, Message, Tokenizer};
use gft_model::folder::ModelFolder;
use gft_model::generate::Sampling as Distribution;
use gft_model::{Cpu, Policy};
use gft_rollout::teacher::{Answer, Cache, LocalTeacher, Question, Sampling, Tally, draw, place};

struct World {
    folder: PathBuf,
    policy: Policy<Cpu>,
    encoder: Encoder,
}

fn world(root: &Path) -> World {
    let folder = model::gsm8k_model(root);
    let policy = ModelFolder::open(&folder).unwrap().load(Cpu::new()).unwrap();
    let tokenizer = Arc::new(Tokenizer::load(&folder).unwrap());
    World { policy, encoder: Encoder::new(tokenizer, EncodeOptions::default()).unwrap(), folder }
}

impl World {
    fn question(&self, text: &str) -> Question {
        let sampling =
            Sampling { temperature: Some(1.0), top_p: None, max_tokens: 8, seed: Some(5), stop: Vec::new() };
        let messages = vec![Message::new("user", text)];
        let place = place(&self.folder, &self.folder, &Distribution::default()).unwrap();
        Question { place, model: "folder".into(), messages, sampling }
    }

    fn draw(&self, cache: &Cache, n: usize, texts: &[&str]) -> Tally {
        let teacher = LocalTeacher {
            policy: &self.policy,
            encoder: &self.encoder,
            distribution: Distribution::default(),
            max_batch: 3,
        };
        let question = |index: u64| Ok(Some(self.question(texts[index as usize])));
        draw(&teacher, cache, n, texts.len() as u64, question, &mut |_| {}, &|| false).unwrap()
    }

    fn answers(&self, cache: &Cache, n: usize, text: &str) -> Vec<Answer> {
        (0..n).map(|k| cache.get(&self.question(text), k).unwrap().unwrap()).collect()
    }
}

#[test]
fn an_answer_is_drawn_once_and_does_not_depend_on_its_company() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path());
    let caches = ["alone", "together"].map(|name| Cache::open(&root.path().join(name)).unwrap());
    let alone = world.draw(&caches[0], 2, &["How many?"]);
    assert_eq!((alone.complete, alone.answered, alone.cached, alone.failed), (1, 2, 0, 0));
    let together = world.draw(&caches[1], 2, &["What is 3 + 4?", "How many?"]);
    assert_eq!((together.complete, together.answered), (2, 4));
    let found = caches.each_ref().map(|cache| world.answers(cache, 2, "How many?"));
    assert_eq!(found[0], found[1]);
    assert_ne!(found[0][0].content, found[0][1].content, "two samples of one stream");
    assert!(found[0].iter().all(|answer| (1..=8).contains(&answer.usage.unwrap().completion_tokens)));

    let again = world.draw(&caches[0], 2, &["How many?"]);
    assert_eq!((again.complete, again.answered, again.cached), (1, 0, 2));
    // A third sample later leaves the first two as they were.
    world.draw(&caches[0], 3, &["How many?"]);
    assert_eq!(world.answers(&caches[0], 2, "How many?"), found[0]);
}

#[test]
fn another_way_to_draw_or_another_template_is_another_teacher() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path());
    let plain = Distribution::default();
    let before = place(&world.folder, &world.folder, &plain).unwrap();
    assert_eq!(before, place(&world.folder, &world.folder, &plain).unwrap());
    assert_ne!(
        before,
        place(&world.folder, &world.folder, &Distribution { top_k: 5, ..plain.clone() }).unwrap()
    );
    fs::write(world.folder.join("chat_template.jinja"), "{{ messages }}").unwrap();
    assert_ne!(before, place(&world.folder, &world.folder, &plain).unwrap());
}
