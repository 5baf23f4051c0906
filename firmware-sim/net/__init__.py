"""Links to test on: a box, its WiFi, its GSM and a server, each in a network namespace of its own, and what goes wrong.

``Town`` lays it all out; ``Town.wifi`` and ``Town.gsm`` are emulated links whose delay, loss, rate, stalls and cuts are
set while everything runs. Needs Linux, root, iproute2 and ``/dev/net/tun``; ``missing()`` says what is not there.
"""
