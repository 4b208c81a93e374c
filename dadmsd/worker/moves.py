"""Whether Python changed the working directory: told by an audit hook (sys.addaudithook), since asking costs more than a short thread."""

import sys


class Moves:
    """What the hook has heard."""

    def __init__(self) -> None:
        self.is_away = False
        self._is_watching = False

    def watch(self) -> None:
        """Listen from now on; a hook cannot be taken back."""
        if not self._is_watching:
            self._is_watching = True
            sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: object) -> None:
        if event == "os.chdir":
            self.is_away = True


moves = Moves()
