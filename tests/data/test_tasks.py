import re
from collections import Counter

import pytest

from untrac_exp.data.sources import tasks, tasks_csv

NUMBERS = {
    7: "seven", 12: "twelve", 20: "twenty", 41: "forty-one", 100: "one hundred",
    115: "one hundred and fifteen", 342: "three hundred and forty-two",
    999: "nine hundred and ninety-nine",
}  # fmt: skip


def rows_of(suite):
    rows = {corpus.name: corpus.rows for corpus in tasks.corpora(suite)}
    [testset] = tasks.testsets(suite)
    return {**rows, **testset.subsets}


@pytest.mark.parametrize("suite", ["a", "b"])
def test_a_suite_has_four_corpora_and_a_test_set_of_256(suite):
    rows = rows_of(suite)
    assert list(rows) == ["sim_same", "sim_diff", "dis_same", "dis_diff", "test"]
    assert {len(found) for found in rows.values()} == {256}
    assert {len(set(found)) for found in rows.values()} == {256}
    assert [t.name for t in tasks.testsets(suite)] == [f"tasks_{suite}"]


def test_numbers_in_words():
    assert {number: tasks.in_words(number) for number in NUMBERS} == NUMBERS
    assert len({tasks.in_words(number) for number in range(1000)}) == 1000


def test_answers_of_suite_a_are_right():
    words = {tasks.in_words(number): number for number in range(1000)}
    rows = rows_of("a")
    for target, text, *_ in rows["test"]:
        assert int(target) == int(re.search(r"after (\d+)\?", text)[1]) + 1
    for name, read in (("sim_same", int), ("sim_diff", words.get)):
        for target, text, *_ in rows[name]:
            assert read(target) == words[re.search(r"after (.+)\?", text)[1]] + 1
    for name, read in (("dis_same", int), ("dis_diff", words.get)):
        for target, text, *_ in rows[name]:
            assert read(target) == len(re.search(r"word (\w+)\?", text)[1])


def test_answers_of_suite_b_are_right():
    rows = rows_of("b")
    kinds = {"test": (str.isalpha, 5), "sim_same": (str.isalpha, 1), "sim_diff": (str.isdigit, 0)}
    for name, (kind, letters) in kinds.items():
        for target, text, *_ in rows[name]:
            removed, string = re.fullmatch(
                r"Take (.+) out of (\w{5})\. Which \w+ is left\?", text
            ).groups()
            assert set(string) - set(removed.split(", ")) == {target}
            assert kind(target)
            assert sum(map(str.isalpha, string)) == letters
    for name, labels in (("dis_same", "abcd"), ("dis_diff", "1234")):
        for target, text, *_ in rows[name]:
            word, *_ = re.search(r"is (\w+)\?", text).groups()
            options = dict(re.findall(r"(\w): (\w+)", text))
            assert set(options) == set(labels)
            assert word in tasks.WORDS[options[target]]
        assert min(Counter(target for target, *_ in rows[name]).values()) > 40  # no label is a tell


def test_the_examples_are_the_seeds():
    one, same, other = (tasks.corpora("b", seed=seed)[0].rows for seed in (0, 0, 1))
    assert one == same != other


def test_what_cannot_be_had_is_said():
    with pytest.raises(ValueError, match="suite='c' is unknown"):
        tasks.corpora("c")
    with pytest.raises(ValueError, match=r"dis_same has .* examples; lower n_per_corpus"):
        tasks.corpora("a", n_per_corpus=900)


def test_a_file_that_is_none_of_theirs_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"corpora.path: cannot read 'nowhere.csv' .*No such file"):
        tasks_csv.corpora("nowhere.csv")
    file = tmp_path / "other.csv"
    file.write_text("inputs_pretokenized,dataset\na,b\n")
    with pytest.raises(
        ValueError, match=r"testset.path: cannot read .* as a CSV with .*targets"
    ) as caught:
        tasks_csv.testsets(str(file), name="t")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"cannot read 'http://localhost:1/a.csv' .*refused.*connect, or give"
    ):
        tasks_csv.corpora("http://localhost:1/a.csv")
