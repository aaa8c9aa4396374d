"""fleet.toml and inventory to hosts, with their settings."""
