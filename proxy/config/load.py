"""A configuration out of its file, the environment and the command line's flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from proxy.config import (
    carrier_rules,
    jwt_rules,
    key_rules,
    listener_rules,
    rules,
    translation,
    upstream_rules,
)
from proxy.config.document import Unreadable, parse
from proxy.config.environment import Variables, expand
from proxy.config.faults import ConfigInvalid, Fault, Wrong
from proxy.config.model import Config
from proxy.config.overrides import Draft, apply_flags, apply_variables, misspelt
from proxy.config.places import variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.faults import Finding
    from proxy.config.model import Admin
    from proxy.config.places import Places

DEFAULT_FILE = Path("wskeeper.yaml")
_NO_FILE = (
    "there is no configuration",
    (
        "write a `wskeeper.yaml` here or name a file with `-c FILE`; or, for one service without a"
        " file, `wskeeper serve --upstream ws://127.0.0.1:9000/ws`"
    ),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration.

    Args:
        config: it.
        warnings: what is allowed and yet deserves a look.
        path: the file it came from; None when `--upstream` stands for one.
        places: tells where values came from, for faults found later (`files.check_files`).
    """

    config: Config
    warnings: tuple[Fault, ...]
    path: Path | None
    places: Places


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, str | None] | None = None,
) -> Loaded:
    """Reads and validates a configuration; nothing is contacted.

    Args:
        path: the file; None looks at `WSKEEPER_CONFIG`, then for `./wskeeper.yaml`.
        environ: the environment's variables.
        overrides: values of the flags `listen` and `upstream`; None counts as not given.

    Raises:
        ConfigInvalid: with every fault, and the warnings beside them.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    variables = Variables(environ, _read_text)
    draft = _draft(path, variables, given)
    config, findings = _validated(draft)
    places = draft.places
    faults = [*draft.faults, *misspelt(draft, variables), *places.faults(findings)]
    if config is None or any(fault.severity == "error" for fault in faults):
        raise ConfigInvalid(faults)
    return Loaded(config, tuple(faults), draft.path, places)


def load_admin(path: Path | None, *, environ: Mapping[str, str]) -> Admin:
    """The `admin` section alone, for commands that only speak to a running gateway.

    Without any file the defaults hold, as with `serve --upstream`.

    Raises:
        ConfigInvalid: there is a fault in that section, or the file cannot be read.
    """
    draft = _draft(path, Variables(environ, _read_text), {}, needed=False)
    return _alone(draft, "admin").admin


def load_store(
    path: Path | None, *, environ: Mapping[str, str], url: str | None = None
) -> tuple[str, Path]:
    """The store's URL, and the folder that the configuration lies in, for commands on keys.

    Without any file the default holds, and the folder is the working directory.

    Args:
        path: the file; None looks for it as `load` does.
        environ: the environment's variables.
        url: the value of `--store`; then neither is looked at.

    Raises:
        ConfigInvalid: there is a fault in `store`, or the file cannot be read.
    """
    if url is None:
        draft = _draft(path, Variables(environ, _read_text), {}, needed=False)
    else:
        draft = Draft(file="command line")
        apply_flags(draft, {"store": url})
    return _alone(draft, "store").store, draft.folder


def _alone(draft: Draft, field: str) -> Config:
    """A configuration in which that field has its value and all others their default."""
    section: dict[str, Any] = {field: draft.data[field]} if field in draft.data else {}
    context = {"folder": str(draft.folder)}
    try:
        config = Config.model_validate(section, context=context)
    except ValidationError as error:
        findings = _beside_unknown(draft, translation.findings(error, section, Config))
    else:
        return config
    raise ConfigInvalid(draft.places.faults(findings))


def _draft(
    path: Path | None, variables: Variables, given: Mapping[str, str], *, needed: bool = True
) -> Draft:
    draft = Draft(file=str(DEFAULT_FILE))
    _choose_file(draft, path or _configured(draft, variables), given, needed=needed)
    if draft.path is not None:
        _read_file(draft, variables)
    if draft.faults and not draft.data:
        # Nothing further could be looked at.
        raise ConfigInvalid([*draft.faults, *misspelt(draft, variables)])
    apply_flags(draft, given)
    apply_variables(draft, variables, given)
    return draft


def _configured(draft: Draft, variables: Variables) -> Path | None:
    source = variable("WSKEEPER_CONFIG")
    try:
        named = variables.get(source.name)
    except Wrong as wrong:
        draft.blame(source, wrong)
        return None
    return Path(named) if named else None


def _choose_file(
    draft: Draft, path: Path | None, given: Mapping[str, str], *, needed: bool
) -> None:
    if path is None and "upstream" not in given and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    draft.path = path
    if path is not None:
        draft.file = str(path)
    elif "upstream" in given:
        draft.file = "configuration"
    elif needed and not draft.faults:
        draft.faults.append(Fault(draft.file, None, "", *_NO_FILE))


def _read_file(draft: Draft, variables: Variables) -> None:
    try:
        draft.document = parse(Path(draft.file).read_bytes())
    except OSError as error:
        reason = error.strerror or "unknown reason"
        draft.faults.append(
            Fault(draft.file, None, "", f"cannot be read ({reason})", "name a readable file")
        )
    except Unreadable as error:
        draft.faults.append(Fault(draft.file, error.line, "", error.problem, error.mend))
    else:
        expanded = expand(draft.document, variables)
        draft.data = expanded.data
        draft.variables = expanded.origins
        draft.unknown = expanded.findings


def _validated(draft: Draft) -> tuple[Config | None, list[Finding]]:
    """The configuration, if it is valid, and what is wrong or deserves a warning."""
    config: Config | None = None
    found: list[Finding] = []
    try:
        config = Config.model_validate(draft.data, context={"folder": str(draft.folder)})
    except ValidationError as error:
        found += translation.findings(error, draft.data, Config)
    found += rules.findings(draft.data)
    found += listener_rules.findings(draft.data)
    found += upstream_rules.findings(draft.data)
    found += carrier_rules.findings(draft.data)
    found += jwt_rules.findings(draft.data)
    found += key_rules.findings(draft.data, draft.places.is_literal)
    return config, [*draft.document.findings, *_beside_unknown(draft, found)]


def _beside_unknown(draft: Draft, found: Iterable[Finding]) -> list[Finding]:
    """The faults of substitution, and what was found elsewhere.

    What else is said about such a place, or about what holds it, would only confuse.
    """
    return [*draft.unknown, *(finding for finding in found if not draft.hides(finding.where))]


def _read_text(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")
