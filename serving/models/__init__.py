"""Models: from a name, folder, file or hub id to a folder of weights that transformers and vLLM load."""
