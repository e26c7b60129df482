"""GLiNER or SpanMarker on the encoder of the benchmark, in an environment of its own.

Started by ``rivals.Library`` with the library's name; weights are random. The first line on stdin
is a JSON object with the folder of the encoder, texts by their pieces, and label names; every other
line names a run, such as ``joint 10 32``, and is answered by a JSON object with its seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
THRESHOLD = 0.999  # random weights find hardly anything then: little decoding
Run = Callable[[list[str], list[str]], object]


def main() -> None:
    """Answer until stdin ends."""
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # the library prints
    task = json.loads(sys.stdin.readline())
    runs = {"gliner": gliner_runs, "span_marker": span_marker_runs}[sys.argv[1]](task)
    for line in sys.stdin:
        kind, n_labels, pieces = line.split()
        started, cpu = time.perf_counter(), time.process_time()
        runs[kind](task["texts"][pieces], task["labels"][: int(n_labels)])
        seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
        answers.write(json.dumps(seconds) + "\n")
        answers.flush()


def gliner_runs(task: dict[str, Any]) -> dict[str, Run]:
    """Build both models; the labels of the second are encoded once."""
    import torch
    from gliner import GLiNER
    from transformers import AutoConfig, logging

    logging.set_verbosity_error()
    torch.set_num_threads(task["threads"])
    encoder = AutoConfig.from_pretrained(task["encoder"]).to_dict()
    shared = {
        "model_name": task["encoder"],
        "hidden_size": encoder["hidden_size"],
        "span_mode": "markerV0",
        "max_len": 384,
    }
    longer = encoder | {"max_position_embeddings": 4096}  # 500 labels stand before the text
    joint = GLiNER.from_config(shared | {"encoder_config": longer}, backbone_from_pretrained=False)
    bi = GLiNER.from_config(
        shared | {"encoder_config": dict(encoder), "labels_encoder": task["encoder"],
                  "labels_encoder_config": dict(encoder)},
        backbone_from_pretrained=False,
    )  # fmt: skip
    bi.data_processor.labels_tokenizer.model_max_length = 16  # it pads every label to this
    vectors: dict[int, Any] = {}

    def run_bi(texts: list[str], labels: list[str]) -> object:
        if len(labels) not in vectors:
            vectors[len(labels)] = bi.encode_labels(labels)
        return bi.batch_predict_with_embeds(
            texts, vectors[len(labels)], labels, threshold=THRESHOLD, batch_size=task["batch"]
        )

    def run_joint(texts: list[str], labels: list[str]) -> object:
        size = task["batch"] if len(labels) <= 50 else 4
        return joint.inference(texts, labels, threshold=THRESHOLD, batch_size=size)

    return {"joint": run_joint, "bi": run_bi}


def span_marker_runs(task: dict[str, Any]) -> dict[str, Run]:
    """Build a model; its labels are its output layer, so their names don't matter."""
    import torch
    from span_marker import SpanMarkerModel

    torch.set_num_threads(task["threads"])
    model = SpanMarkerModel.from_pretrained(
        task["encoder"],
        labels=["O", *task["labels"][:10]],
        model_max_length=256,
        entity_max_length=8,  # words in an entity, as the library has it by default
        marker_max_length=128,
    ).eval()

    def run(texts: list[str], labels: list[str]) -> object:
        return model.predict(texts, batch_size=task["batch"], show_progress_bar=False)

    return {"spans": run}


if __name__ == "__main__":
    main()
