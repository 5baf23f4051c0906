"""The network side of a site: NetworkManager and ModemManager on a private D-Bus, and a modem that speaks AT."""
