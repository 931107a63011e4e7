//! One model under evaluation: its prompts, its records, its numbers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gft_data::{Encode, EncodeOptions, Encoder, Presentation};
use gft_eval::{Item, Problem, Record, Run, RunOptions, Store, Style, Styled, Summary, Task};
use gft_model::device::Device;
use gft_model::generate::Generator;
use gft_model::{ModelFolder, Policy};
use gft_train::continued_prompts;
use serde_json::{Value, json};
use twox_hash::XxHash3_128;

use super::progress::Watcher;
use super::{Plan, of_plan};
use crate::failure::Failure;
use crate::prompts::{self, TemplateArgs};
use crate::{interrupt, model_path};

/// A model that is ready to answer.
pub struct Model<D: Device> {
    path: PathBuf,
    policy: Policy<D>,
    encoder: Encoder,
    /// Of everything that decides what it says: weights, configuration, tokenizer.
    checksum: String,
    /// What decides how its prompts are written, beside its own files.
    template: Value,
}

/// A task's problems as this model is given them.
pub struct Items<'a> {
    pub found: Vec<Item<'a>>,
    /// Problems whose prompt leaves the model no room for an answer.
    pub too_long: usize,
}

/// What came out of one task.
pub struct Evaluated {
    pub task: String,
    pub folder: PathBuf,
    pub settings: Value,
    pub records: Vec<Record>,
    pub summary: Summary,
    pub too_long: usize,
}

impl Evaluated {
    /// Writes a value beside the records.
    pub fn write(&self, name: &str, value: &Value) -> Result<(), Failure> {
        let path = self.folder.join(name);
        let text = format!("{value:#}\n");
        std::fs::write(&path, text)
            .map_err(|error| Failure::Run(format!("{}: cannot write: {error}", path.display())))
    }
}

