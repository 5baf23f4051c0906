"""Media with one owner each: the only modules that import serial, pymodbus, bleak and paho."""
