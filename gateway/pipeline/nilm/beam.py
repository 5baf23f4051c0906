"""The belief about all loads together: a beam of hypotheses over edges of power. Kernels: see ``jit``.

A hypothesis says in which state each load is and since when. Its score is a negative log likelihood (nats; less is
better) of a factorial semi-Markov model observed through edges: a transition of a load from state i to j, after a stay
of d samples, explaining an edge e, costs ``-log hazard_i(d) - log share_ij - log t(e; edge_ij, spread_ij)``; staying
costs the cumulative hazard; an edge that nobody explains costs ``-log unknown(e)`` (all in "per sample and W"). At each
edge every hypothesis is expanded by one transition, the best few also by two at once, and the best ``WIDTH`` different
joint states are kept. With that many joint states or fewer this is the Viterbi recursion of the joint chain (stay
times aside); with more it is bounded all the same: work and memory do not depend on the number of joint states.

The level of the mains is used one way only: what is explained may not exceed it for long.
"""

from __future__ import annotations

import math

from gateway.pipeline.nilm.belief import BEST, COUNT, NOW, WIDTH, Beam, Tables, fit, stay_bin, stayed, unknown_bin
from gateway.pipeline.nilm.edges import LEVEL, MOVED, NOISE, STEADY_COUNT, Detector, EdgeSettings, detect
from gateway.pipeline.nilm.jit import Floats, Ints, kernel

PAIRS_FROM = 4  # best hypotheses that are also expanded by two transitions at once
PRUNE = 25.0  # nats behind the best: dropped
FAR = 6.0  # spreads: an edge further away than this is not that transition's
OVER_COST = 0.3  # nats per sample of explaining more than there is
OVER_MAX = 3  # samples of that before a load is switched off for it
REPAIR_COST = 4.0  # nats for a switch-off without an edge
EXPIRED_COST = 3.0  # nats for a switch-off because it was on too long


@kernel
def _suppose(t: Tables, b: Beam, h: int, on: int) -> None:
    """Hypothesis h: all loads are off but the one that has the state ``on`` (-1: none)."""
    loads = len(t.first) - 1
    b.base[h] = 0.0 if on < 0 else t.prior[on]
    b.score[h], b.over[h], b.code[h], b.explained[h] = b.base[h], 0, 0, 0.0
    for a in range(loads):
        own = on if t.first[a] < on < t.first[a + 1] else t.first[a]
        b.code[h] += (own - t.first[a]) * t.radix[a]
        b.explained[h] += t.level[own]
        b.power[h * loads + a] = t.level[own]
        b.state[h * loads + a] = own
        b.since[h * loads + a] = b.size[NOW]
        b.run[h * loads + a] = b.size[NOW]


@kernel
def restart(t: Tables, b: Beam) -> None:
    """After a gap or at the start: all off, or any one load in any of its states; the likeliest where they are many."""
    loads = len(t.first) - 1
    _suppose(t, b, 0, -1)
    count = 1
    for a in range(loads):
        for state in range(t.first[a] + 1, t.first[a + 1]):
            if count < WIDTH:
                _suppose(t, b, count, state)
                count += 1
                continue
            worst = 1
            for h in range(2, WIDTH):
                if b.base[h] > b.base[worst]:
                    worst = h
            if t.prior[state] < b.base[worst]:
                _suppose(t, b, worst, state)
    b.size[COUNT], b.size[BEST] = count, 0


@kernel
def _candidate(b: Beam, m: int, cost: float, parent: int, arc1: int, arc2: int) -> int:
    """Note a candidate; the new number of candidates."""
    b.cost[m], b.parent[m], b.arc1[m], b.arc2[m] = cost, parent, arc1, arc2
    return m + 1


@kernel
def _leave(t: Tables, b: Beam, h: int, a: int) -> float:
    """Cost of load a leaving its state now."""
    place = h * (len(t.first) - 1) + a
    return t.log_hazard[b.state[place] * 44 + stay_bin(b.size[NOW] - b.since[place])]