impl<D: Device> Model<D> {
    /// Opens a folder; nothing is computed yet.
    pub fn open(device: D, path: &Path, template: &TemplateArgs, plan: &Plan) -> Result<Self, Failure> {
        let folder: ModelFolder = model_path::open(path)?;
        let options = plan.styled.encode_options(template.encode_options());
        let said = described(&options);
        let encoder = Encoder::new(prompts::tokenizer(folder.tokenizer_dir())?, options)?;
        plan.verbosity.detail(&format!("{}: {}", path.display(), encoder.description()));
        let policy = folder.load_frozen(device)?;
        let mut sum = checksum(path)?;
        if folder.lora().is_some() {
            sum = format!("{sum}+{}", checksum(folder.base_dir())?);
        }
        Ok(Self { path: path.to_owned(), policy, encoder, checksum: sum, template: said })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its weights.
    pub fn policy(&self) -> &Policy<D> {
        &self.policy
    }

    /// Ids at which an answer ends.
    pub fn stop_ids(&self, styled: &Styled) -> Vec<u32> {
        [self.encoder.stop_ids(), self.style_stops(styled)].concat()
    }

    fn style_stops(&self, styled: &Styled) -> Vec<u32> {
        let ids = styled.stop_tokens().iter();
        ids.filter_map(|name| self.encoder.tokenizer().token_to_id(name)).collect()
    }

    /// A task's problems as prompts.
    pub fn items<'a>(&self, task: &'a Task, styled: &Styled) -> Result<Items<'a>, Failure> {
        let mut items = Items { found: Vec::new(), too_long: 0 };
        for (doc, problem) in task.problems.iter().enumerate() {
            let (prompt, ids) = self.prompt(problem, styled)?;
            let arch = self.policy.architecture();
            if ids.len() >= arch.max_positions {
                items.too_long += 1;
                continue;
            }
            if let Some(id) = ids.iter().find(|&&id| id as usize >= arch.vocab) {
                return Err(Failure::data(format!(
                    "{}: the tokenizer gives id {id}, the model has {} tokens: tokenizer.json is not this model's",
                    self.path.display(),
                    arch.vocab
                )));
            }
            items.found.push(Item { doc, problem, prompt, ids });
        }
        Ok(items)
    }

    fn prompt(&self, problem: &Problem, styled: &Styled) -> Result<(String, Vec<u32>), Failure> {
        let row = styled.row(&problem.row);
        let ids = match self.encoder.prompt(&row)? {
            Encode::Kept(prompt) => prompt.ids,
            Encode::PromptTooLong { .. } => Vec::new(),
        };
        if ids.is_empty() {
            return Err(Failure::data(format!("{}: the prompt has no tokens", row.id)));
        }
        Ok((self.encoder.prompt_string(&row)?, ids))
    }

    /// Everything that the records of a task depend on.
    fn settings(&self, task: &Task, plan: &Plan) -> Value {
        let RunOptions { samples, sampling, max_new_tokens, stop, seed, .. } = &plan.options;
        let mut settings = json!({
            "task": task.name,
            "data": format!("{:016x}", task.fingerprint),
            "model": self.checksum,
            "style": plan.styled,
            "template": self.template,
            "samples": samples,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_new_tokens": max_new_tokens,
            "stop": stop,
            "seed": seed,
            "last_number": plan.grader.verifier.extract.last_number,
            "gft": env!("CARGO_PKG_VERSION"),
        });
        // Completions of another rounding are others.
        if let Some(arithmetic) = self.policy.device().arithmetic() {
            settings["arithmetic"] = json!(arithmetic);
        }
        settings
    }

    /// Evaluates every task and keeps the records under `out`.
    pub fn evaluate(&mut self, plan: &Plan, out: &Path) -> Result<Vec<Evaluated>, Failure> {
        let generator = Generator::new(&self.policy);
        let options = RunOptions { stop_tokens: self.style_stops(&plan.styled), ..plan.options.clone() };
        let run =
            Run { generator: &generator, encoder: &self.encoder, grader: &plan.grader, options: &options };
        plan.tasks.iter().map(|task| self.task(task, plan, &run, out)).collect()
    }

    fn task(&self, task: &Task, plan: &Plan, run: &Run<'_, D>, out: &Path) -> Result<Evaluated, Failure> {
        let settings = self.settings(task, plan);
        let mut store = Store::open(out, &task.name, &settings)?;
        let Items { found, too_long } = self.items(task, &plan.styled)?;
        if too_long > 0 {
            plan.verbosity.note(&format!(
                "{}: {too_long} prompts are as long as the model takes ({} tokens) or longer; they are left out",
                task.name,
                self.policy.architecture().max_positions
            ));
        }
        let asked = |item: &Item<'_>| self.encoder.continues(&plan.styled.row(&item.problem.row).prompt);
        if plan.styled.style == Style::Auto && !found.iter().all(asked) && continued_prompts(&self.path) {
            plan.verbosity.note(&format!(
                "{}: the model of {} learned from prompts that are continued as they stand; here they are put as questions, \
                 with a template, which it has not seen -> --prompt-style verbatim asks as was trained",
                task.name,
                self.path.display()
            ));
        }
        let total = found.len();
        let left: Vec<Item<'_>> = found.into_iter().filter(|item| !store.has(item.doc)).collect();
        if left.len() < total {
            plan.verbosity.note(&format!(
                "{}: {} of {total} problems are done already, in {}",
                task.name,
                total - left.len(),
                store.folder().display()
            ));
        }
        let mut watcher = Watcher::new(&mut store, left.len(), &plan.options, plan.verbosity.quiet);
        interrupt::arm();
        let stopped = run.over(&left, &mut watcher);
        interrupt::disarm();
        drop(watcher);
        if stopped? {
            eprintln!("interrupted; the same command continues ({})", store.folder().display());
            return Err(Failure::Interrupted);
        }
        let folder = store.folder().to_owned();
        let records = of_plan(store.into_records(), task.problems.len());
        let summary = Summary::of(&records, &plan.bootstrap);
        let evaluated = Evaluated { task: task.name.clone(), folder, settings, records, summary, too_long };
        let kept = json!({
            "task": evaluated.task,
            "model": self.path.display().to_string(),
            "settings": evaluated.settings,
            "prompts_too_long": too_long,
            "summary": evaluated.summary,
        });
        evaluated.write("summary.json", &kept)?;
        Ok(evaluated)
    }
}

/// The options of an encoder that evaluations set.
fn described(options: &EncodeOptions) -> Value {
    let date = options.render.date.map(|date| format!("{:04}-{:02}-{:02}", date.year, date.month, date.day));
    json!({
        "presentation": match options.presentation {
            Presentation::Auto => "auto",
            Presentation::Chat => "chat",
            Presentation::Verbatim => "verbatim",
        },
        "system": options.system_prompt,
        "instruction": options.instruction_suffix,
        "chat_template": options.template_path,
        "chat_template_kwargs": options.render.kwargs,
        "template_date": date,
    })
}

/// A checksum of all files of a model folder that decide what it says.
fn checksum(folder: &Path) -> Result<String, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::Run(format!("{}: cannot read: {error}", path.display()))
    };
    let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let decides = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
        known.contains(&name.as_str()) || (name.starts_with("model") && name.ends_with(".safetensors"))
    };
    files.retain(decides);
    files.sort();
    let mut hasher = XxHash3_128::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(&path).map_err(|error| failed(&path, error))?;
        loop {
            let read = file.read(&mut buffer).map_err(|error| failed(&path, error))?;
            if read == 0 {
                break;
            }
            hasher.write(&buffer[..read]);
        }
    }
    Ok(format!("{:032x}", hasher.finish_128()))
}
