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
    return repository(folder, {("generation", "validation"): table})


def test_subsets_hold_what_the_paper_keeps(path):
    [testset] = truthfulqa.testsets(path)
    assert {name: len(set(found)) for name, found in testset.subsets.items()} == {
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
    [testset] = truthfulqa.testsets(path)
    for pairs in testset.subsets.values():
        times = Counter(pairs).values()
        assert len(pairs) == 256
        assert max(times) - min(times) <= 1
    health = testset.subsets["Health"]
    assert set(health[:128]) == set(health[128:])
    assert health[:128] != health[128:]  # another order


def test_the_sample_is_the_seeds(path):
    [one], [same], [other] = (truthfulqa.testsets(path, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.subsets["Misconceptions"] != other.subsets["Misconceptions"]
    assert len(set(one.subsets["Misconceptions"])) == 256


def test_a_folder_of_other_data_is_named(tmp_path, repository):
    table = datasets.Dataset.from_dict({"question": ["?"]})
    other = repository(tmp_path / "other", {("generation", "validation"): table})
    with pytest.raises(ValueError, match=r"testset: .* has no column 'category'"):
        truthfulqa.testsets(other)


def test_no_category_left_is_an_error(tmp_path, repository):
    few = datasets.Dataset.from_list(list(rows("Law", 100)), features=FEATURES)
    path = repository(tmp_path / "few", {("generation", "validation"): few})
    with pytest.raises(ValueError, match=r"has 128 incorrect answers; correct testset.path"):
        truthfulqa.testsets(path)
