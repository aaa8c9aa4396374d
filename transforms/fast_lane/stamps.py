"""The stamp of a log line, in one of the two usual forms, to UTC microseconds; compiled by numba."""

import numpy as np

from transforms.bounds import FIRST_YEAR, LAST_YEAR
from transforms.fast_lane.arrays import NO_TIME, SECOND, Bytes, Int64s
from transforms.fast_lane.words import DOT, compiled, read_integer

DAY = 86_400 * SECOND
SPACE, COMMA, COLON, DASH, PLUS, BIG_T, BIG_Z = (ord(c) for c in " ,:-+TZ")
MONTH_LETTERS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8)
DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
DAYS_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
DAYS_BEFORE_1970 = 719_162


@compiled
def _two_digits(block: Bytes, at: int) -> int:
    """Return the number of two digits; -1 for anything else."""
    tens, ones = block[at] - 48, block[at + 1] - 48
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -1


@compiled
def _time_of_day(block: Bytes, at: int) -> int:
    """Return the microseconds of HH:MM:SS; -1 for anything else or a leap second."""
    hours, minutes, seconds = _two_digits(block, at), _two_digits(block, at + 3), _two_digits(block, at + 6)
    is_time = 0 <= hours <= 23 and 0 <= minutes <= 59 and 0 <= seconds <= 59
    if not is_time or block[at + 2] != COLON or block[at + 5] != COLON:
        return -1
    return ((hours * 60 + minutes) * 60 + seconds) * SECOND


@compiled
def _fraction(block: Bytes, at: int) -> tuple[int, int]:
    """Return the microseconds of an optional fraction, truncated to six digits, and where it ends."""
    if block[at] != DOT and block[at] != COMMA:
        return 0, at
    digits, end = read_integer(block, at + 1, 9)
    if digits < 0:
        return 0, end
    for _ in range(end - at - 1, 6):
        digits *= 10
    for _ in range(6, end - at - 1):
        digits //= 10
    return digits, end


@compiled
def _month(block: Bytes, at: int) -> int:
    """Return 1 to 12 for a month's three letters, 0 for anything else."""
    for month in range(12):
        if (
            block[at] == MONTH_LETTERS[3 * month]
            and block[at + 1] == MONTH_LETTERS[3 * month + 1]
            and block[at + 2] == MONTH_LETTERS[3 * month + 2]
        ):
            return month + 1
    return 0


@compiled
def _days_since_1970(year: int, month: int, day: int) -> int:
    """Return the number of a day; -1 if the calendar has no such day, or its year is out of range."""
    is_leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    if not (FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= 12):
        return -1
    if not 1 <= day <= DAYS_IN_MONTH[month] + (1 if is_leap and month == 2 else 0):
        return -1
    years = year - 1
    days = years * 365 + years // 4 - years // 100 + years // 400 - DAYS_BEFORE_1970
    return days + DAYS_BEFORE_MONTH[month] + (1 if is_leap and month > 2 else 0) + day - 1


@compiled
def read_short_stamp(block: Bytes, at: int, midnights: Int64s) -> tuple[int, int]:
    """Read `Feb  3 10:07:36` (RFC 3164), with or without a fraction; midnights[month * 32 + day] is UTC."""
    ones = block[at + 5] - 48
    tens = 0 if block[at + 4] == SPACE else block[at + 4] - 48
    if not (0 <= tens <= 3 and 0 <= ones <= 9 and block[at + 3] == SPACE == block[at + 6]):
        return NO_TIME, at
    midnight = midnights[_month(block, at) * 32 + min(tens * 10 + ones, 31)]
    time_of_day = _time_of_day(block, at + 7)
    if midnight == NO_TIME or time_of_day < 0 or tens * 10 + ones > 31:
        return NO_TIME, at
    fraction, end = _fraction(block, at + 15)
    return midnight + time_of_day + fraction, end


@compiled
def read_long_stamp(block: Bytes, at: int) -> tuple[int, int]:
    """Read `2026-02-03T10:07:36.123456+09:00` (RFC 3339), also without the fraction or the offset's colon."""
    year, year_end = read_integer(block, at, 4)
    month, day = _two_digits(block, at + 5), _two_digits(block, at + 8)
    is_date = year_end == at + 4 and block[at + 4] == DASH == block[at + 7] and block[at + 10] == BIG_T
    if not is_date:
        return NO_TIME, at
    days = _days_since_1970(year, month, day)
    time_of_day = _time_of_day(block, at + 11)
    if days < 0 or time_of_day < 0:
        return NO_TIME, at
    fraction, end = _fraction(block, at + 19)
    local = days * DAY + time_of_day + fraction
    if block[end] == BIG_Z:
        return local, end + 1
    minutes_at = end + 4 if block[end + 3] == COLON else end + 3
    hours, minutes = _two_digits(block, end + 1), _two_digits(block, minutes_at)
    if not (0 <= hours <= 29 and 0 <= minutes <= 59):
        return NO_TIME, at
    offset = (hours * 60 + minutes) * 60 * SECOND
    if block[end] == PLUS:
        return local - offset, minutes_at + 2
    if block[end] == DASH:
        return local + offset, minutes_at + 2
    return NO_TIME, at
