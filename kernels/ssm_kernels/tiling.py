"""How sizes are cut into tiles: integer arithmetic of launches.

Triton's own `cdiv` and `next_power_of_2` serve device code as well, and on the host one call of
them costs 2 microseconds, a sixth of a launch.
"""


def ceil_div(size: int, tile: int) -> int:
    """How many tiles cover `size`."""
    return -(-size // tile)


def power_of_2(size: int) -> int:
    """The least power of two that is no less than `size`; 1 for 0."""
    return 1 << max(0, size - 1).bit_length()
