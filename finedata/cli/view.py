"""`finedata view`: look at a dataset in a browser."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.cli.frame import AsJson, emit, interruptible

if TYPE_CHECKING:
    from finedata.review import Served

HELP = """Look at a dataset in a browser; nothing is written.

Browse episodes by source, task, verdict, cluster and words; see every camera exact to the frame
beside the arms' paths, the plots of their motion, steps and facts. An address works as a folder
does: hf://datasets/org/name. It ends with Ctrl-C.

Example: finedata view bridge --port 8400
"""

Host = Annotated[
    str, typer.Option(help="Where to listen. Beyond the loopback a token is asked for.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")]


def view(
    *,
    root: Annotated[
        str, typer.Argument(metavar="DIR", help="The dataset, or its address.", show_default=False)
    ],
    host: Host = "127.0.0.1",
    port: Port = 8400,
    browser: Browser = True,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    with interruptible("stopped"):
        open(root).view(host=host, port=port, on_ready=opened(browser=browser, as_json=as_json))


def opened(*, browser: bool, as_json: bool):  # noqa: ANN201  (a function of Served)
    """What to do once a server listens: say where, and open the browser."""

    def ready(served: Served) -> None:
        emit(served, f"{served.address}   (Ctrl-C ends it)", as_json=as_json)
        if browser:
            webbrowser.open(served.address)

    return ready
