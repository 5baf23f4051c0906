"""The edge role: a task a device, health, the control socket and the local metrics port."""
