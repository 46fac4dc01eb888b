"""Whether there is tracing: the standard environment says so, and the extra is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.tracing.trouble import hear_of_trouble

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from proxy.logs import Logger
    from proxy.tracing.spans import Tracing

_PROTOCOL: Final = "http/protobuf"


def tracing_of(
    environ: Mapping[str, str],
    *,
    wall: Callable[[], float],
    log: Logger,
    loop: asyncio.AbstractEventLoop,
) -> Tracing | None:
    """Begins tracing if the environment asks for it; what keeps it from that is a warning.

    Nothing of OpenTelemetry is imported unless it does ask.

    Args:
        environ: the `OTEL_*` variables that are looked at here; the SDK reads the others itself.
        wall: seconds since the epoch.
    """
    if not _wanted(environ):
        return None
    protocol = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {"", _PROTOCOL}:
        log.warning(
            "tracing_off",
            cause=f"the protocol {protocol} is not spoken here",
            mend=f"set OTEL_EXPORTER_OTLP_PROTOCOL={_PROTOCOL}, and the collector's port for it "
            "(4318 by default)",
        )
        return None
    try:
        from proxy.tracing.spans import begin_exporting  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        log.warning(
            "tracing_off",
            cause=f"the environment asks for tracing, and {missing.name} is not installed",
            mend="pip install '.[otel]' in the project's folder",
        )
        return None
    hear_of_trouble(log, loop)
    try:
        tracing = begin_exporting(wall=wall, loop=loop)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the gateway serves
        # Not what it says: that may quote a variable that holds a credential.
        log.warning(
            "tracing_off",
            cause=f"OpenTelemetry cannot use its environment ({type(failure).__name__})",
            mend="check the OTEL_* variables",
        )
        return None
    log.info("tracing_on", service=tracing.service)
    return tracing


def _wanted(environ: Mapping[str, str]) -> bool:
    endpoint = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = _first(environ, "OTEL_SDK_DISABLED").lower() == "true"
    return bool(endpoint) and not disabled and _first(environ, "OTEL_TRACES_EXPORTER") != "none"


def _first(environ: Mapping[str, str], *names: str) -> str:
    """The first of the variables that is not empty."""
    values = (environ.get(name, "").strip() for name in names)
    return next(filter(None, values), "")
