-- One row per product and range of builds, with what is known about its flush (Trend Micro KA-0010256).
-- Builds from build_from up to but not including build_before. If wrapper_md5 is given, another md5 of the
-- wrapper script means that it was corrected. is_intermittent: whether the flush is missing only after some
-- restarts, depending on the time of the manager's check. advice is what the document says to do, step by
-- step.
select
    rules.product,
    rules.version,
    rules.build_from,
    rules.build_before,
    rules.build_verdict,
    rules.wrapper_md5,
    rules.advice,
    rules.is_intermittent
from (
    values
    ('imsva', '9.1', 0, 1830, 'known_defective', null, ['apply_patch_2'], true),
    ('imsva', '9.1', 1830, null, 'fixed', null, null, false),
    (
        'imss', '9.1', 0, 1241, 'known_defective', null,
        ['apply_patch_1', 'check_wrapper', 'edit_wrapper'], false
    ),
    ('imss', '9.1', 1241, 1249, 'fixed', null, null, false),
    ('imss', '9.1', 1249, 1335, 'unspecified', null, null, false),
    (
        'imss', '9.1', 1335, 1343, 'known_defective', '5e0eb2ceffbf474480ec2814e85d66ae',
        ['check_wrapper', 'edit_wrapper'], false
    ),
    ('imss', '9.1', 1343, 1346, 'unspecified', null, null, false),
    ('imss', '9.1', 1346, null, 'fixed', null, null, false)
) as rules (
    product, version, build_from, build_before, build_verdict, wrapper_md5, advice, is_intermittent
)
