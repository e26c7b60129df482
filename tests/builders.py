"""Small real things for tests: a tokenizer, towers, models and annotated sentences.

Everything is built on the fly in milliseconds, and the same in every process.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from labelwise.annotation import Sentence
from labelwise.config import ModelConfig
from labelwise.encoding import PieceTokenizer
from labelwise.labels import LabelSet
from labelwise.schemes import mentions_from_tags

if TYPE_CHECKING:
    from transformers import BertModel

    from labelwise.torch_backend import TorchBackend

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = (
    "begin inside end single other person city organization location drug disease product date "
    "the a an in of and to lives works went from was is said new york ada bob anna carl oslo rome "
    "paris acme globex aspirin fever ill takes sells here there not"
)
WORDS = tuple(_WORDS.split())


def tiny_tokenizer() -> PieceTokenizer:
    """Build a lower-casing WordPiece tokenizer that knows ``WORDS`` and spells out the rest."""
    letters = string.ascii_lowercase + string.digits
    vocabulary = [
        *SPECIAL, *letters, *(f"##{c}" for c in letters), *string.punctuation,
        *(w for w in WORDS if len(w) > 1),
    ]  # fmt: skip
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, ids[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    return PieceTokenizer(tokenizer)


def tiny_tower(dim: int = 32, layers: int = 2) -> BertModel:
    """Build a BERT of some 30,000 weights for the tiny tokenizer, with ``fixed_init_`` weights."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=tiny_vocabulary_size(),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * dim,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = "sdpa"
    tower = BertModel(config, add_pooling_layer=False)
    fixed_init_(tower)
    return tower.eval()


def tiny_vocabulary_size() -> int:
    """Count the pieces of the tiny tokenizer."""
    return len(SPECIAL) + 2 * 36 + len(string.punctuation) + sum(len(w) > 1 for w in WORDS)


def fixed_init_(module: object) -> None:
    """Fill weights with a chirp: near +-0.1, no two rows alike, no generator; norms near 1."""
    import torch

    with torch.no_grad():
        for index, (name, parameter) in enumerate(module.named_parameters()):  # type: ignore[attr-defined]
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            values = 0.1 * torch.sin(0.37 * steps**2 + 0.11 * steps + index)
            is_norm = "LayerNorm.weight" in name
            parameter.copy_((values * 0.1 + 1 if is_norm else values).reshape(parameter.shape))


def tiny_backend(
    config: ModelConfig | None = None, *, dim: int = 32, layers: int = 2
) -> TorchBackend:
    """Build an untrained model around the tiny tower."""
    from labelwise.modeling import dual_encoder
    from labelwise.torch_backend import TorchBackend

    config = config or ModelConfig(max_pieces=64)
    return TorchBackend(dual_encoder(tiny_tower(dim, layers), config), tiny_tokenizer())


def tiny_model_folder(
    path: Path, config: ModelConfig | None = None, label_set: LabelSet | None = None
) -> Path:
    """Save an untrained tiny model to ``path / "tiny-model"``."""
    from labelwise.loading import save_model

    folder = path / "tiny-model"
    save_model(folder, tiny_backend(config), label_set)
    return folder


def tiny_encoder_folder(path: Path) -> Path:
    """Save the tiny tower as an encoder folder that ``new_model`` reads."""
    folder = path / "tiny-encoder"
    tiny_tower().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tiny_tokenizer().to_json(), encoding="utf-8")
    return folder


def sentence(text: str, id: str = "") -> Sentence:
    """Read ``"Bob/B-person lives in New/B-city York/I-city"``.

    >>> sentence("Bob/B-person lives").mentions
    (Mention(start=0, end=1, label='person', score=1.0),)
    """
    parts = [part.rpartition("/") if "/" in part else (part, "", "O") for part in text.split()]
    words, _, tags = zip(*parts, strict=True)
    return Sentence(words, tuple(mentions_from_tags(tags)), id)


def people_and_cities() -> list[Sentence]:
    """Return four sentences that tiny towers can learn by heart."""
    return [
        sentence("Ada/B-person lives in Oslo/B-city .", "train:1"),
        sentence("Bob/B-person went to New/B-city York/I-city .", "train:2"),
        sentence("Rome/B-city is not Paris/B-city .", "train:3"),
        sentence("Anna/B-person and Carl/B-person works here .", "train:4"),
    ]
