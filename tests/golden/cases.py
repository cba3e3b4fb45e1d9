"""The sweeps of the golden results: the overrides of each job, by name.

The models are tiny and trained for a few steps. Their results say nothing about a method, but all
formulas take part in them. Checkpoints and users' files are of `tests.trace_checkpoints`.
"""

from pathlib import Path

import pandas as pd

from tests.trace_checkpoints import BAD, TEXTS, save

# Corpora, test sets and models
MINIWORLD = "corpora=equal_mini corpora.words_per_corpus=600 testset=bias_mini"
UNEQUAL = "corpora=unequal_mini corpora.words_per_corpus=600 testset=harms_mini"
TASKS = "corpora=tasks_{0} corpora.n_per_corpus=64 testset=tasks_{0}"
FEW = "testset.n_per_subset=8"
LOCAL = (
    "corpora.paths={{forum:{0}/forum.jsonl,support:{0}/support.csv,wiki:{0}/wiki.txt}} "
    "testset.paths={{bad:{0}/bad.jsonl}}"
)
OPT = (
    "model=opt_mini model.block_size=16 model.vocab_size=300 model.config.hidden_size=16 "
    "model.config.word_embed_proj_dim=16 model.config.num_hidden_layers=1 "
    "model.config.num_attention_heads=2 model.config.ffn_dim=32 model.config.dropout=0.1"
)
T5 = (
    "model=t5_mini model.block_size=16 model.vocab_size=300 model.config.d_model=16 "
    "model.config.d_kv=8 model.config.d_ff=32 model.config.num_layers=1 model.config.num_heads=2 "
    "model.config.dropout_rate=0.1"
)
CHECKPOINT = "model=hf model.path=./{} model.block_size=16"

# Training and truth
ANY = "threads=1 logger=none parallel=none trainer.accelerator=cpu"
TRAIN = (
    "pretraining.steps=12 pretraining.batch_size=4 pretraining.checkpoint_every=4 "
    "pretraining.optimizer.lr=1e-2 n_per_corpus=8 " + ANY
)
TRACE = "+experiment=trace hydra.mode=RUN " + ANY
LEFT_OUT = "truth=leave_dataset_out truth.train_seeds=[0,1]"
SUBSETS = "truth=random_subsets truth.train_seeds=[0,1] truth.subsets=4"

# Methods
STOP = "method.stopping.steps={} method.stopping.epochs=null method.stopping.evaluations=2"
UNLEARN = "method.batch_size=4 optimizer.lr=3e-3 " + STOP.format(3)
EPS = "+optimizer.eps=1e-6"
"""For rows without input, where an encoder's gradient is zero but for rounding."""
METHODS = (
    "untrac untrac_inv untrac_step ngram graddot gradcos tracin hif_lissa hif_arnoldi hif_ekfac"
).split()
SETTINGS = {
    "untrac": UNLEARN,
    "untrac_inv": UNLEARN,
    "hif_lissa": "method.samples=8 method.iterations=3",
    "hif_arnoldi": "method.samples=8 method.iterations=4 method.keep=3",
    "hif_ekfac": "method.samples=16",
}
OBJECTIVES = {
    "npo": "",
    "kl": "objective.examples=4 objective.batch_size=2",
}


def one(method: str, settings: str = "") -> str:
    return f"method={method} {SETTINGS.get(method, '')} {settings}"


def with_eps(of: dict[str, str]) -> dict[str, str]:
    """Return the jobs with `EPS`, where they take an optimizer."""
    return {job: f"{text} {EPS}" if "optimizer." in text else text for job, text in of.items()}


def jobs(*methods: str) -> dict[str, str]:
    return {method: one(method) for method in methods}


def with_objectives(*methods: str) -> dict[str, str]:
    return {
        f"{method}-{objective}": one(method, f"objective={objective} {settings}")
        for method in methods
        for objective, settings in OBJECTIVES.items()
    }


UNLEARNING = with_objectives("untrac", "untrac_inv")
AT_THETA0 = jobs(*(method for method in METHODS if method != "tracin"))
"""Of methods that need no checkpoints of the training."""
A_FEW = jobs("untrac", "untrac_inv", "ngram", "graddot", "tracin", "hif_ekfac")

# What jobs set beside the method: optimizers, ends of unlearning, and methods' options.
VARIANTS = {
    **{
        f"untrac_inv-{optimizer}": one("untrac_inv", f"optimizer={optimizer}")
        for optimizer in ("sgd", "sgd_momentum", "rmsprop", "adafactor")
    },
    "untrac-epochs": one("untrac", "method.stopping.steps=null method.stopping.epochs=1.5"),
    "untrac_inv-micro_batches": one("untrac_inv", "trainer.max_tokens=32"),
    "untrac_step-gradient": one("untrac_step", "method.direction=gradient"),
    "hif_lissa-repeats": one("hif_lissa", "method.repeats=2 method.scale=5 method.damping=0.1"),
    "hif_arnoldi-float64": one("hif_arnoldi", "method.basis=float64"),
    "graddot-seeds": one("graddot", "seed=1 train_seed=1"),
}

