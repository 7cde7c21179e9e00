"""The bench's work in Starlette, for uvicorn and granian."""

import json
import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

HERE = Path(__file__).resolve().parent
ROWS = json.loads((HERE / "rows.json").read_text("utf-8"))

templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, auto_reload=False
    )
)


async def hello(request: Request) -> Response:
    """Answer a small JSON document."""
    return JSONResponse({"message": f"hello, {request.path_params['name']}"})


async def page(request: Request) -> Response:
    """Render a table."""
    return templates.TemplateResponse(
        request, "page.html", {"title": request.query_params["title"], "rows": ROWS}
    )


async def form(request: Request) -> Response:
    """Read the fields of a form."""
    async with request.form() as fields:
        return JSONResponse({"fields": len(fields), "first": fields["field0"]})


async def length(request: Request) -> Response:
    """Read the whole body."""
    return PlainTextResponse(str(len(await request.body())))


app = Starlette(
    routes=[
        Route("/api/hello/{name}", hello),
        *(
            Route(f"/section-{number}/{{name}}/details", hello)
            for number in range(int(os.environ["BENCH_RULES"]))
        ),
        Route("/page", page),
        Route("/form", form, methods=["POST"]),
        Route("/length", length, methods=["POST"]),
        Mount("/static", StaticFiles(directory=os.environ["BENCH_STATIC"])),
    ]
)
