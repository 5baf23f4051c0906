"""The simulated devices: what each hands over, byte for byte."""
