//! `gft chat`: talk to a model; the answer is written as it comes.

use std::io::{BufRead, IsTerminal, stdin, stdout};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use gft_data::{CompletionText, Encoder, Message};
use gft_model::device::Device;
use gft_model::generate::{Completion, Finish, Generator, Observer, Request};
use gft_model::random::Stream;
use gft_model::{ModelFolder, Policy};
use gft_train::continued_prompts;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::prompts::{self, TemplateArgs};
use crate::sampling::{GenerationConfig, SamplingArgs, Settings};
use crate::terminal::Verbosity;
use crate::{interrupt, model_path, output};

/// Arguments of `gft chat`.
#[derive(ClapArgs)]
#[command(after_help = "/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer.\n\
                        Where standard input is not a terminal, each line is a turn and only the answers are written.")]
pub struct Args {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs `gft chat`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let folder = model_path::open(&args.model)?;
    let encoder = args.template.chat_encoder(prompts::tokenizer(folder.tokenizer_dir())?)?;
    let config = GenerationConfig::read(folder.dir_of("generation_config.json"))?;
    let settings = args.sampling.resolve(&config, encoder.stop_ids(), 1024, 1)?;
    args.verbosity.detail(&settings.description);
    args.verbosity.detail(&encoder.description());
    if let Some(warning) = &settings.warning {
        args.verbosity.note(warning);
    }
    if encoder.template().is_plain() && encoder.template().origin().starts_with("built-in") {
        args.verbosity
            .note("no chat template in the model folder: turns are written plainly, one below the other");
    }
    if continued_prompts(&args.model) {
        args.verbosity.note(
            "this model learned from prompts that are continued as they stand; a chat puts a template around them, which it \
             has not seen -> gft generate --presentation verbatim asks as was trained",
        );
    }
    let (verbosity, folder, encoder, settings) = (args.verbosity, &folder, &encoder, &settings);
    args.device.run(verbosity, Talking { verbosity, folder, encoder, settings })
}

/// Talking, once it is known with whom and how.
struct Talking<'a> {
    verbosity: Verbosity,
    folder: &'a ModelFolder,
    encoder: &'a Encoder,
    settings: &'a Settings,
}

impl Work for Talking<'_> {
    type Output = ();

    fn on<D: Device + Clone>(self, device: D) -> Result<(), Failure> {
        let Talking { verbosity, folder, encoder, settings } = self;
        let policy: Policy<D> = folder.load_frozen(device)?;
        let mut lines = Lines::open()?;
        if lines.is_terminal() {
            verbosity.note("/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer");
        }
        Chat {
            generator: Generator::new(&policy),
            limit: policy.architecture().max_positions,
            vocab: policy.architecture().vocab,
            encoder,
            settings,
            messages: Vec::new(),
            turns: 0,
        }
        .talk(&mut lines, verbosity)
    }
}

/// A conversation.
struct Chat<'a, D: Device> {
    generator: Generator<'a, D>,
    limit: usize,
    vocab: usize,
    encoder: &'a Encoder,
    settings: &'a Settings,
    messages: Vec<Message>,
    turns: u64,
}

impl<D: Device> Chat<'_, D> {
    /// Turn after turn, until the user leaves.
    fn talk(&mut self, lines: &mut Lines, verbosity: Verbosity) -> Result<(), Failure> {
        while let Some(line) = lines.next()? {
            match line.trim() {
                "" => {}
                "/exit" | "/quit" => break,
                "/reset" => {
                    self.messages.clear();
                    verbosity.note("the conversation begins anew");
                }
                command if is_command(command) => {
                    verbosity.note(&format!("unknown command {command}; there are /reset and /exit"));
                }
                _ => match self.turn(&line) {
                    // A person can go on after a message that does not fit; a script must not.
                    Err(failure) if lines.is_terminal() => crate::terminal::report(&failure),
                    other => other?,
                },
            }
        }
        Ok(())
    }

    /// One question and its answer. A question that cannot be asked leaves the conversation as it was.
    fn turn(&mut self, question: &str) -> Result<(), Failure> {
        self.messages.push(Message::user(question));
        let answer = prompts::prompt_ids(self.encoder, &prompts::conversation(&self.messages))
            .and_then(|prompt| self.check(&prompt).map(|()| prompt))
            .and_then(|prompt| self.answer(prompt));
        match answer {
            Ok(answer) => self.messages.push(Message::assistant(&answer)),
            Err(failure) => {
                self.messages.pop();
                return Err(failure);
            }
        }
        Ok(())
    }

    fn check(&self, prompt: &[u32]) -> Result<(), Failure> {
        if prompt.len() >= self.limit {
            return Err(Failure::data(format!(
                "the conversation has {} tokens; the model takes {} with the answer (/reset begins anew)",
                prompt.len(),
                self.limit
            )));
        }
        match prompt.iter().find(|&&id| id as usize >= self.vocab) {
            None => Ok(()),
            Some(id) => Err(Failure::data(format!(
                "the tokenizer gives id {id}, the model has {} tokens: tokenizer.json is not this model's",
                self.vocab
            ))),
        }
    }

    fn answer(&mut self, prompt: Vec<u32>) -> Result<String, Failure> {
        let stream = Stream::new(self.settings.seed).child(self.turns);
        self.turns += 1;
        let mut speaker = Speaker {
            text: CompletionText::new(self.encoder.tokenizer(), &self.settings.stop),
            failure: None,
        };
        interrupt::arm();
        let request = Request { prompt, samples: 1, stream };
        let done = self.generator.run(&[request], &self.settings.options, &mut speaker);
        let stopped = interrupt::disarm();
        let text = speaker.end(&done?, stopped)?;
        Ok(text)
    }
}

