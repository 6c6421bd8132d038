"""Ctrl-C and SIGTERM: the first asks to stop, the second presses."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether we were asked to stop, and how urgently; handlers only note it."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._pressed = threading.Event()

    def listen(self) -> None:
        """Take the signals of this process; call it in the main thread."""
        for number in SIGNALS:
            # nohup has it ignored, and means it
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def pressed(self) -> bool:
        """Whether to stop at once, whatever is left undone."""
        return self._pressed.is_set()

    def ask(self) -> None:
        """Do as a signal does."""
        (self._pressed if self.asked() else self._asked).set()

    def wait(self, seconds: float) -> bool:
        """Wait until asked to stop; says whether that was so before the time was up."""
        return self._asked.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Wait while stopping; being pressed ends it early."""
        self._pressed.wait(seconds)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()
