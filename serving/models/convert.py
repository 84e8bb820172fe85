"""Unpacks one GGUF file to bfloat16: `python -m serving.models.convert FILE FOLDER`. `cache` runs it as a child."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main(gguf: Path, folder: Path) -> None:
    """Write model, tokenizer and chat template of `gguf` to `folder`, as any other model of transformers.

    Heads that the file stores apart from the embedding stay apart (`tie_word_embeddings` false), even where the
    publisher ties them: the two matrices differ after quantisation, and the embedding is the coarser one.
    """
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # Without `dequantize` the model keeps a quantiser's mark: it cannot be saved and counts as not trainable.
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
