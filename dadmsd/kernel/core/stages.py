"""Where a thread is, as one byte: a column of these is what a pool keeps of its threads."""

READY, SUSPENDED, WAITING, SENT, COMPLETED, ERROR, TERMINATED, TIMED_OUT = range(8)  # up to SENT: open
STATES = (
    "ready",
    "suspended",
    "waiting",
    "sent",
    "completed",
    "error",
    "terminated",
    "timed_out",
)  # by number; "sent" is shown as running or ready
STATE_NUMBER = {name: number for number, name in enumerate(STATES)}
