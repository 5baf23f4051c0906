"""The command `lamppost`: one file a command, imported when it is called."""
