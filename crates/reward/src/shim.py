"""Calls a reward function of a Python file for one completion a line: JSON in, JSON out."""
import asyncio, importlib.util, inspect, json, math, os, sys

path, name = sys.argv[1], sys.argv[2]
# What the function prints must not stand between the answers.
answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
os.dup2(2, 1)
sys.stdout = sys.stderr
questions = open(0, encoding="utf-8", closefd=False)

sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
spec = importlib.util.spec_from_file_location("reward_file", path)
module = importlib.util.module_from_spec(spec)
sys.modules["reward_file"] = module
spec.loader.exec_module(module)
function = getattr(module, name, None)
if not callable(function):
    found = [n for n, f in vars(module).items() if inspect.isfunction(f)]
    sys.exit(f"{path} has no function {name}; it has {', '.join(found) or 'none'}")
parameters = inspect.signature(function).parameters
takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
takes = lambda key: takes_all or key in parameters
accepted = lambda values: {k: v for k, v in values.items() if takes(k)}


def number(value, what="the reward"):
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{what} is {value}")
    return value


def numbers(values):
    return {k: number(v, k) for k, v in values.items() if isinstance(v, (bool, int, float))}


def only(values, what):
    values = list(values)
    if len(values) != 1:
        raise ValueError(f"{len(values)} {what} for 1 completion")
    return values[0]


def call(**arguments):
    result = function(**accepted(arguments))
    return asyncio.run(result) if inspect.isawaitable(result) else result


def verl(row):
    model = row.get("reward_model")
    truth = model.get("ground_truth") if isinstance(model, dict) else None
    for key in ("ground_truth", "gold", "solution"):
        truth = row.get(key) if truth is None else truth
    result = call(data_source=row.get("data_source"), solution_str=row["completion"], ground_truth=truth,
                  extra_info=row.get("extra_info"))
    if isinstance(result, dict):
        return result["score"], numbers({k: v for k, v in result.items() if k != "score"})
    return result, {}


def trl(row):
    metrics = {}
    talk = isinstance(row["prompt"], list)
    completion = [{"role": "assistant", "content": row["completion"]}] if talk else row["completion"]
    columns = {k: [v] for k, v in row.items() if k not in ("id", "row_id", "prompt", "completion")}
    columns.update(prompts=[row["prompt"]], completions=[completion], trainer_state=None,
                   log_metric=lambda key, value: metrics.update({key: number(value, key)}),
                   log_extra=lambda key, values: None)
    return only(call(**columns), "rewards"), metrics


def openrlhf(row):
    prompt = row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"])
    label = row.get("gold") if row.get("gold") is not None else row.get("solution")
    result = call(queries=[prompt + row["completion"]], prompts=[prompt], labels=[label])
    if not isinstance(result, dict):
        return only(result, "rewards"), {}
    logs = {k: only(v, k) for k, v in (result.get("extra_logs") or {}).items()}
    return only(result["rewards"], "rewards"), {k: number(v, k) for k, v in logs.items()}


if "solution_str" in parameters:
    style = verl
elif "queries" in parameters:
    style = openrlhf
elif "completions" in parameters or takes_all:
    style = trl
else:
    sys.exit(f"{name}{inspect.signature(function)} is none of the known forms: (data_source, solution_str, "
             "ground_truth, extra_info), (prompts, completions, **columns), (queries, prompts, labels)")

for line in questions:
    row = json.loads(line)
    try:
        reward, metrics = style(row)
        reward = None if reward is None else number(reward)
        reply = {"id": row["id"], "reward": reward, "metrics": metrics}
    except Exception as error:
        reply = {"id": row["id"], "error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(reply) + "\n")
    answers.flush()
