"""The allow-list lets real encoders pass and stops what could run code or eat the memory."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.encoder_config import check_encoder_config
from labelwise.errors import CheckpointError

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
}
DESCRIPTIVE: dict[str, Any] = {
    "architectures": ["BertModel"],
    "transformers_version": "4.8.2",
    "torch_dtype": "float32",
    "dtype": "float32",
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "_name_or_path": "nowhere",
    "gradient_checkpointing": False,
    "use_cache": True,
}
DISTILBERT = {
    "model_type": "distilbert",
    "activation": "gelu",
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "n_heads": 12,
    "n_layers": 6,
    "sinusoidal_pos_embds": False,
    "vocab_size": 30522,
}
MODERNBERT = {
    "model_type": "modernbert",
    "hidden_activation": "gelu",
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "layer_types": ["full_attention", "sliding_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
        "sliding_attention": {"rope_theta": 10000},
    },
    "local_attention": 128,
    "norm_bias": False,
    "cls_token_id": 50281,
}
DEBERTA = {
    "model_type": "deberta-v2",
    "pos_att_type": "p2c|c2p",
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "pooler_dropout": 0,
    "bos_token_id": None,
}


@pytest.mark.parametrize(
    "config", [BERT, DISTILBERT, MODERNBERT, DEBERTA], ids=lambda config: config["model_type"]
)
def test_real_configs_pass_unchanged(config: dict[str, Any]) -> None:
    assert check_encoder_config(config) == config
    assert check_encoder_config(check_encoder_config(config)) == config


def test_what_only_describes_is_left_out() -> None:
    assert check_encoder_config(BERT | DESCRIPTIVE) == BERT


@pytest.mark.parametrize(
    "key",
    [
        "auto_map",
        "_attn_implementation",
        "_attn_implementation_internal",
        "attn_implementation",
        "_attn_implementation_autoset",
        "_experts_implementation",
        "trust_remote_code",
        "custom_pipelines",
        "quantization_config",
        "__class__",
        "Auto_Map",
    ],
)
@pytest.mark.parametrize("value", [None, False, "someone/kernel", {"AutoModel": "x--y.Z"}])
def test_hostile_keys_are_refused_whatever_they_hold(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"keys that are not allowed: '{key}'"):
        check_encoder_config(BERT | {key: value})


@pytest.mark.parametrize("config", [{}, [], None, "bert", {"hidden_size": 4}])
def test_a_config_without_model_type_is_refused(config: Any) -> None:
    with pytest.raises(CheckpointError, match="no 'model_type'"):
        check_encoder_config(config)


@pytest.mark.parametrize(
    "model_type",
    ["gpt2", "brt", "../bert", None, 3, ["bert"], pytest.param("x" * 10**6, id="long")],
)
def test_an_unknown_model_type_is_refused(model_type: Any) -> None:
    with pytest.raises(CheckpointError, match=r"'model_type' is .*, expected one of albert, bert"):
        check_encoder_config({"model_type": model_type})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 10**9),
        ("hidden_size", 16_385),
        ("hidden_size", 0),
        ("hidden_size", -4),
        ("hidden_size", True),
        ("hidden_size", 384.0),
        ("hidden_size", "384"),
        ("hidden_size", [384]),
        pytest.param("hidden_size", 1 << 20_000, id="huge"),
        ("num_hidden_layers", 201),
        ("vocab_size", 5_000_001),
        ("max_position_embeddings", 1_000_001),
        ("num_attention_heads", 0),
        ("pad_token_id", -2),
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", float("inf")),
        ("hidden_dropout_prob", 1.5),
        ("hidden_act", "eval"),
        ("position_embedding_type", "relative_key"),
        ("layer_types", ["full_attention"] * 201),
        ("layer_types", ["chunked"]),
        ("norm_bias", 1),
        ("rope_parameters", 7),
        ("rope_parameters", {"rope_type": "yarn"}),
        ("rope_parameters", {"full_attention": {"full_attention": {}}}),
        ("rope_parameters", {"rope_theta": 1e99}),
    ],
)
def test_absurd_values_are_refused(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}.*expected"):
        check_encoder_config(BERT | {key: value})


@pytest.mark.parametrize("size", ["vocab_size", "max_position_embeddings"])
def test_sizes_that_are_absurd_only_together_are_refused(size: str) -> None:
    with pytest.raises(CheckpointError, match="parameters are more than 5,000,000,000"):
        check_encoder_config(BERT | {"hidden_size": 16_384, size: 1_000_000})


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(CheckpointError, match=r"'vocab_size' is 0.*'hidden_act' is 'relv'.*'relu'"):
        check_encoder_config(BERT | {"vocab_size": 0, "hidden_act": "relv"})


def test_a_hostile_config_takes_no_time() -> None:
    config = BERT | {f"key{i}": [0] * 100 for i in range(10_000)}
    start = time.process_time()
    with pytest.raises(CheckpointError, match="and 9995 more"):
        check_encoder_config(config)
    assert time.process_time() - start < 1.0


@given(
    config=st.dictionaries(
        st.sampled_from([*BERT, *DISTILBERT, *MODERNBERT, *DEBERTA, *DESCRIPTIVE]),
        st.sampled_from([None, True, "", "gelu", [], ["c2p"], {}, {"rope_theta": 1}, 1e999])
        | st.integers()
        | st.floats(),
    )
)
def test_any_values_give_a_config_or_our_error(config: dict[str, Any]) -> None:
    try:
        checked = check_encoder_config({"model_type": "bert"} | config)
    except CheckpointError:
        return
    assert check_encoder_config(checked) == checked
