"""All pods of a list, read piece by piece: what was read is let go of, and the event loop gets its turns in between.

An answer with 10,000 pods is 16 MB of JSON. Decoded whole it holds the loop for a tenth of a second, and text and pods
need room side by side. Where a piece ends is guessed, from how the first pod begins; a piece that ends inside a pod is
no JSON, so a guess cannot be wrong unnoticed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

from yotta_async.api import strict_json
from yotta_async.api.decode import UNREADABLE, pods_in
from yotta_async.api.pod_list import PLACE, collector_off, raws_in, structure_or_warn, without_list
from yotta_async.api.wire import invalid_response, parse_data
from yotta_async.models.pod import Pod
from yotta_async.support.secrets import strip_traceback_frames
from yotta_async.transport.messages import Request, Response

_PIECE = 2**16  # bytes: some forty pods, and half a millisecond
_TURN = 0.002  # seconds that the loop is held for
# How many ends of one piece are tried. A pod's own parts may begin as a pod does, but hardly so many of them.
_TRIES = 8
_BEGINNING = re.compile(rb'\s*(\{\s*"[^"\\]*"\s*:)')


async def parse_pods(request: Request, response: Response) -> list[Pod]:
    """Return every pod that can be read, and use the answer up; of each that cannot be read, a warning says where.

    Raises what `read_data` raises, and ProtocolError when it is not a list.
    """
    pods: list[Pod] = []
    pieces = _Pieces(_inside(request, response), request.path)
    while not pieces.turn(pods):  # noqa: ASYNC110  # nothing is waited for
        await asyncio.sleep(0)  # the loop's turn, and no wait
    if pieces.left:
        pods.clear()
        raise invalid_response(request, response, "it is not JSON")
    return pods


@strip_traceback_frames
def _inside(request: Request, response: Response) -> list[bytes]:
    """Return what stands between the brackets of the list, the last chunk first."""
    chunks = response.chunks
    while len(chunks) > 1 and b"]" not in chunks[-1]:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    place = without_list(chunks[0], chunks[-1])
    if place is not None:
        start, end, envelope = place
        try:
            if parse_data(
                request, Response(response.status, response.headers, [envelope], response.key)
            ) == strict_json.loads(PLACE):
                chunks[-1] = chunks[-1][: end - 1]
                chunks[0] = chunks[0][start + 1 :]
                chunks.reverse()
                return chunks
        except Exception:  # noqa: BLE001, S110  # a wrong guess, or an answer that is refused below
            pass
    whole = parse_data(request, response)
    if not isinstance(whole, list | None):
        raise invalid_response(request, response, "data is not a list")
    return [strict_json.dumps(whole or [])[1:-1]]


class _Pieces:
    """The pods in such chunks. `left` is whether a rest is no JSON."""

    def __init__(self, chunks: list[bytes], path: str) -> None:
        self._chunks = chunks
        self._path = path
        self._seen = 0
        self._read = self._read_all()
        self.left = False

    def turn(self, pods: list[Pod]) -> bool:
        """Add as many pods as can be read in a few milliseconds; whether that was the end."""
        until = time.perf_counter() + _TURN
        with collector_off():
            for some in self._read:
                pods += some
                if time.perf_counter() > until:
                    return False
        return True

    def _read_all(self) -> Iterator[list[Pod]]:
        text, at = b"", 0
        beginning: bytes | None = None
        while self._chunks:
            # At least as much again as is left over: a pod without end would else be copied once for each chunk.
            parts, size = [text[at:]], 0
            while self._chunks and size <= len(parts[0]):
                parts.append(self._chunks.pop())
                size += len(parts[-1])
            text, at = b"".join(parts), 0
            if beginning is None and (match := _BEGINNING.match(text)):
                beginning = match[1]
            while beginning is not None and len(text) - at > _PIECE:
                cut = self._cut(text, at, beginning)
                if cut is None:
                    break
                at, pods = cut
                if pods is None:  # the guesses are used up: all that is left becomes one piece
                    text += b"".join(reversed(self._chunks))
                    self._chunks.clear()
                    break
                yield pods
        pods = self._pods(text[at:])
        self.left = pods is None
        yield pods or []

    def _cut(self, text: bytes, at: int, beginning: bytes) -> tuple[int, list[Pod] | None] | None:
        """Return where the next piece begins, and the pods up to there; None for more text, no pods for no guess."""
        cut = text.rfind(beginning, at + 1, at + _PIECE)
        if cut < 0:
            cut = text.find(beginning, at + _PIECE - len(beginning))
        if cut < 0:
            return None
        for _ in range(_TRIES):
            piece = text[at:cut].rstrip()
            if piece.endswith(b",") and (pods := self._pods(piece[:-1])) is not None:
                return cut, pods
            cut = text.rfind(beginning, at + 1, cut)
            if cut < 0:
                break
        return at, None

    def _pods(self, text: bytes) -> list[Pod] | None:
        """Return the pods in the text, or None when it is no JSON."""
        text = b"[%b]" % text
        pods = pods_in(text)
        if pods is None:
            try:
                raws = raws_in(text)
            except UNREADABLE:
                return None
            found = (structure_or_warn(raw, index, self._path) for index, raw in enumerate(raws, self._seen))
            pods = [pod for pod in found if pod is not None]
            self._seen += len(raws)
        else:
            self._seen += len(pods)
        return pods
