"""Pure decoders: bytes or JSON in, measurements out; damaged input raises BadFrame and nothing else."""
