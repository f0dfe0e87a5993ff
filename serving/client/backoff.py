"""How long to wait before a call is tried again: a pure schedule."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double up to a bound, each shortened at random by up to a half, so that callers spread out.

    Source: M. Brooker (2015), "Exponential Backoff And Jitter", AWS Architecture Blog ("equal jitter").

    Attributes:
        first_s: longest first wait.
        most_s: longest wait of all.
        factor: how much longer each wait is than the one before, at least 1.
    """

    first_s: float = 0.05
    most_s: float = 2.0
    factor: float = 2.0

    def wait_s(self, attempt: int, random: float) -> float:
        """Return the wait after a failed attempt.

        Args:
            attempt: 0 for the first.
            random: a draw from [0, 1).
        """
        # The exponent is bounded, since a float power overflows after enough attempts.
        longest = min(self.most_s, self.first_s * self.factor ** min(attempt, 64))
        return longest * (0.5 + 0.5 * random)


DEFAULT = Backoff()
