"""A Model Context Protocol server, built with the official SDK for Python, for the tests of MCP tools.

PORT is its port (0: any free one), JSON=1 makes it answer without streams, TOKEN is the required bearer token, EXTRA=1 adds a
tool. It prints `listening on PORT`, and a line for each request.
"""

import asyncio
import os
import socket

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

server = MCPServer("crm")
calls = 0


class Customer(BaseModel):
    name: str
    orders: int


@server.tool()
def find_customer(name: str) -> Customer:
    """Finds a customer by name"""
    return Customer(name=name, orders=3)


@server.tool(structured_output=False)
def say(text: str) -> str:
    """Says it"""
    return f"You said: {text}"


@server.tool(structured_output=False)
def picture() -> CallToolResult:
    """Shows a picture"""
    image = ImageContent(type="image", data="AAAA", mimeType="image/png")
    return CallToolResult(content=[TextContent(type="text", text="Look:"), image])


@server.tool(structured_output=False)
def fail() -> str:
    """Fails"""
    raise ToolError("no such customer")


@server.tool(structured_output=False)
async def slow(seconds: float) -> str:
    """Sleeps"""
    await asyncio.sleep(seconds)
    return "at last"


@server.tool(structured_output=False)
async def steps(ctx: Context) -> str:
    """Reports its progress"""
    for step in range(3):
        await ctx.report_progress(step, 3)
    return "done"


@server.tool(structured_output=False)
def huge(kib: int) -> str:
    """Returns a long text"""
    return "x" * (kib * 1024)


@server.tool(structured_output=False)
def count() -> str:
    """Counts its calls"""
    global calls
    calls += 1
    return str(calls)


@server.tool(structured_output=False)
def whoami(ctx: Context) -> str:
    """Returns the headers of its request"""
    return str(dict(ctx.request_context.request.headers))


@server.tool(name="not a name", structured_output=False)
def odd() -> str:
    """Has a name that models do not accept"""
    return ""


if os.environ.get("EXTRA"):

    @server.tool(structured_output=False)
    def extra() -> str:
        """Exists only with EXTRA=1"""
        return "extra"


app = server.streamable_http_app(json_response=bool(os.environ.get("JSON")))


async def guarded(scope, receive, send):
    if scope["type"] == "http":
        headers = dict(scope["headers"])
        print(scope["method"], headers.get(b"mcp-session-id", b"-").decode(), flush=True)
        token = os.environ.get("TOKEN")
        if token and headers.get(b"authorization") != f"Bearer {token}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
            await send({"type": "http.response.body", "body": b""})
            return
    await app(scope, receive, send)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(os.environ.get("PORT", "0"))))
listener.listen(128)
print("listening on", listener.getsockname()[1], flush=True)
config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=0)
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
