"""Rules over feature rows, and the positions that follow from them: step functions without I/O."""
