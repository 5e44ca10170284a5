"""What a check finds: how bad it is, a stable code, what was seen, what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: It works; it will not when this goes on, or is not what it should be.
    WARN = "warn"
    #: It does not work, or what was acknowledged is in danger.
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. docs/reference/doctor.md has a line for each code."""

    level: Level
    code: str
    seen: str
    #: Empty where nothing is to be done.
    advice: str = ""


def ok(code: str, seen: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.OK, code, seen)


def warn(code: str, seen: str, advice: str) -> Finding:
    """Return what will go wrong."""
    return Finding(Level.WARN, code, seen, advice)


def fail(code: str, seen: str, advice: str) -> Finding:
    """Return what is wrong."""
    return Finding(Level.FAIL, code, seen, advice)


@dataclass(frozen=True)
class Bounds:
    """From which value on a number is a warning, and from which one a failure."""

    warn: float
    fail: float

    def judge(self, code: str, value: float, seen: str, advice: str) -> Finding:
        """Return what the number means; larger is worse."""
        if value >= self.fail:
            return fail(code, seen, advice)
        if value >= self.warn:
            return warn(code, seen, advice)
        return ok(code, seen)


def reason(error: BaseException) -> str:
    """Return an error's last line: libraries put the cause there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
