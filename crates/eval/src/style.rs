//! How a problem is put to a model.

use gft_data::{EncodeOptions, Message, Presentation, Prompt, Row};
use serde::Serialize;

/// The instruction with which the field's evaluators ask for a boxed answer.
const BOXED: &str = "Please reason step by step, and put your final answer within \\boxed{}.";

/// Ways to put a problem to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// As `gft train` shows the same rows to the model.
    Auto,
    /// Through the model's chat template.
    Chat,
    /// The question as it stands.
    Verbatim,
    /// The question and the instruction to box the answer, without template.
    Boxed,
    /// ChatML with that instruction as the system message, whatever the model's template says: how Qwen2.5-Math is
    /// evaluated.
    QwenBoxed,
    /// Worked examples before the question.
    FewShot,
}

/// A worked example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shot {
    /// The question.
    pub question: String,
    /// Its solution, with the answer at its end.
    pub solution: String,
}

/// A style with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Styled {
    /// The style.
    #[serde(rename = "name")]
    pub style: Style,
    /// Appended to every question, for the styles without an instruction of their own.
    pub instruction: Option<String>,
    /// The examples, for [`Style::FewShot`].
    pub shots: Vec<Shot>,
}

impl Styled {
    /// What the encoder is to do with rows of [`Styled::row`]; templates and the rest come from `options`.
    pub fn encode_options(&self, options: EncodeOptions) -> EncodeOptions {
        let presentation = match self.style {
            Style::Auto => Presentation::Auto,
            Style::Chat => Presentation::Chat,
            Style::Verbatim | Style::Boxed | Style::QwenBoxed | Style::FewShot => Presentation::Verbatim,
        };
        EncodeOptions { presentation, instruction_suffix: self.instruction.clone(), ..options }
    }

    /// The row as the encoder is to see it.
    pub fn row(&self, row: &Row) -> Row {
        let prompt = match self.style {
            Style::Auto | Style::Chat => row.prompt.clone(),
            Style::Verbatim => Prompt::Text(question(&row.prompt)),
            Style::Boxed => Prompt::Text(format!("{}\n{BOXED}\n", question(&row.prompt))),
            Style::QwenBoxed => {
                let asked = question(&row.prompt);
                Prompt::Text(format!(
                    "<|im_start|>system\n{BOXED}<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
                ))
            }
            Style::FewShot => {
                let shown = self.shots.iter().map(|shot| {
                    format!("Question: {}\nAnswer: {}\n\n", shot.question.trim(), shot.solution.trim())
                });
                let shown: String = shown.collect();
                Prompt::Text(format!("{shown}Question: {}\nAnswer:", question(&row.prompt).trim()))
            }
        };
        Row { prompt, ..row.clone() }
    }

    /// Texts at which an answer ends by the style itself.
    pub fn stops(&self) -> &'static [&'static str] {
        match self.style {
            Style::FewShot => &["\nQuestion:"],
            Style::QwenBoxed => &["<|im_end|>"],
            _ => &[],
        }
    }

    /// Tokens, by their names, that end an answer by the style itself: a base model's tokenizer has them and does not
    /// stop at them.
    pub fn stop_tokens(&self) -> &'static [&'static str] {
        if self.style == Style::QwenBoxed { &["<|im_end|>"] } else { &[] }
    }
}

/// The question alone; of a conversation, what the user said last.
fn question(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Messages(messages) => {
            let last = messages.iter().rev().find(|message| message.role() == "user");
            last.and_then(Message::content).unwrap_or_default().to_owned()
        }
        other => other.text(),
    }
}

impl Shot {
    /// Worked examples of a row's solution; `None` where it has none.
    pub fn of_row(row: &Row) -> Option<Shot> {
        let solution =
            row.solution.clone().or_else(|| row.expert.first().map(|expert| expert.content.clone()))?;
        Some(Shot { question: question(&row.prompt), solution })
    }

    /// Four examples for word problems, made for this program.
    pub fn built_in() -> Vec<Shot> {
        let shots = [
            (
                "A box holds 6 rows of 8 pencils. 15 pencils are taken out. How many pencils are left in the box?",
                "The box holds 6 * 8 = 48 pencils. After 15 are taken out, 48 - 15 = 33 are left. The answer is 33.",
            ),
            (
                "Nora walks 3 km to school and 3 km back, 5 days a week. How many km does she walk in 4 weeks?",
                "A day is 3 + 3 = 6 km. A week is 6 * 5 = 30 km. Four weeks are 30 * 4 = 120 km. The answer is 120.",
            ),
            (
                "A shirt costs $40. It is sold at a quarter off, and then $5 are taken off. What is the price?",
                "A quarter of 40 is 10, so the price falls to 40 - 10 = 30. Then it is 30 - 5 = 25. The answer is 25.",
            ),
            (
                "Two pipes fill a tank. One brings 12 litres a minute and the other 18. How long do 450 litres take?",
                "Together they bring 12 + 18 = 30 litres a minute. 450 / 30 = 15 minutes. The answer is 15.",
            ),
        ];
        shots.iter().map(|(q, s)| Shot { question: (*q).into(), solution: (*s).into() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gft_verify::{ExtractOptions, extract};

    fn row(prompt: Prompt) -> Row {
        Row { id: "1".into(), ..Row::of(prompt) }
    }

    fn styled(style: Style) -> Styled {
        Styled { style, instruction: None, shots: Shot::built_in() }
    }

    #[test]
    fn what_the_model_is_given() {
        let text = |style| styled(style).row(&row(Prompt::Question("1+1?".into()))).prompt.text();
        assert_eq!(text(Style::Verbatim), "1+1?");
        assert_eq!(text(Style::Boxed), format!("1+1?\n{BOXED}\n"));
        assert_eq!(
            text(Style::QwenBoxed),
            format!(
                "<|im_start|>system\n{BOXED}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
            )
        );
        let shots = text(Style::FewShot);
        assert!(
            shots.starts_with("Question: A box") && shots.ends_with("\n\nQuestion: 1+1?\nAnswer:"),
            "{shots}"
        );
    }

    #[test]
    fn of_a_conversation_the_last_question_counts() {
        let messages = vec![Message::user("a"), Message::assistant("b"), Message::user("c")];
        assert_eq!(styled(Style::Verbatim).row(&row(Prompt::Messages(messages.clone()))).prompt.text(), "c");
        let kept = styled(Style::Chat).row(&row(Prompt::Messages(messages.clone()))).prompt;
        assert_eq!(kept, Prompt::Messages(messages));
    }

    #[test]
    fn the_built_in_examples_end_in_their_answers() {
        for (shot, answer) in Shot::built_in().iter().zip(["33", "120", "25", "15"]) {
            let found = extract(&shot.solution, &ExtractOptions::default()).unwrap();
            assert_eq!(found.text(&shot.solution), answer);
        }
    }
}