@kernel
def _above(t: Tables, b: Beam, h: int, a: int) -> float:
    """How much more than its mean load a draws, in W of the mains: its falls are larger by that."""
    place = h * (len(t.first) - 1) + a
    return (b.power[place] - t.level[b.state[place]]) * t.factor[a]


@kernel
def _expand_two(edge: float, t: Tables, b: Beam, h: int, m: int) -> int:
    """Candidates of hypothesis h in which two loads made the edge together."""
    loads = len(t.first) - 1
    for a in range(loads):
        s = b.state[h * loads + a]
        leave_a = _leave(t, b, h, a)
        for other in range(a + 1, loads):
            s2 = b.state[h * loads + other]
            leave = leave_a + _leave(t, b, h, other)
            rest = edge + _above(t, b, h, a) + _above(t, b, h, other)
            for x in range(t.arcs[s], t.arcs[s + 1]):
                for y in range(t.arcs[s2], t.arcs[s2 + 1]):
                    spread = math.sqrt(t.spread[x] * t.spread[x] + t.spread[y] * t.spread[y])
                    far = abs(rest - t.edge[x] - t.edge[y]) > FAR * spread
                    if far or t.target[x] == s or t.target[y] == s2:
                        continue
                    cost = b.score[h] + leave + t.arc_cost[x] + t.arc_cost[y]
                    m = _candidate(b, m, cost + fit(rest, t.edge[x] + t.edge[y], spread), h, x, y)
    return m


@kernel
def _expand(edge: float, t: Tables, b: Beam) -> int:
    """All candidates for what an edge was; their number."""
    loads = len(t.first) - 1
    unknown = t.unknown[unknown_bin(edge)]
    m = 0
    for h in range(b.size[COUNT]):
        m = _candidate(b, m, b.score[h] + unknown, h, -1, -1)
        for a in range(loads):
            s = b.state[h * loads + a]
            leave = _leave(t, b, h, a)
            above = _above(t, b, h, a)
            for x in range(t.arcs[s], t.arcs[s + 1]):
                stays = t.target[x] == s
                rest = edge if stays else edge + above
                if abs(rest - t.edge[x]) <= FAR * t.spread[x]:
                    cost = b.score[h] + t.arc_cost[x] + fit(rest, t.edge[x], t.spread[x])
                    m = _candidate(b, m, cost if stays else cost + leave, h, x, -1)
        if h < PAIRS_FROM:
            m = _expand_two(edge, t, b, h, m)
    return m


@kernel
def _load_of(t: Tables, state: int) -> int:
    """The load that a state belongs to."""
    a = 0
    while t.first[a + 1] <= state:
        a += 1
    return a


@kernel
def _switch(t: Tables, b: Beam, h: int, a: int, target: int) -> None:
    """Put load a of hypothesis h into another state now; what the stay cost is paid into the base."""
    place = h * (len(t.first) - 1) + a
    now = b.size[NOW]
    source = b.state[place]
    b.base[h] += stayed(t, source, now - b.since[place])
    b.explained[h] += t.level[target] - b.power[place]
    b.power[place] = t.level[target]
    b.code[h] += (target - source) * t.radix[a]
    if source == t.first[a]:
        b.run[place] = now
    b.state[place] = target
    b.since[place] = now


@kernel
def _code_after(t: Tables, b: Beam, c: int) -> int:
    """The joint state's code of candidate c."""
    loads = len(t.first) - 1
    h = b.parent[c]
    code = b.code[h]
    for arc in (b.arc1[c], b.arc2[c]):
        if arc >= 0:
            a = _load_of(t, t.target[arc])
            code += (t.target[arc] - b.state[h * loads + a]) * t.radix[a]
    return code


