"""Tools of HTTP services, as their OpenAPI documents describe them."""
