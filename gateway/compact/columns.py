"""Columns of numbers: what a quantity was, row by row, as few bits. The rows of a device stand together, in groups.

A column of whole numbers may follow another one: a bit 1, the place of that one among those of the shape that were
written before, counted back from 0 (4 bits), and a factor as a list of one number, folded. Then what is written is
each number less ``factor * other >> 12``. Current follows power like that, to its last digit, and so do the phases
their sum. It is a bit 0 where it follows none.

Then come a model (2 bits), the lists of its parameters, one number for each group that is not empty, and the list of
what the rows differ from the model. All are folded; a list of parameters is as the differences from one group to the
next.

=====  ==========================================================  =================
model  a row is                                                    parameters
=====  ==========================================================  =================
0      the row before and a difference                             first row
1      the row before, a step and a difference                     first row, step
2      on a line (``base + rise * row // (rows - 1)``) and a       base, rise
       difference
=====  ==========================================================  =================

A column of floats is a form (4 bits) and a column of whole numbers: 0 to 12, the numbers times that power of ten, where
that is exact; 13, their bits as singles, where each is the number of nine digits that names a single; 14, their bits as
doubles.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import add, mul, sub

from gateway.compact.bits import BitReader, BitWriter, between, folded, unfolded
from gateway.compact.errors import CompactError

_LAST, _STEP, _LINE = range(3)
_SINGLE, _DOUBLE = 13, 14
_DECIMALS_MAX = 12
_SINGLE_LIKELY = 5  # from so many decimals on a column rather has the nine digits of singles
_EXACT_MAX = 2**53
_NUMBER_MAX = 2**80  # beyond all that a writer makes; what a reader adds up stays small
_ROWS_OF_LINE = 4
_CODE_BITS = 2  # of each number beside its own: sign and unary
_FRACTION_BITS = 12
_FACTOR_MAX = 1 << 20
_BACK_MAX = 16
_FOLLOWING_MIN = 8  # differences, for less it does not pay
_COST_OF_FOLLOWING = 20  # bits


@dataclass(slots=True)
class Known:
    """The columns of whole numbers of a shape so far, as far as another one may follow them."""

    columns: list[Sequence[int]] = field(default_factory=list)
    differences: list[list[int]] = field(default_factory=list)  # the writer's only


def write_column(bits: BitWriter, numbers: Sequence[int], sizes: Sequence[int], known: Known) -> None:
    """A column of all rows of a shape: it may follow one in ``known``, and is put there."""
    differences = _inner(numbers, sizes)
    back, factor = _leader(differences, known.differences[: -_BACK_MAX - 1 : -1])
    rest = numbers
    if factor:
        followed = _following(known.columns[-1 - back], factor)
        rest = list(map(sub, numbers, followed))
        if _cost(list(map(sub, differences, _inner(followed, sizes)))) + _COST_OF_FOLLOWING >= _cost(differences):
            rest, factor = numbers, 0
    bits.put(1, bool(factor))
    if factor:
        bits.put(4, back)
        bits.put_one(*folded([factor]))
    write_integers(bits, rest, sizes)
    known.columns.append(numbers)
    known.differences.append(differences)


def read_column(bits: BitReader, sizes: Sequence[int], known: Known) -> list[int]:
    """The reverse. Raises CompactError."""
    followed = None
    if bits.take(1):
        back = bits.take(4)
        (factor,) = unfolded([bits.take_one()])
        if back >= len(known.columns) or abs(factor) > _FACTOR_MAX:
            raise CompactError("a column follows none")
        followed = _following(known.columns[-1 - back], factor)
    numbers = read_integers(bits, sizes)
    if followed is not None:
        numbers = list(map(add, numbers, followed))
    known.columns.append(numbers)
    return numbers


def write_integers(bits: BitWriter, numbers: Sequence[int], sizes: Sequence[int]) -> None:
    """Numbers in groups of ``sizes``, by themselves."""
    if len(numbers) == 1:
        bits.put(2, _LAST)
        bits.put_list(folded(numbers))
        bits.put_list(())
        return
    model, parameters, rest = min(_models(list(_groups(numbers, sizes))), key=_price)
    bits.put(2, model)
    for parameter in parameters:
        bits.put_list(folded(_from_group_to_group(parameter)))
    bits.put_list(folded(rest))


def read_integers(bits: BitReader, sizes: Sequence[int]) -> list[int]:
    """The reverse. Raises CompactError."""
    sizes = [size for size in sizes if size]
    model = bits.take(2)
    if model > _LINE:
        raise CompactError(f"no model {model}")
    bases = list(accumulate(_read_folded(bits, len(sizes))))
    slopes = list(accumulate(_read_folded(bits, len(sizes)))) if model else [0] * len(sizes)
    rest = _read_folded(bits, sum(sizes) - (0 if model == _LINE else len(sizes)))
    if not rest:
        return bases
    differences = iter(rest)
    numbers: list[int] = []
    for size, base, slope in zip(sizes, bases, slopes, strict=True):
        if model == _LINE:
            last = max(1, size - 1)
            numbers += [base + slope * row // last + next(differences) for row in range(size)]
        else:
            steps = [next(differences) + slope for _ in range(size - 1)]
            numbers += accumulate(steps, initial=base)
    return numbers


def to_integers(numbers: Sequence[float]) -> tuple[int, list[int]]:
    """The form and the column of whole numbers for floats. Raises TypeError for what is none."""
    exact = array("d", numbers)
    found = _decimal(exact)
    if found is None or found[0] >= _SINGLE_LIKELY:
        found = _single(exact) or found
    return found or (_DOUBLE, array("q", exact.tobytes()).tolist())


def to_floats(form: int, integers: Sequence[int]) -> list[float]:
    """The reverse. Raises CompactError."""
    try:
        if form <= _DECIMALS_MAX:
            scale = 10**form
            return [number / scale for number in integers]
        if form == _SINGLE:
            return [float(f"{single:.9g}") for single in array("f", array("i", integers).tobytes())]
        if form == _DOUBLE:
            return array("d", array("q", integers).tobytes()).tolist()
    except OverflowError as error:
        raise CompactError(str(error)) from error
    raise CompactError(f"no form {form} of floats")


def _read_folded(bits: BitReader, count: int) -> list[int]:
    return between(-_NUMBER_MAX, unfolded(bits.take_list(count)), _NUMBER_MAX)


def _groups(numbers: Sequence[int], sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin, end in pairwise(accumulate(sizes, initial=0)):
        if begin < end:
            yield numbers[begin:end]


_Model = tuple[int, list[list[int]], list[int]]  # its number, parameters, what the rows differ


def _models(groups: Sequence[Sequence[int]]) -> Iterator[_Model]:
    """Those that are worth a try, the simplest first."""
    firsts = [group[0] for group in groups]
    differences = [list(map(sub, group[1:], group)) for group in groups]
    last = [difference for group in differences for difference in group]
    yield _LAST, [firsts], last
    if any(last):
        means = [_rounded(sum(group), len(group)) if group else 0 for group in differences]
        medians = [sorted(group)[len(group) // 2] if group else 0 for group in differences]  # unmoved by a gap
        for steps in (means, medians) if medians != means else (means,):
            yield (
                _STEP,
                [firsts, steps],
                [d - step for group, step in zip(differences, steps, strict=True) for d in group],
            )
        if len(last) >= (_ROWS_OF_LINE - 1) * len(groups):
            lines = [_line(group) for group in groups]
            beside = [n - on for group, line in zip(groups, lines, strict=True) for n, on in _beside(group, *line)]
            yield _LINE, [[base for base, _ in lines], [rise for _, rise in lines]], beside


def _price(model: _Model) -> int:
    _, parameters, rest = model
    return _cost(rest) + sum(_cost(_from_group_to_group(parameter)) for parameter in parameters[1:])


def _from_group_to_group(parameter: Sequence[int]) -> list[int]:
    return list(map(sub, parameter, [0, *parameter]))


def _inner(numbers: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return [d for group in _groups(numbers, sizes) for d in map(sub, group[1:], group)]


def _following(other: Sequence[int], factor: int) -> list[int]:
    return [factor * number >> _FRACTION_BITS for number in other]


def _leader(differences: Sequence[int], others: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(place, factor) of the one that the differences follow best by least squares; factor 0 where there is none."""
    own = sum(map(mul, differences, differences))
    best, place, factor = 0.5, 0, 0
    if len(differences) < _FOLLOWING_MIN or not own:
        return 0, 0
    for back, other in enumerate(others):
        squares = sum(map(mul, other, other))
        if squares:
            product = sum(map(mul, differences, other))
            explained = product / own * product / squares
            slope = _rounded(product << _FRACTION_BITS, squares)
            if explained > best and abs(slope) <= _FACTOR_MAX:
                best, place, factor = explained, back, slope
    return place, factor