@kernel
def _copy_back(t: Tables, b: Beam, kept: int) -> None:
    """The next beam becomes the beam."""
    loads = len(t.first) - 1
    for h in range(kept):
        b.base[h], b.score[h], b.explained[h] = b.to_base[h], b.to_score[h], b.to_explained[h]
        b.code[h], b.over[h] = b.to_code[h], b.to_over[h]
    for place in range(kept * loads):
        b.state[place], b.since[place], b.run[place] = b.to_state[place], b.to_since[place], b.to_run[place]
        b.power[place] = b.to_power[place]
    b.size[COUNT], b.size[BEST] = kept, 0


@kernel
def _select(edge: float, t: Tables, b: Beam, candidates: int) -> None:
    """Keep the best candidates with different joint states as the next beam, best first."""
    loads = len(t.first) - 1
    best = math.inf
    for c in range(candidates):
        best = min(best, b.cost[c])
    close = 0
    for c in range(candidates):  # compact: what is far behind is not looked at again
        if b.cost[c] <= best + PRUNE:
            close = _candidate(b, close, b.cost[c], b.parent[c], b.arc1[c], b.arc2[c])
    kept = 0
    while kept < WIDTH and close > 0:
        c = 0
        for x in range(1, close):
            if b.cost[x] < b.cost[c]:
                c = x
        code = _code_after(t, b, c)
        new = True
        for k in range(kept):
            new = new and b.to_code[k] != code
        if new:
            h = b.parent[c]
            # to_base holds what the edge cost; _apply adds the parent's base and the stays that ended
            b.to_base[kept] = b.base[h] + b.cost[c] - b.score[h] - best
            b.to_score[kept], b.to_explained[kept] = b.cost[c] - best, b.explained[h]
            b.to_code[kept], b.to_over[kept] = code, b.over[h]
            for a in range(loads):
                b.to_state[kept * loads + a] = b.state[h * loads + a]
                b.to_since[kept * loads + a] = b.since[h * loads + a]
                b.to_run[kept * loads + a] = b.run[h * loads + a]
                b.to_power[kept * loads + a] = b.power[h * loads + a]
            _apply(edge if b.arc2[c] < 0 else math.nan, t, b, kept, b.arc1[c])
            _apply(math.nan, t, b, kept, b.arc2[c])
            kept += 1
        close -= 1
        _candidate(b, c, b.cost[close], b.parent[close], b.arc1[close], b.arc2[close])
    _copy_back(t, b, kept)


@kernel
def _apply(edge: float, t: Tables, b: Beam, k: int, arc: int) -> None:
    """Make transition ``arc`` in hypothesis k of the next beam; -1: none.

    A load that modulates takes its power from the edge, NaN where two loads share it; others draw their level.
    """
    if arc < 0:
        return
    target = t.target[arc]
    a = _load_of(t, target)
    place = k * (len(t.first) - 1) + a
    now = b.size[NOW]
    source = b.to_state[place]
    power = t.level[target]
    if t.drift[target] > 0.0 and not math.isnan(edge):
        power = min(t.high[target], max(t.low[target], b.to_power[place] + edge / t.factor[a]))
    b.to_explained[k] += power - b.to_power[place]
    b.to_power[place] = power
    if source == target:
        return
    b.to_base[k] += stayed(t, source, now - b.to_since[place])
    if source == t.first[a]:
        b.to_run[place] = now
    b.to_state[place] = target
    b.to_since[place] = now


@kernel
def _repair(t: Tables, b: Beam, h: int, excess: float) -> None:
    """More is explained than there is, for too long: an off edge was missed; of the loads that are on, the one whose
    switching off fits the excess best goes off."""
    loads = len(t.first) - 1
    choice = -1
    nearest = math.inf
    for a in range(loads):
        s = b.state[h * loads + a]
        if s != t.first[a] and abs(b.power[h * loads + a] - t.level[t.first[a]] - excess) < nearest:
            nearest = abs(b.power[h * loads + a] - t.level[t.first[a]] - excess)
            choice = a
    if choice >= 0:
        _switch(t, b, h, choice, t.first[choice])
        b.base[h] += REPAIR_COST
    b.over[h] = 0


