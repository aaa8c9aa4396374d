"""Tags that were cut to whole tags, where what is left of the program's name fits only one program.

rsyslog's properties `app-name` and `programname` end at the first slash: `postfix/smtp` becomes `postfix`.
Its forwarding templates cut `tag[pid]:` after 32 characters: `postfix-inbound-gateway01/cleanup` becomes
`postfix-inbound-gateway01/cleanu`. Where the rest of the name fits several programs, the text of the line
decides (patterns.py).
"""

import polars as pl

# The programs of Postfix, by the last part of their tag (its Makefile.in and conf/); users may choose what
# stands before it.
POSTFIX_PROGRAMS = (
    *("anvil", "bounce", "cleanup", "discard", "dnsblog", "error", "flush", "lmtp", "local", "master"),
    *("nqmgr", "oqmgr", "pickup", "pipe", "postalias", "postdrop", "postfix", "postfix-script", "postkick"),
    *("postlock", "postlog", "postlogd", "postmap", "postmulti", "postqueue", "postscreen", "postsuper"),
    *("proxymap", "qmgr", "qmqpd", "scache", "sendmail", "showq", "smtp", "smtpd", "spawn", "tlsmgr"),
    *("tlsproxy", "trivial-rewrite", "verify", "virtual"),
)
# The queue manager; Postfix up to 2.4 had two, and logs the name of the one in use.
QUEUE_MANAGERS = ("qmgr", "nqmgr", "oqmgr")
# Programs that are not Postfix's, although their tags begin as an instance's and have no slash.
OTHER_PROGRAMS = (
    r"^postfix(?:[-_]?admin|[-_](?:exporter|policyd?|logwatch|mta-sts|tlspol|gld|srs|cluebringer))"
)
# A tag without a program: `postfix`, or an instance that is named as Postfix requires.
WITHOUT_PROGRAM = r"^postfix[^/]*$"
_PARTS = r"^(?P<instance>[^/]+)/(?P<before>(?:[^/]+/)*)(?P<left>[^/]*)$"


def is_without_program(tag: pl.Expr) -> pl.Expr:
    """Tell whether a tag names an instance of Postfix, but no program."""
    return tag.str.contains(WITHOUT_PROGRAM) & ~tag.str.contains(OTHER_PROGRAMS)


def with_programs(headed: pl.DataFrame) -> pl.DataFrame:
    """Complete the programs of cut tags, and add `program_prefix`: what is left of any other program's name.

    It is empty where nothing is left, and NULL where the tag names a program or is not Postfix's.
    """
    tag, is_cut = pl.col("tag"), pl.col("is_tag_cut")
    left = tag.str.extract_groups(_PARTS).struct.field("left")
    prefixes = headed.select(left.filter(is_cut).unique()).to_series().drop_nulls()
    fitting = {prefix: [name for name in POSTFIX_PROGRAMS if name.startswith(prefix)] for prefix in prefixes}
    only_program = {prefix: names[0] for prefix, names in fitting.items() if len(names) == 1}
    undecided = [prefix for prefix, names in fitting.items() if len(names) > 1]
    program = left.replace_strict(only_program, default=None, return_dtype=pl.String)
    return headed.with_columns(
        tag=pl.when(is_cut & program.is_not_null())
        .then(tag.str.replace(r"[^/]*$", "") + program)
        .otherwise(tag),
        program_prefix=pl.when(is_without_program(tag))
        .then(pl.lit(""))
        .when(is_cut & left.is_in(undecided))
        .then(left),
    ).drop("is_tag_cut")
