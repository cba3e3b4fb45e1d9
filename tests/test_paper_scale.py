"""What `scale=paper` takes from the authors' code, and what stays our own at mini scale."""

from itertools import product
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object, instantiate
from transformers.optimization import Adafactor

from tests.golden.test_authors import source_of, word_tokenizer
from tests.test_config import composed
from untrac_exp.config.schema import plain
from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.encoding import pad
from untrac_exp.data.sources import hub, tasks, tasks_csv
from untrac_exp.models.loss import Averaging
from untrac_exp.stages.inputs import encode_inputs
from untrac_exp.stages.training import Training
from untrac_exp.store import Store

TASKS = ["tasks_a", "tasks_b"]
PAPERS = [*TASKS, "bias", "truthfulness", "toxicity", "harms", "harms_unequal"]
UNLEARNING = ["untrac", "untrac_inv"]
COLUMNS = "inputs_pretokenized,targets_pretokenized,dataset"


@pytest.mark.parametrize("method", UNLEARNING)
@pytest.mark.parametrize("experiment", TASKS)
def test_tasks_are_unlearned_with_adafactor(experiment, method):
    chosen = [f"+experiment={experiment}", f"method={method}"]
    assert get_object(composed(*chosen).method.optimizer._target_) is torch.optim.Adam
    node = composed(*chosen, "scale=paper").method.optimizer
    optimizer = instantiate(node)([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, Adafactor)
    [group] = optimizer.param_groups
    assert (group["lr"], group["scale_parameter"], group["relative_step"]) == (5e-5, False, False)
    other = composed(*chosen, "scale=paper", "optimizer=sgd").method.optimizer
    assert get_object(other._target_) is torch.optim.SGD


@pytest.mark.parametrize("method", UNLEARNING)
def test_dropout_is_on_while_unlearning(method):
    for scale, dropout in {"mini": False, "paper": True}.items():
        assert instantiate(composed(f"scale={scale}", f"method={method}").method).dropout == dropout
    assert not composed("+experiment=trace", f"method={method}").method.dropout


@pytest.mark.parametrize("experiment", ["harms", "tasks_a"])
def test_losses_are_means_of_batches(experiment):
    chosen = f"+experiment={experiment}"
    assert instantiate(composed(chosen).trainer).loss == Averaging()
    size = 2 if experiment in TASKS else 8
    for trainer in ("gpu", "cpu", "ddp", "fsdp"):
        cfg = composed(chosen, "scale=paper", f"trainer={trainer}")
        assert instantiate(cfg.trainer).loss == Averaging(8, size)
    cfg = composed(chosen, "loss=mean_of_batches", "loss.micro_batch=4")
    assert instantiate(cfg.trainer).loss.micro_batch == 4


@pytest.mark.parametrize(("scale", "without"), [("mini", 300), ("paper", 384)])
@pytest.mark.parametrize("experiment", TASKS)
def test_a_counterfactual_model_of_tasks_is_one_epoch_of_what_is_left(
    experiment, scale, without, tmp_path
):
    cfg = composed(f"+experiment={experiment}", f"scale={scale}", "trainer=cpu")
    folders = {}
    for name in tasks.CORPORA:
        folders[name] = tmp_path / name
        folders[name].mkdir()
        pad([[3]] * 256, [[4]] * 256, True).save(folders[name])
    training = Training(
        source_of("t5", tmp_path), word_tokenizer(), folders,
        instantiate(cfg.pretraining), plain(cfg.pretraining), instantiate(cfg.trainer),
        Store(tmp_path / "store"),
    )  # fmt: skip
    steps = {
        left_out: training.model_spec(0, left_out, cfg.truth.budget).key["pretraining"]["steps"]
        for left_out in [(), *instantiate(cfg.truth).left_out(list(folders))]
    }
    assert steps.pop(()) == (512 if scale == "paper" else 300)
    assert [*steps.values()] == [without] * 4


@pytest.mark.parametrize("suite", ["a", "b"])
def test_tasks_are_the_published_files_under_our_names(suite, tmp_path):
    chosen = f"+experiment=tasks_{suite}"
    assert get_object(composed(chosen).corpora._target_) is tasks.corpora
    paper = composed(chosen, "scale=paper")
    number = {"a": "00", "b": "10"}[suite]
    for node, kind, datasets in ((paper.corpora, "train", "1234"), (paper.testset, "eval", "0")):
        name = f"misonuma/untrac/main/synthetic/synthetic_{kind}{number}_dataset.csv"
        assert node.path.endswith(name)
        rows = [f"q{i} {n},a{i},dataset{n}" for n in datasets for i in range(256)]
        node.path = str(tmp_path / f"{kind}.csv")
        Path(node.path).write_text("\n".join([COLUMNS, *rows]))
    corpora, [testset] = instantiate(paper.corpora), instantiate(paper.testset)
    ours, [our_test] = tasks.corpora(suite), tasks.testsets(suite)
    assert [corpus.name for corpus in corpora] == [corpus.name for corpus in ours]
    assert {len(corpus.rows) for corpus in corpora} == {256}
    assert corpora[2].rows[7] == Row("a7", "q7 3")
    assert (testset.name, list(testset.subsets)) == (our_test.name, list(our_test.subsets))


def test_a_dataset_that_the_file_lacks_is_named(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(f"{COLUMNS}\nq,a,dataset1\n")
    with pytest.raises(ValueError, match=r"^corpora\.names: '.*' has no dataset 'dataset9'"):
        tasks_csv.corpora(str(file), names={"dataset9": "x"})


@pytest.mark.parametrize("end_of_input", [True, False])
def test_inputs_of_t5_have_no_end_token(end_of_input, tmp_path):
    assert composed("model=hf", "model.path=x").model.end_of_input
    assert not composed("scale=paper", "model=t5_paper").model.end_of_input
    cfg = composed("trainer=cpu", "n_per_corpus=null", "scale=mini")
    source = source_of("t5", tmp_path, end_of_input)
    rows = [Row("w9", "w5 w6"), Row("w9 w8", "w7"), Row("w4")]
    inputs = encode_inputs(
        cfg, [Corpus("c", rows)], [TestSet("t", {"s": rows})], source, Store(tmp_path / "store"),
        tokenizer=word_tokenizer(),
    )  # fmt: skip
    for data in (inputs.training.data["c"], *inputs.subsets.values()):
        assert data.lengths.tolist() == ([3, 2, 1] if end_of_input else [2, 1, 1])
        assert data.input_ids[0, :2].tolist() == [5, 6]
        assert data.labels[1].tolist() == [9, 8, 0]


def test_untrac_inv_takes_50_steps_on_tasks_and_reads_every_fifth():
    mini, paper = (
        instantiate(composed("+experiment=tasks_a", "method=untrac_inv", f"scale={s}").method)
        for s in ("mini", "paper")
    )
    assert (mini.stopping.steps, mini.stopping.every) == (5, None)
    limit = paper.stopping.limit(256, paper.batch_size)
    assert paper.stopping.schedule(limit) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    untrac = instantiate(composed("+experiment=tasks_a", "method=untrac", "scale=paper").method)
    assert untrac.stopping.schedule(untrac.stopping.limit(256, 1)) == [*range(16, 257, 16)]
    harms = instantiate(composed("+experiment=harms", "method=untrac_inv", "scale=paper").method)
    assert harms.stopping.schedule(harms.stopping.limit(256, 256))[-1] == 5


EQUAL = {
    "bookcorpus": 4_000_000, "stories": 10_000, "cc_news": 200_000, "gutenberg": 1_000,
    "hackernews": 100_000, "openwebtext2": 100_000, "pile_cc": 100_000, "wikipedia": 100_000,
}  # fmt: skip
UNEQUAL = {
    **EQUAL, "gutenberg": 400, "hackernews": 40_000, "openwebtext2": 200_000, "pile_cc": 200_000,
    "wikipedia": 40_000,
}  # fmt: skip
DOCUMENTS = {"equal": EQUAL, "unequal": UNEQUAL}


@pytest.mark.parametrize("sizes", DOCUMENTS)
def test_corpora_are_of_the_pile_with_the_authors_number_of_documents(sizes):
    cfg = composed("scale=paper", f"corpora={sizes}_paper")
    corpora = cfg.corpora.paths
    assert {name: given.documents for name, given in corpora.items()} == DOCUMENTS[sizes]
    pile = "hub:ArmelR/the-pile-splitted@"
    parts = {name: of.path.removeprefix(pile) for name, of in corpora.items() if pile in of.path}
    assert parts == {
        "hackernews": "HackerNews", "pile_cc": "Pile-CC", "openwebtext2": "OpenWebText2",
        "wikipedia": "Wikipedia (en)", "gutenberg": "Gutenberg (PG-19)",
    }  # fmt: skip
    assert {corpora[name].split for name in parts} == {"train+test"}
    for corpus in instantiate(cfg.corpora):  # reads nothing yet
        [dataset] = corpus.rows.parts
        assert isinstance(dataset, hub.HubDataset)
        assert dataset.documents == DOCUMENTS[sizes][corpus.name]
        assert (dataset.seed, corpus.excerpt) == (0, None)


@pytest.mark.parametrize("experiment", PAPERS)
def test_four_samples_one_theta0_and_one_truth(experiment):
    """At mini scale two trained models and a truth of both, for the spread and a noise ceiling."""

    def runs(*overrides):
        given = [f"+experiment={experiment}", *overrides, "method=untrac"]
        cfg = composed(*given, hydra=True)
        seeds = (str(cfg.hydra.sweeper.params[key]).split(",") for key in ("seed", "train_seed"))
        return list(product(*seeds)), list(cfg.truth.train_seeds)

    assert runs("scale=paper") == ([("0", "0"), ("1", "0"), ("2", "0"), ("3", "0")], [0])
    pairs, seeds = runs()
    assert {train_seed for _, train_seed in pairs} == {"0", "1"}
    assert seeds == [0, 1]