def _cost(numbers: Sequence[int]) -> int:
    """About the bits of a list; a few large numbers do not outweigh all others, as they would in a sum of squares."""
    return sum(map(int.bit_length, numbers)) + _CODE_BITS * len(numbers) if any(numbers) else 1


def _rounded(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count)


def _line(group: Sequence[int]) -> tuple[int, int]:
    """(base, rise) of a line through a group: the slope is from the means of the halves, to even out noise."""
    size = len(group)
    half = size // 2
    if not half:
        return group[0], 0
    low, high = sum(group[:half]), sum(group[size - half :])
    rise = _rounded((high - low) * (size - 1), half * (size - half))
    return _rounded(sum(group) - size * rise // 2, size), rise


def _beside(group: Sequence[int], base: int, rise: int) -> Iterator[tuple[int, int]]:
    last = max(1, len(group) - 1)
    return zip(group, [base + rise * row // last for row in range(len(group))], strict=True)


def _decimal(numbers: array[float]) -> tuple[int, list[int]] | None:
    """(decimals, the numbers times ten to that power), None where there are no such decimals."""
    decimals = _decimals(numbers[0])
    while decimals <= _DECIMALS_MAX:
        scale = 10**decimals
        try:
            integers = [round(number * scale) for number in numbers]
        except (ValueError, OverflowError):  # not finite
            return None
        back = array("d", [number / scale for number in integers])
        if back.tobytes() == numbers.tobytes():
            return (decimals, integers) if max(map(abs, integers)) < _EXACT_MAX else None
        wrong = next(number for number, other in zip(numbers, back, strict=True) if _unlike(number, other))
        decimals = max(decimals + 1, _decimals(wrong))
    return None


def _unlike(number: float, other: float) -> bool:
    return number != other or number == 0  # a zero may have a sign


def _decimals(number: float) -> int:
    """How many digits the shortest decimal has behind the point; beyond all where there is none."""
    if number != number or number in (float("inf"), float("-inf")) or (number == 0 and str(number) == "-0.0"):
        return _DECIMALS_MAX + 1
    digits, _, exponent = repr(number).partition("e")
    behind = digits.partition(".")[2]
    return max(0, len(behind if behind != "0" else "") - int(exponent or 0))


def _single(numbers: array[float]) -> tuple[int, list[int]] | None:
    """(13, bits as singles) where each is ``float(f"{single:.9g}")``, as drivers make it from registers."""
    try:
        singles = array("f", numbers)
    except OverflowError:
        return None
    if array("d", [float(f"{single:.9g}") for single in singles]).tobytes() != numbers.tobytes():
        return None
    return _SINGLE, array("i", singles.tobytes()).tolist()
