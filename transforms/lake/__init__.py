"""The lake: its files, the ledger that lists them, and the catalog that shows them."""
