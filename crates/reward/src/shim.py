"""Calls a reward function of a Python file: a line of JSON in, one out, for a completion or for all of a group."""
import asyncio, importlib.util, inspect, json, math, os, sys

path, name = sys.argv[1], sys.argv[2]
# What the function prints must not stand between the answers.
answers_to = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
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
    asked = [p for p in parameters.values() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in asked if p.name not in arguments]
    if missing:
        raise TypeError(f"{name} takes {', '.join(missing)}, and the row has none of that name; there are {', '.join(arguments)}")
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


def trl(rows):
    logged = {}
    log_metric = lambda key, value: logged.setdefault(key, []).append(number(value, key))
    turn = lambda row: [{"role": "assistant", "content": row["completion"]}]
    completions = [turn(row) if isinstance(row["prompt"], list) else row["completion"] for row in rows]
    columns = {k: [row.get(k) for row in rows] for k in rows[0] if k not in ("id", "row_id", "prompt", "completion")}
    columns.update(prompts=[row["prompt"] for row in rows], completions=completions, trainer_state=None,
                   log_metric=log_metric, log_extra=lambda key, values: None)
    rewards = list(call(**columns))
    if len(rewards) != len(rows):
        raise ValueError(f"{len(rewards)} rewards for {len(rows)} completion{'s' if len(rows) > 1 else ''}")
    return rewards, {k: sum(v) / len(v) for k, v in logged.items()}


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

def answer(reward, metrics):
    try:
        return {"reward": None if reward is None else number(reward), "metrics": metrics}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def answers(question):
    if style is not trl:
        return answer(*style(question))
    rewards, metrics = trl(question["group"])
    return {"group": [answer(reward, metrics) for reward in rewards]}


def write(reply):
    answers_to.write(json.dumps(reply) + "\n")
    answers_to.flush()


# TRL's functions see all completions of a prompt at once; the others one at a time, as they were written for.
write({"groups": style is trl})
for line in questions:
    question = json.loads(line)
    try:
        reply = answers(question)
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    write({"id": question["id"], **reply})