/// A word with a slash before it; a line that goes on (`/2 is what?`) is for the model.
fn is_command(line: &str) -> bool {
    line.strip_prefix('/')
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase()))
}

/// Writes an answer as it comes.
struct Speaker<'a> {
    text: CompletionText<'a>,
    failure: Option<Failure>,
}

impl Speaker<'_> {
    /// The whole answer; why it ended is said where that is not its own end.
    fn end(self, done: &[Completion], stopped: bool) -> Result<String, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let written = self.text.finish()?;
        output::text(&format!("{}\n", &written.text[written.shown..]));
        let broken = done.iter().flat_map(|completion| &completion.logprobs).any(|x| !x.is_finite());
        if broken {
            return Err(Failure::Run("a log-probability is not finite: the weights are damaged".into()));
        }
        let finish = done.first().map(|completion| completion.finish);
        match finish {
            _ if stopped => eprintln!("[stopped]"),
            Some(Finish::Length) => eprintln!("[cut at --max-new-tokens]"),
            Some(Finish::Context) => eprintln!("[cut at the model's longest sequence; /reset begins anew]"),
            _ => {}
        }
        Ok(written.text)
    }
}

impl Observer for Speaker<'_> {
    fn token(&mut self, _: usize, _: usize, tokens: &[u32]) -> bool {
        let Some(&id) = tokens.last() else { return interrupt::asked() };
        match self.text.push(id) {
            Ok(text) => {
                output::text(&text.unwrap_or_default());
                self.text.stopped() || interrupt::asked()
            }
            Err(error) => {
                self.failure = Some(error.into());
                true
            }
        }
    }
}

/// What the user says, line by line.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe,
}

impl Lines {
    fn open() -> Result<Self, Failure> {
        if !(stdin().is_terminal() && stdout().is_terminal()) {
            return Ok(Self::Pipe);
        }
        let editor = DefaultEditor::new().map_err(|error| Failure::Run(format!("the terminal: {error}")))?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line without its end; `None` when there are no more.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Pipe => {
                let mut line = String::new();
                let read = stdin().lock().read_line(&mut line);
                let count =
                    read.map_err(|error| Failure::data(format!("stdin: cannot read a line: {error}")))?;
                let text = line.strip_suffix('\n').unwrap_or(&line);
                let text = text.strip_suffix('\r').unwrap_or(text);
                Ok((count > 0).then(|| text.to_owned()))
            }
            Self::Terminal(editor) => read_line(editor),
        }
    }
}

/// A line from the terminal. One Ctrl-C may be meant for the answer that has just ended; a second one leaves.
fn read_line(editor: &mut DefaultEditor) -> Result<Option<String>, Failure> {
    for again in [false, true] {
        match editor.readline("> ") {
            Ok(line) => {
                // Only an overfull history fails, and the line is still a line.
                let _ = editor.add_history_entry(line.as_str());
                return Ok(Some(line));
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(ReadlineError::Interrupted) if !again => eprintln!("(Ctrl-C again or Ctrl-D leaves)"),
            Err(ReadlineError::Interrupted) => break,
            Err(error) => return Err(Failure::Run(format!("the terminal: {error}"))),
        }
    }
    Err(Failure::Interrupted)
}
