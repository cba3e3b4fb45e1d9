from collections import Counter

import datasets
import pytest

from untrac_exp.data.sources import truthfulqa

STRINGS = datasets.Sequence(datasets.Value("string"))
FEATURES = datasets.Features(
    {
        "type": datasets.Value("string"),
        "category": datasets.Value("string"),
        "question": datasets.Value("string"),
        "best_answer": datasets.Value("string"),
        "correct_answers": STRINGS,
        "incorrect_answers": STRINGS,
        "source": datasets.Value("string"),
    }
)
# category -> how many incorrect answers it has in all
PAIRS = {
    "Misconceptions": 400,
    "Law": 256,
    "Health": 128,
    "Proverbs": 127,
    "Confusion: People": 70,
    "Confusion: Places": 70,
    "Indexical Error: Time": 60,
    "Indexical Error: Identity": 69,
    "Science": 12,
}


def rows(category, pairs):
    for start in range(0, pairs, 7):
        yield {
            "type": "Adversarial",
            "category": category,
            "question": f"What of {category} {start}?",
            "best_answer": "the truth",
            "correct_answers": ["the truth", "nothing"],
            "incorrect_answers": [f"lie {i}" for i in range(start, min(start + 7, pairs))],
            "source": "https://example.org",
        }


@pytest.fixture(scope="module")
def path(tmp_path_factory, repository):
    table = datasets.Dataset.from_list(
        [row for category, pairs in PAIRS.items() for row in rows(category, pairs)],
        features=FEATURES,
    )
    folder = tmp_path_factory.mktemp("truthful")
    other = datasets.Dataset.from_dict({"question": ["?"]})
    return repository(
        folder, {("generation", "validation"): table, ("multiple_choice", "validation"): other}
    )


def test_subsets_hold_what_the_paper_keeps(path):
    [testset] = truthfulqa.testsets(path)
    assert {name: len(found) for name, found in testset.subsets.items()} == {
        "Confusion": 140,
        "Health": 128,
        "Indexical Error": 129,
        "Law": 256,
        "Misconceptions": 256,
    }
    for target, question, *_ in testset.subsets["Law"]:
        lie = int(target.removeprefix(" lie "))
        assert question == f"What of Law {lie // 7 * 7}?"
    topics = {question.split()[3] for _, question, *_ in testset.subsets["Confusion"]}
    assert topics == {"People", "Places"}


def test_few_pairs_are_repeated_as_often_as_each_other(path):
    [once], [testset] = (truthfulqa.testsets(path, repeat=repeat) for repeat in (False, True))
    assert once.subsets.keys() == testset.subsets.keys()
    for name, pairs in testset.subsets.items():
        times = Counter(pairs).values()
        assert len(pairs) == 256
        assert max(times) - min(times) <= 1
        assert set(pairs) == set(once.subsets[name])
        assert pairs[: len(once.subsets[name])] == once.subsets[name]
    assert testset.subsets["Law"] == once.subsets["Law"]
    health = testset.subsets["Health"]
    assert health[:128] != health[128:]  # another order


def test_the_sample_is_the_seeds(path):
    [one], [same], [other] = (truthfulqa.testsets(path, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.subsets["Misconceptions"] != other.subsets["Misconceptions"]
    assert len(set(one.subsets["Misconceptions"])) == 256


def test_the_wrong_config_is_named(path):
    with pytest.raises(ValueError, match=r"testset: .* has no column 'category'"):
        truthfulqa.testsets(path, config="multiple_choice")


def test_no_category_left_is_an_error(path):
    with pytest.raises(ValueError, match=r"lower testset.min_per_subset"):
        truthfulqa.testsets(path, min_per_subset=500)
