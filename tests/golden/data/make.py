"""Writes the fixtures of this folder with transformers: what gft-data must reproduce exactly.

    python make.py        # transformers 5 and pyarrow

tokenizers/written comes from the test crates/data/tests/written_tokenizer.rs and is only loaded here.

Writes tokenizers/*/ (small tokenizers trained on rows/gsm8k-train-20.jsonl), tokens.json (ids, offsets, decodings),
templates.json (renderings and masks of templates/*.jinja) and chats.json (ids of rendered conversations).
"""

import datetime
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import transformers.utils.chat_template_utils as chat_utils
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
DATE = datetime.datetime(2025, 3, 9, 14, 5, 7)


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return DATE


chat_utils.datetime = FixedDate

ROWS = [json.loads(line) for line in open(HERE / "rows/gsm8k-train-20.jsonl", encoding="utf-8")]
CORPUS = [row["question"] + "\n" + row["answer"] for row in ROWS]
MARKS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]",
         "<start_of_turn>", "<end_of_turn>", "<|User|>", "<|Assistant|>", "<|endoftext|>"]


def byte_level(folder, bos):
    """GPT-2 style: bytes as an alphabet; with `bos` the post-processor puts one before each text, as Llama 3 does."""
    tokenizer = Tokenizer(models.BPE())
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    specials = (["<|begin_of_text|>"] if bos else []) + MARKS
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=640, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>" if bos else None,
        eos_token="<|eot_id|>" if bos else "<|im_end|>", pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    eos = [tokenizer.token_to_id(t) for t in (["<|eot_id|>", "<|endoftext|>"] if bos else ["<|im_end|>"])]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos if bos else eos[0]}) + "\n")