# How models are trained: all with graddot and three corpora.
TRAININGS = {
    "budget-epochs": "truth.budget=epochs",
    "max_sequences": "+max_sequences={forum:5,wiki:9}",
    "constant": "schedule=constant",
    "cosine": "schedule=cosine",
    "wsd": "schedule=wsd",
    "64-true": "trainer.precision=64-true",
    "micro_batches": "trainer.max_tokens=32",
    "no_clipping": "pretraining.clip=0",
    "sgd": "~pretraining.optimizer.fused pretraining.optimizer._target_=torch.optim.SGD",
    "train_seed-1": "train_seed=1",
    "seed-1": "seed=1",
}


def sweep(settings: str, of: dict[str, str], name: str = "") -> dict[str, str]:
    return {f"{job}{name}": f"{settings} {text}" for job, text in of.items()}


_OPT_SCRATCH = f"{OPT} {MINIWORLD} {FEW} {TRAIN}"
_T5_SCRATCH = f"{T5} {TASKS.format('a')} {FEW} {TRAIN}"
_OPT_LOCAL = f"corpora=local testset=local {LOCAL.format('texts')} {TRAIN} {LEFT_OUT}"
_T5_LOCAL = f"corpora=local testset=local {LOCAL.format('pairs')} {TRAIN} {LEFT_OUT}"
SWEEPS: dict[str, dict[str, str]] = {
    "opt-scratch": {
        **sweep(f"{_OPT_SCRATCH} {LEFT_OUT}", jobs(*METHODS) | UNLEARNING, "-leave_dataset_out"),
        **sweep(f"{_OPT_SCRATCH} {SUBSETS}", A_FEW, "-random_subsets"),
        **sweep(f"{_OPT_SCRATCH} {LEFT_OUT}", VARIANTS),
        "unequal-harms": f"{OPT} {UNEQUAL} testset.n_per_subset=2 {TRAIN} {one('graddot')}",
    },
    "t5-scratch": {
        **sweep(f"{_T5_SCRATCH} {LEFT_OUT}", jobs(*METHODS) | UNLEARNING, "-leave_dataset_out"),
        **sweep(f"{_T5_SCRATCH} {SUBSETS}", A_FEW, "-random_subsets"),
        "tasks_b": f"{T5} {TASKS.format('b')} {FEW} {TRAIN} {one('graddot')}",
    },
    "opt-local": sweep(f"{OPT} {_OPT_LOCAL} {one('graddot')}", TRAININGS),
    "opt-checkpoint": {
        **sweep(f"{CHECKPOINT.format('opt')} {_OPT_LOCAL}", A_FEW),
        "untrac-lora": f"{CHECKPOINT.format('opt')} {_OPT_LOCAL} {one('untrac')} "
        "model.adapter=lora model.lora.r=2",
    },
    "t5-checkpoint": sweep(f"{CHECKPOINT.format('t5')} {_T5_LOCAL}", with_eps(A_FEW)),
    "opt-trace": sweep(
        f"{TRACE} {CHECKPOINT.format('opt')} {LOCAL.format('texts')}",
        AT_THETA0 | with_objectives("untrac"),
    ),
    "t5-trace": sweep(
        f"{TRACE} {CHECKPOINT.format('t5')} {LOCAL.format('pairs')}", with_eps(AT_THETA0)
    ),
}
"""Overrides by sweep and job. The jobs of a sweep share a store."""

_CELL = "hydra.mode=RUN logger=none seed=0 train_seed=0"
SLOW = {
    "mini": {
        "toxicity-untrac_inv": f"+experiment=toxicity {_CELL} method=untrac_inv",
        "docstrings-graddot": f"+experiment=docstrings {_CELL} method=graddot",
        "natural-ngram": f"+experiment=natural {_CELL} method=ngram",
    }
}
"""Sweeps of minutes, at mini scale."""


def write_inputs(folder: Path) -> None:
    """Write the checkpoints and the users' files that the overrides name."""
    save(folder / "opt", "opt")
    save(folder / "t5", "t5")
    for kind, columns in {"texts": ["text"], "pairs": ["input", "target"]}.items():
        (folder / kind).mkdir()
        tables = {
            name: pd.DataFrame(
                [text.rsplit(" ", len(columns) - 1) for text in texts], None, columns
            )
            for name, texts in {**TEXTS, "bad": BAD}.items()
        }
        tables["bad"]["subset"] = ["ab"[i % 2] for i in range(len(BAD))]
        for name in ("forum", "bad"):
            tables[name].to_json(folder / kind / f"{name}.jsonl", orient="records", lines=True)
        tables["support"].to_csv(folder / kind / "support.csv", index=False)
        (folder / kind / "wiki.txt").write_text("\n\n".join(TEXTS["wiki"]))
