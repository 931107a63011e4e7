//! Prompts, completions and masks on a small tokenizer; each test names the failure that it keeps out.

use super::*;
use crate::{SpecialTokens, train_bpe};

const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

fn tokenizer() -> Arc<Tokenizer> {
    let specials = SpecialTokens {
        bos: Some("<s>".into()),
        eos: Some("<|im_end|>".into()),
        pad: Some("<|im_end|>".into()),
        unk: None,
        additional: vec!["<|im_start|>".into()],
    };
    let texts = ["what is two and two ?", "the answer is four", "user\nsystem\nassistant\nwhat"];
    Arc::new(train_bpe(texts.iter().cycle().take(30), 400, specials).unwrap())
}

fn encoder(template: &str, options: EncodeOptions) -> Encoder {
    let tokenizer = tokenizer();
    let template = ChatTemplate::new(template, "test", tokenizer.specials().clone()).unwrap();
    Encoder::with_template(tokenizer, template, options).unwrap()
}

fn row(prompt: Prompt, answer: &str) -> Row {
    Row {
        id: "r1".into(),
        prompt,
        solution: None,
        gold: None,
        expert: vec![Completion::text(answer)],
        teachers: Vec::new(),
        columns: serde_json::Map::new(),
    }
}

fn question() -> Row {
    row(Prompt::Question("what is two and two ?".into()), "the answer is four")
}

fn text(encoder: &Encoder, ids: &[u32]) -> String {
    encoder.tokenizer().decode(ids, false).unwrap()
}

#[test]
fn chat_row() {
    let encoder = encoder(CHATML, EncodeOptions::default());
    let encoded = encoder.row(&question()).unwrap().kept().unwrap();
    assert_eq!(
        text(&encoder, &encoded.prompt.ids),
        "<|im_start|>user\nwhat is two and two ?<|im_end|>\n<|im_start|>assistant\n"
    );
    let expert = &encoded.expert[0];
    assert_eq!(text(&encoder, &expert.ids), "the answer is four<|im_end|>");
    assert!(expert.supervised.iter().all(|&s| s));
    assert!(!expert.truncated && !expert.boundary_merged);
}
