"""Linear recurrences with matrix states: RWKV and its relatives."""
