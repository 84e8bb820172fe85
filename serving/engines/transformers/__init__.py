"""The engine on Hugging Face transformers: any CPU or GPU, one row with a tree-shaped mask for each turn."""
