"""Readers of function-calling data, one file a form. `finetune.examples` tells the forms apart."""
