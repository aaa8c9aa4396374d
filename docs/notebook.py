"""Questions to a lake in a notebook, with the limits of `maillag query`.

    MAILLAG_LAKE=data/lake .venv/bin/marimo edit docs/notebook.py

As a script, `.venv/bin/python docs/notebook.py`, it prints what the last cells find.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App()


@app.cell
def _():
    import marimo as mo
    import polars as pl

    from flows.charts import chart_png, waits_chart
    from flows.report.rows import choose_restarts, fetch_waits
    from flows.sandbox import open_sandbox
    from flows.settings import Settings

    lake = Settings().lake
    mo.md(f"# The lake `{lake}`")
    return chart_png, choose_restarts, fetch_waits, lake, mo, open_sandbox, pl, waits_chart


@app.cell
def _(lake, open_sandbox, pl):
    def ask(sql: str) -> pl.DataFrame:
        """Return the rows of a single SELECT. It can read the catalog only, and is stopped after a minute."""
        with (
            open_sandbox(lake, timeout_seconds=60, memory_mib=1024) as sandbox,
            sandbox.errors_of_query(),
            sandbox.batches(sql, 10_000) as batches,
        ):
            return pl.from_arrow(batches.read_all())

    return (ask,)


@app.cell
def _(mo):
    mo.md("## Which restarts were there, by the clock of their host?")


@app.cell
def _(ask):
    restarts = ask(
        """
        select host, local_time(down_at, time_zone) as local_down_at, held_message_count, flush_verdict
        from restarts_between('2020-01-01', null)
        order by down_at
        """
    )
    restarts
    return (restarts,)


@app.cell
def _(mo):
    mo.md("## How long did mail wait, where the queue was flushed and where it was not?")


@app.cell
def _(ask):
    ask(
        """
        select flush_verdict, delay_percentiles(held_messages.restart_delay_seconds) as delays
        from marts.held_messages
        inner join marts.restarts using (restart_id)
        group by flush_verdict
        order by flush_verdict
        """
    ).unnest("delays")


@app.cell
def _(chart_png, choose_restarts, fetch_waits, lake, mo, waits_chart):
    # A chart of the page, about the latest year.
    with choose_restarts(lake, days=365) as connection:
        picture = chart_png(waits_chart(fetch_waits(connection), "en"))
    mo.image(picture, alt="Share of held mail that still waited, by the time since it was deferred")


@app.cell
def _(mo):
    mo.md("## Rows for polars and pandas")


@app.cell
def _(ask, pl):
    held = ask("select host, first_cause, restart_delay_seconds from marts.held_messages")
    by_cause = held.group_by("first_cause").agg(
        pl.len().alias("message_count"), pl.col("restart_delay_seconds").median()
    )
    print("polars:", by_cause.sort("first_cause").rows())
    by_cause
    return (held,)


@app.cell
def _(held):
    # Through Arrow.
    in_pandas = held.to_pandas()
    longest = in_pandas.groupby("host")["restart_delay_seconds"].max()
    print("pandas:", longest.to_dict())
    longest


if __name__ == "__main__":
    app.run()
