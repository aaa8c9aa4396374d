"""Tags that have lost their program, as far as the tag itself can mend them.

rsyslog's properties `app-name` and `programname` end at the first slash: `postfix/smtp` becomes `postfix`.
Its forwarding templates cut `tag[pid]:` after 32 characters: `postfix-inbound-gateway01/cleanup` becomes
`postfix-inbound-gateway01/cleanu`. What is left of the name may fit several programs; then only the text
tells which (transforms/patterns.py).
"""

import polars as pl

# The programs of Postfix, by the last part of their tag (its Makefile.in and conf/): users may replace all
# that stands before it.
POSTFIX_PROGRAMS = (
    *("anvil", "bounce", "cleanup", "discard", "dnsblog", "error", "flush", "lmtp", "local", "master"),
    *("nqmgr", "oqmgr", "pickup", "pipe", "postalias", "postdrop", "postfix", "postfix-script", "postkick"),
    *("postlock", "postlog", "postlogd", "postmap", "postmulti", "postqueue", "postscreen", "postsuper"),
    *("proxymap", "qmgr", "qmqpd", "scache", "sendmail", "showq", "smtp", "smtpd", "spawn", "tlsmgr"),
    *("tlsproxy", "trivial-rewrite", "verify", "virtual"),
)
# Programs of others whose names begin as Postfix's do, and bear no slash.
OTHER_PROGRAMS = (
    r"^postfix(?:[-_]?admin|[-_](?:exporter|policyd?|logwatch|mta-sts|tlspol|gld|srs|cluebringer))"
)
# A tag whose program only the text tells: `postfix`, or an instance named as Postfix wants them to be.
WITHOUT_PROGRAM = r"^postfix[^/]*$"
_PARTS = r"^(?P<instance>[^/]+)/(?P<before>(?:[^/]+/)*)(?P<left>[^/]*)$"


def is_without_program(tag: pl.Expr) -> pl.Expr:
    """Tell whether tags name an instance of Postfix, but no program."""
    return tag.str.contains(WITHOUT_PROGRAM) & ~tag.str.contains(OTHER_PROGRAMS)


def with_programs(headed: pl.DataFrame) -> pl.DataFrame:
    """Complete the programs of cut tags, and add `program_prefix`: what is left of a program not yet known.

    It is empty where nothing is left, and NULL where the tag names its program, or none of Postfix.
    """
    tag, is_cut = pl.col("tag"), pl.col("is_tag_cut")
    left = tag.str.extract_groups(_PARTS).struct.field("left")
    lefts = headed.select(left.filter(is_cut).unique()).to_series().drop_nulls()
    fitting = {one: [name for name in POSTFIX_PROGRAMS if name.startswith(one)] for one in lefts}
    told = {one: names[0] for one, names in fitting.items() if len(names) == 1}
    untold = [one for one, names in fitting.items() if len(names) > 1]
    program = left.replace_strict(told, default=None, return_dtype=pl.String)
    return headed.with_columns(
        tag=pl.when(is_cut & program.is_not_null())
        .then(tag.str.replace(r"[^/]*$", "") + program)
        .otherwise(tag),
        program_prefix=pl.when(is_without_program(tag))
        .then(pl.lit(""))
        .when(is_cut & left.is_in(untold))
        .then(left),
    ).drop("is_tag_cut")
