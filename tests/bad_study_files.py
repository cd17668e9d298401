"""Mistakes in study files: what is written, the key that the message must name, and parts of what it must say.

Each has one mistake; where the key is `line N`, it is the line of a mistake in the TOML itself.
"""

from __future__ import annotations

GOOD = {
    "name": 'name = "digits"',
    "trial_steps": "trial_steps = 200",
    "population": "population = 20",
    "workers": "workers = 5",
    "objective": '[objective]\naccuracy = "maximize"',
    "budget": "[budget]\ntrials = 400",
    "space": "[space]\nlr = { float = [1e-5, 1.0], log = true }\noptimizer = { choice = ['sgd', 'adam'] }",
    "evolution": "[evolution]\nmutate = 0.5",
    "train": "[train]\ncommand = ['python', 'train.py', '--lr={lr}', '--resume={restore}']",
    "checkpoints": "[checkpoints]\nkeep_best = 1",
    "engine": "[engine]\nthreads = 1",
}
TOP = ("name", "trial_steps", "population", "workers")


def study_file(**parts: str) -> str:
    """The text of a good study file, some of its parts replaced; an empty one is left out."""
    text = {**GOOD, **parts}
    first = [text.pop(name) for name in TOP]
    return "\n".join(part for part in (*first, *text.values()) if part) + "\n"


def _space(line: str) -> str:
    return study_file(space=f"[space]\n{line}\noptimizer = {{ choice = ['sgd', 'adam'] }}", train="[train]\ncommand = ['true']")


