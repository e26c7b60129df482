"""The ``config.json`` of an encoder, reduced to keys and values known to be safe.

An allow-list: what is not named here is refused, since a key can make a library download and run
code, or allocate without end. Pure and fast; builds nothing from the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from labelwise.errors import CheckpointError, did_you_mean, some_of

MAX_WIDTH = 16_384
MAX_LAYERS = 200
MAX_VOCABULARY = 5_000_000
MAX_POSITIONS = 1_000_000
MAX_PARAMETERS = 5_000_000_000


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _limits(limits: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: limit for names, limit in limits.items() for name in names.split()}


MODEL_TYPES = _names(
    "albert bert camembert deberta deberta-v2 distilbert electra ernie megatron-bert modernbert "
    "mpnet roberta xlm-roberta xlm-roberta-xl"
)
_INTEGERS = _limits(
    {
        "hidden_size embedding_size dim pooler_hidden_size": (1, MAX_WIDTH),
        "num_attention_heads n_heads": (1, MAX_WIDTH),
        "intermediate_size hidden_dim": (1, 4 * MAX_WIDTH),
        "num_hidden_layers n_layers num_hidden_groups inner_group_num": (1, MAX_LAYERS),
        "vocab_size": (1, MAX_VOCABULARY),
        "max_position_embeddings": (1, MAX_POSITIONS),
        "type_vocab_size task_type_vocab_size": (0, MAX_WIDTH),
        "relative_attention_num_buckets position_buckets": (-1, MAX_WIDTH),
        "max_relative_positions local_attention": (-1, MAX_POSITIONS),
        "global_attn_every_n_layers": (1, MAX_LAYERS),
        "conv_kernel_size": (0, 1024),
        "chunk_size_feed_forward": (0, MAX_POSITIONS),
        "pad_token_id bos_token_id eos_token_id cls_token_id": (-1, MAX_VOCABULARY),
        "sep_token_id mask_token_id": (-1, MAX_VOCABULARY),
    }
)
_NUMBERS = _limits(
    {
        "hidden_dropout_prob attention_probs_dropout_prob dropout attention_dropout": (0, 1),
        "embedding_dropout mlp_dropout pooler_dropout": (0, 1),
        "initializer_range layer_norm_eps norm_eps": (0, 1),
        "global_rope_theta local_rope_theta": (1, 1e9),
        "initializer_cutoff_factor": (0, 100),
    }
)
_FLAGS = _names(
    "sinusoidal_pos_embds use_task_id norm_bias attention_bias mlp_bias relative_attention "
    "position_biased_input share_att_key legacy tie_word_embeddings"
)
_ACTIVATIONS = _names("gelu gelu_new gelu_fast gelu_python gelu_pytorch_tanh relu silu swish tanh")
_CHOICES = {
    "model_type": MODEL_TYPES,
    "hidden_act": _ACTIVATIONS,
    "activation": _ACTIVATIONS,
    "hidden_activation": _ACTIVATIONS,
    "pooler_hidden_act": _ACTIVATIONS,
    "conv_act": _ACTIVATIONS,
    "position_embedding_type": _names("absolute"),
    "norm_rel_ebd": _names("none layer_norm"),
}
_LISTS = {
    "layer_types": _names("full_attention sliding_attention"),
    "pos_att_type": _names("c2p p2c p2p"),
}
_ROWS = _names(
    "vocab_size max_position_embeddings max_relative_positions position_buckets type_vocab_size "
    "task_type_vocab_size"
)
_ROPE = "rope_parameters"
_KEPT = frozenset({*_INTEGERS, *_NUMBERS, *_FLAGS, *_CHOICES, *_LISTS, _ROPE})
_DROPPED = _names(
    """
    _name_or_path _num_labels adapters add_cross_attention architectures classifier_activation
    classifier_bias classifier_dropout classifier_dropout_prob classifier_pooling
    cross_attention_hidden_size decoder_bias deterministic_flash_attn directionality
    down_scale_factor dtype eos_token_ids finetuning_task gap_size generator_size
    gradient_checkpointing id2label is_decoder is_encoder_decoder label2id language max_seq_length
    model_max_length name net_structure_type num_labels num_memory_blocks output_attentions
    output_hidden_states output_past pooler_fc_size pooler_num_attention_heads
    pooler_num_fc_layers pooler_size_per_head pooler_type problem_type pruned_heads qa_dropout
    reference_compile repad_logits_with_grad return_dict seq_classif_dropout
    sparse_pred_ignore_index sparse_prediction summary_activation summary_last_dropout
    summary_type summary_use_proj task_specific_params tie_weights_ tokenizer_class torch_dtype
    torchscript transformers_version use_bfloat16 use_cache xla_device
    """
)


def check_encoder_config(
    config: Mapping[str, Any], source: str = "Encoder config"
) -> dict[str, Any]:
    """Reduce the config of a BERT-family encoder to what is known to be safe.

    Args:
        config: Parsed ``config.json``.
        source: What to call it in messages.

    Returns:
        The keys that shape the encoder. Keys that only describe it, such as
        ``transformers_version``, are left out.

    Raises:
        CheckpointError: A key or model type is unknown, or a value is absurd.

    >>> check_encoder_config({"model_type": "bert", "hidden_size": 384, "torch_dtype": "float32"})
    {'model_type': 'bert', 'hidden_size': 384}
    """
    if not isinstance(config, Mapping) or "model_type" not in config:
        raise CheckpointError(
            f"{source} has no 'model_type'. Expected the config.json of a BERT-family model."
        )
    if unknown := [key for key in config if key not in _KEPT and key not in _DROPPED]:
        raise CheckpointError(
            f"{source} has keys that are not allowed: "
            f"{some_of(ascii(str(key)[:64])[1:-1] for key in unknown)}. "
            "They may run code or change the encoder. Load only models that do without them."
        )
    kept = {key: value for key, value in config.items() if key in _KEPT}
    problems = [problem for key, value in kept.items() if (problem := _problem(key, value))]
    if not problems and (n_parameters := _n_parameters(kept)) > MAX_PARAMETERS:
        problems = [f"{n_parameters:,} parameters are more than {MAX_PARAMETERS:,}"]
    if problems:
        raise CheckpointError(
            f"{source} is not usable: {'; '.join(problems[:5])}. "
            "Load only models of the BERT family from a source you trust."
        )
    return kept


def _problem(key: str, value: Any) -> str | None:
    if value is None and key != "model_type":
        return None
    if key in _INTEGERS:
        return _range_problem(key, value, *_INTEGERS[key], integral=True)
    if key in _NUMBERS:
        return _range_problem(key, value, *_NUMBERS[key], integral=False)
    if key in _FLAGS:
        return None if isinstance(value, bool) else f"'{key}' is {_short(value)}, expected a bool"
    if key in _CHOICES:
        return _choice_problem(key, value, _CHOICES[key])
    if key in _LISTS:
        return _list_problem(key, value, _LISTS[key])
    return _rope_problem(key, value, may_nest=True)


def _range_problem(key: str, value: Any, low: float, high: float, *, integral: bool) -> str | None:
    is_number = type(value) is int or (type(value) is float and not integral)
    if is_number and low <= value <= high:
        return None
    kind = "an integer" if integral else "a number"
    return f"'{key}' is {_short(value)}, expected {kind} in [{low}, {high}]"


def _choice_problem(key: str, value: Any, choices: frozenset[str]) -> str | None:
    if isinstance(value, str) and value in choices:
        return None
    suggestion = did_you_mean(value[:64], choices) if isinstance(value, str) else ""
    return f"'{key}' is {_short(value)}, expected one of {', '.join(sorted(choices))}{suggestion}"


def _list_problem(key: str, value: Any, choices: frozenset[str]) -> str | None:
    items = value.split("|") if isinstance(value, str) else value
    if (
        isinstance(items, list)
        and len(items) <= MAX_LAYERS
        and all(isinstance(item, str) and item in choices for item in items)
    ):
        return None
    return f"'{key}' is {_short(value)}, expected a list of {', '.join(sorted(choices))}"


def _rope_problem(key: str, value: Any, *, may_nest: bool) -> str | None:
    if not isinstance(value, Mapping):
        return f"'{key}' is {_short(value)}, expected an object"
    if may_nest and value and value.keys() <= _LISTS["layer_types"]:
        problems = (_rope_problem(f"{key}.{k}", v, may_nest=False) for k, v in value.items())
        return next(filter(None, problems), None)
    if not value.keys() <= {"rope_type", "rope_theta"}:
        return f"'{key}' has the keys {some_of(value)}, expected rope_type and rope_theta"
    return _choice_problem(
        f"{key}.rope_type", value.get("rope_type", "default"), frozenset({"default"})
    ) or _range_problem(f"{key}.rope_theta", value.get("rope_theta", 1.0), 1.0, 1e9, integral=False)


def _n_parameters(config: Mapping[str, Any]) -> int:
    """Estimate from above, for each size alone may pass where their product does not."""

    def largest(*keys: str) -> int:
        return max(config.get(key) or 0 for key in keys)

    width = largest("hidden_size", "dim", "embedding_size")
    inner = largest("intermediate_size", "hidden_dim")
    n_layers = largest("num_hidden_layers", "n_layers")
    n_rows = sum(largest(key) for key in _ROWS)
    return n_rows * width + n_layers * (4 * width**2 + 3 * width * inner)


def _short(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}..."
    return f"of type {type(value).__name__}"
