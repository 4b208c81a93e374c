"""How long something takes, or took, in words: as many digits as mean something."""


def duration(seconds: float) -> str:
    """Write seconds for people: 40 ms, 0.49 s, 13 min 50 s, 2 h 05 min."""
    seconds = max(0.0, seconds)
    if 0.0 < seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 119.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
