"""Mail that somebody outside sends to make evidence of it."""
