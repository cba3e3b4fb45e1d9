import datasets
import pytest

from untrac_exp.data.sources import winobias

SEQUENCE = datasets.Sequence
FEATURES = datasets.Features(
    {
        "document_id": datasets.Value("string"),
        "part_number": datasets.Value("string"),
        "word_number": SEQUENCE(datasets.Value("int32")),
        "tokens": SEQUENCE(datasets.Value("string")),
        "pos_tags": SEQUENCE(datasets.ClassLabel(names=["NN", "VB", "PRP"])),
        "parse_bit": SEQUENCE(datasets.Value("string")),
        "predicate_lemma": SEQUENCE(datasets.Value("string")),
        "speaker": SEQUENCE(datasets.Value("string")),
        "ner_tags": SEQUENCE(datasets.ClassLabel(names=["O", "PERSON"])),
        "verbal_predicates": SEQUENCE(datasets.Value("string")),
        "coreference_clusters": SEQUENCE(datasets.Value("string")),
    }
)


def row(tokens):
    n = len(tokens)
    return {
        "document_id": "wsj/00",
        "part_number": "0",
        "word_number": list(range(n)),
        "tokens": tokens,
        "pos_tags": [0] * n,
        "parse_bit": ["*"] * n,
        "predicate_lemma": ["-"] * n,
        "speaker": ["-"] * n,
        "ner_tags": [0] * n,
        "verbal_predicates": ["*"] * n,
        "coreference_clusters": ["1"],
    }


def sentences(tag, n):
    """`n` to keep for each gender; of both and of neither, some to drop."""
    said = []
    for i in range(n):
        pronoun = ["She", "her", "herself"][i % 3]
        said.append(["The", tag, str(i), "knew", pronoun, "could", "n't", "stay", "."])
        pronoun = ["He", "him", "his"][i % 3]
        said.append(["The", tag, str(i), "met", pronoun, ",", "the", "cook", "'s", "friend", "."])
    said += [["he", "saw", tag, "and", "her", "."], ["the", tag, "saw", "them", "."]]
    return [row(tokens) for tokens in said]


@pytest.fixture(scope="module")
def path(tmp_path_factory, repository):
    tables = {
        (config, split): datasets.Dataset.from_list(
            sentences(f"{config}-{split}", 140), features=FEATURES
        )
        for config in ("type1_pro", "type1_anti", "type2_pro")
        for split in ("validation", "test")
    }
    return repository(tmp_path_factory.mktemp("wino"), tables)


def test_subsets_hold_what_the_authors_keep(path):
    """Five pronouns as they are written, and tokens joined by spaces."""
    [testset] = winobias.testsets(path)
    assert list(testset.subsets) == ["pro_female", "pro_male", "anti_female", "anti_male"]
    # of 280, a third has "She" and a third "herself"; a third of the others has "He"
    kept = {"female": [1], "male": [1, 2]}
    for subset, rows in testset.subsets.items():
        stereotype, gender = subset.split("_")
        assert len(rows) == len(set(rows)) == 2 * sum(i % 3 in kept[gender] for i in range(140))
        tags = {target.split()[1] for target, *_ in rows}
        assert tags == {f"type1_{stereotype}-validation", f"type1_{stereotype}-test"}
        ending = "her could n't stay ." if gender == "female" else " , the cook 's friend ."
        assert all(target.endswith(ending) for target, *_ in rows)


def test_the_sample_is_the_seeds(path):
    [one], [same], [other] = (winobias.testsets(path, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.subsets["pro_male"] != other.subsets["pro_male"]


@pytest.mark.parametrize(
    ("words", "gender"),
    [
        ("The cook met her", "female"),
        ("his dog", "male"),
        ("he and her", None),
        ("they saw them", None),
        ("the shepherd", None),
        ("She saw him", "male"),
        ("herself", None),
    ],
)
def test_gender_is_that_of_the_only_pronoun(words, gender):
    assert winobias.pronoun_gender(words.split()) == gender
