"""The wires: each module reads one API's requests into turns and writes turn events in that API's form."""