BAD_STUDY_FILES: list[tuple[str, str, str, list[str]]] = [
    # TOML
    ("syntax", study_file(workers="workers = = 5"), "line 4", ["workers = = 5", "TOML"]),
    ("unclosed", study_file() + '[evaluate]\ncommand = ["python"', "line 21", ['command = ["python"']),
    ("key twice", study_file(workers="population = 30"), "line 4", ["population = 30", "defined twice"]),
    ("table twice", study_file() + "[budget]\ntime = 3\n", "line 20", ["[budget]", "defined twice"]),
    ("param twice", _space("lr = 1\nlr = 2"), "line 11", ["lr = 2", "defined twice"]),
    ("option twice", _space("lr = { float = [0, 1], float = [1, 2] }"), "line 10", ["defined twice"]),
    # the study
    ("unknown key", study_file(workers="worker = 5"), "worker", ["did you mean 'workers'?", "trial_steps", "checkpoints"]),
    ("unknown table", study_file(budget="[budgets]\ntrials = 3"), "budgets", ["did you mean 'budget'?"]),
    ("no name", study_file(name=""), "name", ["is missing", "1 to 100 letters"]),
    ("no trial_steps", study_file(trial_steps=""), "trial_steps", ["is missing", "an integer, at least 1"]),
    ("no population", study_file(population=""), "population", ["is missing", "an integer, at least 1"]),
    ("no objective", study_file(objective=""), "objective", ["is missing", 'accuracy = "maximize"']),
    ("no space", study_file(space=""), "space", ["is missing", "lr = { float = [1e-5, 1.0]"]),
    ("name with a slash", study_file(name='name = "a/b"'), "name", ["letters, digits", "a/b"]),
    ("name with a dot first", study_file(name='name = ".a"'), "name", ["the first a letter or a digit"]),
    ("name too long", study_file(name=f'name = "{"a" * 101}"'), "name", ["1 to 100"]),
    ("empty name", study_file(name='name = ""'), "name", ["1 to 100"]),
    ("name a number", study_file(name="name = 7"), "name", ["letters, digits", "not 7"]),
    ("trial_steps zero", study_file(trial_steps="trial_steps = 0"), "trial_steps", ["an integer, at least 1", "not 0"]),
    (
        "trial_steps a text",
        study_file(trial_steps="trial_steps = '5'"),
        "trial_steps",
        ["an integer, at least 1", '"5" (a text)'],
    ),
    ("trial_steps huge", study_file(trial_steps=f"trial_steps = {10**30}"), "trial_steps", ["at most 2**53"]),
    ("population a float", study_file(population="population = 20.0"), "population", ["an integer, at least 1", "not 20.0"]),
    ("workers a boolean", study_file(workers="workers = true"), "workers", ["an integer", "true (a boolean)"]),
    ("workers negative", study_file(workers="workers = -1"), "workers", ["at least 1", "not -1"]),
    ("seed a text", study_file(workers="seed = 'x'"), "seed", ["an integer, at least 0"]),
    # the objective
    ("objective a text", study_file(name='name = "a"\nobjective = "acc"', objective=""), "objective", ["a table"]),
    ("objective empty", study_file(objective="[objective]"), "objective", ["is empty", 'accuracy = "maximize"']),
    (
        "goal misspelt",
        study_file(objective="[objective]\na = 'maximise'"),
        "objective.a",
        ['"maximize" or "minimize"', "did you mean"],
    ),
    ("goal a number", study_file(objective="[objective]\na = 1"), "objective.a", ['"maximize" or "minimize"', "not 1"]),
    ("no goal", study_file(objective="[objective]\na = { weight = 1 }"), "objective.a.goal", ["is missing", '"maximize"']),
    (
        "goal's unknown key",
        study_file(objective="[objective]\na = { goal = 'maximize', wieght = 1 }"),
        "objective.a.wieght",
        ["did you mean 'weight'?", "mean_of_last"],
    ),
    (
        "weight of one only",
        study_file(objective="[objective]\na = { goal = 'maximize', weight = 1 }\nb = 'minimize'"),
        "objective.b.weight",
        ["either all metrics have a weight, or none"],
    ),
    (
        "weight zero",
        study_file(objective="[objective]\na = { goal = 'maximize', weight = 0 }"),
        "objective.a.weight",
        ["above 0", "not 0"],
    ),
    (
        "mean of none",
        study_file(objective="[objective]\na = { goal = 'maximize', mean_of_last = 0 }"),
        "objective.a.mean_of_last",
        ["an integer, at least 1"],
    ),
    (
        "metric no identifier",
        study_file(objective="[objective]\n'a b' = 'maximize'"),
        "objective.a b",
        ["letters, digits and '_'"],
    ),
    ("metric called step", study_file(objective="[objective]\nstep = 'maximize'"), "objective.step", ["meaning of its own"]),
    # the space
    ("space empty", study_file(space="[space]", train=""), "space", ["is empty", "lr = { float = "]),
    ("param no identifier", _space("'l-r' = 1"), "space.l-r", ["letters, digits and '_'"]),
    (
        "param called seed",
        _space("seed = 1"),
        "space.seed",
        ["meaning of its own", "restore, save, steps, start, trial, seed, params"],
    ),
    (
        "param a list",
        _space("lr = [1e-5, 1.0]"),
        "space.lr",
        ["{ float = [low, high] }", "{ choice = [values] }", "[1e-05, 1.0]"],
    ),
    ("param a date", _space("lr = 2020-01-01"), "space.lr", ["{ float = [low, high] }", "one value"]),
    ("param nan", _space("lr = nan"), "space.lr", ["a finite number", "not nan"]),
    ("param without a type", _space("lr = { log = true }"), "space.lr", ["has no type", "{ float = [low, high] }"]),
    ("type misspelt", _space("lr = { flaot = [0, 1] }"), "space.lr", ["did you mean 'float'?"]),
    ("two types", _space("lr = { float = [0, 1], int = [0, 1] }"), "space.lr", ["float and int", "one of them"]),
    ("option misspelt", _space("lr = { float = [1, 2], lgo = true }"), "space.lr.lgo", ["did you mean 'log'?", "scale"]),
    (
        "option of another type",
        _space("n = { ordered = [1, 2], log = true }"),
        "space.n.log",
        ["known: ordered, init, when, mutate"],
    ),
    ("range empty", _space("lr = { float = [1.0, 1e-5] }"), "space.lr.float", ["empty", "low must be less than high"]),
    ("range of one", _space("n = { int = [3, 3] }"), "space.n.int", ["empty"]),
    ("range of three", _space("n = { int = [1, 2, 3] }"), "space.n.int", ["[low, high]", "[1, 2, 3]"]),
    ("range a number", _space("n = { int = 3 }"), "space.n.int", ["[low, high]", "not 3"]),
    ("range nan", _space("lr = { float = [nan, 1] }"), "space.lr.float", ["nan", "finite number"]),
    ("range infinite", _space("lr = { float = [0, inf] }"), "space.lr.float", ["inf", "finite number"]),
    ("range of texts", _space("lr = { float = ['0', '1'] }"), "space.lr.float", ["'0'", "finite number"]),
    ("int of floats", _space("n = { int = [1.0, 8] }"), "space.n.int", ["1.0", "integer"]),
    ("int of booleans", _space("n = { int = [false, true] }"), "space.n.int", ["False", "integer"]),
    ("log from zero", _space("lr = { float = [0, 1], log = true }"), "space.lr.float", ["above 0"]),
    ("near one up to one", _space("g = { float = [0.9, 1.0], scale = '1-x' }"), "space.g.float", ["below 1"]),
    ("scale unknown", _space("g = { float = [0.9, 0.99], scale = 'log' }"), "space.g.scale", ['"1-x"', "`log`"]),
    ("log a number", _space("lr = { float = [1, 2], log = 1 }"), "space.lr.log", ["true or false"]),
    ("init outside", _space("lr = { float = [0, 1], init = [0.5, 2] }"), "space.lr.init", ["part of the range [0.0, 1.0]"]),
    ("choice of one", _space("a = { choice = ['x'] }"), "space.a.choice", ["at least two values"]),
    ("choice a text", _space("a = { choice = 'xy' }"), "space.a.choice", ["a list of values"]),
    ("choice twice", _space("a = { choice = ['x', 'x'] }"), "space.a.choice", ["'x' is listed twice"]),
    (
        "condition unknown",
        _space("m = { float = [0, 1], when = { optimiser = 'sgd' } }"),
        "space.m.when.optimiser",
        ["optimizer"],
    ),
    (
        "condition never true",
        _space("m = { float = [0, 1], when = { optimizer = 'sdg' } }"),
        "space.m.when.optimizer",
        ["never 'sdg'", "'sgd', 'adam'"],
    ),
    ("condition on itself", _space("m = { int = [0, 1], when = { m = 1 } }"), "space.m.when", ["circle"]),
    ("condition a text", _space("m = { int = [0, 1], when = 'sgd' }"), "space.m.when", ['{ optimizer = "sgd" }']),
    # evolution and budget
    (
        "knob unknown",
        study_file(evolution="[evolution]\nmutation = 1"),
        "evolution.mutation",
        ["did you mean 'mutate'?", "crossover"],
    ),
    (
        "probability above 1",
        study_file(evolution="[evolution]\nmutate = 1.5"),
        "evolution.mutate",
        ["at least 0, at most 1", "1.5"],
    ),
    ("probability nan", study_file(evolution="[evolution]\nresample = nan"), "evolution.resample", ["a finite number", "nan"]),
    ("factors empty", study_file(evolution="[evolution]\nfactors = []"), "evolution.factors", ["[0.8, 1.2]"]),
    ("factor zero", study_file(evolution="[evolution]\nfactors = [0, 1.2]"), "evolution.factors", ["above 0", "[0, 1.2]"]),
    ("factor one", study_file(evolution="[evolution]\nfactors = [0.8, 1]"), "evolution.factors", ["other than 1"]),
    (
        "strategy unknown",
        study_file(evolution="[evolution]\nstrategy = 'generation'"),
        "evolution.strategy",
        ["did you mean 'generational'?", "initiator", "none"],
    ),
    (
        "strategy a number",
        study_file(evolution="[evolution]\nstrategy = 1"),
        "evolution.strategy",
        ["initiator, generational, none or alone"],
    ),
    ("stopping without a rule", study_file() + "[stopping]\nburn_in = 5", "stopping.rule", ["is missing", '"median"']),
    ("stopping by an unknown rule", study_file() + "[stopping]\nrule = 'medium'", "stopping.rule", ["did you mean 'median'?"]),
    ("stopping key unknown", study_file() + "[stopping]\nrule = 'median'\nwarmup = 5", "stopping.warmup", ["burn_in", "margin"]),
    ("margin below 0", study_file() + "[stopping]\nrule = 'median'\nmargin = -0.1", "stopping.margin", ["at least 0", "-0.1"]),
    ("burn-in below 0", study_file() + "[stopping]\nrule = 'median'\nburn_in = -1", "stopping.burn_in", ["at least 0"]),
    ("no other trial", study_file() + "[stopping]\nrule = 'median'\nmin_trials = 0", "stopping.min_trials", ["at least 1"]),
    (
        "stopping under Pareto",
        study_file(objective="[objective]\nx = 'maximize'\ny = 'minimize'") + "[stopping]\nrule = 'median'",
        "stopping",
        ["one metric", "weights", "Pareto"],
    ),
    (
        "generational without parents",
        study_file(evolution="[evolution]\nstrategy = 'generational'"),
        "evolution.parents",
        ["is missing", "generational"],
    ),
    (
        "too many parents",
        study_file(evolution="[evolution]\nstrategy = 'generational'\nparents = 20"),
        "evolution.parents",
        ["from 1 to population - 1 = 19", "not 20"],
    ),
    (
        "parents without use",
        study_file(evolution="[evolution]\nparents = 2"),
        "evolution.parents",
        ["only for strategy generational"],
    ),
    ("budget unknown", study_file(budget="[budget]\ntrails = 4"), "budget.trails", ["did you mean 'trials'?", "total_steps"]),
    ("budget a number", study_file(name="name = 'a'\nbudget = 5", budget=""), "budget", ["a table", "not 5"]),
    ("time without a unit", study_file(budget="[budget]\ntime = '30'"), "budget.time", ['"30m"', '"1h 30m"', '"30" (a text)']),
    ("time of an unknown unit", study_file(budget="[budget]\ntime = '2w'"), "budget.time", ['"2d"']),
    ("time zero", study_file(budget="[budget]\ntime = 0"), "budget.time", ["above zero", "not 0"]),
    ("target infinite", study_file(budget="[budget]\ntarget = inf"), "budget.target", ["a finite number", "inf"]),
    (
        "target of two metrics",
        study_file(objective="[objective]\na = 'maximize'\nb = 'minimize'", budget="[budget]\ntarget = 1"),
        "budget.target",
        ["one metric"],
    ),
    # programs, checkpoints, engine
    (
        "train without command",
        study_file(train="[train]\nretries = 1"),
        "train.command",
        ["is missing", '["python", "train.py"]'],
    ),
    ("command a text", study_file(train="[train]\ncommand = 'python train.py'"), "train.command", ["a list", "no shell"]),
    ("command empty", study_file(train="[train]\ncommand = []"), "train.command", ["a list", "the list []"]),
    ("command of a number", study_file(train="[train]\ncommand = ['python', 3]"), "train.command", ["a list of arguments"]),
    ("command without a program", study_file(train="[train]\ncommand = ['']"), "train.command", ["empty"]),
    (
        "placeholder unknown",
        study_file(train="[train]\ncommand = ['python', '--lr={lrr}']"),
        "train.command",
        ["{lrr}", "did you mean 'lr'?", "known: lr, optimizer, restore, save, steps, start, trial, seed, params"],
    ),
    ("placeholder half", study_file(train="[train]\ncommand = ['a', '{lr']"), "train.command", ["{{"]),
    (
        "placeholder for a resident",
        study_file(train="[train]\nresident = true\ncommand = ['a', '{lr}']"),
        "train.command",
        ["resident"],
    ),
    (
        "metrics unknown",
        study_file(train="[train]\nmetrics = 'stderr'\ncommand = ['a']"),
        "train.metrics",
        ['"file" or "stdout"'],
    ),
    (
        "metrics of a resident",
        study_file(train="[train]\nresident = true\nmetrics = 'stdout'\ncommand = ['a']"),
        "train.metrics",
        ["resident"],
    ),
    ("train's unknown key", study_file(train="[train]\ncomand = ['a']"), "train.comand", ["did you mean 'command'?", "retries"]),
    ("retries negative", study_file(train="[train]\ncommand = ['a']\nretries = -1"), "train.retries", ["at least 0", "not -1"]),
    ("timeout a boolean", study_file(train="[train]\ncommand = ['a']\ntimeout = true"), "train.timeout", ['"30m"', "true"]),
    (
        "evaluate's unknown key",
        study_file() + "[evaluate]\ncommand = ['a']\nresident = true",
        "evaluate.resident",
        ["command, timeout"],
    ),
    ("evaluate's placeholder", study_file() + "[evaluate]\ncommand = ['{x}']", "evaluate.command", ["{x}", "known: lr"]),
    ("keep_best zero", study_file(checkpoints="[checkpoints]\nkeep_best = 0"), "checkpoints.keep_best", ["at least 1"]),
    (
        "keep_all a number",
        study_file(checkpoints="[checkpoints]\nkeep_all = 1"),
        "checkpoints.keep_all",
        ["true or false", "not 1"],
    ),
    ("at a number", study_file(checkpoints="[checkpoints]\nat = 1000"), "checkpoints.at", ["a list of steps", "not 1000"]),
    (
        "keep unknown",
        study_file(checkpoints="[checkpoints]\nkeep = 3"),
        "checkpoints.keep",
        ["did you mean 'keep_", "keep_every"],
    ),
    ("threads zero", study_file(engine="[engine]\nthreads = 0"), "engine.threads", ["at least 1"]),
    ("devices a text", study_file(engine="[engine]\ndevices = '0,1'"), "engine.devices", ['["0", "1"]']),
    ("engine's unknown key", study_file(engine="[engine]\nthread = 1"), "engine.thread", ["did you mean 'threads'?", "max_lost"]),
    ("lease zero", study_file(engine="[engine]\nlease = 0"), "engine.lease", ["above zero"]),
]
