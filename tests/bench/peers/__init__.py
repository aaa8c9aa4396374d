"""Programs that a careful person would write instead of maillag's reading: a maillog to typed Parquet."""
