"""Running the calls of a turn: which tools the server has, and one result for every call, whatever happens."""
