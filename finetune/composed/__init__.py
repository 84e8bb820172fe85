"""Examples composed from requests for one call: repeated with other values, and several put together."""
