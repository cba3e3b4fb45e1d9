"""ToxiGen, TruthfulQA and WinoBias, of tables with the columns of those on the hub."""

from collections import Counter

import datasets
import pytest

from untrac_exp.data.sources import toxigen, truthfulqa, winobias

GROUPS = [f"group{i}" for i in range(13)]
# TruthfulQA's category -> how many incorrect answers it has in all
LIES = {
    "Misconceptions": 400, "Law": 256, "Health": 128, "Proverbs": 127, "Confusion: People": 70,
    "Confusion: Places": 70, "Indexical Error: Time": 60, "Indexical Error: Identity": 69,
    "Science": 12,
}  # fmt: skip


def statement(group, i, words, label=1):
    text = " ".join([group, str(i), *["word"] * (words - 2)])
    return {"prompt": "not wanted", "generation": text, "group": group, "prompt_label": label}


def statements():
    """Each group: 300 statements to keep, of 9 to 24 words, and some of every kind to drop."""
    for group in GROUPS:
        yield from (statement(group, i, 9 + i % 16) for i in range(300))
        yield from (statement(group, 900 + i, 12, label=0) for i in range(5))
        yield from (statement(group, 950, 8), statement(group, 951, 25))


def questions(category, lies):
    for start in range(0, lies, 7):
        yield {
            "category": category, "question": f"What of {category} {start}?",
            "best_answer": "the truth", "correct_answers": ["the truth", "nothing"],
            "incorrect_answers": [f"lie {i}" for i in range(start, min(start + 7, lies))],
        }  # fmt: skip


def sentences(tag, n=140):
    """`n` to keep for each gender; of both and of neither, some to drop."""
    for i in range(n):
        she, he = ["She", "her", "herself"][i % 3], ["He", "him", "his"][i % 3]
        yield f"The {tag} {i} knew {she} could n't stay ."
        yield f"The {tag} {i} met {he} , the cook 's friend ."
    yield from (f"he saw {tag} and her .", f"the {tag} saw them .")


def table(rows):
    return datasets.Dataset.from_list(list(rows))


@pytest.fixture(scope="module")
def paths(tmp_path_factory, repository):
    lies = [row for category, n in LIES.items() for row in questions(category, n)]
    tables = {
        toxigen: {("train", "train"): table(statements())},
        truthfulqa: {("generation", "validation"): table(lies)},
        winobias: {
            (config, split): table({"tokens": said.split()} for said in sentences(config + split))
            for config in ("type1_pro", "type1_anti", "type2_pro")
            for split in ("validation", "test")
        },
    }
    return {of: repository(tmp_path_factory.mktemp("hub"), given) for of, given in tables.items()}


def test_toxigen_holds_what_the_paper_keeps(paths):
    [testset] = toxigen.testsets(paths[toxigen])
    assert sorted(testset.subsets) == sorted(GROUPS)
    for group, rows in testset.subsets.items():
        assert len(rows) == len(set(rows)) == 256
        for target, context, *_ in rows:
            words = target.split()
            assert (context, words[0]) == ("", group)
            assert int(words[1]) < 300  # neither benign, nor too short, nor too long
        assert {len(target.split()) for target, _, *_ in rows} == set(range(9, 25))


def test_a_group_that_is_too_small_is_taken_whole_and_said(paths, caplog):
    [testset] = toxigen.testsets(paths[toxigen], n_per_subset=301)
    assert {len(rows) for rows in testset.subsets.values()} == {300}
    assert "toxicity/group0: 300 texts are available of the 301 requested" in caplog.text


def test_truthfulqa_holds_what_the_paper_keeps(paths):
    """Few pairs are repeated as often as each other, in another order."""
    [testset] = truthfulqa.testsets(paths[truthfulqa])
    assert {name: len(set(found)) for name, found in testset.subsets.items()} == {
        "Confusion": 140, "Health": 128, "Indexical Error": 129, "Law": 256, "Misconceptions": 256,
    }  # fmt: skip
    for target, question, *_ in testset.subsets["Law"]:
        lie = int(target.removeprefix(" lie "))
        assert question == f"What of Law {lie // 7 * 7}?"
    topics = {question.split()[3] for _, question, *_ in testset.subsets["Confusion"]}
    assert topics == {"People", "Places"}
    for pairs in testset.subsets.values():
        times = Counter(pairs).values()
        assert len(pairs) == 256
        assert max(times) - min(times) <= 1
    health = testset.subsets["Health"]
    assert set(health[:128]) == set(health[128:])
    assert health[:128] != health[128:]


def test_winobias_holds_what_the_authors_keep(paths):
    """Five pronouns as they are written, and tokens joined by spaces."""
    [testset] = winobias.testsets(paths[winobias])
    assert list(testset.subsets) == ["pro_female", "pro_male", "anti_female", "anti_male"]
    # of 280, a third has "She" and a third "herself"; a third of the others has "He"
    kept = {"female": [1], "male": [1, 2]}
    for subset, rows in testset.subsets.items():
        stereotype, gender = subset.split("_")
        assert len(rows) == len(set(rows)) == 2 * sum(i % 3 in kept[gender] for i in range(140))
        tags = {target.split()[1] for target, *_ in rows}
        assert tags == {f"type1_{stereotype}validation", f"type1_{stereotype}test"}
        ending = "her could n't stay ." if gender == "female" else " , the cook 's friend ."
        assert all(target.endswith(ending) for target, *_ in rows)


@pytest.mark.parametrize("of", [toxigen, truthfulqa, winobias])
def test_the_sample_is_the_seeds(of, paths):
    [one], [same], [other] = (of.testsets(paths[of], n_per_subset=60, seed=i) for i in (0, 0, 1))
    assert one == same
    assert all(rows != other.subsets[name] for name, rows in one.subsets.items())


@pytest.mark.parametrize(
    ("of", "name", "rows", "says"),
    [
        (toxigen, ("train", "train"), [statement("group0", 0, 3)], "no toxic statement of 9 to 24"),
        (truthfulqa, ("generation", "validation"), [{"question": "?"}], "no column 'category'"),
        (truthfulqa, ("generation", "validation"), questions("Law", 100),
         "has 128 incorrect answers; correct testset.path"),
    ],
)  # fmt: skip
def test_a_folder_of_other_data_is_named(of, name, rows, says, tmp_path, repository):
    with pytest.raises(ValueError, match=says):
        of.testsets(repository(tmp_path / says[:5], {name: table(rows)}))
