"""Disaggregation: which appliance uses what, from the total power of one meter.

The edge daemon imports ``client`` and ``result`` only; both are light. All that computes runs in ``worker``, a process
of its own, because numba costs 60 to 130 MB: a box without disaggregation never pays for it.
"""
