"""A web server returns a different range than requested.

A tensor is read from a large remote file by a range request. Bytes from another position have the right length.
"""

import http.server
import threading
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from shell import ckpttool

save_file({"kernel": np.arange(2**12, dtype="f"), "bias": np.ones(8, "f")}, "model.safetensors")
data = Path("model.safetensors").read_bytes()


class Lies(http.server.BaseHTTPRequestHandler):
    """Answers with the right number of bytes, from an offset 64 bytes later; only the first byte is sent correctly."""

    def do_GET(self) -> None:
        """Send a part of the file."""
        if self.path != "/model.safetensors":
            self.send_error(404)
            return
        first, last = map(int, self.headers.get("Range", f"bytes=0-{len(data) - 1}").removeprefix("bytes=").split("-"))
        shift = 64 if last > 0 else 0
        part = (data + bytes(64))[first + shift : last + 1 + shift]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first + shift}-{last + shift}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Do not log."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lies)
threading.Thread(target=server.serve_forever, daemon=True).start()
Path("address.txt").write_text(f"http://127.0.0.1:{server.server_port}/model.safetensors")
ckpttool(f"show http://127.0.0.1:{server.server_port}/model.safetensors kernel")
server.shutdown()
server.server_close()
