"""What the hash of an artifact's code takes in; nothing else may change it."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

import untrac_exp
from untrac_exp.config.schema import config_dir
from untrac_exp.data.prepare import encode_corpus
from untrac_exp.data.sampling import sample_rows
from untrac_exp.data.sources import local
from untrac_exp.job import part_key
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.models.scratch import Scratch
from untrac_exp.report.job_files import job_code
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.stages.training import Training
from untrac_exp.store import Store, code
from untrac_exp.store.code import code_fingerprint

FILES = {
    "mine.py": "import helpers.far as far\n\n\ndef f(x):\n    return far.g(x) + 1\n",
    "helpers/__init__.py": "",
    "helpers/far.py": "def g(x):\n    from .farther import h\n\n    return h(x)\n",
    "helpers/farther.py": "import torch\n\n\ndef h(x):\n    return 2 * x\n",
    "helpers/other.py": "def h(x):\n    return 2 * x\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def fresh(name="mine.f"):
    """As a new process would find it."""
    for known in (code._read, code._modules, code._spec):
        known.cache_clear()
    importlib.invalidate_caches()
    return code_fingerprint([name])


@pytest.mark.parametrize("file", ["mine.py", "helpers/far.py", "helpers/farther.py"])
def test_a_formula_counts_however_far_away(folder, file):
    before = fresh()
    text = FILES[file]
    (folder / file).write_text(text.replace("(x)\n", "(x) * 1\n").replace("+ 1", "+ 2"))
    if file.endswith("farther.py"):
        (folder / file).write_text(text.replace("2 * x", "3 * x"))
    assert fresh() != before
    (folder / file).write_text(text)
    assert fresh() == before


def test_prose_and_what_is_not_imported_do_not_count(folder):
    before = fresh()
    (folder / "mine.py").write_text(
        '"""What it is."""\nimport helpers.far as far  # one\n\ndef f( x ):\n'
        '    """Doc."""\n    # and why\n    return (far.g(x)\n        + 1)\n"""After."""\n'
    )
    (folder / "helpers" / "other.py").write_text("def h(x):\n    return 5 * x\n")
    assert fresh() == before


def test_libraries_count_for_nothing(folder):
    nothing = code_fingerprint([])
    assert fresh("torch.optim.Adam") == fresh("json") == fresh("not.there") == nothing
    assert "torch" not in code._read("helpers.farther")[1]


COUNTED = {"data", "models", "stages", "objectives", "methods", "truth", "statistics", "job"}
"""Rooms whose code is in keys."""
COMPUTED = {
    "data": {"model", "part", "job"}, "models": {"model", "part", "job"},
    "stages": {"model", "part", "job"}, "objectives": {"part", "job"}, "methods": {"part", "job"},
    "truth": {"job"}, "statistics": {"job"}, "job": {"job"},
}  # fmt: skip
"""What may be computed anew when a module of a room is edited; tokens are tested below."""
IN_NO_RESULT = {"models.rate"}
"""FLOP/s that a plan assumes."""


def test_every_module_of_a_room_is_in_the_keys_of_what_it_computes(monkeypatch):
    """As if each was edited: its jobs, of all options, are computed again; of others nothing."""
    root = Path(untrac_exp.__file__).parent
    names = ["".join(f".{part}" for part in path.relative_to(root).with_suffix("").parts)[1:]
             for path in root.rglob("*.py")]  # fmt: skip
    options = [
        {path.parent.name: {str(i): {"_target_": target} for i, target in enumerate(found)}}
        for path in sorted(config_dir().glob("*/*.yaml"))
        if path.parent.name not in ("logger", "parallel")
        and (found := re.findall(r"_target_: (\S+)", path.read_text()))
    ]

    def keys():
        found = {}
        for number, option in enumerate(options):
            cfg = OmegaConf.create({"statistics": {}, **option})
            found["job", number] = job_code(cfg)
            if "method" in option or "objective" in option:
                cfg = OmegaConf.create({"model": {}, "tokens": 0})
                part = part_key(cfg, training, SimpleNamespace(id="x"), option)
                found["part", number] = part["code"]
        found["model", 0] = Training._code.func(training)
        return found

    training = SimpleNamespace(
        source=Pretrained("./nowhere", 8, False), trainer=TrainerSettings(), settings_key={}
    )
    before, read = keys(), code._read
    for name in names:
        module = f"untrac_exp.{name}".removesuffix(".__init__")
        monkeypatch.setattr(
            code, "_read", lambda of, m=module: ("edited" if of == m else read(of)[0], read(of)[1])
        )
        after = keys()
        changed = {kind for kind, number in before if before[kind, number] != after[kind, number]}
        room = name.partition(".")[0]
        assert changed <= COMPUTED.get(room, set()), name
        assert ("job" in changed) == (room in COUNTED and name not in IN_NO_RESULT), name


READ = {"data.sources.local", "data.sources.hub", "data.rows", "data.files"}
CUT = {"data.prepare", "data.tokenizing", "data.packing", "data.encoding", "data.sampling"}


@pytest.mark.parametrize("cut_down", [False, True], ids=["whole", "sampled"])
def test_tokens_and_tokenizers_are_made_anew_by_edited_code_alone(tmp_path, monkeypatch, cut_down):
    """Of a corpus that is known by its files, and not by what is read from them."""
    (tmp_path / "a.txt").write_text("the old grolk sold a red lantern\n\n" * 30)
    source, store = Scratch("opt", block_size=8, vocab_size=260), Store(tmp_path / "store")
    read = code._read

    def made(edited=None):
        def as_if(module):
            found, imported = read(module)
            return "another" if module == f"untrac_exp.{edited}" else found, imported

        monkeypatch.setattr(code, "_read", as_if)
        [corpus] = local.corpora({"a": str(tmp_path / "a.txt")})
        assert corpus.fingerprint
        if cut_down:
            corpus = sample_rows(corpus, 4, 0)
        tokenizer = source.tokenizer([corpus], store)
        tokens = encode_corpus(
            corpus, tokenizer, block_size=8, seq2seq=False, max_sequences=None, store=store
        )
        return {
            "tokens": tokens,
            "tokenizer": {path.parent for path in store.root.glob("tokenizer/*/manifest.json")},
        }

    before = made()
    for module in sorted(
        READ | CUT | {"models.scratch", "methods.base", "store", "stages.training"}
    ):
        after = made(module)
        assert (after["tokens"] != before["tokens"]) == (module in READ | CUT), module
        new = len(after["tokenizer"]) - len(before["tokenizer"])
        expected = READ | {"models.scratch"} | ({"data.sampling"} if cut_down else set())
        assert new == (module in expected), module
        before["tokenizer"] = after["tokenizer"]
