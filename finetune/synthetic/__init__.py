"""Examples of our own: requests made by rule from a catalogue of tools, with the calls that they ask for."""