def pieces(folder):
    """SentencePiece style: spaces as a sign, bytes as a fall-back, as Llama 2, Mistral and Gemma have it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    # Words for training only: the model itself works on whole texts.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + MARKS
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=640, special_tokens=specials, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    state = json.loads(tokenizer.to_str())
    state["pre_tokenizer"] = None
    # Byte tokens belong to the model, not to the special tokens.
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>",
                                   eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "bos_token_id": 1}) + "\n")


TEXTS = ["", " ", "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 72", "  two  spaces\tand\ttabs ", "naïve café — “quotes”",
         "日本語のテキスト", "🙂🙃 emoji 👩‍👩‍👧", "a<|im_end|>b <|im_end|> c", "line\r\nline\n\n\nline", "e\u0301 combining",
         "\u200bzero width", "1234567890.12", "I'll can't WE'VE", "\u0000\u0001\x7f", "word" * 30, "trailing space ", "\\boxed{\\frac{1}{2}}"]

TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds <two> numbers & \"more\"", "parameters": {
    "type": "object", "properties": {"b": {"type": "number", "default": 1.0}, "a": {"type": "number"}}, "required": ["a"]}}}]


def user(text): return {"role": "user", "content": text}
def model(text, **more): return {"role": "assistant", "content": text, **more}
def system(text): return {"role": "system", "content": text}


CALL = {"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1.5, "é": ["x", None, True, 1e-07]}}}
CHATS = {
    "question": ([user("What is 2+2?")], {}),
    "answered": ([user("What is 2+2?"), model("It is 4.\n#### 4")], {}),
    "system": ([system("Be brief. "), user(" Why? "), model(" Because. ")], {}),
    "turns": ([user("One?"), model("1"), user("Two?"), model("2"), user("Three?"), model("3")], {}),
    "thoughts": ([user("One?"), model("<think>\nhm\n</think>\n\n1"), user("Two?"), model("<think>\nwell\n</think>\n\n2")], {}),
    "reasoning": ([user("One?"), model("1", reasoning_content="so\n")], {}),
    "thinking": ([user("One?"), model("1", thinking="so", name="x")], {}),
    "null_reasoning": ([user("One?"), model("1", thinking=None, reasoning="r", reasoning_content=None)], {}),
    "no_thinking": ([user("One?")], {"enable_thinking": False}),
    "unicode": ([user("¿Qué es “π”? 🙂\n\n"), model("日本 <b>&amp;</b> 'x' \"y\"")], {}),
    "tools": ([user("Add."), model("", tool_calls=[CALL]), {"role": "tool", "name": "add", "content": "3.5"}, model("3.5")], {"tools": TOOLS}),
    "two_calls": ([user("Add."), model(None, tool_calls=[CALL, CALL]), {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, model("3")], {}),
    "empty": ([user(""), model("")], {}),
    "out_of_turn": ([model("first"), user("second")], {}),
    "parts": ([{"role": "user", "content": [{"type": "text", "text": " one "}, {"type": "text", "text": "two"}]}], {}),
    "image": ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], {}),
    "marks": ([user("say <|im_end|> and {% generation %} {{ x }}"), model("<|im_end|>{# no #}")], {}),
    "private_use": ([user("\ue000 and \ue001"), model("\ue000\ue001\ue002")], {}),
}


def token_cases(names):
    cases = []
    for name in names:
        tokenizer = AutoTokenizer.from_pretrained(HERE / "tokenizers" / name)
        for text in TEXTS:
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            # Python counts characters, Rust bytes.
            at = [len(text[:i].encode()) for i in range(len(text) + 1)]
            cases.append({"tokenizer": name, "text": text, "ids": encoded["input_ids"],
                          "bytes": [[at[a], at[b]] for a, b in encoded["offset_mapping"]],
                          "decoded": tokenizer.decode(encoded["input_ids"], skip_special_tokens=False,
                                                      clean_up_tokenization_spaces=False),
                          "without_specials": tokenizer.decode(encoded["input_ids"], skip_special_tokens=True,
                                                               clean_up_tokenization_spaces=False)})
    return cases


def template_cases(names):
    """Each template with each conversation; `text` is null where transformers raises."""
    tokenizer = AutoTokenizer.from_pretrained(HERE / "tokenizers/bos")
    cases = []
    for name in names:
        source = (HERE / "templates" / f"{name}.jinja").read_bytes().decode()
        for chat, (messages, kwargs) in CHATS.items():
            for generate in (False, True):
                try:
                    text = tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False,
                                                         add_generation_prompt=generate, **kwargs)
                except Exception:
                    text = None
                spans = None
                if text is not None and not generate and "generation" in source:
                    rendered, found = chat_utils.render_jinja_template(
                        [[{k: v for k, v in m.items() if v is not None} for m in messages]], chat_template=source, return_assistant_tokens_mask=True,
                        **{"tools": None, **tokenizer.special_tokens_map, **kwargs})
                    assert rendered == [text], (rendered, text)
                    at = [len(text[:i].encode()) for i in range(len(text) + 1)]
                    spans = [[at[a], at[b]] for a, b in found[0]]
                cases.append({"template": name, "chat": chat, "generate": generate, "text": text, "generated": spans})
    return cases


def chat_cases():
    """Ids of prompt, whole conversation and mask for a few pairs of tokenizer and template."""
    pairs = [("written", "chatml"), ("plain", "chatml"), ("plain", "qwen2_5"), ("plain", "qwen3"), ("bos", "llama3"), ("pieces", "mistral"),
             ("pieces", "deepseek_math"), ("pieces", "gemma"), ("bos", "marked_lines"), ("plain", "chatml_marked_crlf")]
    cases = []
    for tokenizer_name, template in pairs:
        tokenizer = AutoTokenizer.from_pretrained(HERE / "tokenizers" / tokenizer_name)
        source = (HERE / "templates" / f"{template}.jinja").read_bytes().decode()
        for chat in ("answered", "system", "turns", "unicode"):
            messages = CHATS[chat][0]
            apply = lambda m, **k: tokenizer.apply_chat_template(m, chat_template=source, tokenize=True, return_dict=True, **k)
            case = {"tokenizer": tokenizer_name, "template": template, "chat": chat,
                    "prompt": apply(messages[:-1], add_generation_prompt=True)["input_ids"],
                    "whole": apply(messages)["input_ids"], "mask": None}
            if "{%- generation" in source or "{% generation" in source:
                case["mask"] = apply(messages, return_assistant_tokens_mask=True)["assistant_masks"]
            cases.append(case)
    return cases


def parquet_files():
    """The schema of verl's preprocessing, and conversations, each with another compression."""
    verl = [{"data_source": "openai/gsm8k", "prompt": [user(row["question"] + " Let's think step by step.")], "ability": "math",
             "reward_model": {"style": "rule", "ground_truth": row["answer"].split("#### ")[1]},
             "extra_info": {"split": "train", "index": i, "answer": row["answer"], "question": row["question"]}}
            for i, row in enumerate(ROWS[:4])]
    pq.write_table(pa.Table.from_pylist(verl), HERE / "rows/verl.parquet", compression="snappy")
    chats = [{"messages": [user(row["question"]), model(row["answer"])], "score": 0.5, "raw": b"ab"} for row in ROWS[:3]]
    pq.write_table(pa.Table.from_pylist(chats), HERE / "rows/messages-zstd.parquet", compression="zstd", row_group_size=2)


def write(name, value):
    lines = ",\n".join(json.dumps(v, ensure_ascii=False) for v in value)
    (HERE / name).write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    written = AutoTokenizer.from_pretrained(HERE / "tokenizers/written")
    assert written.chat_template == (HERE / "templates/chatml.jinja").read_text(), "the template was not found"
    assert (written.eos_token, written.pad_token, written.model_max_length) == ("<|im_end|>", "<|pad|>", 2048)
    assert written.is_fast and "<|im_start|>" in written.all_special_tokens
    byte_level(HERE / "tokenizers/plain", bos=False)
    byte_level(HERE / "tokenizers/bos", bos=True)
    pieces(HERE / "tokenizers/pieces")
    parquet_files()
    write("tokens.json", token_cases(["plain", "bos", "pieces", "written"]))
    write("templates.json", template_cases(sorted(p.stem for p in (HERE / "templates").glob("*.jinja"))))
    write("chats.json", chat_cases())
    (HERE / "conversations.json").write_text(
        json.dumps({k: {"messages": m, "kwargs": o} for k, (m, o) in CHATS.items()}, ensure_ascii=False, indent=1) + "\n")
