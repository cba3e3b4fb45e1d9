import datasets
import pytest

from untrac_exp.data.sources import toxigen

GROUPS = [f"group{i}" for i in range(13)]
FEATURES = datasets.Features(
    {
        "prompt": datasets.Value("string"),
        "generation": datasets.Value("string"),
        "generation_method": datasets.Value("string"),
        "group": datasets.Value("string"),
        "prompt_label": datasets.Value("int64"),
        "roberta_prediction": datasets.Value("float64"),
    }
)


def row(group, text, label=1):
    return {
        "prompt": "a prompt that is not wanted",
        "generation": text,
        "generation_method": "ALICE",
        "group": group,
        "prompt_label": label,
        "roberta_prediction": 0.5,
    }


def text(group, i, words):
    return " ".join([group, str(i), *["word"] * (words - 2)])


@pytest.fixture(scope="module")
def path(tmp_path_factory, repository):
    """Each group: 300 statements to keep, of 9 to 24 words, and some of every kind to drop."""
    rows = []
    for group in GROUPS:
        rows += [row(group, text(group, i, 9 + i % 16)) for i in range(300)]
        rows += [row(group, text(group, 900 + i, 12), label=0) for i in range(5)]
        rows += [row(group, text(group, 950, 8)), row(group, text(group, 951, 25))]
    table = datasets.Dataset.from_list(rows, features=FEATURES)
    return repository(tmp_path_factory.mktemp("toxigen"), {("train", "train"): table})


def test_subsets_hold_what_the_paper_keeps(path):
    [testset] = toxigen.testsets(path)
    assert sorted(testset.subsets) == sorted(GROUPS)
    for group, rows in testset.subsets.items():
        assert len(rows) == len(set(rows)) == 256
        for target, context, *_ in rows:
            words = target.split()
            assert context == ""
            assert words[0] == group
            assert int(words[1]) < 300  # neither benign, nor too short, nor too long
            assert 9 <= len(words) <= 24
        assert {len(target.split()) for target, _, *_ in rows} == set(range(9, 25))


def test_the_sample_is_the_seeds(path):
    [one], [same], [other] = (toxigen.testsets(path, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.subsets["group0"] != other.subsets["group0"]


def test_a_group_that_is_too_small_is_taken_whole_and_said(path, caplog):
    [testset] = toxigen.testsets(path, n_per_subset=301)
    assert {len(rows) for rows in testset.subsets.values()} == {300}
    assert "toxicity/group0: 300 texts are available of the 301 requested" in caplog.text


def test_nothing_left_is_an_error(tmp_path, repository):
    table = datasets.Dataset.from_list([row("group0", "too short")], features=FEATURES)
    path = repository(tmp_path / "short", {("train", "train"): table})
    with pytest.raises(ValueError, match="no toxic statement of 9 to 24 words"):
        toxigen.testsets(path)
