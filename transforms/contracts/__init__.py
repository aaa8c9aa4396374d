"""What tables promise (expectations/*.yaml), and findings where they do not keep it."""
