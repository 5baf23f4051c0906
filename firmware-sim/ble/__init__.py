"""Simulated Bluetooth: a private D-Bus, an org.bluez on it and peripherals that advertise real bytes.

A process of its own, ``python -m firmware_sim.ble --run DIR``: the daemon under test meets BlueZ only over D-Bus.
"""
