"""How a page is made: its template, what every template knows, and its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp_jinja2
import jinja2
from aiohttp import web
from markupsafe import Markup, escape

from proxy.admin.desk import ACCESS, DESK, OPERATOR
from proxy.admin.gate import login_of
from proxy.console import figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.console.assets import Assets

_ENVIRONMENT: Final = web.AppKey("console", jinja2.Environment)

# Everything comes from here, and nothing stands in the markup itself: no script, no style.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Forms of a page without a referrer come from the origin `null`, which is refused.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

# Address, name of the icon, text.
_NAVIGATION: Final = (
    ("/", "overview", "Overview"),
    ("/connections", "connections", "Connections"),
    ("/keys", "keys", "Keys"),
    ("/routes", "routes", "Routes"),
    ("/events", "events", "Events"),
)
# Pages that belong to a section by another name.
_SECTIONS: Final = {"/close": "/connections", "/new-key": "/keys"}


def prepare(app: web.Application, assets: Assets, *, try_page: bool) -> None:
    """Makes an application able to show pages.

    Args:
        try_page: whether the demo's page is there to be linked to.
    """
    environment = aiohttp_jinja2.setup(
        app,
        app_key=_ENVIRONMENT,
        loader=jinja2.PackageLoader("proxy.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["static"] = assets.address
    environment.globals["navigation"] = _NAVIGATION
    environment.globals["try_page"] = try_page
    environment.filters |= {
        "figure": figures.count,
        "size": figures.size,
        "span": figures.span,
        "milliseconds": figures.milliseconds,
        "moment": figures.moment,
        "plural": figures.plural,
        "stamp": figures.stamp,
        "day": figures.day,
        "segment": figures.segment,
        "visible": figures.visible,
        "ticks": ticks,
    }


def page(
    request: web.Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
) -> web.Response:
    """A page, or the part of one that htmx asks for.

    Args:
        template: its name.
        context: what it knows beside `operator`, `csrf`, `section`, `now` and `logged_in`.
    """
    token = csrf(request)
    answer = aiohttp_jinja2.render_template(
        template,
        request,
        {
            # Nobody before the login.
            "operator": request.get(OPERATOR),
            "logged_in": bool(request.app[ACCESS].tokens),
            "csrf": token,
            "csrf_field": lambda: Markup('<input type="hidden" name="csrf" value="{}">').format(
                token
            ),
            "section": _section(request.path),
            "now": request.app[DESK].now(),
            **(context or {}),
        },
        app_key=_ENVIRONMENT,
        status=status,
    )
    answer.headers.update(HEADERS)
    return answer


def csrf(request: web.Request) -> str:
    """What the forms of a page carry."""
    logins = request.app[ACCESS].logins
    assert logins is not None
    return logins.csrf(login_of(request))


def is_fragment(request: web.Request) -> bool:
    """Whether htmx asks for a part of a page, not for all of it."""
    headers = request.headers
    return "HX-Request" in headers and not (
        "HX-Boosted" in headers or "HX-History-Restore-Request" in headers
    )


def ticks(text: str) -> Markup:
    """A sentence whose names in backticks are code."""
    parts = map(escape, text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def _section(path: str) -> str:
    first = "/" + path.split("/", 2)[1]
    return _SECTIONS.get(first, first)
