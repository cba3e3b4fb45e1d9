"""The loss of every causal and encoder-decoder family of transformers, against its own."""

import pytest
import torch
import torch.nn.functional as F
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from untrac_exp.data.encoding import IGNORED, pad
from untrac_exp.models.checks import check_causal
from untrac_exp.models.loss import mean_loss, vocab_size

SIZES = {
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads num_experts "
    "rotary_dim decoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads "
    "num_local_experts n_routed_experts moe_num_experts time_step_rank mamba_dt_rank",
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_kv_heads "
    "num_decoder_layers num_encoder_layers num_blocks num_key_value_heads n_kv_heads "
    "num_experts_per_tok num_experts_per_token moe_topk n_mamba_heads",
    1: "n_group topk_group first_k_dense_replace mamba_n_groups",
    8: "head_dim d_kv global_head_dim kv_lora_rank q_lora_rank qk_nope_head_dim qk_rope_head_dim "
    "v_head_dim state_size mamba_d_state mamba_d_head mamba_n_heads ssm_state_size "
    "mamba_num_heads mamba_head_dim mamba_headdim attention_window window_size "
    "hidden_size_per_layer_input",
    16: "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size "
    "shared_intermediate_size moe_shared_expert_intermediate_size mamba_chunk_size chunk_size "
    "sliding_window qk_head_dim",
    32: "hidden_size d_model n_embd dim embedding_size emb_dim word_embed_proj_dim "
    "attention_hidden_size",
    48: "intermediate_size ffn_dim d_ff n_inner decoder_ffn_dim encoder_ffn_dim ffn_hidden_size "
    "d_inner dff block_ff_dim",
    64: "max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length context_length "
    "mamba_d_ssm",
    99: "vocab_size vocab_size_per_layer_input",
}
"""Keys of configurations, by the largest value that a tiny model has."""
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
LAYERS = ("layer_types", "layers_block_type", "mlp_layer_types")
OWN = {
    "bamba": {"layer_types": None},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "encoder-decoder": TOKENS,
    "falcon": {"num_kv_heads": 4},
    "falcon_h1": {"layer_types": None},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "minicpm3": {"num_key_value_heads": 4},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 4, "head_dim": 8},
    "recurrent_gemma": {"layer_types": None, "block_types": ["recurrent", "attention"]},
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8],
                 "attn_layers": ["local", "local"]},
}  # fmt: skip
"""Keys that only one family has, or None to leave one out."""
ENCODERS = set(
    "bert bert-generation big_bird camembert cpmant data2vec-text electra ernie megatron-bert "
    "rembert roberta roberta-prelayernorm roc_bert roformer xlm xlm-roberta xlm-roberta-xl "
    "xlnet".split()
)
"""Families whose default configuration sees later tokens."""
UNSHIFTED = set(
    "bart bigbird_pegasus blenderbot blenderbot-small marian mbart mvp pegasus plbart trocr "
    "whisper".split()
)
"""Decoders whose own loss compares each token's logits with that token; we give it the next one."""
OTHER_LOSSES = {"prophetnet", "fsmt", "git"}
"""Families whose own loss is of several tokens at a time, or of images, or fails."""
NEED_MORE = {"xmod": "set_default_language", "voxtral_realtime": "input_features"}
NOT_TINY = set(
    "blt cohere_compass_text dbrx dots1 dots3_note dots3_note_text gemma3n gemma3n_text gemma4 "
    "gemma4_assistant gemma4_unified_assistant musicgen musicgen_melody nemo_speechlm qwen4_exp "
    "qwen4_exp_text vibevoice_asr zamba zamba2".split()
)
"""Families of which `tiny` makes no small model."""
FEW = ("llama", "gemma2", "gemma3", "gpt_oss", "bloom", "gptj", "mamba", "mpt", "rwkv", "xglm")
FAMILIES = [(name, False) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]
FAMILIES += [(name, True) for name in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES]


def read(config, name):
    try:
        return getattr(config, name, None)
    except Exception:  # of attributes that vary by layer
        return None


def tiny(kind, own):
    """A configuration with small sizes, of its parts too."""
    base, values = kind(), {}
    for size, names in SIZES.items():
        for name in names.split():
            made = getattr(kind, name, None)
            is_free = not isinstance(made, property) or made.fset is not None
            value = read(base, name)
            if is_free and isinstance(value, int) and value is not True and value > size:
                values[name] = size
    for name in getattr(kind, "sub_configs", {}):
        if hasattr(part := read(base, name), "to_dict"):
            values[name] = tiny(type(part), {}).to_dict()
    for name, token in TOKENS.items():
        value = read(base, name)
        if isinstance(value, list) or (isinstance(value, int) and value >= 99):
            values[name] = token
    if read(base, "is_encoder_decoder"):
        values["decoder_start_token_id"] = 1
    n = values.get("num_hidden_layers") or values.get("n_layer")
    for name in LAYERS:
        made = getattr(kind, name, None)
        is_free = not isinstance(made, property) or made.fset is not None
        if n and is_free and isinstance(value := read(base, name), list | tuple):
            values[name] = [*dict.fromkeys(value), *value][:n]
    if "kv_lora_rank" in values:
        values["num_key_value_heads"] = 4
    values |= own
    return kind(**{name: value for name, value in values.items() if value is not None})


def made(name, seq2seq, **changes):
    config = tiny(CONFIG_MAPPING[name], {**OWN.get(name, {}), **changes})
    auto = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    with torch.device("meta"):
        assert auto.from_config(config).num_parameters() < 3e7
    torch.manual_seed(0)
    return auto.from_config(config).eval().float()


def losses(model, unshifted=False):
    """Ours and the model's own."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(5, 90, (2, 12), generator=generator).tolist()
    seq2seq = model.config.is_encoder_decoder
    batch = pad(rows, [row[:6] for row in rows] if seq2seq else rows, seq2seq).batch(slice(None))
    labels = batch["labels"]
    if unshifted:
        labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    with torch.no_grad():
        own = model(input_ids=batch["input_ids"], labels=labels, use_cache=False).loss
        return float(mean_loss(model, batch)), float(own)


def check(name, seq2seq):
    model = made(name, seq2seq)
    refused = NEED_MORE.get(name) or ("no causal language model" if name in ENCODERS else None)
    if refused:
        with pytest.raises(ValueError, match=refused) as caught:
            check_causal(model)
        assert "\n" not in str(caught.value)
        return
    check_causal(model)
    ours, own = losses(model, unshifted=name in UNSHIFTED and not seq2seq)
    assert ours == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("name", FEW)
def test_common_families_have_their_own_loss(name):
    assert vocab_size(made(name, False)) == 99
    check(name, False)


@pytest.mark.parametrize("name", ["encoder-decoder", "longt5", "blenderbot"])
def test_common_encoder_decoders_have_their_own_loss(name):
    check(name, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seq2seq"),
    [family for family in FAMILIES if family[0] not in NOT_TINY | OTHER_LOSSES],
)
def test_every_family_has_its_own_loss_or_is_refused(name, seq2seq):
    check(name, seq2seq)


@pytest.mark.parametrize("name", ["bert", "electra", "roberta", "xlnet"])
def test_what_sees_later_tokens_is_refused(name):
    check(name, False)


@pytest.mark.parametrize("name", ["bert", "roberta", "electra"])
def test_an_encoder_that_is_set_up_as_a_decoder_is_none(name):
    model = made(name, False, is_decoder=True)
    check_causal(model)
    ours, own = losses(model)
    assert ours == pytest.approx(own, abs=1e-4)
