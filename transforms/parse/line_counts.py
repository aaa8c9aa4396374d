"""Events, noise and unparsed lines to counts of lines, for each file, host named and quarter of an hour."""

import polars as pl

# Quarters of an hour add up to local days in every zone.
COUNT_SPAN = "15m"
# The name under which hosts are counted together where a file names too many.
OTHER_HOSTS = "(others)"
LINE_COUNTS = pl.Schema(
    {
        "host": pl.String(),
        "log_kind": pl.String(),
        "table_name": pl.String(),
        "logging_host": pl.String(),
        "line_count": pl.Int64(),
        "span": pl.Datetime("us", "UTC"),
        "first_logged_at": pl.Datetime("us", "UTC"),
        "last_logged_at": pl.Datetime("us", "UTC"),
        "source_id": pl.String(),
    }
)


def count_lines(frames: dict[str, pl.DataFrame], *, host: str, log_kind: str) -> pl.DataFrame:
    """Count the lines in each table's frame (LINE_COUNTS); a line that gives several rows counts once."""
    counts = [
        (
            frame
            if "logging_host" in frame.columns
            else frame.with_columns(logging_host=pl.lit(None, pl.String))
        )
        .group_by("source_id", "logging_host", pl.col("logged_at").dt.truncate(COUNT_SPAN).alias("span"))
        .agg(
            line_count=pl.col("line_number").n_unique(),
            first_logged_at=pl.col("logged_at").min(),
            last_logged_at=pl.col("logged_at").max(),
        )
        .with_columns(
            host=pl.lit(host),
            log_kind=pl.lit(log_kind),
            table_name=pl.lit(table),
        )
        for table, frame in frames.items()
    ]
    return merge_line_counts(counts)


def merge_line_counts(counts: list[pl.DataFrame]) -> pl.DataFrame:
    """Add up counts of lines (LINE_COUNTS), such as those of one file's blocks."""
    if not counts:
        return LINE_COUNTS.to_frame()
    return (
        pl.concat(counts, how="diagonal")
        .group_by("host", "log_kind", "table_name", "logging_host", "source_id", "span")
        .agg(
            line_count=pl.sum("line_count"),
            first_logged_at=pl.min("first_logged_at"),
            last_logged_at=pl.max("last_logged_at"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LINE_COUNTS.items())
        .sort("first_logged_at", "table_name", "logging_host")
    )
