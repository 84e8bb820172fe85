"""What may be written: tools, conversations, schemas, grammars and plans. Pure: no engine, no network, no disk."""
