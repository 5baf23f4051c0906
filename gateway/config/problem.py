"""What can be wrong with a configuration file: codes, located problems, and the error that carries them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from gateway.errors import LamppostError, Place

Severity = Literal["error", "warning"]
PROBLEMS_MAX = 200  # more do not help anybody; the last one then says how many there are


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of problem: what it means, and what to do about it."""

    meaning: str
    fix: str
    severity: Severity = "error"


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        # the file
        "config.unreadable": Rule("The file is not there or may not be read.", "Check the path and its permissions."),
        "config.too-large": Rule(
            "The file, its nesting or what its aliases expand to is too large.", "Make it smaller."
        ),
        "config.encoding": Rule("The file is not UTF-8 text.", "Save it as UTF-8."),
        "config.syntax": Rule("The file is not YAML.", "Correct the line; `key: value`, indented with spaces."),
        "config.tab": Rule("A tab indents a line.", "Use spaces."),
        "config.document": Rule(
            "The file holds no document, or more than one.", "Keep one document of keys and values."
        ),
        "config.alias": Rule("An alias names nothing, or itself.", "Write the value out."),
        "config.tag": Rule("A YAML tag that has no meaning here.", "Remove the word that begins with `!`."),
        "config.duplicate-key": Rule("A key stands twice in one place.", "Keep one of the two."),
        # keys and values
        "config.unknown-key": Rule("A key that does not exist in this place.", "Correct or remove it."),
        "config.missing-key": Rule("A key that must be there is not.", "Add it."),
        "config.type": Rule("A value of the wrong kind.", "Write a value of the kind that is expected."),
        "config.value": Rule(
            "A value that is not one of those allowed, or not of the right form.", "Use an allowed one."
        ),
        "config.range": Rule("A value outside its limits.", "Use a value within the limits."),
        "config.name": Rule("Not a name.", "Use small letters, digits and hyphens, at most 63."),
        "config.secret": Rule("A secret in the file itself.", "Put it into a file of its own and name that file."),
        "config.empty": Rule(
            "A part without content has no effect.", "Remove it, or write `{}` for its defaults.", "warning"
        ),
        # across parts
        "config.unknown-bus": Rule("A device on a bus that does not exist.", "Name one of the buses, or add it."),
        "config.unused-bus": Rule("A bus without devices.", "Remove it, or add its devices.", "warning"),
        "config.unknown-template": Rule("No template has this name.", "See docs/reference/templates.md."),
        "config.bad-template": Rule("The template itself is wrong.", "Correct the template file."),
        "config.wrong-bus": Rule("The template's protocol does not run on this type of bus.", "Choose the right bus."),
        "config.address-needed": Rule(
            "The device needs an address on this bus.", "Add `address`; see `lamppost scan`."
        ),
        "config.address": Rule("An address that is not possible on this bus.", "Correct it; see `lamppost scan`."),
        "config.duplicate-address": Rule("Two devices have one address on one bus.", "Give each device its own."),
        "config.shared-serial": Rule("Two devices on one serial bus.", "Give each device its own serial bus."),
        "config.shared-port": Rule("Two buses use one port.", "Put the devices on one bus."),
        "config.unstable-port": Rule(
            "A port name that may change with the next restart.", "Use its name below /dev/serial/by-id/.", "warning"
        ),
        "config.option": Rule("The template does not take these settings.", "Correct or remove them."),
        "config.bus-load": Rule("The line has little time left for retries.", "See `lamppost config plan`.", "warning"),
        "config.bus-overload": Rule("The line is too slow for what is to be read.", "See `lamppost config plan`."),
        "config.unknown-quantity": Rule("The template does not deliver this quantity.", "Name one that it delivers."),
        "config.unknown-device": Rule("A device that does not exist.", "Name one of the devices."),
        "config.duplicate-link": Rule("Two links have one name.", "Rename one."),
        "config.shared-interface": Rule("Two links go over one interface.", "Keep one of them."),
        "config.link-way": Rule(
            "Over which interface a link goes is not said, or said twice.", "Name one `interface` or `connection`."
        ),
        "config.time-zone": Rule("Not a time zone.", "Use an IANA name, such as Europe/Copenhagen."),
        "config.url": Rule(
            "Not an address that the language is spoken at.", "Write https://host or https://host:port."
        ),
        "config.no-keys": Rule("CoAP would go unprotected.", "Give a file with OSCORE keys."),
        "config.certificate-alone": Rule(
            "A certificate without its key, or a key without its certificate.",
            "Give uplink.certificate_file and uplink.key_file together.",
        ),
        "config.replica": Rule("A replica of no database.", "Name the database in server.database."),
        "config.plain-http": Rule("Data would leave the box unencrypted.", "Use https://.", "warning"),
        "config.token-in-clear": Rule("A token would be sent unencrypted.", "Use https://."),
        "config.file-missing": Rule("A file that is named is not there.", "Create it, or correct the name."),
        "config.no-model": Rule(
            "The disaggregation has no model yet.", "Train or copy one there; it is used as soon as it is.", "warning"
        ),
        "config.no-pull": Rule(
            "Models cannot be pulled this way.", "Use an http(s) uplink, or copy a model and name it in `model`."
        ),
        "config.file-elsewhere": Rule(
            "A file that is named cannot be seen from here.", "Check again on the box itself, as its user.", "warning"
        ),
        "config.secret-readable": Rule(
            "Everybody on this box can read a secret.", "Take the right away: `chmod o-rwx`."
        ),
        "config.exposed": Rule(
            "It would be reachable from outside without protection.", "Use loopback, or protect it."
        ),
        "config.port-taken": Rule("Two parts listen on one port.", "Change one of the ports."),
        "config.no-uplink": Rule(
            "The readings have nowhere to go.", "Add `uplink`; its `url` may be this box's own server."
        ),
        "config.no-devices": Rule("There is nothing to read.", "Add `buses` and `devices`.", "warning"),
        "config.more": Rule("There are more problems than are shown.", "Correct these first."),
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where. ``hint``: what was probably meant or what is allowed; ``fix``: what to do."""

    code: str
    message: str
    place: Place
    hint: str = ""
    fix: str = ""

    @property
    def severity(self) -> Severity:
        """Errors keep a configuration from being used, warnings do not."""
        return RULES[self.code].severity

    def as_json(self) -> dict[str, object]:
        """The form in ``lamppost check --json``."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "text": self.place.text,
            "hint": self.hint,
            "fix": self.fix or RULES[self.code].fix,
        }


class ConfigError(LamppostError):
    """The configuration cannot be used; ``problems`` has all there is to say."""

    code = "config.invalid"
    fix = "Run `lamppost check FILE` and correct what it shows."

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        errors = [problem for problem in problems if problem.severity == "error"]
        first = f"; the first: {errors[0].place}: {errors[0].message}" if errors else ""
        count = f"{len(errors)} mistake{'' if len(errors) == 1 else 's'}"
        super().__init__(f"{file}: {count}{first}", fix=f"Run `lamppost check {file}` and correct what it shows.")
        self.problems = problems


def meant(word: str, known: Iterable[str], *, listed_max: int = 12) -> str:
    """A hint: the known word nearest to this one, else all the known ones where they are few."""
    words = sorted(word for word in known if word.isprintable())
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.65) if len(word) <= 100 else []
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(words)}" if 0 < len(words) <= listed_max else ""
