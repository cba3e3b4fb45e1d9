"""Methods restricted to the token embeddings: the right weights, and no others."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tests.trace_checkpoints import BAD, SEQ2SEQ, TEXTS, save
from untrac_exp import trace
from untrac_exp.methods.common.products import gradient
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.untrac_step import UnTracStep
from untrac_exp.models.weights import select_weights


def chosen(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("opt", {"model.decoder.embed_tokens.weight"}),
        ("gpt2", {"transformer.wte.weight"}),
        ("llama", {"model.embed_tokens.weight", "lm_head.weight"}),
        ("t5", {"shared.weight", "lm_head.weight"}),
    ],
)
def test_embeddings_are_those_of_the_input_and_of_the_output(architecture, names, tmp_path):
    auto = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    model = auto.from_pretrained(save(tmp_path / "model", architecture))
    if model.get_input_embeddings().weight is model.get_output_embeddings().weight:
        names = names - {"lm_head.weight"}
    select_weights(model, "embeddings")
    assert chosen(model) == names


def test_all_leaves_the_model_as_it_is(subject):
    before = chosen(subject.model)
    select_weights(subject.model, "all")
    assert chosen(subject.model) == before


def test_products_are_those_of_a_part_of_the_gradient(subject, fresh_subject):
    names = [name for name, p in subject.model.named_parameters() for _ in range(p.numel())]
    part = torch.tensor(["embed_tokens" in name for name in names])
    assert 0 < part.sum() < len(part)
    other = fresh_subject()
    select_weights(other.model, "embeddings")
    scores = GradDot(weights="embeddings").influences(other).scores
    for row in scores.itertuples():
        of_corpus = gradient(subject, subject.corpora[row.corpus])[part]
        [of_subset] = [
            gradient(subject, data)[part]
            for subset, data in subject.subsets.items()
            if subset == (row.testset, row.subset)
        ]
        assert row.influence == pytest.approx(float(of_corpus @ of_subset), rel=1e-6, abs=1e-12)


def test_the_step_leaves_other_weights_as_they_are(subject):
    select_weights(subject.model, "embeddings")
    read = []

    class Watched(type(subject)):
        def losses(self, data):
            read.append({n: p.detach().clone() for n, p in self.model.named_parameters()})
            return super().losses(data)

    fields = [name for name, field in subject.__dataclass_fields__.items() if field.init]
    watched = Watched(**{name: getattr(subject, name) for name in fields})
    UnTracStep(weights="embeddings").influences(watched)
    moved = {n for at in read for n, p in at.items() if not torch.equal(p, read[0][n])}
    assert moved == {"model.decoder.embed_tokens.weight"}


def test_a_trace_takes_it_and_gives_the_model_back(tmp_path):
    path = save(tmp_path / "model", "gpt2")
    model = AutoModelForCausalLM.from_pretrained(path)
    given = {"threads": 1, "trainer.accelerator": "cpu", "budget": None, "method": "untrac_step"}
    ask = {"corpora": TEXTS, "testsets": {"t": BAD}}
    tokenizer = AutoTokenizer.from_pretrained(path)
    answers = [
        trace(model, tokenizer, **ask, **given, **{"method.weights": weights})["influence"]
        for weights in ("all", "embeddings", "all")
    ]
    assert answers[0].equals(answers[2])
    assert not answers[0].equals(answers[1])
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match=r"method\.weights=heads: choose all or embeddings"):
        trace(model, tokenizer, **ask, **given, **{"method.weights": "heads"})
    lora = {"method.weights": "embeddings", "model.adapter": "lora"}
    with pytest.raises(ValueError, match=r"the embeddings are frozen, as by model\.adapter=lora"):
        trace(model, tokenizer, **ask, **given, **lora)