@kernel
def _review(power: float, t: Tables, d: Detector, b: Beam) -> None:
    """Each sample: end what is on for too long, charge for explaining too much, find the best hypothesis."""
    loads = len(t.first) - 1
    now = b.size[NOW]
    best = math.inf
    for h in range(b.size[COUNT]):
        excess = b.explained[h] + t.floor[0] - power
        if d.i[MOVED] == 0 and excess > 15.0 + 3.0 * d.f[NOISE] + 0.08 * b.explained[h]:
            b.base[h] += OVER_COST
            b.over[h] += 1
            if b.over[h] >= OVER_MAX:
                _repair(t, b, h, excess)
        else:
            b.over[h] = 0
        total = 0.0
        for a in range(loads):
            place = h * loads + a
            s = b.state[place]
            off = t.first[a]
            if s != off and (now - b.since[place] >= t.longest[s] or now - b.run[place] >= t.run_longest[a]):
                _switch(t, b, h, a, off)
                b.base[h] += EXPIRED_COST
                s = off
            total += stayed(t, s, now - b.since[place])
        b.score[h] = b.base[h] + total
        if b.score[h] < best:
            best = b.score[h]
            b.size[BEST] = h


@kernel
def _drift(change: float, t: Tables, b: Beam) -> None:
    """The level moved slowly: each modulating load that is on takes its part of it, by how much such loads move."""
    loads = len(t.first) - 1
    for h in range(b.size[COUNT]):
        total = t.floor[1]
        for a in range(loads):
            total += t.drift[b.state[h * loads + a]]
        for a in range(loads):
            place = h * loads + a
            s = b.state[place]
            if t.drift[s] > 0.0:
                power = b.power[place] + change * t.drift[s] / total / t.factor[a]
                power = min(t.high[s], max(t.low[s], power))
                b.explained[h] += power - b.power[place]
                b.power[place] = power


@kernel
def step(power: float, samples: int, settings: EdgeSettings, t: Tables, d: Detector, b: Beam) -> float:
    """Take one sample (W) that lies ``samples`` periods after the one before; the edge it completed (W), else 0."""
    b.size[NOW] += samples
    known, before = d.i[STEADY_COUNT] > 0, d.f[LEVEL]
    edge = detect(power, settings, d)
    if edge != 0.0:
        _select(edge, t, b, _expand(edge, t, b))
    elif known and d.f[LEVEL] != before:
        _drift(d.f[LEVEL] - before, t, b)
    _review(d.f[LEVEL] if d.i[MOVED] == 0 else power, t, d, b)
    return edge


@kernel
def publish(power: float, t: Tables, b: Beam, watts: Floats, on: Ints, confidence: Floats) -> None:
    """The best hypothesis as power, state and confidence per load; the powers never sum to more than the mains.

    Confidence: the weight of all hypotheses that agree about on or off. The moment between a fall of the mains and its
    edge is bridged by scaling the parts down.
    """
    loads = len(t.first) - 1
    best = b.size[BEST]
    total = 0.0
    for a in range(loads):
        s = b.state[best * loads + a]
        watts[a] = b.power[best * loads + a]
        on[a] = 1 if s != t.first[a] else 0
        confidence[a] = 0.0
        total += watts[a]
    weights = 0.0
    for h in range(b.size[COUNT]):
        weight = math.exp(b.score[best] - b.score[h])
        weights += weight
        for a in range(loads):
            if (b.state[h * loads + a] != t.first[a]) == (on[a] == 1):
                confidence[a] += weight
    scale = 1.0 if total <= max(power, 0.0) else max(power, 0.0) / total
    for a in range(loads):
        confidence[a] /= weights
        watts[a] *= scale
