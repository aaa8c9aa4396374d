"""Events to marts: the SQL models in their order, and which rows a night makes anew."""
