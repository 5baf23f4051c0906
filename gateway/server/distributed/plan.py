"""Who does what part of an operation (CIM 009 clause 4.3.6.3): exclusive, then redirect, then local and inclusive."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from gateway.server.sources.model import Registration
from gateway.server.sources.registry import Match

ORDER = {"exclusive": 0, "redirect": 1, "inclusive": 2, "auxiliary": 3}


@dataclass(frozen=True, slots=True)
class Piece:
    """Attributes (IRIs) that a source answers for; None means all, of an operation that names none."""

    registration: Registration
    names: frozenset[str] | None

    @property
    def owns(self) -> bool:
        """Whether nobody else may answer for these."""
        return self.registration.mode in ("exclusive", "redirect")


@dataclass(slots=True)
class Plan:
    """``refused``: pieces of sources that own them and do not offer the operation. ``local``: what is done here."""

    pieces: list[Piece] = field(default_factory=list)
    refused: list[Piece] = field(default_factory=list)
    names: frozenset[str] = frozenset()
    local: bool = True


def plan_write(matches: Iterable[Match], names: Collection[str], operations: Collection[str]) -> Plan:
    """The parts of a write of these attributes; of none, where it is about an entity that has none (yet).

    ``operations``: a source that offers any of these can do it.
    """
    plan = Plan(names=frozenset(names))
    taken: set[str] = set()
    whole = False
    matches = list(matches)
    for mode in ("exclusive", "redirect", "inclusive"):
        left = plan.names - taken
        for match in (match for match in matches if match.registration.mode == mode):
            covered = left if match.attributes is None else left & match.attributes
            if not covered and (names or match.attributes is not None):
                continue
            piece = Piece(match.registration, frozenset(covered))
            if not match.registration.operations.isdisjoint(operations):
                plan.pieces.append(piece)
            elif piece.owns:
                plan.refused.append(piece)
            if piece.owns:
                taken |= covered
                whole = whole or not names
    plan.names -= taken
    plan.local = not whole if not names else bool(plan.names)
    return plan


def plan_whole(matches: Iterable[Match], operations: Collection[str]) -> Plan:
    """The parts of an operation on an entity as a whole: all that have some of it, and here."""
    plan = Plan()
    for match in sorted(matches, key=lambda match: ORDER[match.registration.mode]):
        if match.registration.mode == "auxiliary":
            continue
        piece = Piece(match.registration, match.attributes)
        if not match.registration.operations.isdisjoint(operations):
            plan.pieces.append(piece)
        elif piece.owns:
            plan.refused.append(piece)
    return plan
